//! The grants this sidecar enforces, by id and by the digest of their token.
//!
//! INVARIANTS: a row's standing never returns to live; its deadline only moves earlier; a grant that is put again after it
//! was suspended is a new row, with the uses and the deadline of the old one; no map guard outlives a call. The table is filled by the feed only and is not kept over a restart.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::share::Share;
use super::standing::Standing;
use crate::decision::{GrantStanding, HeldGrant, Uses};
use crate::domain::{BootTime, Deadline, Grant, GrantId, Moment, WallTime};

/// SHA-256 of a grant token.
pub type TokenDigest = [u8; 32];

/// The digest a token is looked up by.
pub fn token_digest(token: &str) -> TokenDigest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

/// How often uses are asked for that do not come.
const WANTED_EVERY_MS: u64 = 200;

/// A grant in the table, shared by every request that uses it.
#[derive(Debug)]
pub struct LiveGrant {
    grant: Arc<Grant>,
    digest: TokenDigest,
    /// Key that signed it: when the key goes, so does the grant.
    kid: String,
    standing: AtomicU8,
    /// What was proven of its person at or before this time proves nothing for it.
    identity_since: Option<WallTime>,
    /// Boot time in milliseconds; only ever lowered. Every row of one grant has the same.
    boot_deadline_ms: Arc<AtomicU64>,
    /// Every row of one grant has the same.
    share: Arc<Share>,
    /// Boot time in milliseconds at which uses were last asked for; 0 since some were allotted.
    wanted_ms: AtomicU64,
    /// Wakes what runs under the grant when it ends.
    ended: Notify,
    /// Only measured by: nothing is decided by it.
    revoked: OnceLock<Instant>,
}

