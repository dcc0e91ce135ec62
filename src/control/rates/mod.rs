//! How often somebody may call: each principal by class of call, and each address that fails to sign in.
//!
//! The limit on failed sign-ins is asked before a signature is checked, so that a stranger can't spend our time on it; who
//! has signed in with the same token before is known without it, and is never held up by others at their address. Memory
//! is bounded: past it, who was seen longest ago is forgotten.
//!
//! Headers are those of draft-ietf-httpapi-ratelimit-headers-10.

mod bucket;

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::bucket::{Bucket, Left, Rate, WINDOW};
use super::openapi;
use super::refusal::{Cause, Refusal};
use crate::config::limits::ApiLimits;
use crate::domain::{BootTime, Principal};

/// Callers, and addresses, remembered at once.
const REMEMBERED_MAX: usize = 10_000;
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// What a call does, as far as its limit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Read,
    Write,
    Create,
}

impl Class {
    /// The class of a call by its method and its path as a template: one that is described with 201 makes something.
    pub fn of(method: &Method, path: &str) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            _ if openapi::creates(method, path) => Self::Create,
            _ => Self::Write,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
        }
    }
}

/// The limits, and what everybody has used of theirs.
#[derive(Debug)]
pub struct Rates {
    limits: ApiLimits,
    callers: Buckets<(Principal, Class)>,
    addresses: Buckets<IpAddr>,
}

/// How a caller stands after a call; it is told in the answer's headers.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    class: Class,
    rate: Rate,
    left: Left,
}

impl Rates {
    pub fn new(limits: ApiLimits) -> Self {
        Self { limits, callers: Buckets::new(), addresses: Buckets::new() }
    }

    /// Counts one call of `principal`.
    ///
    /// How the caller stands now; and 429, with the time to wait, where they have had all of theirs.
    pub fn take(&self, principal: &Principal, class: Class, now: BootTime) -> (Standing, Result<(), Refusal>) {
        let rate = self.rate(class);
        let standing = |left| Standing { class, rate, left };
        match self.callers.take((principal.clone(), class), rate, now) {
            Ok(left) => (standing(left), Ok(())),
            Err(wait) => {
                let detail = format!("you have {} requests of the class \"{}\" in a minute", rate.0, class.as_str());
                let left = Left { remaining: 0, full_in: WINDOW.saturating_add(wait) };
                (standing(left), Err(limited(detail, wait)))
            }
        }
    }

    /// Counts a sign-in of someone who is not known yet as failed; [`Rates::give_back`] when it is not.
    ///
    /// # Errors
    /// 429, with the time to wait.
    pub fn take_sign_in(&self, address: IpAddr, now: BootTime) -> Result<(), Refusal> {
        let rate = Rate(self.limits.failed_authentications_per_minute_max);
        let taken = self.addresses.take(network(address), rate, now);
        let detail = "too many access tokens from your address were not accepted";
        taken.map(|_| ()).map_err(|wait| limited(detail.to_owned(), wait))
    }

    pub fn give_back(&self, address: IpAddr) {
        self.addresses.give_back(&network(address), Rate(self.limits.failed_authentications_per_minute_max));
    }

    fn rate(&self, class: Class) -> Rate {
        Rate(match class {
            Class::Read => self.limits.reads_per_minute_max,
            Class::Write => self.limits.writes_per_minute_max,
            Class::Create => self.limits.creates_per_minute_max,
        })
    }
}

fn limited(detail: String, wait: Duration) -> Refusal {
    Refusal::new(Cause::RateLimited, detail).retry_after_s(seconds_up(wait).max(1))
}

fn seconds_up(span: Duration) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Whoever has an IPv6 address has its whole network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        },
    }
}

impl Standing {
    /// Tells it in `headers`.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let class = self.class.as_str();
        let policy = format!("\"{class}\";q={};w={}", self.rate.0, WINDOW.as_secs());
        let standing = format!("\"{class}\";r={};t={}", self.left.remaining, seconds_up(self.left.full_in));
        for (name, value) in [(POLICY, policy), (STANDING, standing)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

#[derive(Debug)]
struct Buckets<K: Eq + Hash>(Mutex<LruCache<K, Bucket>>);

impl<K: Eq + Hash> Buckets<K> {
    fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED_MAX)))
    }

    fn take(&self, key: K, rate: Rate, now: BootTime) -> Result<Left, Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(key).or_insert_with(Bucket::default).take(rate, now)
    }

    fn give_back(&self, key: &K, rate: Rate) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.get_mut(key) {
            bucket.give_back(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(subject: &str) -> Principal {
        Principal { issuer: "https://idp.test".parse().unwrap(), subject: subject.parse().unwrap() }
    }

    #[test]
    fn principals_and_classes_do_not_use_each_other_up() {
        let rates = Rates::new(ApiLimits { creates_per_minute_max: 1, writes_per_minute_max: 2, ..ApiLimits::DEFAULT });
        let (alice, bob) = (principal("alice"), principal("bob"));
        assert!(rates.take(&alice, Class::Create, BootTime::ZERO).1.is_ok());
        let (standing, refused) = rates.take(&alice, Class::Create, BootTime::ZERO);
        let refusal = refused.unwrap_err();
        assert_eq!((standing.left.remaining, standing.left.full_in), (0, Duration::from_secs(120)));
        assert_eq!((refusal.cause, refusal.retry_after), (Cause::RateLimited, Some(Duration::from_secs(60))));
        assert!(rates.take(&alice, Class::Write, BootTime::ZERO).1.is_ok());
        assert!(rates.take(&bob, Class::Create, BootTime::ZERO).1.is_ok());
        let mut headers = HeaderMap::new();
        rates.take(&alice, Class::Read, BootTime::ZERO).0.tell(&mut headers);
        assert_eq!(headers[POLICY], "\"read\";q=600;w=60");
        assert_eq!(headers[STANDING], "\"read\";r=599;t=1");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_stalest_goes() {
        let rates = Rates::new(ApiLimits { failed_authentications_per_minute_max: 1, ..ApiLimits::DEFAULT });
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..=u32::try_from(REMEMBERED_MAX).unwrap() {
            assert!(rates.take_sign_in(address(n), BootTime::ZERO).is_ok());
        }
        assert!(rates.take_sign_in(address(0), BootTime::ZERO).is_ok(), "the stalest was forgotten");
        assert!(rates.take_sign_in(address(2), BootTime::ZERO).is_err());
        assert_eq!(rates.addresses.0.lock().unwrap().len(), REMEMBERED_MAX);
    }

    #[test]
    fn an_ipv6_network_is_one_and_a_mapped_address_is_what_it_maps() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }

    #[test]
    fn a_class_is_that_of_the_document() {
        for (method, path, class) in [
            (Method::GET, "/v1/grants", Class::Read),
            (Method::HEAD, "/v1/grants", Class::Read),
            (Method::POST, "/v1/elevations", Class::Create),
            (Method::POST, "/v1/grants/{id}/revoke", Class::Write),
        ] {
            assert_eq!(Class::of(&method, path), class, "{method} {path}");
        }
    }
}
