//! What the replicas tell each other of their sidecars, and one process the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sidecar::{Cell, Sidecar};
use super::{Hub, Registry};
use crate::control::feed::source::FeedStore;
use crate::domain::Moment;
use crate::store::contract::{Hearsay, SidecarSeen, StoreError};

impl Hub {
    /// Takes up the sidecars that are written down, unless they have been heard of since.
    pub async fn restore<S: FeedStore>(&self, store: &S) -> Result<(), StoreError> {
        let seen = store.sidecars().await?;
        let now = self.clock().now();
        let mut registry = self.registry();
        for one in seen {
            if registry.get(&one.service, &one.instance).is_none() {
                let (service, instance) = (one.service.clone(), one.instance.clone());
                registry.add(Arc::new(Cell::new(service, instance, Sidecar::restored(one, now))));
            }
        }
        Ok(())
    }

    /// Returns once there is news to report.
    pub(in crate::control::feed) async fn news_came(&self) {
        self.news_came.notified().await;
    }

    /// What others are to hear of at once, and with `all` whatever has not been written down; by this replica, `own`.
    pub(in crate::control::feed) fn take_report(&self, own: &str, all: bool) -> Vec<SidecarSeen> {
        let mut cells = std::mem::take(&mut *self.news());
        if all {
            let registry = self.registry();
            let waits = |cell: &&Arc<Cell>| {
                let sidecar = cell.lock();
                sidecar.unsaved && !sidecar.queued
            };
            cells.extend(registry.cells().filter(waits).cloned());
        }
        let told = cells.into_iter().filter(|cell| {
            let mut sidecar = cell.lock();
            (sidecar.queued, sidecar.unsaved) = (false, false);
            // A sidecar that has gone to another replica is that one's to report.
            sidecar.replica == own
        });
        told.map(|cell| cell.seen()).collect()
    }

    /// The report could not be written: its sidecars belong into the next one.
    pub(in crate::control::feed) fn not_reported(&self, sidecars: &[SidecarSeen]) {
        let registry = self.registry();
        for seen in sidecars {
            if let Some(cell) = registry.get(&seen.service, &seen.instance)
                && !std::mem::replace(&mut cell.lock().queued, true)
            {
                self.news().push(Arc::clone(cell));
            }
        }
    }

    /// The report that was begun at `began` stands.
    pub(in crate::control::feed) fn reported(&self, began: Moment) {
        self.reported.send_replace(Some(began));
    }

    /// When the report that stands was begun; `None` where there are no others to read it.
    pub(in crate::control::feed) fn last_report(&self) -> Option<Moment> {
        *self.reported.borrow()
    }

    /// The last report of each replica that was taken in.
    pub(in crate::control::feed) fn reports_read(&self) -> BTreeMap<String, u64> {
        self.registry().replicas.read()
    }

    /// Takes in what other replicas reported, and ends streams here that have gone on elsewhere.
    pub(in crate::control::feed) fn take_in(&self, hearsay: Hearsay) {
        let now = self.clock().now();
        let news = !hearsay.sidecars.is_empty();
        let mut registry = self.registry();
        registry.replicas.take_in(&hearsay.replicas, now);
        for seen in hearsay.sidecars {
            self.take_in_one(&mut registry, seen, now);
        }
        drop(registry);
        if news {
            self.wake();
        }
    }

    fn take_in_one(&self, registry: &mut Registry, seen: SidecarSeen, now: Moment) {
        let holder = registry.lineages.get(&seen.lineage).cloned();
        if let Some(holder) = holder.filter(|holder| holder.lock().generation < seen.generation) {
            self.unlive(registry, &holder);
        }
        let Some(cell) = registry.get(&seen.service, &seen.instance).cloned() else {
            let (service, instance) = (seen.service.clone(), seen.instance.clone());
            let mut sidecar = Sidecar::new(now);
            sidecar.known_since = seen.heard.min(now.wall);
            sidecar.unsaved = false;
            sidecar.take_over(seen, now);
            registry.add(Arc::new(Cell::new(service, instance, sidecar)));
            return;
        };
        let known = cell.lock().generation;
        if known < seen.generation {
            self.unlive(registry, &cell);
        }
        let mut sidecar = cell.lock();
        // What is live here is known here, and an older stream is over.
        if known <= seen.generation && sidecar.live.is_none() {
            sidecar.take_over(seen, now);
        }
    }
}
