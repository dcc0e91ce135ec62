//! Which of its grant's intents in this log a line is: dense from 1, so that a grant's own lines show that none is missing.

use std::collections::HashMap;

use crate::domain::{GrantId, WallTime};

/// Past so many grants those that are over are forgotten.
const GRANTS_MAX: usize = 4096;

/// The last number of each grant, and when it is of no use any more.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<GrantId, (u64, WallTime)>);

impl Numbers {
    /// The number that the next intent has. It counts only once it is taken.
    pub(super) fn next(&self, grant: &GrantId) -> u64 {
        self.0.get(grant).map_or(0, |(number, _)| *number).saturating_add(1)
    }

    /// The intent with the next number has a line. INVARIANT: a grant that may live is never forgotten.
    pub(super) fn take(&mut self, grant: GrantId, expires: WallTime, now: WallTime) {
        if self.0.len() >= GRANTS_MAX {
            self.0.retain(|_, (_, expires)| *expires > now);
        }
        let number = self.next(&grant);
        self.0.insert(grant, (number, expires));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_for_each_grant_and_what_is_over_is_forgotten() {
        let mut numbers = Numbers::default();
        let (one, other) = (GrantId::from_random(1), GrantId::from_random(2));
        let at = WallTime::from_unix_s;
        for expected in 1..4 {
            assert_eq!(numbers.next(&one), expected);
            assert_eq!(numbers.next(&one), expected, "it was not taken");
            numbers.take(one.clone(), at(100), at(0));
        }
        assert_eq!(numbers.next(&other), 1);
        for n in 0..2 * GRANTS_MAX as u64 {
            numbers.take(GrantId::from_random(1000 + n), at(1), at(2));
        }
        assert!(numbers.0.len() <= GRANTS_MAX + 1);
        assert_eq!(numbers.next(&one), 4, "it may live");
    }
}
