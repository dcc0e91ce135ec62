//! How much of what people are refused is written down: a stranger to the policy can't fill the ledger.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{BootTime, Person};

/// How many refused attempts of one person are recorded in a span of time; further ones are only counted.
#[derive(Debug, Default)]
pub struct RefusedBudget {
    taken: Mutex<HashMap<Person, (BootTime, u32)>>,
}

impl RefusedBudget {
    pub const RECORDED_MAX: u32 = 60;
    pub const SPAN: Duration = Duration::from_secs(3600);
    /// People remembered at once; all are authenticated.
    const PEOPLE_MAX: usize = 10_000;

    pub(super) fn take(&self, person: &Person, now: BootTime) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, (since, _)| now.since(*since) < Self::SPAN);
        if taken.len() >= Self::PEOPLE_MAX && !taken.contains_key(person) {
            return false;
        }
        let (_, count) = taken.entry(person.clone()).or_insert((now, 0));
        *count = count.saturating_add(1);
        *count <= Self::RECORDED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_s_refusals_are_recorded_within_a_budget() {
        let budget = RefusedBudget::default();
        let (alice, bob): (Person, Person) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        for _ in 0..RefusedBudget::RECORDED_MAX {
            assert!(budget.take(&alice, BootTime::ZERO));
        }
        assert!(!budget.take(&alice, BootTime::ZERO));
        assert!(budget.take(&bob, BootTime::ZERO), "a budget of one's own");
        assert!(budget.take(&alice, BootTime::ZERO.plus(RefusedBudget::SPAN)));
    }
}
