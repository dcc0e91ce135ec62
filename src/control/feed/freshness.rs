//! When the newest revision was last read from the database, and what it was: one reader for the whole process.
//!
//! It must never call a reading newer than the moment before it began: heartbeats carry it, and a revocation must not
//! be able to hide behind a replica that has lost its database. Nor, among several replicas, newer than this one's last
//! report allows: the others rest on it when they say by when its sidecars stop.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::hub::Hub;
use super::source::FeedStore;
use crate::domain::{Moment, WallTime};
use crate::store::Store;

/// One reading of the newest revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) revision: u64,
    /// Taken before the read began.
    pub(super) began: Moment,
}

impl Reading {
    /// `as_of` by the wall clock of `now`. The age is taken from the boot clock, so that a step of the wall clock
    /// between reading and telling makes nothing look fresher; it is rounded up to whole milliseconds.
    pub(super) fn as_of(&self, now: Moment) -> WallTime {
        let age = now.boot.since(self.began.boot);
        now.wall.minus(age + std::time::Duration::from_nanos(999_999))
    }
}

/// Reads until dropped. Receivers are woken by a new revision, and always find the latest reading; before the first
/// successful one there is none.
pub(super) async fn keep_reading<S: FeedStore>(store: Arc<S>, hub: Arc<Hub>, readings: watch::Sender<Option<Reading>>) {
    let mut commits = store.subscribe();
    loop {
        let next = Instant::now() + hub.limits().poll_every;
        let began = hub.clock().now();
        match timeout(hub.limits().read_wait_max, store.newest_revision()).await {
            Ok(Ok(revision)) => {
                let reading = Reading { revision, began: capped(began, hub.last_report()) };
                hub.note_reading(reading);
                publish(&readings, reading);
            }
            Ok(Err(error)) => tracing::warn!(%error, "the newest revision could not be read"),
            Err(_) => tracing::warn!("the newest revision could not be read in time"),
        }
        tokio::select! {
            () = sleep_until(next) => {}
            Ok(()) = commits.changed() => {}
        }
    }
}

/// `began`, but no later than a replica that last reported at `reported` may call itself fresh.
fn capped(began: Moment, reported: Option<Moment>) -> Moment {
    let Some(reported) = reported else { return began };
    let latest =
        Moment { boot: reported.boot.plus(Store::REPLICA_SILENT), wall: reported.wall.plus(Store::REPLICA_SILENT) };
    if began.boot <= latest.boot { began } else { latest }
}

fn publish(readings: &watch::Sender<Option<Reading>>, new: Reading) {
    readings.send_if_modified(|held| {
        let changed = held.is_none_or(|old| old.revision != new.revision);
        *held = Some(new);
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BootTime;
    use std::time::Duration;

    fn at(boot_ms: u64, wall_ms: i64) -> Moment {
        Moment { boot: BootTime::from_duration(Duration::from_millis(boot_ms)), wall: WallTime::from_unix_ms(wall_ms) }
    }

    #[test]
    fn a_replica_that_cannot_report_grows_old_even_if_it_can_read() {
        let (reported, later) = (at(1_000, 50_000), at(9_000, 58_000));
        assert_eq!(capped(at(5_000, 54_000), Some(reported)), at(5_000, 54_000));
        assert_eq!(capped(later, Some(reported)), at(6_000, 55_000), "five seconds after its last report");
        assert_eq!(capped(later, None), later, "alone it reports to nobody");
    }

    #[test]
    fn the_age_of_a_reading_ignores_steps_of_the_wall_clock() {
        let reading = Reading { revision: 7, began: at(1_000, 50_000) };
        assert_eq!(reading.as_of(at(1_400, 50_400)), WallTime::from_unix_ms(50_000));
        assert_eq!(reading.as_of(at(1_400, 90_400)), WallTime::from_unix_ms(90_000), "stepped by 40 s meanwhile");
    }
}
