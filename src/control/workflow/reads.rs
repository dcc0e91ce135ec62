//! Who looks at what is not theirs is recorded, before it is shown. When that fails nothing is shown.
//!
//! A console that asks every second shows the same over and over: while it does, one entry stands for
//! [`ReadBook::COVERED`]. As soon as anything else is shown (another record, by another filter, to another reader) that
//! is an entry at once. The entry says how many records were shown and how they were asked for, not what they said.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use serde_json::{Map, Value};

use super::Workflow;
use crate::control::refusal::Refusal;
use crate::domain::{BootTime, Person, Ticket};
use crate::identity::Verified;
use crate::ledger::DataRead;
use crate::ledger::entry::Draft;

/// What is looked at. A closed set: it names the kind of view in the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    Elevations,
    Elevation,
    Grants,
    Grant,
    Revocations,
    Revocation,
    /// What a revocation would end.
    RevocationPreview,
    Freezes,
    /// What a policy would end.
    PolicyPreview,
    GrantReport,
    PeriodReport,
    /// What an erasure would erase.
    ErasurePreview,
    Erasure,
    /// The personal values behind the entries about a grant.
    PersonalValues,
}

impl View {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Elevations => "elevations",
            Self::Elevation => "elevation",
            Self::Grants => "grants",
            Self::Grant => "grant",
            Self::Revocations => "revocations",
            Self::Revocation => "revocation",
            Self::RevocationPreview => "revocation_preview",
            Self::Freezes => "freezes",
            Self::PolicyPreview => "policy_preview",
            Self::GrantReport => "grant_report",
            Self::PeriodReport => "period_report",
            Self::ErasurePreview => "erasure_preview",
            Self::Erasure => "erasure",
            Self::PersonalValues => "personal_values",
        }
    }
}

/// One look at other people's data.
#[derive(Debug)]
pub struct Look<'a> {
    pub view: View,
    /// How it was asked for, without what names a human.
    pub filter: Map<String, Value>,
    /// The person that was asked for, or whose the one record is.
    pub person: Option<&'a Person>,
    pub ticket: Option<&'a Ticket>,
    /// Ids of the records of others that are shown.
    pub shown: Vec<&'a str>,
}

impl Workflow {
    /// Records a look at one record with this owner; at one's own there is nothing to record.
    ///
    /// # Errors
    /// As [`Workflow::record_look`].
    pub async fn record_look_at(&self, reader: &Verified, view: View, owner: &Person, id: &str) -> Result<(), Refusal> {
        if reader.person == *owner {
            return Ok(());
        }
        let filter = Map::from_iter([("id".to_owned(), id.into())]);
        self.record_look(reader, Look { view, filter, person: Some(owner), ticket: None, shown: vec![id] }).await
    }

    /// Records a look at what was not asked for by any filter.
    ///
    /// # Errors
    /// As [`Workflow::record_look`].
    pub async fn record_look_over(&self, reader: &Verified, view: View, shown: Vec<&str>) -> Result<(), Refusal> {
        if shown.is_empty() {
            return Ok(());
        }
        self.record_look(reader, Look { view, filter: Map::new(), person: None, ticket: None, shown }).await
    }

    /// Records a look. Call it after the records are found and before they are answered.
    ///
    /// # Errors
    /// What the database said; then nothing may be shown.
    pub async fn record_look(&self, reader: &Verified, look: Look<'_>) -> Result<(), Refusal> {
        // Who sees no more than what concerns them, and found nothing that does, has looked at nothing.
        if look.shown.is_empty() && !self.sees_all(reader) {
            return Ok(());
        }
        let key = key(&reader.person, &look);
        let now = self.clock.boot();
        if self.reads.is_covered(&key, now) {
            self.metrics.data_reads.with_label_values(&["covered"]).inc();
            return Ok(());
        }
        let entry = Draft::data_read(DataRead {
            view: look.view.as_str(),
            filter: look.filter,
            records: look.shown.len(),
            covers_s: ReadBook::COVERED.as_secs(),
            by: &reader.person,
            person: look.person,
            ticket: look.ticket,
        });
        self.store.record(entry).await?;
        self.metrics.data_reads.with_label_values(&["entry"]).inc();
        self.reads.cover(key, now);
        Ok(())
    }
}

impl Workflow {
    /// Records that a report is read. Each is an entry of its own, whoever is its subject: what a report says changes with
    /// the ledger. Call it before it is answered.
    ///
    /// # Errors
    /// What the database said; then nothing may be shown.
    pub async fn record_report(
        &self,
        reader: &Verified,
        view: View,
        filter: Map<String, Value>,
        (person, records): (Option<&Person>, usize),
    ) -> Result<(), Refusal> {
        let read =
            DataRead { view: view.as_str(), filter, records, covers_s: 0, by: &reader.person, person, ticket: None };
        self.store.record(Draft::data_read(read)).await?;
        self.metrics.data_reads.with_label_values(&["entry"]).inc();
        Ok(())
    }
}

type Key = [u8; 32];

/// INVARIANT: equal only for the same reader who is shown the same records of the same view by the same filter.
fn key(reader: &Person, look: &Look<'_>) -> Key {
    let parts = serde_json::json!([
        reader,
        look.view.as_str(),
        look.filter,
        look.person,
        look.ticket.map(Ticket::as_str),
        look.shown
    ]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parts.to_string().as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(digest.as_ref());
    key
}

/// Which looks an entry still stands for.
#[derive(Debug)]
pub struct ReadBook(Mutex<LruCache<Key, BootTime>>);

impl ReadBook {
    /// How long an entry stands for the same look.
    pub const COVERED: Duration = Duration::from_secs(600);
    /// Looks remembered at once. One that is forgotten is recorded again.
    const LOOKS_MAX: usize = 10_000;

    fn is_covered(&self, key: &Key, now: BootTime) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(key).is_some_and(|since| now.since(*since) < Self::COVERED)
    }

    fn cover(&self, key: Key, now: BootTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, now);
    }
}

impl Default for ReadBook {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(Self::LOOKS_MAX)))
    }
}
