//! The access tokens that issuers are asked about: of each person the newest, in memory alone.
//!
//! A place is for who has a live grant or a waiting request; whoever calls decides that before. A token leaves when its
//! time is over, when its person has nothing here any more, when it was asked about in vain for good, and at the end.
//!
//! Must never: write a token anywhere, show one, or hold the lock while anything is waited for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Issuer, Person, Principal, WallTime};
use crate::identity::Verified;
use crate::secret::Secret;
use crate::store::TokenTimes;

/// Greatest number of persons of one issuer: with a token's greatest length, 64 MiB. Who comes later has no place until
/// somebody leaves, so nobody can be pushed out.
pub const PERSONS_MAX: usize = 4096;

/// One token, and what is known of it without it.
#[derive(Debug)]
pub struct HeldToken {
    pub principal: Principal,
    pub person: Person,
    pub times: TokenTimes,
    /// When the person was last known to have been there.
    pub proven: WallTime,
    pub token: Secret<String>,
    said: Mutex<SaidBefore>,
}

/// What the issuer has said of a token so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaidBefore {
    #[default]
    Nothing,
    /// It stood when it was last asked about.
    Active,
    /// It stood once, and the last time it did not.
    InactiveOnce,
    /// It has never stood: perhaps we may not ask about it.
    NeverActive,
}

impl SaidBefore {
    /// Whether to ask again before it is due.
    pub const fn is_unsettled(self) -> bool {
        matches!(self, Self::Nothing | Self::InactiveOnce)
    }
}

impl HeldToken {
    /// What a caller has shown. `None`: the token does not say when it was issued, so nobody can tell whether it is the
    /// newest.
    pub fn of(caller: &Verified, token: &str) -> Option<Self> {
        Some(Self {
            principal: caller.principal.clone(),
            person: caller.person.clone(),
            times: times(caller)?,
            proven: caller.proven_at()?,
            token: Secret::new(token.to_owned()),
            said: Mutex::default(),
        })
    }

