//! How far shipping has come: what telemetry shows, and what an override may have to wait for. Written by the shipping
//! task, read by everybody; it knows no Prometheus.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::WallTime;

/// What attempts come to.
pub const RESULTS: [&str; 5] = ["arrived", "gap", "busy", "refused", "unreached"];

/// See the module.
#[derive(Debug)]
pub struct Shipped {
    spool_bytes_max: u64,
    pub(super) lines: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) attempts: [AtomicU64; 5],
    pub(super) losses: AtomicU64,
    pub(super) unshipped_bytes: AtomicU64,
    pub(super) unshipped_lines: AtomicU64,
    pruned_segments: AtomicU64,
    /// When the oldest line was written that is not shipped.
    pub(super) oldest: Mutex<Option<WallTime>>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedCounts {
    pub lines: u64,
    pub bytes: u64,
    pub attempts: [(&'static str, u64); 5],
    pub losses: u64,
    pub unshipped_bytes: u64,
    pub unshipped_lines: u64,
    pub pruned_segments: u64,
    pub oldest: Option<WallTime>,
    pub spool_bytes_max: u64,
}

impl Shipped {
    pub(in crate::sidecar) fn new(spool_bytes_max: u64) -> Self {
        Self {
            spool_bytes_max,
            lines: AtomicU64::default(),
            bytes: AtomicU64::default(),
            attempts: Default::default(),
            losses: AtomicU64::default(),
            unshipped_bytes: AtomicU64::default(),
            unshipped_lines: AtomicU64::default(),
            pruned_segments: AtomicU64::default(),
            oldest: Mutex::default(),
        }
    }

    pub fn counts(&self) -> ShippedCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut attempts = RESULTS.map(|result| (result, 0));
        for ((_, count), counter) in attempts.iter_mut().zip(&self.attempts) {
            *count = get(counter);
        }
        ShippedCounts {
            lines: get(&self.lines),
            bytes: get(&self.bytes),
            attempts,
            losses: get(&self.losses),
            unshipped_bytes: get(&self.unshipped_bytes),
            unshipped_lines: get(&self.unshipped_lines),
            pruned_segments: get(&self.pruned_segments),
            spool_bytes_max: self.spool_bytes_max,
            oldest: *self.oldest.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(super) fn count_attempt(&self, result: &str) {
        if let Some((_, counter)) = RESULTS.iter().zip(&self.attempts).find(|(name, _)| **name == result) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_pruned(&self, segments: usize) {
        self.pruned_segments.fetch_add(u64::try_from(segments).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn set_oldest(&self, oldest: Option<WallTime>) {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }
}
