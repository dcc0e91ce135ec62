//! How far a revocation has arrived at the sidecars: told live, and written down once it is over.
//!
//! What is not known is said to be unknown. It must never: take a sidecar for one that has answered because this process
//! has not heard of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::api::ApiState;
use super::feed::Hub;
use super::metrics::ControlMetrics;
use crate::clock::Clock;
use crate::domain::{InstanceName, RevocationId, ServiceName, WallTime};
use crate::error_chain::error_chain;
use crate::store::{Reach, RevocationRecord, Settled, SidecarSeen, Store, StoreError};
use crate::wire::api::Enforcement;
use crate::wire::revocations::{RecordedEnforcement, RevocationEnforcement, ServiceEnforcement};

/// How often it is looked whether an answer is still awaited. The times are those of the answers, not of the look.
const EVERY: Duration = Duration::from_secs(1);
/// Acknowledgements that come within this time are looked at together: with thousands of sidecars each look is long.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Without any news it is looked again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Revocations looked at each time, the oldest first.
const LOOKED_AT_MAX: u32 = 100;

/// Where `record` stands at this moment.
pub fn enforcement(hub: &Hub, record: &RevocationRecord) -> RevocationEnforcement {
    let mut stands = reached(hub, &record.reach, record.at);
    stands.settled &= !record.open;
    stands.recorded = record.settled.map(|(at, settled)| RecordedEnforcement {
        at,
        enforced: settled.enforced,
        stopped: settled.stopped,
        rejected: settled.rejected,
        elapsed_ms: settled.elapsed_ms,
    });
    stands
}

/// Where the changes of `reach`, ordered at `at`, stand at this moment. The one place that asks the hub.
pub fn reached(hub: &Hub, reach: &[Reach], at: WallTime) -> RevocationEnforcement {
    let mut services = Vec::new();
    for (service, revision) in each_service(hub, reach) {
        let enforcement = hub.enforcement(&service, revision, at);
        services.push(ServiceEnforcement { service, enforcement });
    }
    let all = || services.iter().map(|service| &service.enforcement);
    let refused: usize = all().map(|one| one.rejected.len()).sum();
    let enforced = all().map(|one| one.enforced).sum();
    RevocationEnforcement {
        settled: all().all(|one| one.silent.is_empty()),
        sidecars: all().map(|one| one.sidecars).sum(),
        enforced,
        answered: u32::try_from(refused).unwrap_or(u32::MAX).saturating_add(enforced),
        elapsed_ms: last(all()),
        services,
        recorded: None,
    }
}

/// A reach without a service is one of every service that has sidecars.
fn each_service(hub: &Hub, reach: &[Reach]) -> BTreeMap<ServiceName, u64> {
    let mut services = BTreeMap::new();
    for Reach { service, revision } in reach {
        match service {
            Some(service) => drop(services.insert(service.clone(), *revision)),
            None => services.extend(hub.sidecars(|_| None).into_iter().map(|sidecar| (sidecar.service, *revision))),
        }
    }
    services
}

/// The time of the last acknowledgement of all; `None` as soon as one of them is not known.
fn last<'a>(services: impl Iterator<Item = &'a Enforcement>) -> Option<u64> {
    let times = services.filter(|one| one.sidecars > 0).map(|one| one.elapsed_ms);
    times.reduce(|last, one| last.zip(one).map(|(last, one)| last.max(one))).flatten()
}

/// As [`reached`], once no answer is awaited, or as many have answered as are not `after`; after `wait_max` whatever
/// stands then.
pub async fn wait_reached(
    hub: &Hub,
    (reach, at): (&[Reach], WallTime),
    after: Option<u32>,
    wait_max: Duration,
) -> RevocationEnforcement {
    let (mut changes, deadline) = (hub.watch(), Instant::now() + wait_max);
    loop {
        changes.borrow_and_update();
        let stands = reached(hub, reach, at);
        if stands.settled || after.is_some_and(|after| after != stands.answered) {
            return stands;
        }
        // That a silent one has stopped by itself is no change that anybody would tell.
        match timeout_at(deadline.min(Instant::now() + LOOK_AGAIN), changes.changed()).await {
            Ok(Ok(())) => sleep(LOOK_EVERY).await,
            Err(_) if Instant::now() < deadline => {}
            Ok(Err(_)) | Err(_) => return reached(hub, reach, at),
        }
    }
}

/// Writes down how revocations ended at the sidecars, each once over all replicas.
pub(super) struct Arrivals {
    hub: std::sync::Arc<Hub>,
    store: Store,
    clock: Clock,
    metrics: std::sync::Arc<ControlMetrics>,
    /// Sidecars that were silent at some time, by revocation. Lost with the process: then they are not counted.
    silent: BTreeMap<RevocationId, BTreeSet<(ServiceName, InstanceName)>>,
}

