//! `[api.limits]`: how many requests a caller has in a minute.

use super::reader::Section;

/// Counts a minute, each of which may also come at once. Replicas count for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLimits {
    /// Per principal: GET and HEAD.
    pub reads_per_minute_max: u32,
    /// Per principal: what changes something that is there.
    pub writes_per_minute_max: u32,
    /// Per principal: what makes something new.
    pub creates_per_minute_max: u32,
    /// Per address, of whoever is not known yet.
    pub failed_authentications_per_minute_max: u32,
}

const RANGE: std::ops::RangeInclusive<u64> = 1..=1_000_000;

impl ApiLimits {
    pub const DEFAULT: Self = Self {
        reads_per_minute_max: 600,
        writes_per_minute_max: 120,
        creates_per_minute_max: 60,
        failed_authentications_per_minute_max: 60,
    };
}

/// Absent keys, and an absent table, have their defaults.
pub(super) fn read_limits(section: Option<&Section<'_>>) -> ApiLimits {
    let default = ApiLimits::DEFAULT;
    let Some(section) = section else { return default };
    let read = |key, default: u32| u32::try_from(section.integer(key, RANGE, default.into())).unwrap_or(default);
    ApiLimits {
        reads_per_minute_max: read("reads_per_minute_max", default.reads_per_minute_max),
        writes_per_minute_max: read("writes_per_minute_max", default.writes_per_minute_max),
        creates_per_minute_max: read("creates_per_minute_max", default.creates_per_minute_max),
        failed_authentications_per_minute_max: read(
            "failed_authentications_per_minute_max",
            default.failed_authentications_per_minute_max,
        ),
    }
}
