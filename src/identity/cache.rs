//! Tokens that were verified before, so that the same one costs a digest and a look-up.
//!
//! INVARIANT: an entry is worth nothing by itself. Whoever takes one asks again whether the key that verified it is
//! still in force and whether its time has passed: on each use, on both clocks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;

use super::jwks::Thumbprint;
use super::verifier::Verified;
use crate::domain::Deadline;

/// Greatest number of tokens kept. Only genuine tokens enter, so a stranger can push none out.
pub(super) const ENTRIES_MAX: usize = 4096;

/// What the digest is for. Other documents, such as grant tokens, can never meet an entry made for this purpose.
const PURPOSE: &[u8] = b"break-glass identity access token\0";

pub(super) type CacheKey = [u8; 32];

pub(super) fn cache_key(token: &str) -> CacheKey {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(PURPOSE);
    context.update(token.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// A verified token: by which issuer's which key, and until when.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) verified: Arc<Verified>,
    /// Position of the issuer in the verifier.
    pub(super) issuer: usize,
    pub(super) key: Thumbprint,
    pub(super) deadline: Deadline,
}

/// A bounded map with the clock rule of eviction: who was used since the hand last came by stays for another round.
#[derive(Debug)]
pub(super) struct VerifiedCache {
    inner: Mutex<Inner>,
    entries_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Slot>,
    by_key: HashMap<CacheKey, usize>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: CacheKey,
    entry: Entry,
    used: bool,
}

impl VerifiedCache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { inner: Mutex::default(), entries_max: entries_max.max(1) }
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Entry> {
        let mut inner = self.lock();
        let index = *inner.by_key.get(key)?;
        let slot = inner.slots.get_mut(index)?;
        slot.used = true;
        Some(slot.entry.clone())
    }

    pub(super) fn insert(&self, key: CacheKey, entry: Entry) {
        let slot = Slot { key, entry, used: false };
        let mut inner = self.lock();
        let index = match inner.by_key.get(&key) {
            Some(index) => *index,
            None if inner.slots.len() < self.entries_max => inner.slots.len(),
            None => inner.evict(),
        };
        match inner.slots.get_mut(index) {
            Some(old) => *old = slot,
            None => inner.slots.push(slot),
        }
        inner.by_key.insert(key, index);
    }

    /// Drops every entry that `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        let mut inner = self.lock();
        inner.slots.retain(|slot| keep(&slot.entry));
        inner.by_key = inner.slots.iter().enumerate().map(|(index, slot)| (slot.key, index)).collect();
        inner.hand = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The place of the entry that goes. Two rounds suffice: the first takes every mark away.
    fn evict(&mut self) -> usize {
        loop {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            match self.slots.get_mut(index) {
                Some(slot) if slot.used => slot.used = false,
                Some(slot) => {
                    let gone = slot.key;
                    self.by_key.remove(&gone);
                    return index;
                }
                None => return index,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Authentication, BootTime, Principal, WallTime};

    fn entry(issuer: usize) -> Entry {
        let verified = Verified {
            principal: Principal { issuer: "https://idp.test".parse().unwrap(), subject: "a".parse().unwrap() },
            person: "a".parse().unwrap(),
            groups: Vec::new(),
            authentication: Authentication::default(),
            issued: None,
            expires: WallTime::from_unix_s(60),
        };
        let deadline = Deadline { boot: BootTime::ZERO, wall: WallTime::EPOCH };
        Entry { verified: Arc::new(verified), issuer, key: [0; 32], deadline }
    }

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let cache = VerifiedCache::new(3);
        for i in 0..3 {
            cache.insert([i; 32], entry(usize::from(i)));
        }
        assert!(cache.get(&[0; 32]).is_some());
        cache.insert([3; 32], entry(3));
        assert!(cache.get(&[0; 32]).is_some(), "it was used since");
        assert!(cache.get(&[1; 32]).is_none(), "it was the first that was not");
        assert_eq!(cache.get(&[3; 32]).unwrap().issuer, 3);
    }

    #[test]
    fn it_never_grows_past_its_limit() {
        let cache = VerifiedCache::new(8);
        for i in 0..=255 {
            cache.insert([i; 32], entry(0));
            cache.get(&[i; 32]).unwrap();
        }
        let inner = cache.lock();
        assert_eq!((inner.slots.len(), inner.by_key.len()), (8, 8));
    }

    #[test]
    fn retained_entries_are_still_found() {
        let cache = VerifiedCache::new(8);
        for i in 0..6 {
            cache.insert([i; 32], entry(usize::from(i % 2)));
        }
        cache.retain(|entry| entry.issuer == 1);
        for i in 0..6 {
            assert_eq!(cache.get(&[i; 32]).map(|entry| entry.issuer), (i % 2 == 1).then_some(1));
        }
    }
}
