//! What the control plane says, applied to the table and the standing.
//!
//! INVARIANTS: a line that is not understood or not signed is not enforced and is reported back; nothing the feed says
//! lifts the ceiling; a snapshot removes what it does not name.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{GrantStanding, RefusalCode};
use crate::domain::{BootTime, Grant, GrantId};
use crate::sidecar::audit_log::Opened;
use crate::sidecar::grant_table::{GrantTable, TokenDigest, token_digest};
use crate::sidecar::shared::Shared;
use crate::sidecar::standing::Beat;
use crate::token::{CertifiedKey, KeyRing, key_id, verify_grant, verify_key_certificate};
use crate::wire::audit::Settled;
use crate::wire::feed::{EndCause, FromControl, FromSidecar};

/// Beyond this difference of clocks new grants are not taken.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// Pings remembered while their heartbeats are awaited.
const PINGS_MAX: usize = 64;

/// What is to be done after a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Nothing.
    Nothing,
    /// Say this.
    Say(FromSidecar),
    /// Everything up to this revision is enforced.
    Enforced(u64),
    /// The stream is of no use any more.
    Ended(String),
}

/// One stream's reading of the feed.
#[derive(Debug)]
pub struct Applier {
    shared: Arc<Shared>,
    /// Uses per grant as the log knew them at the start, and the name they were spent under.
    opened: Opened,
    epoch: Option<String>,
    /// The highest revision that was ever enforced, and its epoch. No snapshot of that epoch may end below it.
    highest: Option<(String, u64)>,
    snapshot: Option<Snapshot>,
    pings: BTreeMap<u64, BootTime>,
}

/// A snapshot on its way.
#[derive(Debug, Default)]
struct Snapshot {
    named: HashSet<GrantId>,
    shares: HashSet<GrantId>,
    /// Only what was missed follows: what it does not name stays.
    resumed: bool,
}

