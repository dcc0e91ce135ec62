//! Two clocks, kept apart by type: the wall clock that documents speak, and boot time that deadlines hold by.
//!
//! INVARIANT: wall-clock time may only shorten a deadline, never extend it (P2). Boot time counts through suspend
//! (CLOCK_BOOTTIME, clock_gettime(2)) and never steps.

use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema), schema(example = 1_795_313_580_123_i64))]
#[serde(transparent)]
pub struct WallTime(i64);

impl WallTime {
    pub const EPOCH: Self = Self(0);

    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn from_unix_s(s: i64) -> Self {
        Self(s.saturating_mul(1000))
    }

    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down: the NumericDate of RFC 7519 §2.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-11-22T02:13:00.000Z` (RFC 3339, always UTC, always milliseconds).
    pub fn rfc3339(self) -> String {
        let (days, ms_of_day) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (h, m, s, ms) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1000 % 60, ms_of_day % 1000);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// Days since 1970-01-01 to (year, month, day) in the proleptic Gregorian calendar
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Time since boot, counting suspend. Comparable only on one machine, within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(Duration);

impl BootTime {
    pub const ZERO: Self = Self(Duration::ZERO);

    pub const fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    pub const fn as_duration(self) -> Duration {
        self.0
    }

    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }

    /// How long from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub boot: BootTime,
    pub wall: WallTime,
}

/// The end of something, on both clocks; whichever comes first ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub boot: BootTime,
    pub wall: WallTime,
}

impl Deadline {
    /// The deadline of something that expires at `expires` by a server's clock: `server_time` is what that server
    /// said in its answer to a ping sent at `ping_sent`. Since the answer was stamped after the ping was sent, the
    /// result is never later than the true end.
    pub fn from_ping(expires: WallTime, ping_sent: BootTime, server_time: WallTime) -> Self {
        Self { boot: ping_sent.plus(expires.since(server_time)), wall: expires }
    }

    /// INVARIANT: once true, true for every later moment of the boot clock.
    pub fn has_passed(&self, now: Moment) -> bool {
        now.boot >= self.boot || now.wall >= self.wall
    }

    /// What is left, by the clock that ends it first; zero once passed.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.boot.since(now.boot).min(self.wall.since(now.wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_of_known_instants() {
        assert_eq!(WallTime::EPOCH.rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(WallTime::from_unix_ms(1_795_313_580_123).rfc3339(), "2026-11-22T02:13:00.123Z");
        assert_eq!(WallTime::from_unix_ms(-1).rfc3339(), "1969-12-31T23:59:59.999Z");
        assert_eq!(WallTime::from_unix_s(951_782_400).rfc3339(), "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn the_wall_clock_only_shortens() {
        let deadline = Deadline::from_ping(WallTime::from_unix_s(160), BootTime::ZERO, WallTime::from_unix_s(100));
        let at = |boot, wall| Moment {
            boot: BootTime::ZERO.plus(Duration::from_secs(boot)),
            wall: WallTime::from_unix_s(wall),
        };
        assert!(!deadline.has_passed(at(59, 159)));
        assert!(deadline.has_passed(at(1, 160)), "a wall clock set forward ends it early");
        assert!(deadline.has_passed(at(60, 0)), "a wall clock set back does not extend it");
        assert_eq!(deadline.remaining(at(59, 100)), Duration::from_secs(1));
    }
}
