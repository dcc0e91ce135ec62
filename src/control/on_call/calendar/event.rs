//! One VEVENT, taken apart (RFC 5545 §3.6.1): when, for how long, again when, and who.

use std::collections::BTreeSet;

use calcard::common::timezone::Tz;
use calcard::icalendar::{
    ICalendarComponent, ICalendarDuration, ICalendarEntry, ICalendarParameterName, ICalendarParameterValue,
    ICalendarParticipationRole, ICalendarParticipationStatus, ICalendarPeriod, ICalendarProperty,
    ICalendarRecurrenceRule, ICalendarStatus, ICalendarUserTypes, ICalendarValue,
};
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

use super::zone::{Local, Zones, instant};
use crate::config::schedule::WhoRule;
use crate::control::on_call::persons::Handle;
use crate::domain::WallTime;

/// Longest turn of duty that is believed: a year.
const TURN_DAYS_MAX: i64 = 366;
/// People of one event.
const ATTENDEES_MAX: usize = 200;
/// Dates that one event adds or leaves out.
const DATES_MAX: usize = 10_000;

pub(super) type Day = NaiveDate;

/// The occurrence whose place another event takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moved {
    At(WallTime),
    /// It was named by its date alone.
    On(Day),
}

impl Moved {
    fn of(time: &Local) -> Option<Self> {
        if time.is_day { Some(Self::On(time.naive.date())) } else { time.instant().map(Self::At) }
    }
}

/// How long an occurrence lasts.
#[derive(Debug, Clone, Copy)]
enum Length {
    /// From one time on the wall to another: a week from Monday nine to Monday nine, whatever the clocks do meanwhile.
    OnTheWall { length: TimeDelta, zone: Tz },
    /// Days on the wall, then hours as they pass (RFC 5545 §3.3.6).
    Spelled { days: TimeDelta, hours: TimeDelta },
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) start: Local,
    length: Length,
    pub(super) rule: Option<ICalendarRecurrenceRule>,
    /// Further beginnings.
    pub(super) added: Vec<Local>,
    left_out: BTreeSet<Moved>,
    pub(super) moved_from: Option<Moved>,
    pub(super) sequence: i64,
    /// It is neither cancelled nor tentative.
    pub(super) counts: bool,
    pub(super) who: Vec<Handle>,
}

impl Event {
    /// `None` when something in it that matters can't be read for certain.
    pub(super) fn read(component: &ICalendarComponent, rule: &WhoRule, zones: &Zones<'_>) -> Option<Self> {
        let one = |name: ICalendarProperty| component.property(&name);
        let start = zones.only(one(ICalendarProperty::Dtstart)?, None)?;
        let days_of = Some(start.zone);
        let length = length(component, &start, zones)?;
        let moved_from = match one(ICalendarProperty::RecurrenceId) {
            // This one and all that follow: no program in use writes it.
            Some(entry) if entry.has_parameter(&ICalendarParameterName::Range) => return None,
            Some(entry) => Some(Moved::of(&zones.only(entry, days_of)?)?),
            None => None,
        };
        let recurrence = recurrence_rule(component)?;
        if moved_from.is_some() && recurrence.is_some() {
            return None;
        }
        let added = dates(component, &ICalendarProperty::Rdate, zones, days_of)?;
        let left_out = dates(component, &ICalendarProperty::Exdate, zones, days_of)?;
        let left_out = left_out.iter().map(Moved::of).collect::<Option<_>>()?;
        let sequence = one(ICalendarProperty::Sequence).and_then(|entry| entry.values.first()?.as_integer());
        let (sequence, counts) = (sequence.unwrap_or(0), counts(component));
        let who = who(component, rule);
        Some(Self { start, length, rule: recurrence, added, left_out, moved_from, sequence, counts, who })
    }

    pub(super) fn leaves_out(&self, at: WallTime, day: Day) -> bool {
        self.left_out.contains(&Moved::At(at)) || self.left_out.contains(&Moved::On(day))
    }

    /// Beginning and end of the occurrence that begins at `naive` in the event's zone.
    pub(super) fn span(&self, naive: NaiveDateTime) -> Option<(WallTime, WallTime)> {
        let from = self.start.zone_instant(naive)?;
        let until = match self.length {
            Length::OnTheWall { length, zone } => instant(zone, naive.checked_add_signed(length)?)?,
            Length::Spelled { days, hours } => {
                let days = self.start.zone_instant(naive.checked_add_signed(days)?)?;
                WallTime::from_unix_ms(days.unix_ms().saturating_add(hours.num_milliseconds()))
            }
        };
        Some((from, until))
    }
}

/// Only what is settled: an event without the word is, what is cancelled or may yet change is not.
fn counts(component: &ICalendarComponent) -> bool {
    match component.property(&ICalendarProperty::Status) {
        None => true,
        Some(entry) => matches!(entry.values.first(), Some(ICalendarValue::Status(ICalendarStatus::Confirmed))),
    }
}

