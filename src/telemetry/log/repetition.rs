//! Repetition is counted instead of told: of one place in the code, so many lines an interval are written; the rest are
//! held back and told by number, once the interval is over.
//!
//! INVARIANT: an error is held back only when the very same line was written in the interval, and memory is bounded:
//! where it is full, lines are written rather than lost.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::domain::BootTime;

/// Lines of one kind that are written in an interval.
pub const WRITTEN_MAX: u32 = 20;
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Kinds of lines remembered.
pub const KINDS_MAX: usize = 1024;

/// Lines by kind `K`; `T` is what a summary says of a kind.
#[derive(Debug)]
pub struct Repetition<K, T> {
    kinds: HashMap<K, Seen<T>>,
}

#[derive(Debug)]
struct Seen<T> {
    began: BootTime,
    written: u32,
    held: u64,
    told: T,
}

/// Lines that were held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack<T> {
    pub what: T,
    pub count: u64,
    pub during: Duration,
}

impl<K, T> Default for Repetition<K, T> {
    fn default() -> Self {
        Self { kinds: HashMap::new() }
    }
}

impl<K: Eq + Hash, T> Repetition<K, T> {
    /// Whether a line may be written at `now`. `tell` is asked once a kind and interval.
    pub fn admits(&mut self, kind: K, now: BootTime, tell: impl FnOnce() -> T) -> bool {
        if let Some(seen) = self.kinds.get_mut(&kind) {
            if seen.written >= WRITTEN_MAX {
                seen.held = seen.held.saturating_add(1);
                return false;
            }
            seen.written += 1;
        } else if self.kinds.len() < KINDS_MAX {
            self.kinds.insert(kind, Seen { began: now, written: 1, held: 0, told: tell() });
        }
        true
    }

    /// Ends the intervals that are over, and says what they held back.
    pub fn end_intervals(&mut self, now: BootTime) -> Vec<HeldBack<T>> {
        let over = self.kinds.extract_if(|_, seen| now.since(seen.began) >= INTERVAL);
        let told = over.filter(|(_, seen)| seen.held > 0);
        told.map(|(_, seen)| HeldBack { what: seen.told, count: seen.held, during: now.since(seen.began) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(s: u64) -> BootTime {
        BootTime::from_duration(Duration::from_secs(s))
    }

    #[test]
    fn so_many_are_written_and_the_rest_are_told_by_number() {
        let mut lines = Repetition::default();
        let written = (0..1_254).filter(|_| lines.admits("site", boot(5), || "what")).count();
        assert_eq!(written, 20);
        assert!(lines.admits("another", boot(6), || "other"), "each kind has its own count");
        assert_eq!(lines.end_intervals(boot(14)), []);
        let held = HeldBack { what: "what", count: 1_234, during: INTERVAL };
        assert_eq!(lines.end_intervals(boot(15)), [held]);
        assert!(lines.admits("site", boot(15), || "what"), "a new interval has begun");
        assert_eq!(lines.end_intervals(boot(100)), [], "nothing was held back since");
    }

    #[test]
    fn memory_is_bounded_and_what_finds_no_room_is_written() {
        let mut lines = Repetition::default();
        for kind in 0..KINDS_MAX + 100 {
            assert!((0..30).filter(|_| lines.admits(kind, boot(0), || ())).count() >= 20);
        }
        assert_eq!(lines.kinds.len(), KINDS_MAX);
        assert_eq!((0..30).filter(|_| lines.admits(KINDS_MAX + 5, boot(0), || ())).count(), 30);
        assert_eq!(lines.end_intervals(boot(10)).len(), KINDS_MAX);
        assert!(lines.kinds.is_empty());
    }
}
