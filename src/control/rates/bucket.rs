//! The generic cell rate algorithm (ITU-T I.371, as a virtual schedule): a rate, a burst, one instant of memory.
//!
//! Our own, because it goes by our clock, as everything does: the libraries bring a clock of their own.

use std::time::Duration;

use crate::domain::BootTime;

pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// A count in each [`WINDOW`], all of which may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate(pub(super) u32);

impl Rate {
    fn interval(self) -> Duration {
        WINDOW / self.0.max(1)
    }
}

/// What is left after one was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) remaining: u32,
    /// Until everything is there again.
    pub(super) full_in: Duration,
}

/// What one caller has taken. As new: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// When everything taken so far is made up for.
    made_up: Option<BootTime>,
}

impl Bucket {
    /// Takes one, or says how long to wait for it.
    pub(super) fn take(&mut self, rate: Rate, now: BootTime) -> Result<Left, Duration> {
        let next = self.made_up.unwrap_or(now).max(now).plus(rate.interval());
        let debt = next.since(now);
        if debt > WINDOW {
            return Err(debt.saturating_sub(WINDOW));
        }
        self.made_up = Some(next);
        let free = WINDOW.saturating_sub(debt).as_nanos() / rate.interval().as_nanos().max(1);
        Ok(Left { remaining: u32::try_from(free).unwrap_or(u32::MAX), full_in: debt })
    }

    /// Gives back one that was taken.
    pub(super) fn give_back(&mut self, rate: Rate) {
        self.made_up = self.made_up.map(|at| at.minus(rate.interval()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootTime {
        BootTime::from_duration(Duration::from_millis(5_000 + ms))
    }

    #[test]
    fn a_burst_is_the_whole_count_and_then_it_comes_back_evenly() {
        let (mut bucket, rate) = (Bucket::default(), Rate(6));
        let left: Vec<_> = (0..6).map(|_| bucket.take(rate, at(0)).unwrap().remaining).collect();
        assert_eq!(left, [5, 4, 3, 2, 1, 0]);
        assert_eq!(bucket.take(rate, at(0)), Err(Duration::from_secs(10)));
        assert_eq!(bucket.take(rate, at(9_999)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(rate, at(10_000)).unwrap(), Left { remaining: 0, full_in: Duration::from_secs(60) });
        assert!(bucket.take(rate, at(10_001)).is_err(), "a refusal costs nothing, a success does");
        assert_eq!(bucket.take(rate, at(600_000)).unwrap().remaining, 5, "rest is not hoarded");
    }

    #[test]
    fn what_was_given_back_is_there_again() {
        let (mut bucket, rate) = (Bucket::default(), Rate(1));
        for _ in 0..10 {
            assert!(bucket.take(rate, at(0)).is_ok());
            bucket.give_back(rate);
        }
        assert!(bucket.take(rate, at(0)).is_ok());
        assert!(bucket.take(rate, at(0)).is_err());
    }
}
