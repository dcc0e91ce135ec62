//! Durations, counted into fixed buckets by relaxed atomics: one addition a bucket and one to the sum, no lock, and no
//! other core's cache line as long as each worker has its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of all buckets, in microseconds; one more bucket holds the rest.
pub const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// See the module.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // A bound belongs to its bucket, so what is a fraction above it must not be cut down to it.
        let us = us.saturating_add(u64::from(!took.subsec_nanos().is_multiple_of(1_000)));
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What one or several histograms hold, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// In microseconds.
    pub bounds_us: Vec<u64>,
    /// Per bucket, not cumulative; the rest last.
    pub counts: Vec<u64>,
    pub sum: Duration,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { bounds_us: BOUNDS_US.to_vec(), counts: vec![0; BUCKETS], sum: Duration::ZERO }
    }
}

impl Distribution {
    /// The sum of several histograms.
    pub fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut all = Self::default();
        for histogram in histograms {
            for (count, bucket) in all.counts.iter_mut().zip(&histogram.buckets) {
                *count = count.wrapping_add(bucket.load(Ordering::Relaxed));
            }
            all.sum = all.sum.saturating_add(Duration::from_nanos(histogram.sum_ns.load(Ordering::Relaxed)));
        }
        all
    }

    /// What was counted elsewhere: bounds in milliseconds, and one count more than bounds.
    pub fn in_ms(bounds: &[u64], counts: &[u64], sum: Duration) -> Self {
        let bounds_us = bounds.iter().map(|ms| ms.saturating_mul(1_000)).collect();
        Self { bounds_us, counts: counts.to_vec(), sum }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next() {
        let histogram = Histogram::default();
        for took in [Duration::ZERO, Duration::from_micros(100), Duration::from_nanos(100_001), Duration::from_secs(31)]
        {
            histogram.observe(took);
        }
        let all = Distribution::of([&histogram, &Histogram::default()].into_iter());
        assert_eq!(all.counts.iter().take(2).copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(all.counts.last(), Some(&1));
        assert_eq!(all.count(), 4);
        assert_eq!(all.sum, Duration::from_nanos(31_000_200_001));
    }

    #[test]
    fn histograms_of_several_workers_add_up() {
        let workers = [Histogram::default(), Histogram::default()];
        workers.iter().for_each(|worker| worker.observe(Duration::from_millis(3)));
        let all = Distribution::of(workers.iter());
        assert_eq!((all.count(), all.counts.get(5)), (2, Some(&2)));
    }
}
