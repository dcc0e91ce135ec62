//! Who is connected, and what each sidecar has acknowledged: here, and at the other replicas as they report it.
//!
//! A sidecar stays known after its stream ended: until its last heartbeat is older than `staleness_max` it may still let
//! overrides through, so it counts as silent and not as gone. What was heard is written down, for the other replicas and
//! for the next start, so that nobody forgets a sidecar that may still be acting.
//!
//! INVARIANT: of one (service, instance), and of one lineage, at most one stream is live here, and none once another
//! replica is known to have a newer one. What arrives on any other is refused by [`Hub::is_live`].

mod counts;
mod enforcement;
mod hearsay;
mod replicas;
mod reports;
mod sidecar;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

pub use self::counts::{AuditCounts, FeedCounts};
use self::replicas::Replicas;
pub(super) use self::sidecar::Command;
use self::sidecar::{Cell, Live, Sidecar};
use super::FeedLimits;
use super::freshness::Reading;
use crate::clock::Clock;
use crate::domain::{BootTime, InstanceName, Moment, ServiceName};
use crate::store::contract::ShareHolder;
use crate::wire::api::SidecarView;
use crate::wire::feed::Subscribe;

/// Commands queued towards one stream; past it they are handed over later.
const COMMANDS_QUEUED_MAX: usize = 64;

/// Why a stream may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AdmitError {
    #[error("as many sidecars are connected as are allowed")]
    Full,
    #[error("another instance is connected with the same audit folder (lineage)")]
    LineageInUse,
    #[error("a newer stream of this instance began meanwhile")]
    Outdated,
}

/// The state behind all streams of this process. Shared by [`Arc`].
#[derive(Debug)]
pub struct Hub {
    clock: Clock,
    limits: FeedLimits,
    /// The greatest that any policy in force since the start has allowed.
    staleness_ms_max: AtomicU64,
    counts: FeedCounts,
    registry: Mutex<Registry>,
    connected: AtomicUsize,
    /// Counts every change that somebody may wait for.
    changes: watch::Sender<u64>,
    /// Sidecars of which the other replicas are to hear at once.
    news: Mutex<Vec<Arc<Cell>>>,
    news_came: Notify,
    /// When the newest revision was last read, in milliseconds of boot time; 0 before.
    read_ms: AtomicU64,
    /// Before which moment this replica's last report was written; `None` where nobody else would read it.
    reported: watch::Sender<Option<Moment>>,
}

#[derive(Debug, Default)]
struct Registry {
    services: HashMap<ServiceName, BTreeMap<InstanceName, Arc<Cell>>>,
    /// Whose lineage is live here.
    lineages: HashMap<String, Arc<Cell>>,
    replicas: Replicas,
}

impl Registry {
    fn get(&self, service: &ServiceName, instance: &InstanceName) -> Option<&Arc<Cell>> {
        self.services.get(service)?.get(instance)
    }

    fn cells(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.services.values().flat_map(BTreeMap::values)
    }

    fn of_service(&self, service: &ServiceName) -> impl Iterator<Item = &Arc<Cell>> {
        self.services.get(service).into_iter().flat_map(BTreeMap::values)
    }

    fn len(&self) -> usize {
        self.services.values().map(BTreeMap::len).sum()
    }

    fn add(&mut self, cell: Arc<Cell>) {
        let of_service = self.services.entry(cell.service.clone()).or_default();
        of_service.insert(cell.instance.clone(), cell);
    }
}

/// A registered stream; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) holder: ShareHolder,
    cell: Arc<Cell>,
    hub: Arc<Hub>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.hub.end(&self.cell, self.holder.generation);
    }
}

