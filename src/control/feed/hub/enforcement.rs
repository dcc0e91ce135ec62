//! How far a change has arrived (P5): who enforces it, who refused it, and by when the silent stop by themselves.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Hub, Sidecar};
use crate::domain::{InstanceName, Moment, ServiceName, WallTime};
use crate::wire::api::{Enforcement, Rejection, SilentSidecar};

/// Acknowledgements that come within this time are looked at together: with thousands of sidecars each look is long.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Without any news it is looked again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Hub {
    /// Where `revision`, committed at `committed`, stands at this moment.
    pub fn enforcement(&self, service: &ServiceName, revision: u64, committed: WallTime) -> Enforcement {
        let now = self.clock().now();
        let registry = self.registry();
        let mut tally = Tally::new(revision, committed);
        for cell in registry.of_service(service) {
            let sidecar = cell.lock();
            if self.counts_at(&sidecar, now, &registry.replicas) {
                let fresh = sidecar.fresh(now, &registry.replicas, self.limits().persist_every);
                tally.add(&cell.instance, &sidecar, stops_by(fresh, self.staleness_max()));
            }
        }
        tally.result()
    }

    /// As [`Hub::enforcement`], as soon as every sidecar has answered; after `wait_max` whatever stands then.
    pub async fn wait_enforced(
        &self,
        service: &ServiceName,
        revision: u64,
        committed: WallTime,
        wait_max: Duration,
    ) -> Enforcement {
        let mut changes = self.changes.subscribe();
        let answered = async {
            loop {
                changes.borrow_and_update();
                let stands = self.enforcement(service, revision, committed);
                if stands.silent.is_empty() {
                    return stands;
                }
                // That a silent one has stopped by itself is no change that anybody would tell.
                if let Ok(Err(_)) = timeout(LOOK_AGAIN, changes.changed()).await {
                    return stands;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        match timeout(wait_max, answered).await {
            Ok(stands) => stands,
            Err(_) => self.enforcement(service, revision, committed),
        }
    }
}

/// When a sidecar with such a heartbeat stops by itself.
fn stops_by(fresh: Moment, staleness_max: Duration) -> WallTime {
    fresh.wall.plus(staleness_max)
}

struct Tally {
    result: Enforcement,
    committed: WallTime,
    /// The latest acknowledgement; `None` once one of them cannot be timed.
    last: Option<WallTime>,
}

impl Tally {
    fn new(revision: u64, committed: WallTime) -> Self {
        let (silent, rejected) = (Vec::new(), Vec::new());
        let result = Enforcement { revision, sidecars: 0, enforced: 0, elapsed_ms: None, silent, rejected };
        Self { result, committed, last: Some(committed) }
    }

    fn add(&mut self, instance: &InstanceName, sidecar: &Sidecar, stops_by: WallTime) {
        self.result.sidecars += 1;
        if let Some(why) = sidecar.rejection_of(self.result.revision) {
            self.result.rejected.push(Rejection { instance: instance.clone(), why: why.to_owned() });
        } else if sidecar.acked >= self.result.revision {
            self.result.enforced += 1;
            self.time(sidecar);
        } else {
            self.result.silent.push(SilentSidecar { instance: instance.clone(), stops_by });
        }
    }

    /// A sidecar first heard of after the commit began with it: it has nothing to add to the time.
    fn time(&mut self, sidecar: &Sidecar) {
        if sidecar.known_since > self.committed {
            return;
        }
        let at = sidecar.acknowledged_at(self.result.revision);
        self.last = self.last.zip(at).map(|(last, at)| last.max(at));
    }

    fn result(self) -> Enforcement {
        let mut result = self.result;
        let complete = result.silent.is_empty() && result.enforced > 0;
        let elapsed = self.last.filter(|_| complete).map(|last| last.since(self.committed));
        result.elapsed_ms = elapsed.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        result
    }
}