impl Applier {
    pub fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        Self { shared, opened, epoch: None, highest: None, snapshot: None, pings: BTreeMap::new() }
    }

    /// The name under which shares of uses are held.
    pub fn lineage(&self) -> &str {
        &self.opened.lineage
    }

    /// Epoch and revision to continue from, where there was a whole snapshot.
    pub fn resume_from(&self) -> Option<(String, u64)> {
        let epoch = self.epoch.clone()?;
        (self.shared.standing.revision() > 0).then(|| (epoch, self.shared.standing.revision()))
    }

    /// The control plane asked for a fresh start.
    pub fn forget_position(&mut self) {
        self.epoch = None;
        self.shared.standing.set_revision(0);
    }

    /// A new stream begins.
    pub fn begin(&mut self) {
        self.snapshot = Some(Snapshot::default());
        self.pings.clear();
        self.shared.assertions.begin();
    }

    /// What the assertions want of the control plane, once its epoch is known.
    pub fn assertion_to_say(&self) -> Option<FromSidecar> {
        self.shared.assertions.to_say(self.epoch.as_deref()?)
    }

    /// A ping is about to be sent.
    pub fn note_ping(&mut self, n: u64) {
        while self.pings.len() >= PINGS_MAX {
            self.pings.pop_first();
        }
        self.pings.insert(n, self.shared.clock.boot());
    }

    /// Uses spent per grant, for the subscription.
    pub fn spent(&self) -> BTreeMap<GrantId, u32> {
        let live = self.shared.grants.all();
        let spent = live.iter().map(|live| (live.grant().id.clone(), live.spent())).filter(|(_, spent)| *spent > 0);
        let recovered = self.opened.recovery.spent.iter().map(|(grant, spent)| (grant.clone(), *spent));
        recovered.chain(spent).collect()
    }

    /// Applies one line.
    pub fn apply(&mut self, line: FromControl) -> Applied {
        match line {
            FromControl::Welcome { epoch, resumed } => self.welcome(epoch, resumed),
            FromControl::Keys { revision, keys } => self.keys(revision, &keys),
            FromControl::Put { revision, token, identity_since } => {
                self.take(revision, &token, |table, grant, digest, kid, spent| {
                    table.put(grant, digest, kid, spent, identity_since);
                })
            }
            FromControl::Suspended { revision, token } => self.suspended(revision, &token),
            FromControl::Tombstone { revision, grant, cause } => self.tombstone(revision, &grant, cause),
            // The first line of a snapshot that is of a revision.
            FromControl::Freeze { revision, .. } if self.goes_back(revision) => self.behind(revision),
            FromControl::Freeze { revision, frozen } => {
                self.shared.standing.set_frozen(frozen);
                self.enforced(revision)
            }
            FromControl::Share { revision, grant, allotted } => self.share(revision, &grant, allotted),
            FromControl::ShareRecall { grant, keep } => self.recall(&grant, keep),
            FromControl::SnapshotEnd { revision } if self.goes_back(revision) => self.behind(revision),
            FromControl::SnapshotEnd { revision } => self.snapshot_end(revision),
            answer @ (FromControl::AssertionCertificate { .. } | FromControl::AssertionRefused { .. }) => {
                self.shared.assertions.hear(&answer, &self.shared.setup().feed.roots);
                Applied::Nothing
            }
            FromControl::Heartbeat { n, server_time, as_of, revision } => {
                self.heartbeat(n, revision, |ping_sent, local_wall| Beat { ping_sent, server_time, as_of, local_wall })
            }
            FromControl::Resync { why } => {
                self.forget_position();
                Applied::Ended(why)
            }
        }
    }

    /// Within a snapshot its end is what gets acknowledged.
    fn enforced(&mut self, revision: u64) -> Applied {
        if self.snapshot.is_some() {
            return Applied::Nothing;
        }
        self.shared.standing.set_revision(revision);
        let highest = self.highest_of_epoch().unwrap_or(0).max(revision);
        self.highest = self.epoch.clone().map(|epoch| (epoch, highest));
        self.shared.enforced.send_replace(self.epoch.clone().map(|epoch| Settled { epoch, revision }));
        Applied::Enforced(revision)
    }

    fn highest_of_epoch(&self) -> Option<u64> {
        let (epoch, highest) = self.highest.as_ref()?;
        (self.epoch.as_ref() == Some(epoch)).then_some(*highest)
    }

    /// Whether a snapshot of that revision would bring back what is over. Within one epoch revisions only rise, so a
    /// replica that knows fewer has not read them.
    fn goes_back(&self, revision: u64) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| !snapshot.resumed)
            && self.highest_of_epoch().is_some_and(|highest| revision < highest)
    }

    fn behind(&self, revision: u64) -> Applied {
        let highest = self.highest_of_epoch().unwrap_or(0);
        tracing::error!(revision, highest, "a control plane is behind what it once told");
        Applied::Ended(format!("its revision {revision} is behind {highest}, which is enforced here"))
    }

    fn welcome(&mut self, epoch: String, resumed: bool) -> Applied {
        let same_epoch = self.epoch.as_ref().is_some_and(|known| *known == epoch);
        if resumed && !same_epoch {
            self.forget_position();
            return Applied::Ended("the control plane resumed what was never begun".to_owned());
        }
        if self.epoch.is_some() && !same_epoch {
            self.shared.standing.set_synced(false);
            self.shared.grants.retain(|_| false);
        }
        self.epoch = Some(epoch);
        self.snapshot = Some(Snapshot { resumed, ..Snapshot::default() });
        Applied::Nothing
    }

    fn keys(&mut self, revision: u64, certificates: &[String]) -> Applied {
        let now = self.shared.clock.wall();
        let setup = self.shared.setup();
        let mut keys: Vec<CertifiedKey> = Vec::with_capacity(certificates.len());
        let mut refused = None;
        for certificate in certificates {
            match verify_key_certificate(certificate, &setup.feed.roots, now) {
                Ok(key) => keys.push(key),
                Err(error) => refused = Some(error.to_string()),
            }
        }
        let ring = KeyRing::new(keys);
        self.shared.grants.retain(|live| ring.get(live.kid()).is_some());
        self.shared.set_keys(ring);
        match refused {
            Some(why) => {
                tracing::error!(revision, why, "a grant key was refused");
                Applied::Say(FromSidecar::Reject { revision, grant: None, why })
            }
            None => self.enforced(revision),
        }
    }

    /// INVARIANT: one that is in the table is ended whatever else is wrong with the line.
    fn suspended(&mut self, revision: u64, token: &str) -> Applied {
        if let Some(known) = self.shared.grants.by_token(&token_digest(token)) {
            known.end(GrantStanding::Suspended);
        }
        self.take(revision, token, GrantTable::suspend)
    }

    /// Takes a grant into the table by `how`, if its token holds and this sidecar admits it.
    fn take(
        &mut self,
        revision: u64,
        token: &str,
        how: impl FnOnce(&GrantTable, Grant, TokenDigest, &str, u32),
    ) -> Applied {
        let keys = self.shared.keys();
        let refuse = |grant: Option<GrantId>, why: String| {
            tracing::warn!(revision, why, "a grant was refused");
            Applied::Say(FromSidecar::Reject { revision, grant, why })
        };
        let grant = match verify_grant(token, &keys) {
            Ok(grant) => grant,
            Err(error) => return refuse(None, error.to_string()),
        };
        if let Err(why) = self.admits(&grant) {
            return refuse(Some(grant.id), why);
        }
        let kid = key_id(token).unwrap_or_default();
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.named.insert(grant.id.clone());
        }
        let spent = self.opened.recovery.spent.get(&grant.id).copied().unwrap_or(0);
        let id = grant.id.clone();
        how(&self.shared.grants, grant, token_digest(token), &kid, spent);
        if let Some(live) = self.shared.grants.by_id(&id) {
            live.deadline(&self.shared.standing);
        }
        self.enforced(revision)
    }

    /// What the sidecar's own configuration and clock allow, whatever the signature says.
    fn admits(&self, grant: &Grant) -> Result<(), String> {
        let setup = self.shared.glance();
        let policy = &setup.policy;
        if grant.service != policy.service {
            return Err(format!("{}: the grant is for {}", RefusalCode::WrongService.as_str(), grant.service));
        }
        if !policy.ceiling.admits(grant) {
            let why = "role, binding or lifetime exceed this service's ceiling";
            return Err(format!("{}: {why}", RefusalCode::OverCeiling.as_str()));
        }
        if self.shared.standing.skew_ms().unsigned_abs() > u64::try_from(SKEW_MAX.as_millis()).unwrap_or(u64::MAX) {
            return Err("clock_skew: this sidecar's clock and the control plane's differ by more than 60 s".to_owned());
        }
        Ok(())
    }

    fn tombstone(&mut self, revision: u64, grant: &GrantId, cause: EndCause) -> Applied {
        if let Some(live) = self.shared.grants.by_id(grant) {
            match cause {
                EndCause::Revoked => live.end(GrantStanding::Revoked),
                EndCause::UsedUp => live.end(GrantStanding::UsedUp),
                // Its own deadline ends it here, and says so more exactly.
                EndCause::Expired => {}
            }
        }
        self.enforced(revision)
    }

    fn share(&mut self, revision: u64, grant: &GrantId, allotted: u32) -> Applied {
        if let Some(live) = self.shared.grants.by_id(grant) {
            live.allot(allotted);
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.shares.insert(grant.clone());
        }
        self.enforced(revision)
    }

    fn recall(&self, grant: &GrantId, keep: u32) -> Applied {
        let allotted = self.shared.grants.by_id(grant).map_or(keep, |live| live.share().hand_back(keep));
        Applied::Say(FromSidecar::ShareReturned { grant: grant.clone(), allotted })
    }

    fn snapshot_end(&mut self, revision: u64) -> Applied {
        if let Some(snapshot) = self.snapshot.take()
            && !snapshot.resumed
        {
            self.shared.grants.retain(|live| snapshot.named.contains(&live.grant().id));
            for live in self.shared.grants.all() {
                if !snapshot.shares.contains(&live.grant().id) {
                    live.allot(0);
                }
            }
        }
        self.shared.standing.set_synced(true);
        self.enforced(revision)
    }

    /// Fixes every deadline by boot time now, so that a server's clock that steps back later extends none of them.
    fn hold_deadlines(&self) {
        for live in self.shared.grants.all() {
            live.deadline(&self.shared.standing);
        }
    }

    fn heartbeat(
        &mut self,
        n: u64,
        revision: u64,
        beat: impl FnOnce(BootTime, crate::domain::WallTime) -> Beat,
    ) -> Applied {
        let Some(ping_sent) = self.pings.get(&n).copied() else {
            return Applied::Ended(format!("heartbeat {n} answers no ping"));
        };
        self.pings = self.pings.split_off(&(n + 1));
        let beat = beat(ping_sent, self.shared.clock.wall());
        if self.snapshot.is_some() {
            // The clock is known before the snapshot is whole; freshness is not.
            self.shared.standing.note(Beat { as_of: crate::domain::WallTime::EPOCH, ..beat });
            return Applied::Nothing;
        }
        self.shared.standing.note(beat);
        self.hold_deadlines();
        // Revisions of other services pass us by, so a heartbeat may name one that no line of ours carried.
        if revision > self.shared.standing.revision() { self.enforced(revision) } else { Applied::Nothing }
    }
}
