//! From times as a calendar writes them to instants: RFC 5545 §3.3.5.
//!
//! A zone whose name is not known is no zone: what stands in it is not guessed.

use calcard::common::timezone::Tz;
use calcard::icalendar::timezone::TzResolver;
use calcard::icalendar::{ICalendar, ICalendarEntry, ICalendarValue};
use chrono::{Days, LocalResult, NaiveDateTime, Offset as _, TimeZone as _};

use super::own_zone;
use crate::domain::WallTime;

/// The zones of one calendar.
pub(super) struct Zones<'c> {
    named: TzResolver<&'c str>,
    /// Of whole days and of times without a zone.
    floating: Option<Tz>,
}

/// A time on the wall of some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) naive: NaiveDateTime,
    pub(super) zone: Tz,
    /// It was written as a date: the whole day is meant.
    pub(super) is_day: bool,
}

impl<'c> Zones<'c> {
    /// `told` by the configuration goes before what the calendar says.
    pub(super) fn of(calendar: &'c ICalendar, told: Option<Tz>) -> Self {
        Self { named: calendar.build_tz_resolver(), floating: told.or_else(|| own_zone(calendar)) }
    }

    /// Every time of the entry; `None` when one can't be read for certain. Whole days are `days_of` some zone, where an
    /// event gives them one.
    pub(super) fn times(&self, entry: &ICalendarEntry, days_of: Option<Tz>) -> Option<Vec<Local>> {
        entry.values.iter().map(|value| self.time(entry, value, days_of)).collect()
    }

    /// The one time of the entry.
    pub(super) fn only(&self, entry: &ICalendarEntry, days_of: Option<Tz>) -> Option<Local> {
        match self.times(entry, days_of)?.as_slice() {
            [time] => Some(*time),
            _ => None,
        }
    }

    fn time(&self, entry: &ICalendarEntry, value: &ICalendarValue, days_of: Option<Tz>) -> Option<Local> {
        let ICalendarValue::PartialDateTime(time) = value else { return None };
        let read = time.to_date_time()?;
        let is_day = !time.has_time();
        let zone = match (read.offset, entry.tz_id()) {
            _ if is_day => days_of.or(self.floating),
            (Some(offset), _) if offset.local_minus_utc() == 0 => Some(Tz::UTC),
            (Some(_), _) => None,
            (None, Some(name)) => self.named.resolve(name),
            (None, None) => self.floating,
        };
        Some(Local { naive: read.date_time, zone: zone?, is_day })
    }
}

impl Local {
    pub(super) fn instant(&self) -> Option<WallTime> {
        instant(self.zone, self.naive)
    }

    /// `naive` on the wall of the same place.
    pub(super) fn zone_instant(&self, naive: NaiveDateTime) -> Option<WallTime> {
        instant(self.zone, naive)
    }
}

/// A time that comes twice is its first; one that is skipped is counted from before the gap (§3.3.5).
pub(super) fn instant(zone: Tz, naive: NaiveDateTime) -> Option<WallTime> {
    let at = match zone.from_local_datetime(&naive) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.naive_utc(),
        LocalResult::None => {
            let before = zone.from_local_datetime(&naive.checked_sub_days(Days::new(1))?).latest()?;
            naive.checked_sub_offset(before.offset().fix())?
        }
    };
    Some(WallTime::from_unix_ms(at.and_utc().timestamp_millis()))
}

/// What the wall of `zone` shows at `at`.
pub(super) fn on_the_wall(zone: Tz, at: WallTime) -> Option<NaiveDateTime> {
    let utc = chrono::DateTime::from_timestamp_millis(at.unix_ms())?;
    Some(zone.from_utc_datetime(&utc.naive_utc()).naive_local())
}
