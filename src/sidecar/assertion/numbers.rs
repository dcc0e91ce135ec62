//! How many assertions were signed under each grant by this process: told in each assertion, in its outcome's line, and to the
//! control plane as they stand, so that what the upstream saw, what the log says and what was signed can be held together.
//!
//! INVARIANT: numbers of a grant are dense from 1 within one log of this sidecar. A grant is forgotten only once its last number
//! was told after its end, and then once more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::GrantId;

/// See the module. Locked for the length of a look-up.
#[derive(Debug, Default)]
pub struct Numbers(Mutex<HashMap<GrantId, Count>>);

#[derive(Debug, Default)]
struct Count {
    taken: u64,
    /// As the control plane knows it.
    told: u64,
    /// It was told after the grant had ended: nothing is signed any more once that is true twice.
    has_ended: bool,
}

impl Numbers {
    /// The number of an assertion that is about to be signed.
    pub fn next(&self, grant: &GrantId) -> u64 {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(grant) {
            count.taken = count.taken.saturating_add(1);
            return count.taken;
        }
        counts.insert(grant.clone(), Count { taken: 1, ..Count::default() });
        1
    }

    /// Numbers that the control plane does not know yet, at most `max` of them, and whether these are all.
    pub fn untold(&self, max: usize) -> (BTreeMap<GrantId, u64>, bool) {
        let counts = self.lock();
        let untold = || counts.iter().filter(|(_, count)| count.told < count.taken);
        let some = untold().take(max).map(|(grant, count)| (grant.clone(), count.taken)).collect();
        (some, untold().count() <= max)
    }

    /// The control plane knows these now. `has_ended` says of a grant that nothing new is let through under it.
    pub fn told(&self, numbers: &BTreeMap<GrantId, u64>, has_ended: impl Fn(&GrantId) -> bool) {
        // Asked without the lock, for which overrides wait. One that is signed meanwhile is seen below.
        let mut ended: HashSet<GrantId> = self.lock().keys().cloned().collect();
        ended.retain(has_ended);
        self.lock().retain(|grant, count| {
            if let Some(number) = numbers.get(grant) {
                count.told = count.told.max(*number);
            }
            let is_told = count.told >= count.taken;
            let is_over = is_told && ended.contains(grant);
            let forget = is_over && count.has_ended;
            count.has_ended = is_over;
            !forget
        });
    }

    /// Grants that are remembered.
    #[cfg(test)]
    fn grants(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GrantId, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_told_until_they_are_known() {
        let (numbers, one, other) = (Numbers::default(), GrantId::from_random(1), GrantId::from_random(2));
        assert_eq!([&one, &one, &other].map(|grant| numbers.next(grant)), [1, 2, 1]);
        let (told, all) = numbers.untold(1);
        assert_eq!((told.len(), all), (1, false));
        let (told, all) = numbers.untold(2);
        assert_eq!((told.get(&one), told.get(&other), all), (Some(&2), Some(&1), true));
        assert_eq!(numbers.next(&one), 3);
        numbers.told(&told, |_| false);
        assert_eq!(numbers.untold(9), ([(one.clone(), 3)].into(), true), "what came meanwhile is told, too");
    }

    #[test]
    fn an_override_waits_for_no_question_about_ends() {
        let (numbers, grant) = (Numbers::default(), GrantId::from_random(1));
        numbers.next(&grant);
        let told = numbers.untold(9).0;
        numbers.told(&told, |_| {
            assert!(numbers.0.try_lock().is_ok(), "nothing is locked while it is asked");
            // Signed between the question and what follows of it.
            numbers.next(&grant);
            true
        });
        assert_eq!(numbers.untold(9).0, [(grant, 2)].into());
    }

    #[test]
    fn a_grant_is_forgotten_once_it_was_told_twice_after_its_end() {
        let (numbers, grant) = (Numbers::default(), GrantId::from_random(1));
        numbers.next(&grant);
        let told = numbers.untold(9).0;
        numbers.told(&told, |_| true);
        assert_eq!((numbers.grants(), numbers.next(&grant)), (1, 2), "one that was under way goes on counting");
        numbers.told(&told, |_| true);
        assert_eq!(numbers.grants(), 1, "the second number is not known");
        for left in [1, 0] {
            numbers.told(&numbers.untold(9).0, |_| true);
            assert_eq!(numbers.grants(), left);
        }
    }
}
