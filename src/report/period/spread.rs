//! Spans of time as a whole, in bounded memory: count, mean and greatest exactly, median and 90th percentile by buckets.
//!
//! A bucket is as wide as 1/64 of what it holds, so that what is read off it is at most 1.6 % too high. Spans below 64 ms
//! have a bucket each.

use std::collections::BTreeMap;

use crate::wire::reports::Spread;

const FINE_BITS: u32 = 6;

#[derive(Debug, Clone, Default)]
pub(super) struct Spans {
    count: u64,
    sum_ms: u64,
    max_ms: u64,
    /// By the greatest span of the bucket.
    buckets: BTreeMap<u64, u64>,
}

impl Spans {
    pub(super) fn add(&mut self, ms: u64) {
        self.count = self.count.saturating_add(1);
        self.sum_ms = self.sum_ms.saturating_add(ms);
        self.max_ms = self.max_ms.max(ms);
        *self.buckets.entry(top_of_bucket(ms)).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        self.max_ms = self.max_ms.max(other.max_ms);
        for (top, count) in &other.buckets {
            *self.buckets.entry(*top).or_default() += count;
        }
    }

    pub(super) fn told(&self) -> Spread {
        let some = |value: u64| (self.count > 0).then_some(value);
        Spread {
            count: self.count,
            mean_ms: self.sum_ms.checked_div(self.count),
            median_ms: some(self.at(50)),
            p90_ms: some(self.at(90)),
            max_ms: some(self.max_ms),
        }
    }

    /// The least span that so many of a hundred do not exceed.
    fn at(&self, percent: u64) -> u64 {
        let rank = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        for (top, count) in &self.buckets {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return (*top).min(self.max_ms);
            }
        }
        self.max_ms
    }
}

fn top_of_bucket(ms: u64) -> u64 {
    let bits = u64::BITS - ms.leading_zeros();
    let low = bits.saturating_sub(FINE_BITS + 1);
    ms | ((1_u64 << low) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(all: impl IntoIterator<Item = u64>) -> Spans {
        let mut spans = Spans::default();
        all.into_iter().for_each(|ms| spans.add(ms));
        spans
    }

    #[test]
    fn short_spans_are_told_exactly() {
        let told = spans([10, 20, 30, 40, 50, 60, 1, 2, 3, 4]).told();
        assert_eq!((told.count, told.mean_ms, told.max_ms), (10, Some(22), Some(60)));
        // In order: 1 2 3 4 10 20 30 40 50 60. The fifth and the ninth.
        assert_eq!((told.median_ms, told.p90_ms), (Some(10), Some(50)));
    }

    #[test]
    fn long_spans_are_told_a_little_too_high_and_never_above_the_greatest() {
        for ms in [64, 100, 999, 12_345, 86_400_000, u64::MAX] {
            let told = spans([ms]).told();
            assert_eq!(told.median_ms, Some(ms), "one span is its own median");
            let top = top_of_bucket(ms);
            assert!(top >= ms && top - ms <= ms / 64, "{ms}: {top}");
        }
        let told = spans([60_000, 61_000, 900_000]).told();
        let median = told.median_ms.unwrap();
        assert!((61_000..=62_000).contains(&median), "{median}");
    }

    #[test]
    fn nothing_has_no_numbers_and_parts_make_the_whole() {
        assert_eq!(Spans::default().told(), Spread::default());
        let mut whole = spans([5, 6]);
        whole.merge(&spans([7, 700]));
        assert_eq!(whole.told(), spans([5, 6, 7, 700]).told());
    }
}
