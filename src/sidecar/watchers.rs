//! What is watched beside the requests: the clocks, and the file by which an operator freezes overrides.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::domain::Moment;
use crate::drain::Drain;

const CLOCK_LOOK: Duration = Duration::from_millis(500);
const FREEZE_LOOK: Duration = Duration::from_millis(500);
/// The wall clock may move this much against boot time between two looks; NTP slews far less.
const DISCONTINUITY_MS: i64 = 1_000;

/// Notices when the wall clock jumps against boot time. Deadlines do not depend on it; freshness waits for the next
/// heartbeat all the same, since a jump can mean a machine restored from a snapshot.
pub async fn watch_clocks(shared: Arc<Shared>, drain: Drain) {
    let mut last = offset_ms(shared.clock.now());
    loop {
        tokio::select! {
            () = tokio::time::sleep(CLOCK_LOOK) => {}
            () = drain.begun() => return,
        }
        let now = offset_ms(shared.clock.now());
        if (now - last).abs() > DISCONTINUITY_MS {
            tracing::warn!(by_ms = now - last, "the wall clock jumped; overrides wait for the next heartbeat");
            shared.occurrences.count_clock_jump();
            shared.standing.unsettle();
        }
        last = now;
    }
}

/// Wall time minus boot time.
fn offset_ms(now: Moment) -> i64 {
    let boot = i64::try_from(now.boot.as_duration().as_millis()).unwrap_or(i64::MAX);
    now.wall.unix_ms().saturating_sub(boot)
}

/// While the freeze file exists, no override is allowed here. If it can't be told whether it exists, none is.
pub async fn watch_freeze_file(shared: Arc<Shared>, drain: Drain) {
    let mut frozen = false;
    loop {
        let file = shared.setup().freeze_file.clone();
        let found = match &file {
            Some(file) => tokio::fs::try_exists(file).await.unwrap_or(true),
            None => false,
        };
        if found != frozen {
            frozen = found;
            tracing::warn!(frozen, ?file, "overrides at this sidecar by file");
            shared.standing.set_frozen_by_file(frozen);
        }
        tokio::select! {
            () = tokio::time::sleep(FREEZE_LOOK) => {}
            () = drain.begun() => return,
        }
    }
}