fn length(component: &ICalendarComponent, start: &Local, zones: &Zones<'_>) -> Option<Length> {
    let on_the_wall = |length, zone| Length::OnTheWall { length, zone };
    let length = match (component.property(&ICalendarProperty::Dtend), component.property(&ICalendarProperty::Duration))
    {
        (Some(end), None) => {
            let end = zones.only(end, Some(start.zone))?;
            on_the_wall(end.naive.signed_duration_since(start.naive), end.zone)
        }
        (None, Some(entry)) => match entry.values.first()? {
            ICalendarValue::Duration(duration) => spelled(duration)?,
            _ => return None,
        },
        // A day without an end is that day, a time without an end no time at all.
        (None, None) if start.is_day => on_the_wall(TimeDelta::days(1), start.zone),
        (None, None) => on_the_wall(TimeDelta::zero(), start.zone),
        (Some(_), Some(_)) => return None,
    };
    let most = TimeDelta::days(TURN_DAYS_MAX);
    let fits = |length: TimeDelta| length <= most && length >= -most;
    let is_believed = match length {
        Length::OnTheWall { length, .. } => fits(length),
        Length::Spelled { days, hours } => fits(days) && fits(hours),
    };
    is_believed.then_some(length)
}

fn spelled(duration: &ICalendarDuration) -> Option<Length> {
    if duration.neg {
        return None;
    }
    let days = i64::from(duration.weeks).saturating_mul(7).saturating_add(duration.days.into());
    let seconds = i64::from(duration.hours).saturating_mul(3_600);
    let seconds = seconds.saturating_add(i64::from(duration.minutes) * 60).saturating_add(duration.seconds.into());
    Some(Length::Spelled { days: TimeDelta::try_days(days)?, hours: TimeDelta::try_seconds(seconds)? })
}

/// `None`: there is one and it can't be read, or there are several (§3.8.5.3 speaks of one).
fn recurrence_rule(component: &ICalendarComponent) -> Option<Option<ICalendarRecurrenceRule>> {
    let mut rules = component.properties(&ICalendarProperty::Rrule);
    match (rules.next(), rules.next()) {
        (None, _) => Some(None),
        (Some(entry), None) => match entry.values.as_slice() {
            [ICalendarValue::RecurrenceRule(rule)] => Some(Some((**rule).clone())),
            _ => None,
        },
        (Some(_), Some(_)) => None,
    }
}

/// All dates of every entry of that name.
fn dates(
    component: &ICalendarComponent,
    name: &ICalendarProperty,
    zones: &Zones<'_>,
    days_of: Option<Tz>,
) -> Option<Vec<Local>> {
    let mut all = Vec::new();
    for entry in component.properties(name) {
        // A period brings a length of its own: what adds one is not understood.
        let has_period = |value: &ICalendarValue| {
            matches!(value, ICalendarValue::Period(ICalendarPeriod::Range { .. } | ICalendarPeriod::Duration { .. }))
        };
        if entry.values.iter().any(has_period) {
            return None;
        }
        all.extend(zones.times(entry, days_of)?);
        if all.len() > DATES_MAX {
            return None;
        }
    }
    Some(all)
}

fn who(component: &ICalendarComponent, rule: &WhoRule) -> Vec<Handle> {
    match rule {
        WhoRule::Attendee => component
            .properties(&ICalendarProperty::Attendee)
            .filter(|entry| is_on_duty(entry))
            .filter_map(|entry| Handle::of_email(address(entry)?))
            .take(ATTENDEES_MAX)
            .collect(),
        WhoRule::Summary(pattern) => component
            .property(&ICalendarProperty::Summary)
            .and_then(|entry| pattern.find(entry.values.first()?.as_text()?))
            .map(Handle::of_text)
            .into_iter()
            .collect(),
    }
}

/// The address itself, with or without `mailto:`; where it is something else, the parameter EMAIL (RFC 7986 §6.2).
fn address(entry: &ICalendarEntry) -> Option<&str> {
    let told = entry.parameter(&ICalendarParameterName::Email).and_then(ICalendarParameterValue::as_text);
    entry.calendar_address().filter(|address| address.contains('@')).or(told)
}

/// A person who has neither declined nor passed it on; rooms, groups and those who are only told are not on duty.
fn is_on_duty(entry: &ICalendarEntry) -> bool {
    entry.params.iter().all(|parameter| match (&parameter.name, &parameter.value) {
        (ICalendarParameterName::Partstat, value) => !matches!(
            value,
            ICalendarParameterValue::Partstat(
                ICalendarParticipationStatus::Declined | ICalendarParticipationStatus::Delegated
            )
        ),
        (ICalendarParameterName::Cutype, value) => {
            matches!(
                value,
                ICalendarParameterValue::Cutype(ICalendarUserTypes::Individual | ICalendarUserTypes::Unknown)
            )
        }
        (ICalendarParameterName::Role, value) => {
            !matches!(value, ICalendarParameterValue::Role(ICalendarParticipationRole::NonParticipant))
        }
        _ => true,
    })
}