impl Arrivals {
    pub(super) fn new(state: &ApiState) -> Self {
        let workflow = &state.workflow;
        Self {
            hub: std::sync::Arc::clone(&state.hub),
            store: workflow.store.clone(),
            clock: workflow.clock.clone(),
            metrics: std::sync::Arc::clone(&workflow.metrics),
            silent: BTreeMap::new(),
        }
    }

    /// Runs until `stop` turns true.
    pub(super) async fn keep(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.settle_all().await {
                tracing::error!(error = %error_chain(&error), "the arrival of revocations could not be written down");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn settle_all(&mut self) -> Result<(), StoreError> {
        let unsettled = self.store.unsettled(LOOKED_AT_MAX).await?;
        self.silent.retain(|id, _| unsettled.iter().any(|record| record.id == *id));
        if unsettled.is_empty() {
            self.metrics.revocations_awaited.set(0);
            return Ok(());
        }
        let (seen, mut awaited) = (self.store.sidecars().await?, 0);
        for record in unsettled {
            match self.look(&record, &seen) {
                Some(settled) if self.store.settle(&record.id, settled).await? => self.tell(&record, settled),
                Some(_) => {}
                None => awaited += 1,
            }
        }
        self.metrics.revocations_awaited.set(awaited);
        Ok(())
    }

    /// How it ended, if no answer is awaited any more.
    fn look(&mut self, record: &RevocationRecord, seen: &[SidecarSeen]) -> Option<Settled> {
        let stands = reached(&self.hub, &record.reach, record.at);
        let silent = self.silent.entry(record.id.clone()).or_default();
        for ServiceEnforcement { service, enforcement } in &stands.services {
            silent.extend(enforcement.silent.iter().map(|one| (service.clone(), one.instance.clone())));
        }
        if !stands.settled {
            return None;
        }
        let elsewhere = self.elsewhere(record, seen)?;
        let stopped = self.stopped(record);
        Some(Settled {
            enforced: stands.enforced.saturating_add(elsewhere),
            stopped,
            rejected: stands.answered.saturating_sub(stands.enforced),
            elapsed_ms: stands.elapsed_ms.filter(|_| elsewhere == 0),
        })
    }

    /// Sidecars that another replica heard of lately and this one does not know: how many have acknowledged, or `None`
    /// while one has not. When they did is not known here.
    fn elsewhere(&self, record: &RevocationRecord, seen: &[SidecarSeen]) -> Option<u32> {
        let (now, limits) = (self.clock.wall(), self.hub.limits());
        let may_act = self.hub.staleness_max() + limits.persist_every;
        let known: BTreeSet<_> =
            self.hub.sidecars(|_| None).into_iter().map(|sidecar| (sidecar.service, sidecar.instance)).collect();
        let mut acknowledged = 0_u32;
        for one in seen {
            let is_known = known.contains(&(one.service.clone(), one.instance.clone()));
            let Some(revision) = wanted(record, &one.service).filter(|_| !is_known) else { continue };
            if one.revision >= revision {
                acknowledged += 1;
            } else if one.heard.plus(may_act) > now {
                return None;
            }
        }
        Some(acknowledged)
    }

    /// Those that were silent and have not acknowledged it since.
    fn stopped(&self, record: &RevocationRecord) -> u32 {
        let Some(silent) = self.silent.get(&record.id) else { return 0 };
        let answered = self.hub.sidecars(|_| None).into_iter().filter(|sidecar| {
            silent.contains(&(sidecar.service.clone(), sidecar.instance.clone()))
                && wanted(record, &sidecar.service).is_some_and(|revision| sidecar.revision >= revision)
        });
        u32::try_from(silent.len().saturating_sub(answered.count())).unwrap_or(u32::MAX)
    }

    fn tell(&self, record: &RevocationRecord, settled: Settled) {
        self.metrics.sidecars_stopped.inc_by(settled.stopped.into());
        if let Some(ms) = settled.elapsed_ms {
            self.metrics.revocation_seconds.observe(Duration::from_millis(ms).as_secs_f64());
        }
        let (Settled { enforced, stopped, rejected, elapsed_ms }, of) = (settled, record.selector.kind());
        tracing::info!(revocation = %record.id, of, enforced, stopped, rejected, elapsed_ms, "a revocation has arrived");
    }
}

/// The revision that a service's sidecars must have acknowledged, if it concerns them.
fn wanted(record: &RevocationRecord, service: &ServiceName) -> Option<u64> {
    let concerns = |reach: &&Reach| reach.service.as_ref().is_none_or(|name| name == service);
    record.reach.iter().filter(concerns).map(|reach| reach.revision).max()
}
