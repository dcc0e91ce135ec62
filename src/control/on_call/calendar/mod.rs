//! From the text of a calendar (RFC 5545) to turns of duty around now.
//!
//! Only events that touch the window become turns, and everything is bounded: events, occurrences, time. An event that
//! can't be read for certain (an unknown time zone, a rule that is not understood) puts nobody on call, and is counted:
//! it must never put the wrong one. It must never read a clock for anything but its own budget.

mod event;
mod recurrence;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use calcard::common::timezone::Tz;
use calcard::icalendar::{ICalendar, ICalendarComponentType, ICalendarProperty};

use self::event::{Day, Event, Moved};
use self::zone::Zones;
use super::fetch::Window;
use super::persons::{Found, Handle, Turn};
use crate::config::schedule::CalendarSource;
use crate::domain::WallTime;

/// Greatest number of events of a calendar.
const EVENTS_MAX: usize = 20_000;
/// Greatest number of turns within the window.
const TURNS_MAX: usize = 10_000;
/// How long the expansion of all rules may take.
const EXPANSION_MS_MAX: u64 = 5_000;

/// Why a text says nothing about who is on call. No message quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CalendarError {
    #[error("what was answered is not a whole calendar (RFC 5545)")]
    NotACalendar,
    #[error("the calendar has more than {EVENTS_MAX} events")]
    TooManyEvents,
    #[error("the calendar has more than {TURNS_MAX} turns around now")]
    TooManyTurns,
    #[error("the calendar's rules took longer than {EXPANSION_MS_MAX} ms")]
    TooSlow,
}

/// The events that share a UID: what is repeated, and what takes the place of single occurrences.
#[derive(Default)]
struct Series {
    plain: Vec<Event>,
    moved: BTreeMap<Moved, Event>,
    /// A part of it could not be read: then none of it is believed.
    broken: bool,
}

/// Blocks for as long as [`EXPANSION_MS_MAX`]: not for a runtime's thread.
///
/// # Errors
/// [`CalendarError`].
pub(super) fn turns(body: &[u8], source: &CalendarSource, window: Window) -> Result<Found, CalendarError> {
    let calendar = parse(body)?;
    let zones = Zones::of(&calendar, source.time_zone);
    let mut found = Found::default();
    let mut reader =
        Reader { deadline: Instant::now() + Duration::from_millis(EXPANSION_MS_MAX), window, found: &mut found };
    for series in group(&calendar, source, &zones)?.values() {
        reader.series(series)?;
    }
    Ok(found)
}

fn parse(body: &[u8]) -> Result<ICalendar, CalendarError> {
    let text = std::str::from_utf8(body).map_err(|_| CalendarError::NotACalendar)?;
    let end = text.trim_end().lines().last().unwrap_or_default();
    // A body that broke off would be read as a calendar with fewer events.
    if !end.trim().eq_ignore_ascii_case("END:VCALENDAR") {
        return Err(CalendarError::NotACalendar);
    }
    let calendar = ICalendar::parse(text).map_err(|_| CalendarError::NotACalendar)?;
    let is_calendar = |kind: &ICalendarComponentType| *kind == ICalendarComponentType::VCalendar;
    match calendar.components.first() {
        Some(first) if is_calendar(&first.component_type) => Ok(calendar),
        Some(_) | None => Err(CalendarError::NotACalendar),
    }
}

fn group(
    calendar: &ICalendar,
    source: &CalendarSource,
    zones: &Zones<'_>,
) -> Result<BTreeMap<String, Series>, CalendarError> {
    let mut all: BTreeMap<String, Series> = BTreeMap::new();
    let events = calendar.components.iter().filter(|part| part.component_type == ICalendarComponentType::VEvent);
    for (index, component) in events.enumerate() {
        if index >= EVENTS_MAX {
            return Err(CalendarError::TooManyEvents);
        }
        let uid = component.property(&ICalendarProperty::Uid).and_then(|uid| uid.values.first()?.as_text());
        // What has no name of its own belongs to nothing else.
        let uid = uid.map_or_else(|| format!("\n{index}"), str::to_owned);
        let series = all.entry(uid).or_default();
        match Event::read(component, &source.who, zones) {
            Some(event) => series.add(event),
            None => series.broken = true,
        }
    }
    Ok(all)
}

impl Series {
    /// Of several versions of one occurrence the newest counts (RFC 5545 §3.8.7.4).
    fn add(&mut self, event: Event) {
        let Some(place) = event.moved_from else { return self.plain.push(event) };
        let known = self.moved.get(&place);
        if known.is_none_or(|known| known.sequence <= event.sequence) {
            self.moved.insert(place, event);
        }
    }

    fn takes_the_place_of(&self, at: WallTime, day: Day) -> bool {
        self.moved.contains_key(&Moved::At(at)) || self.moved.contains_key(&Moved::On(day))
    }
}

struct Reader<'f> {
    deadline: Instant,
    window: Window,
    found: &'f mut Found,
}

impl Reader<'_> {
    fn series(&mut self, series: &Series) -> Result<(), CalendarError> {
        if series.broken {
            self.found.unread += 1;
            return Ok(());
        }
        for event in series.plain.iter().filter(|event| event.counts) {
            if Instant::now() > self.deadline {
                return Err(CalendarError::TooSlow);
            }
            match recurrence::occurrences(event, self.window) {
                Some(starts) => self.repeated(event, starts, series)?,
                None => self.found.unread += 1,
            }
        }
        let moved = series.moved.values().filter(|event| event.counts);
        moved.into_iter().try_for_each(|event| self.occurrence(event, event.start.naive))
    }

    fn repeated(
        &mut self,
        event: &Event,
        starts: BTreeSet<chrono::NaiveDateTime>,
        series: &Series,
    ) -> Result<(), CalendarError> {
        for naive in starts {
            let Some(at) = event.start.zone_instant(naive) else { continue };
            let left_out = event.leaves_out(at, naive.date()) || series.takes_the_place_of(at, naive.date());
            if !left_out {
                self.occurrence(event, naive)?;
            }
        }
        Ok(())
    }

    /// One occurrence beginning at `naive` in the event's zone, where it touches the window.
    fn occurrence(&mut self, event: &Event, naive: chrono::NaiveDateTime) -> Result<(), CalendarError> {
        let Some((from, until)) = event.span(naive) else { return Ok(()) };
        if until <= self.window.from || from >= self.window.until || until <= from {
            return Ok(());
        }
        if event.who.is_empty() {
            self.found.unread += 1;
        }
        for handle in &event.who {
            if self.found.turns.len() >= TURNS_MAX {
                return Err(CalendarError::TooManyTurns);
            }
            self.found.turns.push(turn(handle, from, until));
        }
        Ok(())
    }
}

fn turn(handle: &Handle, from: WallTime, until: WallTime) -> Turn {
    Turn { handle: handle.clone(), from: Some(from), until: Some(until) }
}

/// The zone a calendar says of itself, in the way all calendar programs do.
fn own_zone(calendar: &ICalendar) -> Option<Tz> {
    let root = calendar.components.first()?;
    let named = |name: &ICalendarProperty| matches!(name, ICalendarProperty::Other(name) if name.eq_ignore_ascii_case("X-WR-TIMEZONE"));
    let entry = root.entries.iter().find(|entry| named(&entry.name))?;
    entry.values.first()?.as_text()?.parse().ok()
}
