//! What is counted beside the requests' path: cuts, what the feed brings, jumps of the clock. Rare enough to be shared
//! by all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counters::closed_set;
use crate::decision::RefusalCode;
use crate::telemetry::metric::Histogram;
use crate::wire::feed::FromControl;

closed_set! {
    /// A line of the feed, by what it says.
    FeedLine {
        Welcome = "welcome",
        Keys = "keys",
        Put = "put",
        Suspended = "suspended",
        Tombstone = "tombstone",
        Freeze = "freeze",
        Share = "share",
        ShareRecall = "share_recall",
        SnapshotEnd = "snapshot_end",
        Heartbeat = "heartbeat",
        AssertionCertificate = "assertion_certificate",
        AssertionRefused = "assertion_refused",
        Resync = "resync",
    }
}

impl FeedLine {
    pub const fn of(line: &FromControl) -> Self {
        match line {
            FromControl::Welcome { .. } => Self::Welcome,
            FromControl::Keys { .. } => Self::Keys,
            FromControl::Put { .. } => Self::Put,
            FromControl::Suspended { .. } => Self::Suspended,
            FromControl::Tombstone { .. } => Self::Tombstone,
            FromControl::Freeze { .. } => Self::Freeze,
            FromControl::Share { .. } => Self::Share,
            FromControl::ShareRecall { .. } => Self::ShareRecall,
            FromControl::SnapshotEnd { .. } => Self::SnapshotEnd,
            FromControl::Heartbeat { .. } => Self::Heartbeat,
            FromControl::AssertionCertificate { .. } => Self::AssertionCertificate,
            FromControl::AssertionRefused { .. } => Self::AssertionRefused,
            FromControl::Resync { .. } => Self::Resync,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Occurrences {
    cuts: [AtomicU64; RefusalCode::ALL.len()],
    cut_lag: Histogram,
    lines: [AtomicU64; FeedLine::ALL.len()],
    rejected: [AtomicU64; FeedLine::ALL.len()],
    streams: AtomicU64,
    stream_ends: AtomicU64,
    clock_jumps: AtomicU64,
}

impl Default for Occurrences {
    fn default() -> Self {
        Self {
            cuts: std::array::from_fn(|_| AtomicU64::default()),
            cut_lag: Histogram::default(),
            lines: std::array::from_fn(|_| AtomicU64::default()),
            rejected: std::array::from_fn(|_| AtomicU64::default()),
            streams: AtomicU64::default(),
            stream_ends: AtomicU64::default(),
            clock_jumps: AtomicU64::default(),
        }
    }
}

fn count(cells: &[AtomicU64], index: usize) {
    if let Some(cell) = cells.get(index) {
        cell.fetch_add(1, Ordering::Relaxed);
    }
}

fn value(cells: &[AtomicU64], index: usize) -> u64 {
    cells.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed))
}

impl Occurrences {
    /// An override was ended; `lag` is how long after its cause, where that is known.
    pub fn count_cut(&self, code: RefusalCode, lag: Option<Duration>) {
        count(&self.cuts, code as usize);
        lag.iter().for_each(|lag| self.cut_lag.observe(*lag));
    }

    pub fn count_line(&self, line: FeedLine, rejected: bool) {
        count(if rejected { &self.rejected } else { &self.lines }, line as usize);
    }

    pub fn count_stream(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_stream_end(&self) {
        self.stream_ends.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_clock_jump(&self) {
        self.clock_jumps.fetch_add(1, Ordering::Relaxed);
    }

    pub fn cuts(&self, code: RefusalCode) -> u64 {
        value(&self.cuts, code as usize)
    }

    pub fn cut_lag(&self) -> &Histogram {
        &self.cut_lag
    }

    /// Lines of this kind that were applied.
    pub fn lines(&self, line: FeedLine) -> u64 {
        value(&self.lines, line as usize)
    }

    /// Lines of this kind that were refused and reported back.
    pub fn rejected(&self, line: FeedLine) -> u64 {
        value(&self.rejected, line as usize)
    }

    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Streams, and attempts at one, that ended.
    pub fn stream_ends(&self) -> u64 {
        self.stream_ends.load(Ordering::Relaxed)
    }

    pub fn clock_jumps(&self) -> u64 {
        self.clock_jumps.load(Ordering::Relaxed)
    }
}
