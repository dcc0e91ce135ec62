//! The grants this sidecar enforces, by id and by the digest of their token.
//!
//! INVARIANTS: a grant's standing never returns to live; its deadline only moves earlier;
//! no map guard outlives a call. The table is filled by the feed only and is not kept over a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

use super::share::Share;
use super::standing::Standing;
use crate::decision::{GrantStanding, HeldGrant, Uses};
use crate::domain::{BootTime, Deadline, Grant, GrantId};

/// SHA-256 of a grant token.
pub type TokenDigest = [u8; 32];

/// The digest a token is looked up by.
pub fn token_digest(token: &str) -> TokenDigest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

/// A grant in the table, shared by every request that uses it.
#[derive(Debug)]
pub struct LiveGrant {
    grant: Arc<Grant>,
    digest: TokenDigest,
    /// Key that signed it: when the key goes, so does the grant.
    kid: String,
    standing: AtomicU8,
    /// Boot time in milliseconds; only ever lowered.
    boot_deadline_ms: AtomicU64,
    share: Share,
    /// Wakes what runs under the grant when it ends.
    ended: Notify,
}

impl LiveGrant {
    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn standing(&self) -> GrantStanding {
        match self.standing.load(Ordering::Acquire) {
            0 => GrantStanding::Live,
            1 => GrantStanding::UsedUp,
            _ => GrantStanding::Revoked,
        }
    }

    /// Ends the grant and wakes everything that runs under it.
    pub fn end(&self, standing: GrantStanding) {
        let level = match standing {
            GrantStanding::Live => return,
            GrantStanding::UsedUp => 1,
            GrantStanding::Revoked => 2,
        };
        self.standing.fetch_max(level, Ordering::AcqRel);
        // What runs under a used-up grant goes on: the use was spent. A revocation cuts it.
        if level == 2 {
            self.ended.notify_waiters();
        }
    }

    /// Resolves when the grant is revoked; may wake for other reasons.
    pub async fn wait_for_end(&self) {
        self.ended.notified().await;
    }

    /// The deadline by what is known of the server's clock now; never later than any told before.
    pub fn deadline(&self, feed: &Standing) -> Deadline {
        let by_offset = feed.boot_time_of(self.grant.expires);
        let ms = u64::try_from(by_offset.as_duration().as_millis()).unwrap_or(u64::MAX);
        let lowest = self.boot_deadline_ms.fetch_min(ms, Ordering::AcqRel).min(ms);
        Deadline { boot: BootTime::from_duration(Duration::from_millis(lowest)), wall: self.grant.expires }
    }

    /// The grant as a fact for the decision.
    pub fn fact(&self, feed: &Standing) -> HeldGrant<'_> {
        HeldGrant { grant: &self.grant, deadline: self.deadline(feed), standing: self.standing() }
    }

    /// Whether a use could be spent here.
    pub fn uses(&self) -> Uses {
        match self.grant.max_uses {
            None => Uses::Unlimited,
            Some(_) if self.share.has_any() => Uses::Available,
            Some(_) => Uses::Elsewhere,
        }
    }

    /// Spends one use; false when there is none here.
    pub fn spend(&self) -> bool {
        self.grant.max_uses.is_none() || self.share.spend()
    }

    /// Gives back a use of which it is certain that no intent was written.
    pub fn unspend(&self) {
        if self.grant.max_uses.is_some() {
            self.share.unspend();
        }
    }

    pub fn spent(&self) -> u32 {
        self.share.spent()
    }

    /// Every use the grant has was allotted to and spent by this sidecar.
    pub fn is_used_up_here(&self) -> bool {
        self.grant.max_uses.is_some_and(|max| self.spent() >= max.get())
    }

    pub fn share(&self) -> &Share {
        &self.share
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct GrantTable {
    by_id: DashMap<GrantId, Arc<LiveGrant>>,
    by_token: DashMap<TokenDigest, Arc<LiveGrant>>,
}

impl GrantTable {
    pub fn by_id(&self, id: &GrantId) -> Option<Arc<LiveGrant>> {
        self.by_id.get(id).map(|found| Arc::clone(&found))
    }

    pub fn by_token(&self, digest: &TokenDigest) -> Option<Arc<LiveGrant>> {
        self.by_token.get(digest).map(|found| Arc::clone(&found))
    }

    /// Adds a verified grant. One that is already there stays as it is: what was said of it since still holds.
    pub fn put(&self, grant: Grant, digest: TokenDigest, kid: &str, spent: u32) {
        if self.by_id.get(&grant.id).is_some_and(|known| known.digest == digest) {
            return;
        }
        let id = grant.id.clone();
        let live = Arc::new(LiveGrant {
            grant: Arc::new(grant),
            digest,
            kid: kid.to_owned(),
            standing: AtomicU8::new(0),
            boot_deadline_ms: AtomicU64::new(u64::MAX),
            share: Share::new(spent),
            ended: Notify::new(),
        });
        self.by_token.insert(digest, Arc::clone(&live));
        if let Some(replaced) = self.by_id.insert(id, live) {
            replaced.end(GrantStanding::Revoked);
            self.by_token.remove(&replaced.digest);
        }
    }

    /// Removes what `keep` does not want, ending it first.
    pub fn retain(&self, keep: impl Fn(&LiveGrant) -> bool) {
        let gone: Vec<_> = self.all().into_iter().filter(|live| !keep(live)).collect();
        for live in gone {
            live.end(GrantStanding::Revoked);
            self.by_id.remove(&live.grant.id);
            self.by_token.remove(&live.digest);
        }
    }

    /// Grants in the table, ended ones included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn all(&self) -> Vec<Arc<LiveGrant>> {
        self.by_id.iter().map(|entry| Arc::clone(&entry)).collect()
    }
}
