//! The grants this sidecar enforces, by id and by the digest of their token.
//!
//! INVARIANTS: a grant's standing never returns to live; its deadline only moves earlier;
//! no map guard outlives a call. The table is filled by the feed only and is not kept over a restart.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::share::Share;
use super::standing::Standing;
use crate::decision::{GrantStanding, HeldGrant, Uses};
use crate::domain::{BootTime, Deadline, Grant, GrantId, Moment};

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
    /// Boot time in milliseconds; only ever lowered.
    boot_deadline_ms: AtomicU64,
    share: Share,
    /// Boot time in milliseconds at which uses were last asked for; 0 since some were allotted.
    wanted_ms: AtomicU64,
    /// Wakes what runs under the grant when it ends.
    ended: Notify,
    /// Only measured by: nothing is decided by it.
    revoked: OnceLock<Instant>,
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
            self.revoked.get_or_init(Instant::now);
            self.ended.notify_waiters();
        }
    }

    /// How long ago the revocation arrived.
    pub fn since_revocation(&self) -> Option<Duration> {
        self.revoked.get().map(Instant::elapsed)
    }

    /// Resolves when the grant is revoked; may wake for other reasons.
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
            wanted_ms: AtomicU64::new(0),
            ended: Notify::new(),
            revoked: OnceLock::new(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Authentication, Binding, Justification, Origin, Scope, WallTime};
    use crate::sidecar::standing::Beat;

    fn grant(expires_s: i64) -> Grant {
        Grant {
            id: "g-0123456789ab".parse().unwrap(),
            service: "s".parse().unwrap(),
            person: "alice".parse().unwrap(),
            idp: "https://issuer.test".parse().unwrap(),
            authentication: Authentication::default(),
            role: "r".parse().unwrap(),
            scope: Scope::new(["c/1".parse().unwrap()], ["a.b".parse().unwrap()]).unwrap(),
            binding: Binding::Identity,
            confirmation: None,
            justification: Justification { reason: "x".parse().unwrap(), ticket: "T-1".parse().unwrap() },
            issued: WallTime::from_unix_s(1000),
            not_before: WallTime::from_unix_s(1000),
            expires: WallTime::from_unix_s(expires_s),
            max_uses: None,
            staleness_max: Duration::from_secs(30),
            policy_revision: 1,
            approvals: vec![],
            origin: Origin::ControlPlane,
        }
    }

    fn boot(s: u64) -> BootTime {
        BootTime::from_duration(Duration::from_secs(s))
    }

    #[test]
    fn asking_before_the_first_heartbeat_does_not_end_a_grant() {
        let (table, standing) = (GrantTable::default(), Standing::default());
        table.put(grant(1060), [0; 32], "k", 0);
        let live = table.by_token(&[0; 32]).unwrap();
        assert_eq!(live.deadline(&standing).boot, BootTime::ZERO);
        let beat = |sent: u64, server: i64| Beat {
            ping_sent: boot(sent),
            server_time: WallTime::from_unix_s(server),
            as_of: WallTime::from_unix_s(server),
            local_wall: WallTime::from_unix_s(server),
        };
        standing.note(beat(10, 1000));
        assert_eq!(live.deadline(&standing).boot, boot(70));
        standing.note(beat(20, 900));
        assert_eq!(live.deadline(&standing).boot, boot(70), "a server's clock set back extends nothing");
        standing.note(beat(30, 1050));
        assert_eq!(live.deadline(&standing).boot, boot(40));
    }

    #[test]
    fn a_wall_clock_set_forward_and_back_ends_a_grant_for_good() {
        let (table, standing) = (GrantTable::default(), Standing::default());
        table.put(grant(1060), [0; 32], "k", 0);
        let live = table.by_token(&[0; 32]).unwrap();
        let at = |boot_s: u64, wall_s: i64| Moment { boot: boot(boot_s), wall: WallTime::from_unix_s(wall_s) };
        standing.note(Beat {
            ping_sent: boot(10),
            server_time: WallTime::from_unix_s(1000),
            as_of: WallTime::from_unix_s(1000),
            local_wall: WallTime::from_unix_s(1000),
        });
        assert!(!live.deadline_at(&standing, at(20, 1010)).has_passed(at(20, 1010)));
        assert!(live.deadline_at(&standing, at(21, 4611)).has_passed(at(21, 4611)));
        assert!(live.deadline_at(&standing, at(22, 1012)).has_passed(at(22, 1012)), "set right again, it stays over");
    }

    #[test]
    fn uses_are_asked_for_at_once_and_then_now_and_then() {
        let table = GrantTable::default();
        table.put(grant(1060), [0; 32], "k", 0);
        let live = table.by_token(&[0; 32]).unwrap();
        let at = |ms: u64| BootTime::from_duration(Duration::from_millis(ms));
        let asked = |from: u64, until: u64| (from..until).filter(|ms| live.may_want(at(*ms))).count();
        assert_eq!(asked(1_000, 1_000 + WANTED_EVERY_MS), 1);
        assert_eq!(asked(1_000 + WANTED_EVERY_MS, 2_000 + WANTED_EVERY_MS), 1_000 / WANTED_EVERY_MS as usize);
        live.allot(2);
        assert!(live.may_want(at(2_001 + WANTED_EVERY_MS)), "what was allotted is gone too");
    }

    #[test]
    fn what_has_ended_stays_ended() {
        let table = GrantTable::default();
        table.put(grant(1060), [0; 32], "k", 0);
        let live = table.by_id(&"g-0123456789ab".parse().unwrap()).unwrap();
        live.end(GrantStanding::Revoked);
        live.end(GrantStanding::UsedUp);
        live.end(GrantStanding::Live);
        table.put(grant(1060), [0; 32], "k", 0);
        assert_eq!(table.by_token(&[0; 32]).unwrap().standing(), GrantStanding::Revoked);
    }
}
