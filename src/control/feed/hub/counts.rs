//! What the feed counts. Plain numbers; whoever serves metrics gives them names.

use std::sync::atomic::{AtomicU64, Ordering};

/// Monotonic counts since the process started. Read with [`FeedCounts::read`].
#[derive(Debug, Default)]
pub struct FeedCounts {
    /// Streams begun with a snapshot.
    pub snapshots: AtomicU64,
    /// Streams begun with only what was missed.
    pub resumptions: AtomicU64,
    /// Lines with a revision that were queued towards sidecars.
    pub revisions_sent: AtomicU64,
    pub heartbeats: AtomicU64,
    pub acknowledgements: AtomicU64,
    pub rejections: AtomicU64,
    /// Requests answered with a problem document.
    pub refusals: AtomicU64,
    pub handshakes_failed: AtomicU64,
    /// Sidecars cut off because they took no lines.
    pub slow_cut: AtomicU64,
    /// Streams ended because a line broke the protocol.
    pub protocol_errors: AtomicU64,
    /// Reports of more uses spent than were allotted.
    pub overspent: AtomicU64,
    /// Sidecars that have seen more of this history than there is.
    pub behind: AtomicU64,
    pub share_recalls: AtomicU64,
    pub audit: AuditCounts,
}

/// What came of the sidecars' audit lines.
#[derive(Debug, Default)]
pub struct AuditCounts {
    /// Lines that became entries.
    pub lines: AtomicU64,
    /// Lines that were here already.
    pub known: AtomicU64,
    pub bytes: AtomicU64,
    pub batches: AtomicU64,
    pub forks: AtomicU64,
    pub lost: AtomicU64,
    /// Batches that did not follow what is here.
    pub gaps: AtomicU64,
    /// Batches that were none, or another sidecar's.
    pub refused: AtomicU64,
    /// Batches for which there was no room or time.
    pub busy: AtomicU64,
    /// Microseconds that batches took in the database.
    pub ingest_us: AtomicU64,
}

impl FeedCounts {
    pub fn read(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }

    pub(in crate::control::feed) fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
    }
}
