//! Counts for telemetry, which reads them; nothing here knows Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Cause, IntentError};
use crate::audit::Event;

/// Upper bounds of the fsync histogram's buckets, in milliseconds; one more bucket holds the rest.
pub const FSYNC_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Durable lines by kind.
    pub records: [(&'static str, u64); 9],
    pub bytes_written: u64,
    /// Segments begun by this process.
    pub segments: u64,
    /// Batches made durable.
    pub commits: u64,
    /// Commits by how long write and sync took: per bucket of [`FSYNC_BOUNDS_MS`], not cumulative, the rest last.
    pub fsync: [u64; 13],
    pub fsync_sum: Duration,
    /// Writes and syncs that failed.
    pub storage_errors: u64,
    pub intents_refused: IntentsRefused,
    /// Refusals and observations that are only counted.
    pub summarised: u64,
    /// Of those, the ones that came when the log was closed: no line tells of them.
    pub after_close: u64,
    /// Accepted intents whose outcome is not written.
    pub open_intents: u64,
    /// Records waiting for the writer.
    pub queue_records: u64,
    /// Free space at the last look; `None` before the first.
    pub free_bytes: Option<u64>,
    pub unavailable: Option<Cause>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IntentsRefused {
    pub full: u64,
    pub slow: u64,
    pub failed: u64,
    pub busy: u64,
    pub closed: u64,
    pub opening: u64,
    pub damaged: u64,
    pub spool: u64,
    pub ledger: u64,
    pub untaken: u64,
}

/// The kinds of lines there are.
pub const KINDS: [&str; 9] = [
    "log_started",
    "intent",
    "outcome",
    "refusal",
    "observed",
    "refusal_summary",
    "unknown_outcome",
    "loss_accepted",
    "log_ended",
];

/// No look was taken yet.
const FREE_UNKNOWN: u64 = u64::MAX;

/// The live counters.
#[derive(Debug)]
pub(super) struct Counters {
    records: [AtomicU64; 9],
    bytes_written: AtomicU64,
    segments: AtomicU64,
    commits: AtomicU64,
    fsync: [AtomicU64; 13],
    fsync_ns: AtomicU64,
    storage_errors: AtomicU64,
    refused: [AtomicU64; 10],
    summarised: AtomicU64,
    after_close: AtomicU64,
    pub(super) open_intents: AtomicU64,
    free_bytes: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            records: Default::default(),
            bytes_written: AtomicU64::default(),
            segments: AtomicU64::default(),
            commits: AtomicU64::default(),
            fsync: Default::default(),
            fsync_ns: AtomicU64::default(),
            storage_errors: AtomicU64::default(),
            refused: Default::default(),
            summarised: AtomicU64::default(),
            after_close: AtomicU64::default(),
            open_intents: AtomicU64::default(),
            free_bytes: AtomicU64::new(FREE_UNKNOWN),
        }
    }
}

impl Counters {
    pub(super) fn count_start(&self, orphans: usize) {
        self.add_records("log_started", 1);
        self.add_records("unknown_outcome", u64::try_from(orphans).unwrap_or(u64::MAX));
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_record(&self, event: &Event<'_>) {
        self.add_records(event.kind().as_str(), 1);
    }

    fn add_records(&self, kind: &str, count: u64) {
        if let Some((_, counter)) = KINDS.iter().zip(&self.records).find(|(name, _)| **name == kind) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn count_commit(&self, bytes: u64, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.fsync_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let bucket = FSYNC_BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        if let Some(counter) = self.fsync.get(bucket.unwrap_or(FSYNC_BOUNDS_MS.len())) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_segment(&self) {
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_storage_error(&self) {
        self.storage_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_summarised(&self) {
        self.summarised.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_after_close(&self) {
        self.after_close.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_intent_refused(&self, error: IntentError) {
        if let Some(counter) = self.refused.get(refused_index(error)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn set_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes.min(FREE_UNKNOWN - 1), Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, queue_records: u64, unavailable: Option<Cause>) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [full, slow, failed, busy, closed, opening, damaged, spool, ledger, untaken] =
            self.refused.each_ref().map(get);
        let mut records = KINDS.map(|kind| (kind, 0));
        for ((_, count), counter) in records.iter_mut().zip(&self.records) {
            *count = get(counter);
        }
        Metrics {
            records,
            bytes_written: get(&self.bytes_written),
            segments: get(&self.segments),
            commits: get(&self.commits),
            fsync: self.fsync.each_ref().map(get),
            fsync_sum: Duration::from_nanos(get(&self.fsync_ns)),
            storage_errors: get(&self.storage_errors),
            intents_refused: IntentsRefused {
                full,
                slow,
                failed,
                busy,
                closed,
                opening,
                damaged,
                spool,
                ledger,
                untaken,
            },
            summarised: get(&self.summarised),
            after_close: get(&self.after_close),
            open_intents: get(&self.open_intents),
            queue_records,
            free_bytes: Some(get(&self.free_bytes)).filter(|bytes| *bytes != FREE_UNKNOWN),
            unavailable,
        }
    }
}

const fn refused_index(error: IntentError) -> usize {
    match error {
        IntentError::Full => 0,
        IntentError::Slow => 1,
        IntentError::Failed => 2,
        IntentError::Busy => 3,
        IntentError::Closed => 4,
        IntentError::Opening => 5,
        IntentError::Damaged => 6,
        IntentError::Spool => 7,
        IntentError::NoLedger => 8,
        IntentError::Untaken => 9,
    }
}