impl LiveGrant {
    /// `before`: the uses spent as the log knew them, and the row that this one replaces.
    fn new(
        grant: Grant,
        digest: TokenDigest,
        kid: &str,
        (spent, before): (u32, Option<&Self>),
        identity_since: Option<WallTime>,
    ) -> Self {
        // Another token under the id of a grant is another grant, which has to be told its uses.
        let before = before.filter(|before| before.digest == digest);
        let share = before.map_or_else(|| Arc::new(Share::new(spent)), |before| Arc::clone(&before.share));
        let boot_deadline_ms =
            before.map_or_else(|| Arc::new(AtomicU64::new(u64::MAX)), |before| Arc::clone(&before.boot_deadline_ms));
        Self {
            grant: Arc::new(grant),
            digest,
            kid: kid.to_owned(),
            standing: AtomicU8::new(0),
            identity_since,
            boot_deadline_ms,
            share,
            wanted_ms: AtomicU64::new(0),
            ended: Notify::new(),
            revoked: OnceLock::new(),
        }
    }

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
            2 => GrantStanding::Suspended,
            _ => GrantStanding::Revoked,
        }
    }

    /// Ends the grant and wakes everything that runs under it.
    pub fn end(&self, standing: GrantStanding) {
        let level = match standing {
            GrantStanding::Live => return,
            GrantStanding::UsedUp => 1,
            GrantStanding::Suspended => 2,
            GrantStanding::Revoked => 3,
        };
        self.standing.fetch_max(level, Ordering::AcqRel);
        // What runs under a used-up grant goes on: the use was spent. A revocation or a suspension cuts it.
        if level >= 2 {
            self.revoked.get_or_init(Instant::now);
            self.ended.notify_waiters();
        }
    }

    /// Whether a proof of its person of that time counts; `None`: nobody said when it was made.
    pub fn takes_proof_of(&self, proven_at: Option<WallTime>) -> bool {
        self.identity_since.is_none_or(|since| proven_at.is_some_and(|at| at > since))
    }

    /// How long ago the revocation or suspension arrived.
    pub fn since_revocation(&self) -> Option<Duration> {
        self.revoked.get().map(Instant::elapsed)
    }

    /// Resolves when the grant is revoked or suspended; may wake for other reasons.
    pub async fn wait_for_end(&self) {
        self.ended.notified().await;
    }

    /// The deadline by what is known of the server's clock now; never later than any told before. Before the first
    /// heartbeat nothing is known, and the deadline has passed (and is not remembered).
    pub fn deadline(&self, feed: &Standing) -> Deadline {
        let boot = feed.boot_time_of(self.grant.expires).map_or(BootTime::ZERO, |boot| self.lowest_deadline(boot));
        Deadline { boot, wall: self.grant.expires }
    }

    /// The deadline at `now`. Where the wall clock has passed it once, boot time is held to that: a clock that is set
    /// forward and back again must not bring a grant back.
    pub fn deadline_at(&self, feed: &Standing, now: Moment) -> Deadline {
        let deadline = self.deadline(feed);
        if now.wall < deadline.wall {
            return deadline;
        }
        Deadline { boot: self.lowest_deadline(now.boot), ..deadline }
    }

    fn lowest_deadline(&self, boot: BootTime) -> BootTime {
        let ms = u64::try_from(boot.as_duration().as_millis()).unwrap_or(u64::MAX);
        let lowest = self.boot_deadline_ms.fetch_min(ms, Ordering::AcqRel).min(ms);
        BootTime::from_duration(Duration::from_millis(lowest))
    }

    /// The grant as a fact for the decision.
    pub fn fact(&self, feed: &Standing, now: Moment) -> HeldGrant<'_> {
        HeldGrant { grant: &self.grant, deadline: self.deadline_at(feed, now), standing: self.standing() }
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

    /// What this sidecar may spend in all, from now on.
    pub fn allot(&self, allotted: u32) {
        self.share.allot(allotted);
        self.wanted_ms.store(0, Ordering::Relaxed);
    }

    /// Whether it is time to ask for uses: at once when the last are gone, and then now and then, however many requests are
    /// refused for the want of them.
    pub fn may_want(&self, now: BootTime) -> bool {
        let now = u64::try_from(now.as_duration().as_millis()).unwrap_or(u64::MAX).max(1);
        let is_due = |last: u64| last == 0 || now.saturating_sub(last) >= WANTED_EVERY_MS;
        self.wanted_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| is_due(last).then_some(now)).is_ok()
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

    /// Adds a verified grant. One that is already there stays as it is: what was said of it since still holds. One that is
    /// suspended is taken up again.
    pub fn put(&self, grant: Grant, digest: TokenDigest, kid: &str, spent: u32, identity_since: Option<WallTime>) {
        let known = self.by_id(&grant.id);
        let stays = |known: &LiveGrant| known.digest == digest && known.standing() != GrantStanding::Suspended;
        if known.as_deref().is_some_and(stays) {
            return;
        }
        self.insert(LiveGrant::new(grant, digest, kid, (spent, known.as_deref()), identity_since));
    }

    /// Adds a verified grant, or ends the one that is there, until it is put again.
    pub fn suspend(&self, grant: Grant, digest: TokenDigest, kid: &str, spent: u32) {
        if let Some(known) = self.by_id(&grant.id).filter(|known| known.digest == digest) {
            return known.end(GrantStanding::Suspended);
        }
        let live = LiveGrant::new(grant, digest, kid, (spent, None), None);
        live.end(GrantStanding::Suspended);
        self.insert(live);
    }

    fn insert(&self, live: LiveGrant) {
        let (id, digest) = (live.grant.id.clone(), live.digest);
        let live = Arc::new(live);
        self.by_token.insert(digest, Arc::clone(&live));
        if let Some(replaced) = self.by_id.insert(id, live) {
            replaced.end(GrantStanding::Revoked);
            self.by_token.remove_if(&replaced.digest, |_, kept| Arc::ptr_eq(kept, &replaced));
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

#[cfg(test)]
mod tests;
