//! What is known of one sidecar, whichever replica it hangs on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::replicas::Replicas;
use crate::domain::{InstanceName, Moment, ServiceName, WallTime};
use crate::store::Store;
use crate::store::contract::{ShareRecall, SidecarSeen};
use crate::wire::feed::{AuditPosition, Subscribe};

/// Acknowledgements remembered with their times; what is older can be confirmed but not timed.
const ACKS_KEPT_MAX: usize = 64;
/// Rejections remembered.
const REJECTIONS_KEPT_MAX: usize = 32;

/// What the rest of the feed asks of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control::feed) enum Command {
    /// Ask the sidecar to give back what it has not spent above what it may keep.
    Recall(Box<ShareRecall>),
}

/// The stream that speaks for a sidecar here. Dropping `commands` ends it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) generation: u64,
    pub(super) commands: mpsc::Sender<Command>,
}

/// A sidecar's place in the registry.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) service: ServiceName,
    pub(super) instance: InstanceName,
    state: Mutex<Sidecar>,
}

impl Cell {
    pub(super) fn new(service: ServiceName, instance: InstanceName, state: Sidecar) -> Self {
        Self { service, instance, state: Mutex::new(state) }
    }

    /// A panic elsewhere leaves no half-made state: each change is a handful of assignments.
    pub(super) fn lock(&self) -> MutexGuard<'_, Sidecar> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> SidecarSeen {
        let state = self.lock();
        SidecarSeen {
            service: self.service.clone(),
            instance: self.instance.clone(),
            version: state.version.clone(),
            service_digest: state.service_digest.clone(),
            lineage: state.lineage.clone(),
            revision: state.acked,
            acked: state.acked_at,
            heard: state.heard,
            audit: state.audit.clone(),
            replica: state.replica.clone(),
            generation: state.generation,
            connected: state.live.is_some(),
            fresh: state.fresh.wall,
            skew_ms: state.skew_ms,
            rejections: state.rejections.iter().cloned().collect(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) version: String,
    pub(super) service_digest: String,
    pub(super) lineage: String,
    /// The newest stream there was, and the replica it began at.
    pub(super) generation: u64,
    pub(super) replica: String,
    pub(super) live: Option<Live>,
    /// Its stream hangs on that other replica.
    pub(super) elsewhere: bool,
    /// Everything up to here is enforced, but for what was rejected.
    pub(super) acked: u64,
    /// When that was acknowledged; the epoch where it was not on this stream.
    pub(super) acked_at: WallTime,
    pub(super) audit: AuditPosition,
    pub(super) heard: WallTime,
    /// `as_of` of the newest heartbeat it can have. Before the first: when its stream began.
    pub(super) fresh: Moment,
    /// Its wall clock minus that of its control plane, in milliseconds, by its last ping; `None` while it has not said.
    pub(super) skew_ms: Option<i64>,
    /// Stands in the queue of what others are to be told at once.
    pub(super) queued: bool,
    /// Something was heard that has not been written down.
    pub(super) unsaved: bool,
    /// When it was first heard of: changes committed before are none that it could be late with.
    pub(super) known_since: WallTime,
    acks: VecDeque<(u64, WallTime)>,
    /// Times of acknowledgements up to here are no longer remembered.
    acks_forgotten: u64,
    rejections: VecDeque<(u64, String)>,
}

impl Sidecar {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            version: String::new(),
            service_digest: String::new(),
            lineage: String::new(),
            generation: 0,
            replica: String::new(),
            live: None,
            elsewhere: false,
            acked: 0,
            acked_at: WallTime::EPOCH,
            audit: AuditPosition::default(),
            heard: now.wall,
            fresh: now,
            queued: false,
            skew_ms: None,
            unsaved: true,
            known_since: now.wall,
            acks: VecDeque::new(),
            acks_forgotten: 0,
            rejections: VecDeque::new(),
        }
    }

    /// As it was written down before this process began. What was acknowledged then cannot be timed any more.
    pub(super) fn restored(seen: SidecarSeen, now: Moment) -> Self {
        let mut sidecar = Self {
            acks_forgotten: seen.revision,
            known_since: seen.heard.min(now.wall),
            unsaved: false,
            ..Self::new(now)
        };
        sidecar.take_over(seen, now);
        sidecar
    }

    /// As another replica reported it, on its newest stream.
    pub(super) fn take_over(&mut self, seen: SidecarSeen, now: Moment) {
        if seen.generation != self.generation {
            self.acked = 0;
        }
        self.version = seen.version;
        self.service_digest = seen.service_digest;
        self.lineage = seen.lineage;
        self.generation = seen.generation;
        self.replica = seen.replica;
        self.elsewhere = seen.connected;
        self.skew_ms = seen.skew_ms;
        self.heard = seen.heard.min(now.wall);
        let fresh = seen.fresh.min(now.wall);
        self.fresh = Moment { wall: fresh, boot: now.boot.minus(now.wall.since(fresh)) };
        if seen.acked == WallTime::EPOCH {
            self.acked = seen.revision;
        } else {
            self.acknowledge(seen.revision, seen.acked.min(now.wall));
        }
        self.audit = seen.audit;
        self.rejections = seen.rejections.into();
    }

    pub(super) fn begin(&mut self, subscribe: &Subscribe, live: Live, replica: &str, now: Moment) {
        self.version.clone_from(&subscribe.version);
        self.service_digest.clone_from(&subscribe.service_digest);
        self.lineage.clone_from(&subscribe.lineage);
        self.audit = subscribe.audit.clone();
        self.generation = live.generation;
        self.live = Some(live);
        self.elsewhere = false;
        replica.clone_into(&mut self.replica);
        self.heard = now.wall;
        self.fresh = now;
        self.unsaved = true;
        (self.acked, self.acked_at) = (0, WallTime::EPOCH);
    }

    pub(super) fn forget_rejections(&mut self) {
        self.rejections.clear();
    }

    pub(super) fn is_live(&self, generation: u64) -> bool {
        self.live.as_ref().is_some_and(|live| live.generation == generation)
    }

    pub(super) fn is_connected(&self, now: Moment, replicas: &Replicas) -> bool {
        self.live.is_some() || (self.elsewhere && replicas.is_present(&self.replica, now))
    }

    /// `as_of` of the newest heartbeat it may have, as far as can be told from here: never too early.
    pub(super) fn fresh(&self, now: Moment, replicas: &Replicas, persist_every: Duration) -> Moment {
        if !self.elsewhere {
            return self.fresh;
        }
        let bound = replicas.fresh(&self.replica, now);
        // A replica of which nothing is known: it wrote down what it had heard as long as it could, and called itself
        // fresh no longer than it was allowed to after that.
        let grace = persist_every.saturating_add(Store::REPLICA_SILENT);
        bound.unwrap_or(Moment { boot: self.fresh.boot.plus(grace), wall: self.fresh.wall.plus(grace) })
    }

    /// Answers whether it is news.
    pub(super) fn acknowledge(&mut self, revision: u64, at: WallTime) -> bool {
        let news = revision > self.acked;
        if news {
            (self.acked, self.acked_at) = (revision, at);
        }
        if self.acks.back().is_some_and(|(last, _)| *last >= revision) {
            return news;
        }
        self.acks.push_back((revision, at));
        if self.acks.len() > ACKS_KEPT_MAX
            && let Some((forgotten, _)) = self.acks.pop_front()
        {
            self.acks_forgotten = self.acks_forgotten.max(forgotten);
        }
        news
    }

    /// When `revision` was first acknowledged, where that is still known.
    pub(super) fn acknowledged_at(&self, revision: u64) -> Option<WallTime> {
        if revision <= self.acks_forgotten {
            return None;
        }
        self.acks.iter().find(|(acked, _)| *acked >= revision).map(|(_, at)| *at)
    }

    pub(super) fn reject(&mut self, revision: u64, why: String) {
        if self.rejections.len() >= REJECTIONS_KEPT_MAX {
            self.rejections.pop_front();
        }
        self.rejections.push_back((revision, why));
    }

    pub(super) fn rejection_of(&self, revision: u64) -> Option<&str> {
        self.rejections.iter().rev().find(|(rejected, _)| *rejected == revision).map(|(_, why)| why.as_str())
    }
}
