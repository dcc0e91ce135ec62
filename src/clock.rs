//! The only place that reads a clock.
//!
//! Boot time is CLOCK_BOOTTIME where there is one (it counts through suspend; `std::time::Instant` does not on Linux).
//! Tests inject a [`ManualClock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::{BootTime, Moment, WallTime};

/// A source of both times. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Clock {
    System,
    Manual(Arc<ManualClock>),
}

impl Clock {
    pub fn now(&self) -> Moment {
        match self {
            Self::System => Moment { boot: system_boot_time(), wall: system_wall_time() },
            Self::Manual(clock) => clock.now(),
        }
    }

    pub fn boot(&self) -> BootTime {
        match self {
            Self::System => system_boot_time(),
            Self::Manual(clock) => clock.now().boot,
        }
    }

    pub fn wall(&self) -> WallTime {
        match self {
            Self::System => system_wall_time(),
            Self::Manual(clock) => clock.now().wall,
        }
    }
}

/// A clock that moves only when told to, each time apart from the other.
#[derive(Debug)]
pub struct ManualClock {
    boot_ms: AtomicU64,
    wall_ms: std::sync::atomic::AtomicI64,
}

impl ManualClock {
    pub fn starting_at(moment: Moment) -> Arc<Self> {
        let boot_ms = u64::try_from(moment.boot.as_duration().as_millis()).unwrap_or(u64::MAX);
        Arc::new(Self { boot_ms: AtomicU64::new(boot_ms), wall_ms: moment.wall.unix_ms().into() })
    }

    pub fn now(&self) -> Moment {
        Moment {
            boot: BootTime::from_duration(Duration::from_millis(self.boot_ms.load(Ordering::SeqCst))),
            wall: WallTime::from_unix_ms(self.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, span: Duration) {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
        self.step_wall(i64::try_from(ms).unwrap_or(i64::MAX));
    }

    /// Moves the wall clock alone, either way.
    pub fn step_wall(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn system_wall_time() -> WallTime {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(all(target_os = "linux", any(feature = "sidecar", feature = "control")))]
fn system_boot_time() -> BootTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    BootTime::from_duration(Duration::new(seconds, nanos))
}

/// Where there is no CLOCK_BOOTTIME (a laptop's command line): time since the first reading.
#[cfg(not(all(target_os = "linux", any(feature = "sidecar", feature = "control"))))]
fn system_boot_time() -> BootTime {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BootTime::from_duration(FIRST.get_or_init(std::time::Instant::now).elapsed())
}
