//! A period in numbers, entry by entry, in bounded memory.
//!
//! What is counted is what was *entered* in the period: a grant that was issued before it and ended in it counts as ended,
//! not as issued. What an entry does not say itself (whose grant it is, when it was asked for) is in an entry before it:
//! [`Period::unknown`] names what is needed for a page, and [`Period::recall`] takes it in without counting it.
//!
//! INVARIANT: memory is bounded by named limits, whatever the period holds: of grants and requests a limited number is
//! remembered, the least recently needed is forgotten and recalled when it is needed again.

mod counting;
mod known;
mod rows;
mod spread;
mod tally;
#[cfg(test)]
pub(in crate::report) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hashlink::LruCache;

use super::told::Told;
use crate::domain::WallTime;
use crate::wire::reports::{FORMAT, PeriodReport, RefusalCount, SignedTree, TreeAt};
use known::{Asked, Keys, Standing};
use rows::Rows;
use tally::Tally;

/// Grants, and requests, that are remembered at once.
const KNOWN_MAX: usize = 50_000;
/// Revocations whose enforcement is awaited at once.
const REVOCATIONS_MAX: usize = 10_000;
/// Refusal codes: both lists are closed, so that there are never so many.
const CODES_MAX: usize = 1_000;

/// Which period, and the trees it was read from.
#[derive(Debug, Clone)]
pub struct Placed {
    pub since: WallTime,
    pub before: WallTime,
    pub made: WallTime,
    pub begin: TreeAt,
    pub end: TreeAt,
    pub tree: SignedTree,
}

/// What was named and is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Grant(String),
    Elevation(String),
}

/// See the module.
#[derive(Debug)]
pub struct Period {
    entries: u64,
    whole: Tally,
    teams: Rows,
    persons: Rows,
    reasons: Rows,
    services: Rows,
    resources: Rows,
    refused: BTreeMap<(&'static str, String), u64>,
    asked: LruCache<String, Asked>,
    grants: LruCache<String, Standing>,
    /// Rows of the grants that each revocation ended.
    revoked: LruCache<String, BTreeSet<Keys>>,
}

impl Default for Period {
    fn default() -> Self {
        Self {
            entries: 0,
            whole: Tally::default(),
            teams: Rows::default(),
            persons: Rows::default(),
            reasons: Rows::default(),
            services: Rows::default(),
            resources: Rows::default(),
            refused: BTreeMap::new(),
            asked: LruCache::new(KNOWN_MAX),
            grants: LruCache::new(KNOWN_MAX),
            revoked: LruCache::new(REVOCATIONS_MAX),
        }
    }
}

impl Period {
    /// What the entries of a page name, is not known, and does not begin on the page itself.
    pub fn unknown(&mut self, page: &[Told<'_>]) -> BTreeSet<Subject> {
        let (mut begun, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for told in page {
            for (subject, begins) in known::subjects(told) {
                if begins {
                    begun.insert(subject);
                } else if !begun.contains(&subject) && !self.knows(&subject) {
                    unknown.insert(subject);
                }
            }
        }
        unknown
    }

    fn knows(&mut self, subject: &Subject) -> bool {
        match subject {
            Subject::Grant(id) => self.grants.get(id).is_some(),
            Subject::Elevation(id) => self.asked.get(id).is_some(),
        }
    }

    /// Takes in an entry from before the period, or before what was forgotten. Counts nothing.
    pub fn recall(&mut self, told: &Told<'_>) {
        self.follow(told);
    }

    /// Counts the next entry of the period.
    pub fn take(&mut self, told: &Told<'_>) {
        self.entries = self.entries.saturating_add(1);
        self.follow(told);
        self.count(told);
    }

    pub fn finish(&self, placed: Placed) -> PeriodReport {
        let mut refusals: Vec<RefusalCount> = self
            .refused
            .iter()
            .map(|((by, code), count)| RefusalCount { by: (*by).to_owned(), code: code.clone(), count: *count })
            .collect();
        refusals.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.by, &a.code).cmp(&(&b.by, &b.code))));
        PeriodReport {
            format: FORMAT,
            since_at: placed.since,
            before_at: placed.before,
            made_at: placed.made,
            begin: placed.begin,
            end: placed.end,
            tree: placed.tree,
            entries: self.entries,
            whole: self.whole.told(),
            refusals,
            teams: self.teams.told(),
            persons: self.persons.told(),
            reasons: self.reasons.told(),
            services: self.services.told(),
            resources: self.resources.told(),
        }
    }
}
