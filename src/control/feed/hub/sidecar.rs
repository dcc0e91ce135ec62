//! What is known of one sidecar.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::StreamId;
use crate::control::feed::FeedLimits;
use crate::domain::{GrantId, InstanceName, Moment, ServiceName, WallTime};
use crate::store::contract::SidecarSeen;
use crate::wire::feed::{AuditPosition, Subscribe};

/// Acknowledgements remembered with their times; what is older can be confirmed but not timed.
const ACKS_KEPT_MAX: usize = 512;
/// Rejections remembered.
const REJECTIONS_KEPT_MAX: usize = 128;

/// What the rest of the feed asks of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control::feed) enum Command {
    /// Ask the sidecar to give back what it has not spent above `keep`.
    Recall { grant: GrantId, keep: u32 },
    /// Say again what is allotted, to a sidecar that seems not to know.
    Restate { grant: GrantId, allotted: u32 },
}

/// The stream that speaks for a sidecar now. Dropping `commands` ends it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: StreamId,
    pub(super) commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) version: String,
    pub(super) service_digest: String,
    pub(super) lineage: String,
    pub(super) live: Option<Live>,
    /// Everything up to here is enforced, but for what was rejected.
    pub(super) acked: u64,
    pub(super) audit: AuditPosition,
    pub(super) heard: WallTime,
    /// `as_of` of the newest heartbeat it can have. Before the first: when its stream began.
    pub(super) fresh: Moment,
    /// Its wall clock minus ours, in milliseconds, by its last ping; `None` while it has not said.
    pub(super) skew_ms: Option<i64>,
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
            live: None,
            acked: 0,
            audit: AuditPosition::default(),
            heard: now.wall,
            fresh: now,
            skew_ms: None,
            unsaved: true,
            known_since: now.wall,
            acks: VecDeque::new(),
            acks_forgotten: 0,
            rejections: VecDeque::new(),
        }
    }

    /// As an earlier process wrote it down. It may have heard heartbeats for `persist_every` longer than was written.
    pub(super) fn restored(seen: SidecarSeen, now: Moment, limits: &FeedLimits) -> Self {
        let fresh_wall = seen.heard.plus(limits.persist_every).min(now.wall);
        let fresh = Moment { wall: fresh_wall, boot: now.boot.minus(now.wall.since(fresh_wall)) };
        Self {
            version: seen.version,
            service_digest: seen.service_digest,
            lineage: seen.lineage,
            acked: seen.revision,
            acks_forgotten: seen.revision,
            audit: seen.audit,
            heard: seen.heard,
            fresh,
            unsaved: false,
            known_since: seen.heard,
            ..Self::new(now)
        }
    }

    pub(super) fn seen(&self, service: ServiceName, instance: InstanceName) -> SidecarSeen {
        SidecarSeen {
            service,
            instance,
            version: self.version.clone(),
            service_digest: self.service_digest.clone(),
            lineage: self.lineage.clone(),
            revision: self.acked,
            heard: self.heard,
            audit: self.audit.clone(),
        }
    }

    pub(super) fn begin(&mut self, subscribe: &Subscribe, live: Live, now: Moment) {
        self.version.clone_from(&subscribe.version);
        self.service_digest.clone_from(&subscribe.service_digest);
        self.lineage.clone_from(&subscribe.lineage);
        self.audit = subscribe.audit.clone();
        self.live = Some(live);
        self.heard = now.wall;
        self.fresh = now;
        self.unsaved = true;
        self.acked = 0;
    }

    pub(super) fn forget_rejections(&mut self) {
        self.rejections.clear();
    }

    pub(super) fn is_live(&self, id: StreamId) -> bool {
        self.live.as_ref().is_some_and(|live| live.id == id)
    }

    /// Whether it may be acting: connected, or its last heartbeat is not yet too old.
    pub(super) fn counts(&self, now: Moment, staleness_max: std::time::Duration) -> bool {
        self.live.is_some() || now.boot < self.fresh.boot.plus(staleness_max)
    }

    pub(super) fn acknowledge(&mut self, revision: u64, audit: AuditPosition, at: WallTime) {
        self.audit = audit;
        self.acked = self.acked.max(revision);
        if self.acks.back().is_some_and(|(last, _)| *last >= revision) {
            return;
        }
        self.acks.push_back((revision, at));
        if self.acks.len() > ACKS_KEPT_MAX
            && let Some((forgotten, _)) = self.acks.pop_front()
        {
            self.acks_forgotten = forgotten;
        }
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
