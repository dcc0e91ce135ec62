//! What one sink has done, for metrics.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::Record;
use crate::domain::WallTime;

/// Counts of one sink. Only ever read and written without waiting.
#[derive(Debug, Default)]
pub struct Report {
    lines: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    rejected: AtomicU64,
    unreadable: AtomicU64,
    failing: AtomicBool,
    /// Time of the oldest record in hand, plus one; 0 without.
    pending_since_ms: AtomicI64,
    behind_bytes: AtomicU64,
}

/// A snapshot of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were taken, and their bytes.
    pub lines: u64,
    pub bytes: u64,
    /// Attempts that failed.
    pub errors: u64,
    pub rejected: u64,
    /// Damage in the source that was passed over.
    pub unreadable: u64,
    /// The last attempt failed.
    pub failing: bool,
    /// Time of the oldest record that waits in hand.
    pub pending_since: Option<WallTime>,
    /// What its source still holds for it, at the last look.
    pub behind_bytes: u64,
}

impl Report {
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let since = self.pending_since_ms.load(Ordering::Relaxed);
        Counts {
            lines: get(&self.lines),
            bytes: get(&self.bytes),
            errors: get(&self.errors),
            rejected: get(&self.rejected),
            unreadable: get(&self.unreadable),
            failing: self.failing.load(Ordering::Relaxed),
            pending_since: (since > 0).then(|| WallTime::from_unix_ms(since - 1)),
            behind_bytes: get(&self.behind_bytes),
        }
    }

    pub(super) fn has(&self, records: &[Record]) {
        let since = records.first().map_or(0, |record| record.at.unix_ms().saturating_add(1));
        self.pending_since_ms.store(since, Ordering::Relaxed);
    }

    pub(super) fn taken(&self, records: &[Record], rejected: u64) {
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX).saturating_sub(rejected);
        let bytes = records.iter().fold(0_u64, |sum, record| sum.saturating_add(record.text.len() as u64));
        self.lines.fetch_add(count, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
        self.pending_since_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }

    pub fn passed_over(&self, unreadable: u64) {
        self.unreadable.fetch_add(unreadable, Ordering::Relaxed);
    }

    pub fn set_behind_bytes(&self, bytes: u64) {
        self.behind_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Its source can't be read or its place not be kept.
    pub fn source_failed(&self) {
        self.failed();
    }
}