impl Hub {
    pub fn new(clock: Clock, limits: FeedLimits) -> Arc<Self> {
        Arc::new(Self {
            clock,
            staleness_ms_max: AtomicU64::new(millis(limits.staleness_max)),
            limits,
            counts: FeedCounts::default(),
            registry: Mutex::default(),
            connected: AtomicUsize::new(0),
            changes: watch::Sender::new(0),
            news: Mutex::default(),
            news_came: Notify::new(),
            read_ms: AtomicU64::new(0),
            reported: watch::Sender::new(None),
        })
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn limits(&self) -> &FeedLimits {
        &self.limits
    }

    /// For how long after its last heartbeat a sidecar may still let overrides through.
    pub fn staleness_max(&self) -> Duration {
        Duration::from_millis(self.staleness_ms_max.load(Ordering::Relaxed))
    }

    /// A policy that allows more is believed at once; after one that allows less, grants made before it may still have more.
    pub fn allow_staleness(&self, staleness_max: Duration) {
        self.staleness_ms_max.fetch_max(millis(staleness_max), Ordering::Relaxed);
    }

    pub fn counts(&self) -> &FeedCounts {
        &self.counts
    }

    /// Wakes after each change that somebody may wait for.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Streams that are live here now.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Acquire)
    }

    /// How long ago the newest revision was read: how old what sidecars are told is. `None` before the first time.
    pub fn reading_age(&self) -> Option<Duration> {
        let read = Some(self.read_ms.load(Ordering::Acquire)).filter(|read| *read > 0)?;
        Some(self.clock.boot().since(BootTime::from_duration(Duration::from_millis(read))))
    }

    pub(super) fn note_reading(&self, reading: Reading) {
        let ms = u64::try_from(reading.began.boot.as_duration().as_millis()).unwrap_or(u64::MAX);
        self.read_ms.store(ms, Ordering::Release);
    }

    /// Other replicas that are at work, as far as is known here.
    pub fn other_replicas(&self) -> usize {
        self.registry().replicas.present(self.clock.now())
    }

    /// Every sidecar known, connected or not. `applied_digest` answers the digest of a service's applied file.
    pub fn sidecars(&self, applied_digest: impl Fn(&ServiceName) -> Option<String>) -> Vec<SidecarView> {
        let now = self.clock.now();
        let registry = self.registry();
        let mut views = Vec::with_capacity(registry.len());
        for (service, cells) in &registry.services {
            let current = applied_digest(service);
            for cell in cells.values() {
                let sidecar = cell.lock();
                views.push(SidecarView {
                    service: service.clone(),
                    instance: cell.instance.clone(),
                    version: sidecar.version.clone(),
                    service_digest: sidecar.service_digest.clone(),
                    service_current: current.as_ref().is_some_and(|digest| *digest == sidecar.service_digest),
                    connected: sidecar.is_connected(now, &registry.replicas),
                    revision: sidecar.acked,
                    heard_at: sidecar.heard,
                    behind: None,
                    feed_age_ms: millis(now.boot.since(sidecar.fresh.boot)),
                    clock_skew_ms: sidecar.skew_ms,
                    audit: sidecar.audit.clone(),
                });
            }
        }
        drop(registry);
        views.sort_by(|a, b| (&a.service, &a.instance).cmp(&(&b.service, &b.instance)));
        views
    }

    /// What can be refused before the database is asked for a number.
    pub(super) fn check_room(&self, subscribe: &Subscribe) -> Result<(), AdmitError> {
        let mut registry = self.registry();
        self.check(&mut registry, subscribe)
    }

    fn check(&self, registry: &mut Registry, subscribe: &Subscribe) -> Result<(), AdmitError> {
        let known = registry.get(&subscribe.service, &subscribe.instance).cloned();
        let holder = registry.lineages.get(&subscribe.lineage);
        if holder.is_some_and(|holder| known.as_ref().is_none_or(|known| !Arc::ptr_eq(holder, known))) {
            return Err(AdmitError::LineageInUse);
        }
        let replaces = known.as_ref().is_some_and(|known| known.lock().live.is_some());
        if !replaces && self.connected() >= self.limits.sessions_max {
            return Err(AdmitError::Full);
        }
        if known.is_some() || registry.len() < self.limits.sidecars_max {
            return Ok(());
        }
        self.forget_gone(registry);
        if registry.len() < self.limits.sidecars_max { Ok(()) } else { Err(AdmitError::Full) }
    }