    pub fn said_before(&self) -> SaidBefore {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what was said just now.
    pub fn note(&self, said: SaidBefore) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

fn times(caller: &Verified) -> Option<TokenTimes> {
    Some(TokenTimes { issued: caller.issued?, expires: caller.expires })
}

type Persons = HashMap<Person, Arc<HeldToken>>;

/// See the module. Of issuers that are not asked nothing is ever held.
#[derive(Debug)]
pub struct HeldTokens {
    issuers: BTreeMap<Issuer, Mutex<Persons>>,
    persons_max: usize,
}

impl HeldTokens {
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        Self::with_places(issuers, PERSONS_MAX)
    }

    pub(super) fn with_places(issuers: impl IntoIterator<Item = Issuer>, persons_max: usize) -> Self {
        Self { issuers: issuers.into_iter().map(|issuer| (issuer, Mutex::default())).collect(), persons_max }
    }

    fn persons(&self, issuer: &Issuer) -> Option<MutexGuard<'_, Persons>> {
        Some(self.issuers.get(issuer)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the caller's issuer is asked, and nothing as new of theirs is held.
    pub fn wants(&self, caller: &Verified) -> bool {
        let Some(times) = times(caller) else { return false };
        let persons = self.persons(&caller.principal.issuer);
        persons.is_some_and(|persons| persons.get(&caller.person).is_none_or(|held| held.times < times))
    }

    /// Holds a token, unless a newer one of theirs is held. False: there was no place left.
    pub fn put(&self, token: HeldToken) -> bool {
        let Some(mut persons) = self.persons(&token.principal.issuer) else { return false };
        match persons.get(&token.person) {
            Some(held) if held.times >= token.times => return true,
            None if persons.len() >= self.persons_max => return false,
            _ => {}
        }
        persons.insert(token.person.clone(), Arc::new(token));
        true
    }

    pub fn all(&self, issuer: &Issuer) -> Vec<Arc<HeldToken>> {
        self.persons(issuer).map(|persons| persons.values().cloned().collect()).unwrap_or_default()
    }

    pub fn count(&self, issuer: &Issuer) -> usize {
        self.persons(issuer).map_or(0, |persons| persons.len())
    }

    /// Whether this very token is still the newest of its person.
    pub fn is_newest(&self, token: &Arc<HeldToken>) -> bool {
        let persons = self.persons(&token.principal.issuer);
        persons.is_some_and(|persons| persons.get(&token.person).is_some_and(|held| Arc::ptr_eq(held, token)))
    }

    /// Lets the person's token go where it is older than this: it is no longer their newest.
    pub fn drop_older(&self, caller: &Verified) {
        let Some(mut persons) = self.persons(&caller.principal.issuer) else { return };
        if persons.get(&caller.person).is_some_and(|held| times(caller).is_some_and(|times| held.times < times)) {
            persons.remove(&caller.person);
        }
    }

    /// Lets this very token go; a newer one that came meanwhile stays.
    pub fn drop_one(&self, token: &Arc<HeldToken>) {
        let Some(mut persons) = self.persons(&token.principal.issuer) else { return };
        if persons.get(&token.person).is_some_and(|held| Arc::ptr_eq(held, token)) {
            persons.remove(&token.person);
        }
    }

    /// Lets go whose time is over. Answers how many.
    pub fn drop_expired(&self, issuer: &Issuer, now: WallTime) -> usize {
        let Some(mut persons) = self.persons(issuer) else { return 0 };
        let before = persons.len();
        persons.retain(|_, held| held.times.expires > now);
        before - persons.len()
    }

    /// Lets all go.
    pub fn clear(&self) {
        for persons in self.issuers.values() {
            persons.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.test";

    fn token(person: &str, issued: i64, expires: i64) -> HeldToken {
        HeldToken {
            principal: Principal { issuer: ISSUER.parse().unwrap(), subject: person.parse().unwrap() },
            person: person.parse().unwrap(),
            times: TokenTimes { issued: WallTime::from_unix_s(issued), expires: WallTime::from_unix_s(expires) },
            proven: WallTime::from_unix_s(issued),
            token: Secret::new(format!("token of {person} {issued}")),
            said: Mutex::default(),
        }
    }

    fn issuer() -> Issuer {
        ISSUER.parse().unwrap()
    }

    #[test]
    fn of_each_person_the_newest_stays() {
        let held = HeldTokens::new([issuer()]);
        for (issued, expires) in [(100, 200), (90, 900), (100, 150), (100, 300)] {
            assert!(held.put(token("alice", issued, expires)));
        }
        let [one] = &held.all(&issuer())[..] else { panic!("one person, one token") };
        assert_eq!(one.times.expires, WallTime::from_unix_s(300), "by iat, and then by exp");
        assert!(held.is_newest(one));
        held.put(token("alice", 101, 200));
        assert!(!held.is_newest(one));
        held.drop_one(one);
        assert_eq!(held.count(&issuer()), 1, "the newer one stays");
    }

    #[test]
    fn nobody_is_pushed_out() {
        let held = HeldTokens::with_places([issuer()], 2);
        assert!(held.put(token("alice", 1, 9)) && held.put(token("bob", 1, 9)));
        assert!(!held.put(token("carol", 5, 9)));
        assert!(held.put(token("alice", 2, 9)), "who has a place keeps it");
        assert_eq!(held.drop_expired(&issuer(), WallTime::from_unix_s(9)), 2, "at exp, not after it");
        assert!(held.put(token("carol", 5, 12)));
        held.clear();
        assert_eq!(held.count(&issuer()), 0);
    }

    #[test]
    fn of_an_issuer_that_is_not_asked_nothing_is_held() {
        let held = HeldTokens::new(["https://other.test".parse().unwrap()]);
        assert!(!held.put(token("alice", 1, 9)));
        assert!(held.all(&issuer()).is_empty());
    }

    #[test]
    fn a_token_never_shows_itself() {
        let held = HeldTokens::new([issuer()]);
        held.put(token("alice", 1, 9));
        assert!(!format!("{held:?}").contains("token of"), "{held:?}");
    }
}
