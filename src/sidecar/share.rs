//! This sidecar's share of a grant's uses: how many it was allotted, how many it has spent.
//!
//! INVARIANT: spent never exceeds what is allotted, even while a share is handed back as uses are spent: both stand in
//! one atomic word. (After a restart spent may exceed an allotment not yet repeated; then nothing can be spent.)

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Share(AtomicU64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    allotted: u32,
    spent: u32,
}

impl Parts {
    fn pack(self) -> u64 {
        u64::from(self.allotted) << 32 | u64::from(self.spent)
    }

    fn unpack(word: u64) -> Self {
        let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self { allotted: half(word >> 32), spent: half(word) }
    }
}

impl Share {
    /// Nothing allotted, `spent` uses known from the log.
    pub fn new(spent: u32) -> Self {
        Self(AtomicU64::new(Parts { allotted: 0, spent }.pack()))
    }

    fn update(&self, change: impl Fn(Parts) -> Option<Parts>) -> Option<Parts> {
        let change = |word| change(Parts::unpack(word)).map(Parts::pack);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok().map(Parts::unpack)
    }

    fn parts(&self) -> Parts {
        Parts::unpack(self.0.load(Ordering::Acquire))
    }

    pub fn has_any(&self) -> bool {
        let parts = self.parts();
        parts.spent < parts.allotted
    }

    pub fn allotted(&self) -> u32 {
        self.parts().allotted
    }

    pub fn spent(&self) -> u32 {
        self.parts().spent
    }

    /// Spends one use; false when there is none.
    pub fn spend(&self) -> bool {
        let one = |parts: Parts| {
            (parts.spent < parts.allotted).then(|| Parts { spent: parts.spent.saturating_add(1), ..parts })
        };
        self.update(one).is_some()
    }

    pub fn unspend(&self) {
        self.update(|parts| parts.spent.checked_sub(1).map(|spent| Parts { spent, ..parts }));
    }

    pub fn allot(&self, allotted: u32) {
        self.update(|parts| Some(Parts { allotted, ..parts }));
    }

    /// Lowers the share to `keep`, but not below what is spent; the share that remains.
    pub fn hand_back(&self, keep: u32) -> u32 {
        let lowered = |parts: Parts| parts.allotted.min(keep.max(parts.spent));
        self.update(|parts| Some(Parts { allotted: lowered(parts), ..parts })).map_or(0, lowered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_spent_once_and_handed_back_above_what_is_spent() {
        let share = Share::new(0);
        assert!(!share.spend());
        share.allot(3);
        assert!(share.spend() && share.spend());
        assert_eq!(share.hand_back(1), 2);
        assert!(!share.spend());
        share.unspend();
        assert!(share.has_any());
    }

    #[test]
    fn racing_spenders_and_hand_backs_never_spend_more_than_remains() {
        let share = Share::new(0);
        share.allot(1000);
        let spent = std::thread::scope(|scope| {
            let spenders: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..400).filter(|_| share.spend()).count())).collect();
            let remaining = share.hand_back(500);
            let spent: usize = spenders.into_iter().map(|spender| spender.join().unwrap()).sum();
            assert!(spent <= usize::try_from(remaining).unwrap());
            spent
        });
        assert_eq!(u32::try_from(spent).unwrap(), share.spent());
    }
}
