//! Which proofs were used (RFC 9449 §11.1): each is good for one request.
//!
//! INVARIANT: nothing is forgotten while a proof could still be accepted. A memory that is full takes none in, and whoever
//! asks refuses.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;

use crate::domain::{BootTime, KeyThumbprint};
use crate::token::dpop::NONCE_AGE_MAX;

/// Proofs remembered at once: some thousand overrides a second.
const PROOFS_MAX: usize = 262_144;
/// A proof's nonce was issued before the proof was used, and is not accepted for longer than this.
const KEPT: Duration = NONCE_AGE_MAX.saturating_add(Duration::from_secs(1));

/// SHA-256 of key and `jti`, the first half: chosen by the proof's owner alone, who gains nothing by a collision.
type Mark = [u8; 16];

/// What is known of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    First,
    Before,
    Full,
}

/// See the module. Briefly locked.
#[derive(Debug)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    proofs_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    marks: HashSet<Mark>,
    /// In the order they came.
    order: VecDeque<(BootTime, Mark)>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(PROOFS_MAX)
    }
}

impl Memory {
    fn new(proofs_max: usize) -> Self {
        Self { inner: Mutex::default(), proofs_max }
    }

    /// Whether no proof could be taken in.
    pub(super) fn is_full(&self, now: BootTime) -> bool {
        self.current(now).marks.len() >= self.proofs_max
    }

    /// Remembers a proof of `key`.
    pub(super) fn note(&self, key: &KeyThumbprint, jti: &str, now: BootTime) -> Seen {
        let mark = mark(key, jti);
        let mut inner = self.current(now);
        if inner.marks.contains(&mark) {
            return Seen::Before;
        }
        if inner.marks.len() >= self.proofs_max {
            return Seen::Full;
        }
        inner.marks.insert(mark);
        inner.order.push_back((now, mark));
        Seen::First
    }

    /// Without those that no nonce would let through any more.
    fn current(&self, now: BootTime) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, mark)) = inner.order.pop_front_if(|(noted, _)| now.since(*noted) > KEPT) {
            inner.marks.remove(&mark);
        }
        inner
    }
}

fn mark(key: &KeyThumbprint, jti: &str) -> Mark {
    let mut context = digest::Context::new(&digest::SHA256);
    // The thumbprint has one length, so that no pair reads as another.
    context.update(key.as_str().as_bytes());
    context.update(jti.as_bytes());
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> BootTime {
        BootTime::from_duration(Duration::from_secs(s))
    }

    fn key(last: char) -> KeyThumbprint {
        format!("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4{last}").parse().unwrap()
    }

    #[test]
    fn a_proof_is_new_once() {
        let memory = Memory::default();
        assert_eq!(memory.note(&key('I'), "a", at(1000)), Seen::First);
        assert_eq!(memory.note(&key('I'), "a", at(1121)), Seen::Before);
        assert_eq!(memory.note(&key('I'), "b", at(1121)), Seen::First);
        assert_eq!(memory.note(&key('A'), "a", at(1121)), Seen::First, "another key's");
    }

    #[test]
    fn it_forgets_only_what_no_nonce_lets_through() {
        let memory = Memory::new(2);
        assert_eq!(memory.note(&key('I'), "a", at(1000)), Seen::First);
        assert_eq!(memory.note(&key('I'), "b", at(1001)), Seen::First);
        assert_eq!(memory.note(&key('I'), "c", at(1121)), Seen::Full, "refused rather than forgotten");
        assert_eq!(memory.note(&key('I'), "a", at(1121)), Seen::Before);
        assert!(memory.is_full(at(1121)) && !memory.is_full(at(1122)));
        assert_eq!(memory.note(&key('I'), "c", at(1122)), Seen::First);
        assert_eq!(memory.inner.lock().unwrap().order.len(), 2);
    }
}
