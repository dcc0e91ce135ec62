//! Who is connected, and what each sidecar has acknowledged.
//!
//! A sidecar stays known after its stream ended: until its last heartbeat is older than `staleness_max` it may still let
//! overrides through, so it counts as silent and not as gone. What was heard is written down now and then and read back at
//! start, so that a restart of the control plane forgets no sidecar that may still be acting.
//!
//! INVARIANT: of one (service, instance), and of one lineage, at most one stream is live. What arrives on any other is
//! refused by [`Hub::is_live`].

mod counts;
mod enforcement;
mod sidecar;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

pub use self::counts::FeedCounts;
pub(super) use self::sidecar::Command;
use self::sidecar::{Live, Sidecar};
use super::FeedLimits;
use super::freshness::Reading;
use super::source::FeedStore;
use crate::clock::Clock;
use crate::domain::{InstanceName, Moment, ServiceName, WallTime};
use crate::store::contract::{ShareHolder, SidecarSeen, StoreError};
use crate::wire::api::SidecarView;
use crate::wire::feed::{AuditPosition, Subscribe};

/// Commands queued towards one stream; past it they are dropped and asked for again.
const COMMANDS_QUEUED_MAX: usize = 64;

/// One stream, apart from every other there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(u64);

/// Why a stream may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AdmitError {
    #[error("as many sidecars are connected as are allowed")]
    Full,
    #[error("another instance is connected with the same audit folder (lineage)")]
    LineageInUse,
}

/// The state behind all streams of this process. Shared by [`Arc`].
#[derive(Debug)]
pub struct Hub {
    clock: Clock,
    limits: FeedLimits,
    counts: FeedCounts,
    registry: Mutex<Registry>,
    /// Counts every change that somebody may wait for.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Registry {
    sidecars: BTreeMap<(ServiceName, InstanceName), Sidecar>,
    streams: u64,
}

impl Registry {
    fn live(&mut self, stream: &Stream) -> Option<&mut Sidecar> {
        let key = (stream.holder.service.clone(), stream.holder.instance.clone());
        self.sidecars.get_mut(&key).filter(|sidecar| sidecar.is_live(stream.id))
    }

    fn connected(&self) -> usize {
        self.sidecars.values().filter(|sidecar| sidecar.live.is_some()).count()
    }
}

/// A registered stream; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) holder: ShareHolder,
    hub: Arc<Hub>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(sidecar) = self.hub.registry().live(self) {
            sidecar.live = None;
        }
        self.hub.wake();
    }
}

impl Hub {
    pub fn new(clock: Clock, limits: FeedLimits) -> Arc<Self> {
        let (counts, registry, changes) = (FeedCounts::default(), Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { clock, limits, counts, registry, changes })
    }

