//! One schedule: what was last answered, how old it is, and what went wrong since.
//!
//! INVARIANT: age is told by boot time, which no clock step shortens; whose turn it is by wall time, and only within the
//! time that was asked for. Where either clock is out of bounds the schedule is not known.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::fetch::{FailureKind, FetchError, Window};
use super::persons::{Found, Shift, map};
use super::standing::Standing;
use crate::config::schedule::ScheduleConfig;
use crate::domain::{Moment, Person, WallTime};
use crate::error_chain::error_chain;

/// How far the wall clock may go back after a fetch without making its answer unknown.
const CLOCK_BACK_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) config: ScheduleConfig,
    known: RwLock<Option<Arc<Known>>>,
    last: Mutex<Last>,
}

/// An answer, and its people by the names they have here.
#[derive(Debug)]
struct Known {
    /// Before the source was asked: what it said is at least as new.
    at: Moment,
    window: Window,
    found: Found,
    shifts: Vec<Shift>,
    unread: usize,
}

#[derive(Debug, Default, Clone)]
struct Last {
    failure: Option<String>,
    failures: [u64; FailureKind::ALL.len()],
}

/// How it stands with a schedule, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    Current,
    /// Known once, and too old to be used.
    Stale,
    /// Never known.
    Unknown,
}

/// What is shown of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleHealth {
    pub name: String,
    pub freshness: Freshness,
    /// When the source was last asked with success.
    pub as_of: Option<WallTime>,
    pub age: Option<Duration>,
    /// People of ours on call now; none while the schedule is not current.
    pub people: usize,
    /// Entries of the last answer that could not be read, or are of nobody we know.
    pub unread: usize,
    pub has_fallback: bool,
    /// What went wrong with the last fetch, if it failed.
    pub failure: Option<String>,
    /// Fetches that failed, ever.
    pub failures: Vec<(FailureKind, u64)>,
}

impl Schedule {
    pub(super) fn new(config: ScheduleConfig) -> Self {
        Self { config, known: RwLock::default(), last: Mutex::default() }
    }

    /// The same source under other terms: what it answered is not forgotten.
    pub(super) fn under(config: ScheduleConfig, former: &Self) -> Self {
        let known =
            former.known().map(|known| Arc::new(Known::of(&config, known.at, known.window, known.found.clone())));
        let last = former.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { config, known: RwLock::new(known), last: Mutex::new(last) }
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has to be known to do without the source until the answer is too old.
    pub(super) fn window(&self, now: WallTime) -> Window {
        Window { from: now.minus(CLOCK_BACK_MAX), until: now.plus(self.config.stale_max) }
    }

    /// Takes an answer, unless a newer one came before it.
    pub(super) fn accept(&self, at: Moment, window: Window, found: Found) {
        let fresh = Known::of(&self.config, at, window, found);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.at.boot > at.boot) {
            return;
        }
        let schedule = &self.config.name;
        let was_empty = known.as_ref().is_some_and(|known| known.shifts.is_empty());
        if fresh.shifts.is_empty() && !was_empty {
            tracing::warn!(schedule, "the schedule puts nobody on call who is known here");
        }
        *known = Some(Arc::new(fresh));
        self.last.lock().unwrap_or_else(PoisonError::into_inner).failure = None;
    }

    pub(super) fn fail(&self, error: &FetchError) {
        let (schedule, chain) = (&self.config.name, error_chain(error));
        tracing::warn!(
            schedule,
            error = chain,
            "the schedule could not be fetched; what is known of it goes on for a while"
        );
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.failure = Some(chain);
        let place = FailureKind::ALL.iter().position(|kind| *kind == error.kind());
        if let Some(count) = place.and_then(|place| last.failures.get_mut(place)) {
            *count = count.saturating_add(1);
        }
    }

    /// What may be used at `now`.
    fn current(&self, now: Moment) -> Option<Arc<Known>> {
        self.known().filter(|known| known.is_current(&self.config, now))
    }

    pub(super) fn standing(&self, person: &Person, groups: &[String], now: Moment) -> Standing {
        let Some(known) = self.current(now) else { return self.without_an_answer(groups) };
        let as_of = known.at.wall;
        match known.on_duty(now.wall).find(|shift| shift.who.is(person)) {
            Some(shift) => Standing::Yes { via: self.config.name.clone(), as_of, until: shift.until },
            None => Standing::No { as_of },
        }
    }

    fn without_an_answer(&self, groups: &[String]) -> Standing {
        let as_of = self.known().map(|known| known.at.wall);
        match &self.config.fallback_group {
            Some(group) if groups.contains(group) => {
                Standing::Fallback { via: self.config.name.clone(), group: group.clone(), as_of }
            }
            fallback => Standing::Unknown { fallback_group: fallback.clone(), as_of },
        }
    }

    pub(super) fn health(&self, now: Moment) -> ScheduleHealth {
        let (known, current) = (self.known(), self.current(now));
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let people = |known: &Arc<Known>| known.on_duty(now.wall).map(|shift| shift.who.key()).collect::<BTreeSet<_>>();
        ScheduleHealth {
            name: self.config.name.clone(),
            freshness: match (&known, &current) {
                (_, Some(_)) => Freshness::Current,
                (Some(_), None) => Freshness::Stale,
                (None, None) => Freshness::Unknown,
            },
            as_of: known.as_ref().map(|known| known.at.wall),
            age: known.as_ref().map(|known| now.boot.since(known.at.boot)),
            people: current.as_ref().map_or(0, |known| people(known).len()),
            unread: known.as_ref().map_or(0, |known| known.unread),
            has_fallback: self.config.fallback_group.is_some(),
            failure: last.failure,
            failures: FailureKind::ALL.into_iter().zip(last.failures).collect(),
        }
    }
}

impl Known {
    fn of(config: &ScheduleConfig, at: Moment, window: Window, found: Found) -> Self {
        let (shifts, strangers) = map(&config.persons, &found);
        let unread = found.unread.saturating_add(strangers);
        Self { at, window, found, shifts, unread }
    }

    fn is_current(&self, config: &ScheduleConfig, now: Moment) -> bool {
        let is_young = now.boot.since(self.at.boot) < config.stale_max;
        is_young && self.window.from <= now.wall && now.wall < self.window.until
    }

    fn on_duty(&self, now: WallTime) -> impl Iterator<Item = &Shift> {
        self.shifts.iter().filter(move |shift| shift.covers(now))
    }
}
