//! What the sidecar knows of the world beyond its table: how fresh the feed is, what time the control plane's clock
//! shows, whether overrides are frozen. Written by the feed's task, read by every request; atomics only.
//!
//! INVARIANT: every value errs to the side that ends or refuses earlier.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::decision::{Feed, Freeze};
use crate::domain::{BootTime, WallTime};

/// See the module.
#[derive(Debug)]
pub struct Standing {
    synced: AtomicBool,
    unsettled: AtomicBool,
    frozen: AtomicBool,
    /// By an operator: over the admin port, or by a file. Either suffices.
    frozen_by_hand: AtomicBool,
    frozen_by_file: AtomicBool,
    connected: AtomicBool,
    /// Boot time, in milliseconds, at which the table equalled the control plane's.
    as_of_boot_ms: AtomicU64,
    /// Boot time minus the control plane's wall time, in milliseconds; `i64::MIN` while unknown.
    offset_ms: AtomicI64,
    /// Local wall time minus the control plane's, in milliseconds, at the last heartbeat.
    skew_ms: AtomicI64,
    revision: AtomicU64,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            synced: AtomicBool::new(false),
            unsettled: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            frozen_by_hand: AtomicBool::new(false),
            frozen_by_file: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            as_of_boot_ms: AtomicU64::new(0),
            offset_ms: AtomicI64::new(i64::MIN),
            skew_ms: AtomicI64::new(0),
            revision: AtomicU64::new(0),
        }
    }
}

/// One heartbeat, with the boot time at which the ping it answers was sent.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    pub ping_sent: BootTime,
    pub server_time: WallTime,
    pub as_of: WallTime,
    /// This machine's wall clock when the heartbeat arrived.
    pub local_wall: WallTime,
}

impl Standing {
    /// Takes a heartbeat in. The answer was stamped after the ping was sent, so everything derived is early, not late.
    pub fn note(&self, beat: Beat) {
        let sent_ms = boot_ms(beat.ping_sent);
        let age = beat.server_time.since(beat.as_of);
        let as_of_ms = u64::try_from(boot_ms(beat.ping_sent.minus(age))).unwrap_or(0);
        self.offset_ms.store(sent_ms.saturating_sub(beat.server_time.unix_ms()), Ordering::Release);
        self.as_of_boot_ms.fetch_max(as_of_ms, Ordering::AcqRel);
        self.skew_ms.store(beat.local_wall.unix_ms().saturating_sub(beat.server_time.unix_ms()), Ordering::Release);
        self.unsettled.store(false, Ordering::Release);
    }

    /// The boot time at which the control plane's clock will show `wall`; `None` before the first heartbeat.
    pub fn boot_time_of(&self, wall: WallTime) -> Option<BootTime> {
        let offset = Some(self.offset_ms.load(Ordering::Acquire)).filter(|offset| *offset != i64::MIN)?;
        let ms = u64::try_from(wall.unix_ms().saturating_add(offset)).unwrap_or(0);
        Some(BootTime::from_duration(Duration::from_millis(ms)))
    }

    /// How current the table is, as a fact for the decision.
    pub fn feed(&self) -> Feed {
        if !self.synced.load(Ordering::Acquire) || self.offset_ms.load(Ordering::Acquire) == i64::MIN {
            Feed::NeverSynced
        } else if self.unsettled.load(Ordering::Acquire) {
            Feed::ClockUnsettled
        } else {
            Feed::AsOf(self.as_of())
        }
    }

    pub fn as_of(&self) -> BootTime {
        BootTime::from_duration(Duration::from_millis(self.as_of_boot_ms.load(Ordering::Acquire)))
    }

    pub fn freeze(&self) -> Freeze {
        if self.frozen_by_hand.load(Ordering::Acquire) || self.frozen_by_file.load(Ordering::Acquire) {
            Freeze::Local
        } else if self.frozen.load(Ordering::Acquire) {
            Freeze::ByControlPlane
        } else {
            Freeze::None
        }
    }

    pub fn set_synced(&self, synced: bool) {
        self.synced.store(synced, Ordering::Release);
    }

    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Release);
    }

    pub fn set_frozen_by_hand(&self, frozen: bool) {
        self.frozen_by_hand.store(frozen, Ordering::Release);
    }

    pub fn set_frozen_by_file(&self, frozen: bool) {
        self.frozen_by_file.store(frozen, Ordering::Release);
    }

    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// The clock jumped: nothing is overridden until the next heartbeat.
    pub fn unsettle(&self) {
        self.unsettled.store(true, Ordering::Release);
    }

    pub fn set_revision(&self, revision: u64) {
        self.revision.store(revision, Ordering::Release);
    }

    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Local wall time minus the control plane's, in milliseconds.
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Acquire)
    }
}

fn boot_ms(time: BootTime) -> i64 {
    i64::try_from(time.as_duration().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(s: u64) -> BootTime {
        BootTime::from_duration(Duration::from_secs(s))
    }

    #[test]
    fn freshness_is_counted_from_what_the_replica_read() {
        let standing = Standing::default();
        assert_eq!(standing.feed(), Feed::NeverSynced);
        standing.set_synced(true);
        assert_eq!(standing.feed(), Feed::NeverSynced, "the server's clock is not known yet");
        let beat = |sent, server, as_of| Beat {
            ping_sent: boot(sent),
            server_time: WallTime::from_unix_s(server),
            as_of: WallTime::from_unix_s(as_of),
            local_wall: WallTime::from_unix_s(server + 2),
        };
        standing.note(beat(100, 5000, 4990));
        assert_eq!(standing.feed(), Feed::AsOf(boot(90)));
        assert_eq!(standing.boot_time_of(WallTime::from_unix_s(5060)), Some(boot(160)));
        assert_eq!(standing.skew_ms(), 2000);
        standing.note(beat(101, 5001, 4980));
        assert_eq!(standing.feed(), Feed::AsOf(boot(90)), "an older reading does not lower it");
    }
}
