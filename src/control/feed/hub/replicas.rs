//! Which other replicas are at work, by this one's own clock.
//!
//! A replica may call itself fresh only as long as it has reported within [`Store::REPLICA_SILENT`]. So whoever has seen no
//! new report knows how fresh that replica's sidecars can be at most, however the clocks of the two differ.

use std::collections::BTreeMap;

use crate::domain::Moment;
use crate::store::Store;
use crate::store::contract::ReplicaSeen;

#[derive(Debug, Default)]
pub(super) struct Replicas(BTreeMap<String, Presence>);

#[derive(Debug)]
struct Presence {
    /// The report that was read last.
    batch: u64,
    /// When a new report was last found.
    seen: Moment,
}

impl Replicas {
    /// Takes in what was read; those that are no longer there are forgotten.
    pub(super) fn take_in(&mut self, replicas: &[ReplicaSeen], now: Moment) {
        self.0.retain(|id, _| replicas.iter().any(|replica| replica.id == *id));
        for replica in replicas {
            match self.0.get_mut(&replica.id) {
                Some(known) if known.batch >= replica.batch => {}
                Some(known) => *known = Presence { batch: replica.batch, seen: now },
                None => {
                    let seen = first_seen(replica, now);
                    self.0.insert(replica.id.clone(), Presence { batch: replica.batch, seen });
                }
            }
        }
    }

    /// The number of the last report that was read of each.
    pub(super) fn read(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(id, presence)| (id.clone(), presence.batch)).collect()
    }

    pub(super) fn is_present(&self, id: &str, now: Moment) -> bool {
        self.0.get(id).is_some_and(|presence| now.boot.since(presence.seen.boot) < Store::REPLICA_SILENT)
    }

    pub(super) fn present(&self, now: Moment) -> usize {
        self.0.keys().filter(|id| self.is_present(id, now)).count()
    }

    /// What its sidecars' newest heartbeats can speak of at most; `None` when nothing is known of it.
    pub(super) fn fresh(&self, id: &str, now: Moment) -> Option<Moment> {
        let presence = self.0.get(id)?;
        if self.is_present(id, now) {
            return Some(now);
        }
        let seen = presence.seen;
        Some(Moment { boot: seen.boot.plus(Store::REPLICA_SILENT), wall: seen.wall.plus(Store::REPLICA_SILENT) })
    }
}

/// Of a replica not known before there is only its own word on when it last reported.
fn first_seen(replica: &ReplicaSeen, now: Moment) -> Moment {
    let alive = replica.alive.min(now.wall);
    Moment { wall: alive, boot: now.boot.minus(now.wall.since(alive)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BootTime, WallTime};
    use std::time::Duration;

    fn at(s: u64) -> Moment {
        let boot = BootTime::from_duration(Duration::from_secs(1_000 + s));
        Moment { boot, wall: WallTime::EPOCH.plus(Duration::from_secs(1_000 + s)) }
    }

    fn seen(id: &str, alive: u64, batch: u64) -> ReplicaSeen {
        ReplicaSeen { id: id.into(), alive: at(alive).wall, batch }
    }

    #[test]
    fn a_replica_is_present_while_its_reports_are_new_whatever_its_clock_says() {
        let mut replicas = Replicas::default();
        replicas.take_in(&[seen("b", 0, 1)], at(0));
        assert!(replicas.is_present("b", at(4)) && !replicas.is_present("b", at(5)));
        // Its clock stands an hour behind: the number of its report is what tells.
        replicas.take_in(&[seen("b", 0, 2)], at(6));
        assert_eq!((replicas.fresh("b", at(7)), replicas.present(at(7))), (Some(at(7)), 1));
        replicas.take_in(&[seen("b", 0, 2)], at(20));
        assert_eq!(replicas.fresh("b", at(20)), Some(at(11)), "five seconds after its last report");
        replicas.take_in(&[], at(21));
        assert_eq!(replicas.fresh("b", at(21)), None);
    }

    #[test]
    fn one_that_was_dead_before_we_began_is_not_present() {
        let mut replicas = Replicas::default();
        replicas.take_in(&[seen("b", 0, 9)], at(60));
        assert!(!replicas.is_present("b", at(60)));
        assert_eq!(replicas.fresh("b", at(60)), Some(at(5)));
    }
}
