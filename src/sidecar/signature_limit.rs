//! How often one address may have the signature of an unknown grant token checked.
//!
//! The check only serves to tell a proven holder why a genuine token does not work; without a limit it would be a
//! lever to burn the sidecar's time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::domain::BootTime;

/// Checks per address and window.
const CHECKS_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);
/// Addresses remembered; past it the window is begun anew for all.
const ADDRESSES_MAX: usize = 4096;

/// One worker's count. A new window forgets all.
#[derive(Debug)]
pub struct SignatureLimit(RefCell<Counts>);

#[derive(Debug)]
struct Counts {
    began: BootTime,
    checks: HashMap<IpAddr, u32>,
}

impl Default for SignatureLimit {
    fn default() -> Self {
        Self(RefCell::new(Counts { began: BootTime::ZERO, checks: HashMap::new() }))
    }
}

impl SignatureLimit {
    /// Counts one check; false when `address` has had its share.
    pub fn allows(&self, address: IpAddr, now: BootTime) -> bool {
        let mut counts = self.0.borrow_mut();
        if now.since(counts.began) >= WINDOW {
            counts.began = now;
            counts.checks.clear();
        }
        if counts.checks.len() >= ADDRESSES_MAX && !counts.checks.contains_key(&address) {
            return false;
        }
        let count = counts.checks.entry(address).or_insert(0);
        *count += 1;
        *count <= CHECKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_share_in_each_window() {
        let limit = SignatureLimit::default();
        let at = |ms| BootTime::from_duration(Duration::from_millis(ms));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!((0..20).filter(|_| limit.allows(a, at(5000))).count(), 10);
        assert!(limit.allows(b, at(5000)));
        assert!(limit.allows(a, at(6000)));
    }
}