    /// Takes up the sidecars that an earlier process knew, unless they have been heard of since.
    pub async fn restore<S: FeedStore>(&self, store: &S) -> Result<(), StoreError> {
        let seen = store.sidecars().await?;
        let now = self.clock.now();
        let mut registry = self.registry();
        for one in seen {
            let key = (one.service.clone(), one.instance.clone());
            registry.sidecars.entry(key).or_insert_with(|| Sidecar::restored(one, now, &self.limits));
        }
        Ok(())
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn limits(&self) -> &FeedLimits {
        &self.limits
    }

    pub fn counts(&self) -> &FeedCounts {
        &self.counts
    }

    /// Wakes after each change that somebody may wait for.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Streams that are live now.
    pub fn connected(&self) -> usize {
        self.registry().connected()
    }

    /// Every sidecar known, connected or not. `applied_digest` answers the digest of a service's applied file.
    pub fn sidecars(&self, applied_digest: impl Fn(&ServiceName) -> Option<String>) -> Vec<SidecarView> {
        let now = self.clock.now();
        let registry = self.registry();
        let view = |((service, instance), sidecar): (&(ServiceName, InstanceName), &Sidecar)| SidecarView {
            service: service.clone(),
            instance: instance.clone(),
            version: sidecar.version.clone(),
            service_digest: sidecar.service_digest.clone(),
            service_current: applied_digest(service).is_some_and(|digest| digest == sidecar.service_digest),
            connected: sidecar.live.is_some(),
            revision: sidecar.acked,
            heard_at: sidecar.heard,
            behind: None,
            feed_age_ms: millis(now.boot.since(sidecar.fresh.boot)),
            clock_skew_ms: sidecar.skew_ms,
            audit: sidecar.audit.clone(),
        };
        registry.sidecars.iter().map(view).collect()
    }

    /// Begins a stream. An older one of the same instance ends: its commands come from nowhere any more.
    pub(super) fn admit(
        self: &Arc<Self>,
        subscribe: &Subscribe,
    ) -> Result<(Stream, mpsc::Receiver<Command>), AdmitError> {
        let now = self.clock.now();
        let mut registry = self.registry();
        let key = (subscribe.service.clone(), subscribe.instance.clone());
        self.check_room(&mut registry, &key, subscribe, now)?;
        registry.streams += 1;
        let id = StreamId(registry.streams);
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let live = Live { id, commands };
        registry.sidecars.entry(key).or_insert_with(|| Sidecar::new(now)).begin(subscribe, live, now);
        drop(registry);
        self.wake();
        let holder = ShareHolder {
            service: subscribe.service.clone(),
            instance: subscribe.instance.clone(),
            lineage: subscribe.lineage.clone(),
        };
        Ok((Stream { id, holder, hub: Arc::clone(self) }, receiver))
    }

    fn check_room(
        &self,
        registry: &mut Registry,
        key: &(ServiceName, InstanceName),
        subscribe: &Subscribe,
        now: Moment,
    ) -> Result<(), AdmitError> {
        let same_lineage = |(other, sidecar): (&_, &Sidecar)| {
            other != key && sidecar.live.is_some() && sidecar.lineage == subscribe.lineage
        };
        if registry.sidecars.iter().any(same_lineage) {
            return Err(AdmitError::LineageInUse);
        }
        let replaces = registry.sidecars.get(key).is_some_and(|sidecar| sidecar.live.is_some());
        if !replaces && registry.connected() >= self.limits.sessions_max {
            return Err(AdmitError::Full);
        }
        if !registry.sidecars.contains_key(key) && registry.sidecars.len() >= self.limits.sidecars_max {
            registry.sidecars.retain(|_, sidecar| sidecar.counts(now, self.limits.staleness_max));
        }
        let known = registry.sidecars.contains_key(key);
        if known || registry.sidecars.len() < self.limits.sidecars_max { Ok(()) } else { Err(AdmitError::Full) }
    }

    pub(super) fn is_live(&self, stream: &Stream) -> bool {
        self.registry().live(stream).is_some()
    }

    /// Whether the stream of that number still stands, whoever it is.
    pub(super) fn is_live_id(&self, service: &ServiceName, id: StreamId) -> bool {
        self.registry().sidecars.iter().any(|((s, _), sidecar)| s == service && sidecar.is_live(id))
    }

    /// The live streams of a service, by instance name.
    pub(super) fn live_of(&self, service: &ServiceName) -> Vec<(StreamId, ShareHolder)> {
        let registry = self.registry();
        let of_service = registry.sidecars.iter().filter(|((s, _), _)| s == service);
        of_service
            .filter_map(|((service, instance), sidecar)| {
                let (service, instance, lineage) = (service.clone(), instance.clone(), sidecar.lineage.clone());
                Some((sidecar.live.as_ref()?.id, ShareHolder { service, instance, lineage }))
            })
            .collect()
    }

    /// Hands a command to a stream; false when it is not there or has too many waiting.
    pub(super) fn command(&self, service: &ServiceName, id: StreamId, command: Command) -> bool {
        let registry = self.registry();
        let live = registry
            .sidecars
            .iter()
            .filter(|((s, _), _)| s == service)
            .find_map(|(_, sidecar)| sidecar.live.as_ref().filter(|live| live.id == id));
        live.is_some_and(|live| live.commands.try_send(command).is_ok())
    }

    /// The sidecar still enforces what it had acknowledged on an earlier stream. Without this call it begins with nothing.
    pub(super) fn resumed(&self, stream: &Stream, revision: u64) {
        self.on(stream, |sidecar, _| sidecar.acked = revision);
        self.wake();
    }

    /// The sidecar will be told everything anew: what it rejected before counts no more.
    pub(super) fn begun_anew(&self, stream: &Stream) {
        self.on(stream, |sidecar, _| sidecar.forget_rejections());
    }

    pub(super) fn heard(&self, stream: &Stream) {
        self.on(stream, |_, _| ());
    }

    /// The sidecar said what its wall clock showed as it sent a ping. The way here counts as skew: it is short.
    pub(super) fn told_time(&self, stream: &Stream, at: Option<WallTime>) {
        let skew = |now: Moment| at.map(|at| at.unix_ms().saturating_sub(now.wall.unix_ms()));
        self.on(stream, |sidecar, now| sidecar.skew_ms = skew(now));
    }

    /// A heartbeat was queued: from here the sidecar may act until `reading` is too old.
    pub(super) fn heartbeat(&self, stream: &Stream, reading: Reading) {
        self.on(stream, |sidecar, _| sidecar.fresh = reading.began);
    }

    pub(super) fn acknowledged(&self, stream: &Stream, revision: u64, audit: AuditPosition) {
        FeedCounts::add(&self.counts.acknowledgements, 1);
        self.on(stream, |sidecar, now| sidecar.acknowledge(revision, audit, now.wall));
        self.wake();
    }

    pub(super) fn rejected(&self, stream: &Stream, revision: u64, why: String) {
        FeedCounts::add(&self.counts.rejections, 1);
        self.on(stream, |sidecar, _| sidecar.reject(revision, why));
        self.wake();
    }

    /// Writes down what was heard since the last time.
    pub(super) async fn persist<S: FeedStore>(&self, store: &S) -> Result<(), StoreError> {
        for seen in self.take_unsaved() {
            store.record_sidecar(&seen).await?;
        }
        Ok(())
    }

    fn take_unsaved(&self) -> Vec<SidecarSeen> {
        let mut registry = self.registry();
        let unsaved = registry.sidecars.iter_mut().filter_map(|((service, instance), sidecar)| {
            std::mem::take(&mut sidecar.unsaved).then(|| sidecar.seen(service.clone(), instance.clone()))
        });
        unsaved.collect()
    }

    fn on(&self, stream: &Stream, act: impl FnOnce(&mut Sidecar, Moment)) {
        let now = self.clock.now();
        if let Some(sidecar) = self.registry().live(stream) {
            sidecar.heard = now.wall;
            sidecar.unsaved = true;
            act(sidecar, now);
        }
    }

    fn wake(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// A panic elsewhere leaves no half-made entry: each change of one is a handful of assignments.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
