//! When to come back to the control plane, and to which of its replicas.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::jitter::full_jitter;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Overrides are to work again within two heartbeats of the control plane's return.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// However long the control plane asks for.
const ASKED_MAX: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(in crate::sidecar) struct Pace {
    longest: Duration,
    /// Attempts so far: each is at the next replica.
    attempt: usize,
    /// Replicas in a row that asked for patience.
    asked: usize,
}

impl Pace {
    /// Begins at any replica, so that many sidecars spread over them.
    pub(in crate::sidecar) fn new() -> Self {
        let mut bytes = [0_u8; 2];
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self { longest: BACKOFF_FIRST, attempt: usize::from(u16::from_be_bytes(bytes)), asked: 0 }
    }

    /// The replica whose turn it is.
    pub(in crate::sidecar) fn choose<'a, T>(&self, replicas: &'a [T]) -> Option<&'a T> {
        replicas.get(self.attempt % replicas.len().max(1))
    }

    /// The stream was of use: pauses are short again.
    pub(in crate::sidecar) fn restart(&mut self) {
        (self.longest, self.asked) = (BACKOFF_FIRST, 0);
    }

    /// How long to wait before the next replica is tried. One that asks for patience (`asked`) gets it once all of them
    /// did: the others may have time.
    pub(in crate::sidecar) fn pause(&mut self, replicas: usize, asked: Option<Duration>) -> Duration {
        self.attempt = self.attempt.wrapping_add(1);
        self.asked = if asked.is_some() { self.asked + 1 } else { 0 };
        let pause = match asked {
            Some(asked) if self.asked >= replicas => {
                let asked = asked.min(ASKED_MAX);
                asked / 2 + full_jitter(asked)
            }
            _ => full_jitter(self.longest),
        };
        self.longest = (self.longest * 2).min(BACKOFF_MAX);
        pause
    }
}

/// Whole seconds (RFC 9110 §10.2.3); a date is not what a control plane says.
pub(in crate::sidecar) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_is_at_the_next_replica() {
        let mut pace = Pace::new();
        let replicas = [0, 1, 2];
        let first = *pace.choose(&replicas).unwrap();
        let mut tried = vec![first];
        for _ in 0..3 {
            pace.pause(replicas.len(), None);
            tried.push(*pace.choose(&replicas).unwrap());
        }
        assert_eq!(tried, [first, (first + 1) % 3, (first + 2) % 3, first]);
        assert_eq!(pace.choose::<u8>(&[]), None);
    }

    #[test]
    fn pauses_grow_to_a_second_and_begin_anew() {
        let mut pace = Pace::new();
        for most in [100, 200, 400, 800, 1_000, 1_000] {
            assert_eq!(pace.longest, Duration::from_millis(most));
            assert!(pace.pause(1, None) <= Duration::from_millis(most));
        }
        pace.restart();
        assert_eq!(pace.longest, BACKOFF_FIRST);
    }

    #[test]
    fn patience_is_had_once_every_replica_asks_for_it() {
        let mut pace = Pace::new();
        let asked = Some(Duration::from_secs(10));
        assert!(pace.pause(2, asked) <= BACKOFF_FIRST);
        let long = pace.pause(2, asked);
        assert!(long >= Duration::from_secs(5) && long <= Duration::from_secs(15), "{long:?}");
        assert!(pace.pause(2, None) <= BACKOFF_MAX);
        let longest = pace.pause(1, Some(Duration::from_secs(86_400)));
        assert!(longest <= ASKED_MAX * 3 / 2, "{longest:?}");
    }
}