    fn forget_gone(&self, registry: &mut Registry) {
        let now = self.clock.now();
        let Registry { services, replicas, .. } = registry;
        for cells in services.values_mut() {
            cells.retain(|_, cell| self.counts_at(&cell.lock(), now, replicas));
        }
        services.retain(|_, cells| !cells.is_empty());
    }

    /// Whether it may be acting: connected, or its last heartbeat is not yet too old.
    fn counts_at(&self, sidecar: &Sidecar, now: Moment, replicas: &Replicas) -> bool {
        let fresh = sidecar.fresh(now, replicas, self.limits.persist_every);
        sidecar.is_connected(now, replicas) || now.boot < fresh.boot.plus(self.staleness_max())
    }

    /// Begins the stream that the database gave the number `generation`. An older one of the same instance ends: its
    /// commands come from nowhere any more.
    pub(super) fn begin(
        self: &Arc<Self>,
        subscribe: &Subscribe,
        replica: &str,
        generation: u64,
    ) -> Result<(Stream, mpsc::Receiver<Command>), AdmitError> {
        let now = self.clock.now();
        let mut registry = self.registry();
        self.check(&mut registry, subscribe)?;
        let cell = match registry.get(&subscribe.service, &subscribe.instance) {
            Some(cell) => Arc::clone(cell),
            None => {
                let cell = Cell::new(subscribe.service.clone(), subscribe.instance.clone(), Sidecar::new(now));
                let cell = Arc::new(cell);
                registry.add(Arc::clone(&cell));
                cell
            }
        };
        if cell.lock().generation >= generation {
            return Err(AdmitError::Outdated);
        }
        self.unlive(&mut registry, &cell);
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
        cell.lock().begin(subscribe, Live { generation, commands }, replica, now);
        registry.lineages.insert(subscribe.lineage.clone(), Arc::clone(&cell));
        self.connected.fetch_add(1, Ordering::AcqRel);
        drop(registry);
        self.tell(&cell);
        let holder = ShareHolder {
            service: subscribe.service.clone(),
            instance: subscribe.instance.clone(),
            lineage: subscribe.lineage.clone(),
            generation,
        };
        Ok((Stream { holder, cell, hub: Arc::clone(self) }, receiver))
    }

    /// Ends the live stream of a sidecar, if there is one.
    fn unlive(&self, registry: &mut Registry, cell: &Arc<Cell>) {
        let mut sidecar = cell.lock();
        if sidecar.live.take().is_some() {
            self.connected.fetch_sub(1, Ordering::AcqRel);
            registry.lineages.remove(&sidecar.lineage);
        }
    }

    fn end(&self, cell: &Arc<Cell>, generation: u64) {
        let mut registry = self.registry();
        if cell.lock().is_live(generation) {
            self.unlive(&mut registry, cell);
            drop(registry);
            self.tell(cell);
        }
    }

    pub(super) fn is_live(&self, stream: &Stream) -> bool {
        stream.cell.lock().is_live(stream.holder.generation)
    }

    /// The commands of the live stream of a lineage.
    pub(super) fn commands_of(&self, lineage: &str, generation: u64) -> Option<mpsc::Sender<Command>> {
        let cell = self.registry().lineages.get(lineage).cloned()?;
        let sidecar = cell.lock();
        let live = sidecar.live.as_ref().filter(|live| live.generation == generation)?;
        Some(live.commands.clone())
    }

    /// There is news of a sidecar, for who waits here and for the other replicas.
    fn tell(&self, cell: &Arc<Cell>) {
        let queued = std::mem::replace(&mut cell.lock().queued, true);
        if !queued {
            self.news().push(Arc::clone(cell));
            self.news_came.notify_one();
        }
        self.wake();
    }

    fn wake(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// A panic elsewhere leaves no half-made entry.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, Vec<Arc<Cell>>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
