//! A token bucket over records and bytes, so that a stranger's garbage cannot fill the disk.

use crate::domain::BootTime;

/// Holds at most one second's worth.
#[derive(Debug)]
pub(super) struct Budget {
    records: Bucket,
    bytes: Bucket,
    refilled: BootTime,
}

/// In thousandths, so that a refill after one millisecond is exact.
#[derive(Debug)]
struct Bucket {
    per_s: u64,
    milli: u64,
}

impl Bucket {
    const fn full(per_s: u64) -> Self {
        Self { per_s, milli: per_s.saturating_mul(1000) }
    }

    fn refill(&mut self, ms: u64) {
        self.milli = self.milli.saturating_add(self.per_s.saturating_mul(ms)).min(self.per_s.saturating_mul(1000));
    }

    const fn holds(&self, amount: u64) -> bool {
        self.milli >= amount.saturating_mul(1000)
    }

    const fn take(&mut self, amount: u64) {
        self.milli = self.milli.saturating_sub(amount.saturating_mul(1000));
    }
}

impl Budget {
    pub(super) const fn new(records_per_s: u64, bytes_per_s: u64, now: BootTime) -> Self {
        Self { records: Bucket::full(records_per_s), bytes: Bucket::full(bytes_per_s), refilled: now }
    }

    /// Takes one record of so many bytes; false, and nothing taken, when the budget does not hold it.
    pub(super) fn take(&mut self, bytes: u64, now: BootTime) -> bool {
        let ms = u64::try_from(now.since(self.refilled).as_millis()).unwrap_or(u64::MAX);
        if ms > 0 {
            self.records.refill(ms);
            self.bytes.refill(ms);
            self.refilled = now;
        }
        let allowed = self.records.holds(1) && self.bytes.holds(bytes);
        if allowed {
            self.records.take(1);
            self.bytes.take(bytes);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> BootTime {
        BootTime::from_duration(Duration::from_millis(ms))
    }

    #[test]
    fn either_side_can_be_spent_and_both_come_back_with_time() {
        let mut budget = Budget::new(2, 1000, at(0));
        assert!(budget.take(100, at(0)) && budget.take(100, at(0)));
        assert!(!budget.take(100, at(0)), "two records a second");
        assert!(!budget.take(100, at(499)));
        assert!(budget.take(100, at(500)), "half a second brings one record back");
        assert!(!budget.take(1001, at(10_000)), "never more than a second's worth of bytes");
        assert!(budget.take(1000, at(10_000)));
    }
}
