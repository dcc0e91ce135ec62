//! Who is on call, by schedules that are kept elsewhere: PagerDuty, Opsgenie, a calendar.
//!
//! - [`OnCall::is_on_call`] answers from memory. It makes no call and waits for nothing.
//! - `refresh` keeps that memory fresh in the background; `fetch` asks a source once, `pagerduty`, `opsgenie` and
//!   `calendar` know how each answers, `credential` reads its secret.
//! - `persons` says who of ours is meant, `schedule` how old an answer may be, [`Standing`] what comes of it.
//!
//! While a source is down its last answer goes on until it is too old; then the group that stands in counts, and says so.
//! It must never: take an answer for newer than it is, put somebody on call whom no answer names, or show a token, an
//! address or a body.

mod calendar;
mod credential;
mod fetch;
mod opsgenie;
mod pagerduty;
mod persons;
mod refresh;
mod schedule;
mod standing;
#[cfg(test)]
pub(super) mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

pub use credential::CredentialError;
pub(super) use credential::read_credential;
pub(super) use fetch::sensitive;
pub use fetch::{FailureKind, FetchError};
pub use refresh::RetryTimes;
pub(super) use refresh::jittered;
pub use schedule::{Freshness, ScheduleHealth};
pub use standing::{ScheduleStanding, Standing};

use crate::clock::Clock;
use crate::config::schedule::ScheduleConfig;
use crate::domain::{Moment, Person};
use crate::http::{Client, ClientTls, Limits};
use schedule::Schedule;

/// Greatest size of an answer: a calendar of some years.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the schedules are asked with.
#[derive(Debug, Clone)]
pub struct OnCallSettings {
    /// Absent: only sources with authorities of their own, and those on this machine, can be reached.
    pub tls: Option<ClientTls>,
    pub limits: Limits,
    pub retry: RetryTimes,
    /// The folder of tokens, private addresses and authorities.
    pub credentials: Option<PathBuf>,
}

impl OnCallSettings {
    pub fn new(tls: Option<ClientTls>, credentials: Option<PathBuf>) -> Self {
        let limits = Limits { body_bytes_max: BODY_BYTES_MAX, ..Limits::DEFAULT };
        Self { tls, limits, retry: RetryTimes::DEFAULT, credentials }
    }
}

/// The schedules of the policy in force, and what is known of them.
#[derive(Debug)]
pub struct OnCall {
    schedules: watch::Sender<Arc<[Arc<Schedule>]>>,
    client: Client,
    settings: OnCallSettings,
    clock: Clock,
    attempts: watch::Sender<u64>,
}

impl OnCall {
    /// Knows nothing yet: see [`OnCall::run`] and [`OnCall::refresh`].
    pub fn new(schedules: &[ScheduleConfig], settings: OnCallSettings, clock: Clock) -> Arc<Self> {
        let client = Client::new(settings.tls.clone(), settings.limits);
        let on_call =
            Self { schedules: watch::Sender::default(), client, settings, clock, attempts: watch::Sender::new(0) };
        on_call.follow(schedules);
        Arc::new(on_call)
    }

    /// Takes over the schedules of another policy revision. What is unchanged goes on as it is; where the source is
    /// unchanged, what it answered is kept.
    pub fn follow(&self, configs: &[ScheduleConfig]) {
        self.schedules.send_modify(|schedules| {
            let former = |config: &ScheduleConfig| {
                schedules.iter().find(|known| known.config.name == config.name && known.config.source == config.source)
            };
            *schedules = configs
                .iter()
                .map(|config| match former(config) {
                    Some(known) if known.config == *config => Arc::clone(known),
                    Some(known) => Arc::new(Schedule::under(config.clone(), known)),
                    None => Arc::new(Schedule::new(config.clone())),
                })
                .collect();
        });
    }

    fn all(&self) -> Arc<[Arc<Schedule>]> {
        Arc::clone(&self.schedules.borrow())
    }

    /// Whether `person`, a member of `groups`, is on call by the schedule of that name. A name that no schedule has puts
    /// nobody on call.
    pub fn is_on_call(&self, schedule: &str, person: &Person, groups: &[String], now: Moment) -> Standing {
        let all = self.all();
        match all.iter().find(|known| known.config.name == schedule) {
            Some(known) => known.standing(person, groups, now),
            None => Standing::Unknown { fallback_group: None, as_of: None },
        }
    }

    /// How `person`, a member of `groups`, stands with every schedule.
    pub fn schedules_of(&self, person: &Person, groups: &[String], now: Moment) -> Vec<ScheduleStanding> {
        let standing = |known: &Arc<Schedule>| ScheduleStanding {
            schedule: known.config.name.clone(),
            standing: known.standing(person, groups, now),
        };
        self.all().iter().map(standing).collect()
    }

    pub fn health(&self, now: Moment) -> Vec<ScheduleHealth> {
        self.all().iter().map(|schedule| schedule.health(now)).collect()
    }

    /// Changes after each attempt to fetch a schedule, whatever came of it.
    pub fn attempts(&self) -> watch::Receiver<u64> {
        self.attempts.subscribe()
    }
}
