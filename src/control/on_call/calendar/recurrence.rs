//! When an event begins again (RFC 5545 §3.8.5.3), up to the end of the window.
//!
//! The rule is worked out on the wall of the event's own zone, where nine o'clock stays nine o'clock; only then do times
//! become instants. Working in instants would move a shift by an hour twice a year.

use std::collections::BTreeSet;

use calcard::common::PartialDateTime;
use calcard::common::timezone::Tz;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarFrequency, ICalendarProperty,
    ICalendarRecurrenceRule, ICalendarValue,
};
use chrono::{NaiveDateTime, TimeDelta};

use super::event::Event;
use super::zone::on_the_wall;
use crate::control::on_call::fetch::Window;
use crate::domain::WallTime;

/// Occurrences of one event since its beginning: one a day for half a century.
const OCCURRENCES_MAX: usize = 20_000;

/// Beginnings in the event's zone; `None` when the rule is not understood or leads too far.
pub(super) fn occurrences(event: &Event, window: Window) -> Option<BTreeSet<NaiveDateTime>> {
    let mut all: BTreeSet<NaiveDateTime> = match &event.rule {
        None => [event.start.naive].into(),
        Some(rule) => repeated(event, rule, window)?,
    };
    for added in &event.added {
        // In the event's own zone, where all are compared.
        let at = added.instant()?;
        all.insert(if added.is_day { added.naive } else { on_the_wall(event.start.zone, at)? });
    }
    Some(all)
}

fn repeated(event: &Event, rule: &ICalendarRecurrenceRule, window: Window) -> Option<BTreeSet<NaiveDateTime>> {
    let understood = rule.rscale.is_none()
        && rule.skip.is_none()
        && !matches!(rule.freq, ICalendarFrequency::Minutely | ICalendarFrequency::Secondly);
    if !understood {
        return None;
    }
    let until = last_beginning(event, rule, window.until)?;
    if until < event.start.naive {
        return Some(BTreeSet::new());
    }
    let bounded = ICalendarRecurrenceRule { until: Some(written(until)), ..rule.clone() };
    // One more than allowed, to tell a full set from one that was cut short.
    let expanded = alone(event.start.naive, bounded).expand_dates(Tz::Floating, OCCURRENCES_MAX + 1);
    if !expanded.errors.is_empty() || expanded.events.len() > OCCURRENCES_MAX {
        return None;
    }
    Some(expanded.events.iter().map(|found| found.start.naive_local()).collect())
}

/// The last time, on the event's wall, at which an occurrence can begin that matters here: UNTIL, or the window's end.
fn last_beginning(event: &Event, rule: &ICalendarRecurrenceRule, window_end: WallTime) -> Option<NaiveDateTime> {
    let end = on_the_wall(event.start.zone, window_end)?.checked_add_signed(TimeDelta::days(1))?;
    let Some(until) = &rule.until else { return Some(end) };
    let read = until.to_date_time()?;
    let until = match read.offset {
        // In UTC, as it must be where the beginning has a zone.
        Some(offset) => {
            let utc = read.date_time.checked_sub_offset(offset)?.and_utc();
            on_the_wall(event.start.zone, WallTime::from_unix_ms(utc.timestamp_millis()))?
        }
        None => read.date_time,
    };
    Some(until.min(end))
}

fn written(naive: NaiveDateTime) -> PartialDateTime {
    PartialDateTime::from_naive_timestamp(naive.and_utc().timestamp())
}

/// A calendar that holds the rule and nothing else.
fn alone(start: NaiveDateTime, rule: ICalendarRecurrenceRule) -> ICalendar {
    let entry = |name, value| ICalendarEntry { name, params: Vec::new(), values: vec![value] };
    let start = entry(ICalendarProperty::Dtstart, ICalendarValue::PartialDateTime(Box::new(written(start))));
    let rule = entry(ICalendarProperty::Rrule, ICalendarValue::RecurrenceRule(Box::new(rule)));
    let component_type = ICalendarComponentType::VEvent;
    ICalendar {
        components: vec![ICalendarComponent { component_type, entries: vec![start, rule], component_ids: vec![] }],
    }
}
