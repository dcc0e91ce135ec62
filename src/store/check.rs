//! Does the database hold together? States, revisions and entries, each held against the others. Reads only.
//!
//! What is checked is what no transition can break, so that every finding means that something else wrote: a disk, a
//! restore that was not whole, a hand. Must never: write, or quote a token or a personal value.

mod elevations;
mod entries;
mod erasures;
mod grants;
mod ledger;
mod numbers;
mod revocations;

use super::{Store, StoreError};

/// Findings that are told one by one; further ones are counted.
pub const FINDINGS_MAX: usize = 1000;
/// Rows that are read at once.
const PAGE: i64 = 500;

/// Something that does not hold: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Such as `grant g-0123456789ab` or `entry 17`.
    pub place: String,
    pub what: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub epoch: String,
    pub revision: u64,
    pub entries: u64,
    pub grants: u64,
    /// Entries of the Merkle tree.
    pub ledger: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_MAX`].
    pub untold: u64,
}

impl CheckReport {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { place: place.into(), what: what.into() });
        } else {
            self.untold = self.untold.saturating_add(1);
        }
    }

    /// Notes what the two disagree about, if they do.
    fn agree<T: PartialEq + std::fmt::Display>(&mut self, place: &str, what: &str, found: T, expected: T) {
        if found != expected {
            self.find(place, format!("{what} is {found}, and should be {expected}"));
        }
    }
}

impl Store {
    /// Checks one committed state of the whole database.
    ///
    /// # Errors
    /// When it cannot be read at all; what can be read and is wrong is a finding.
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let mut report = CheckReport { epoch: self.epoch().to_owned(), ..CheckReport::default() };
        numbers::check(&mut reading, &mut report).await?;
        let told = entries::check(&mut reading, &mut report).await?;
        elevations::check(&mut reading, &told, &mut report).await?;
        grants::check(&mut reading, &told, &mut report).await?;
        revocations::check(&mut reading, &told, &mut report).await?;
        ledger::check(&mut reading, &mut report).await?;
        erasures::check(&mut reading, &mut report).await?;
        Ok(report)
    }
}
