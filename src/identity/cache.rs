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
/// Greatest size of what is remembered of all of them: an issuer may list a thousand groups in each.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What an entry takes besides its texts, and a text besides its letters, roughly.
const ENTRY_BYTES: usize = 384;
const TEXT_BYTES: usize = 48;

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
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Slot>,
    by_key: HashMap<CacheKey, usize>,
    hand: usize,
    /// Of all slots.
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: CacheKey,
    entry: Entry,
    bytes: usize,
    used: bool,
}

impl VerifiedCache {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), entries_max: entries_max.max(1), bytes_max }
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Entry> {
        let mut inner = self.lock();
        let index = *inner.by_key.get(key)?;
        let slot = inner.slots.get_mut(index)?;
        slot.used = true;
        Some(slot.entry.clone())
    }

    pub(super) fn insert(&self, key: CacheKey, entry: Entry) {
        let bytes = bytes(&entry.verified);
        let mut inner = self.lock();
        if let Some(index) = inner.by_key.get(&key).copied() {
            inner.remove(index);
        }
        let is_full = |inner: &Inner| inner.slots.len() >= self.entries_max || inner.bytes + bytes > self.bytes_max;
        while is_full(&inner) && inner.evict() {}
        let index = inner.slots.len();
        inner.by_key.insert(key, index);
        inner.slots.push(Slot { key, entry, bytes, used: false });
        inner.bytes += bytes;
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Drops every entry that `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        let mut inner = self.lock();
        inner.slots.retain(|slot| keep(&slot.entry));
        inner.by_key = inner.slots.iter().enumerate().map(|(index, slot)| (slot.key, index)).collect();
        inner.bytes = inner.slots.iter().map(|slot| slot.bytes).sum();
        inner.hand = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes one entry out; false when there is none. Two rounds suffice: the first takes every mark away.
    fn evict(&mut self) -> bool {
        loop {
            let index = self.hand % self.slots.len().max(1);
            match self.slots.get_mut(index) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.hand = index + 1;
                }
                Some(_) => {
                    // The last comes into its place, and has its turn a round later.
                    self.hand = index + 1;
                    self.remove(index);
                    return true;
                }
                None => return false,
            }
        }
    }

    fn remove(&mut self, index: usize) {
        if index >= self.slots.len() {
            return;
        }
        let gone = self.slots.swap_remove(index);
        self.by_key.remove(&gone.key);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        if let Some(moved) = self.slots.get(index) {
            self.by_key.insert(moved.key, index);
        }
    }
}

/// What remembering it takes, roughly.
fn bytes(verified: &Verified) -> usize {
    let (groups, authentication) = (&verified.groups, &verified.authentication);
    let texts = groups.iter().chain(&authentication.amr).chain(&authentication.acr);
    let names = verified.person.as_str().len() + verified.principal.subject.as_str().len();
    ENTRY_BYTES + names + texts.map(|text| text.len() + TEXT_BYTES).sum::<usize>()
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
        let cache = VerifiedCache::new(3, BYTES_MAX);
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
        let cache = VerifiedCache::new(8, BYTES_MAX);
        for i in 0..=255 {
            cache.insert([i; 32], entry(0));
            cache.get(&[i; 32]).unwrap();
        }
        let inner = cache.lock();
        assert_eq!((inner.slots.len(), inner.by_key.len()), (8, 8));
    }

    #[test]
    fn long_lists_of_groups_count() {
        let groups = vec!["g".repeat(256); 1024];
        let mut large = entry(0);
        large.verified = Arc::new(Verified { groups, ..Verified::clone(&large.verified) });
        let each = bytes(&large.verified);
        assert!(each > 1024 * 256);
        let cache = VerifiedCache::new(100, 10 * each + each / 2);
        for i in 0..=255 {
            cache.insert([i; 32], large.clone());
            cache.get(&[i; 32]).unwrap();
            cache.insert([i; 32], large.clone());
        }
        let held = cache.lock();
        assert_eq!((held.slots.len(), held.by_key.len(), held.bytes), (10, 10, 10 * each));
        drop(held);
        cache.retain(|_| false);
        assert_eq!((cache.len(), cache.lock().bytes), (0, 0));
    }

    #[test]
    fn retained_entries_are_still_found() {
        let cache = VerifiedCache::new(8, BYTES_MAX);
        for i in 0..6 {
            cache.insert([i; 32], entry(usize::from(i % 2)));
        }
        cache.retain(|entry| entry.issuer == 1);
        for i in 0..6 {
            assert_eq!(cache.get(&[i; 32]).map(|entry| entry.issuer), (i % 2 == 1).then_some(1));
        }
    }
}
