//! The organisation's policy: reason codes, ticket patterns, schedules, and the tiers that say who may ask for what.
//!
//! The file is input: the control plane stores it as a numbered revision and serves that. It is checked against the
//! service files it speaks of, so that no tier promises what every sidecar would refuse. A team's tier narrows one of
//! the organisation's and never widens it. What stands here after the reading is flat: one list of tiers in force.

pub mod approvals;
mod ceiling;
mod name;
pub mod narrowing;
mod organisation;
mod reason;
pub mod step_up;
mod team;
#[cfg(test)]
mod tests;
mod ticket;
mod tier;
mod tier_keys;

use std::path::Path;
use std::time::Duration;

pub use approvals::Approvals;
pub use reason::ReasonRule;
pub use step_up::StepUp;
pub use team::Team;
pub use ticket::TicketRule;
pub use tier::Tier;

use super::mistakes::ConfigError;
use super::reader::{self, Section};
use super::schedule::{self, ScheduleConfig};
use super::service::ServiceConfig;
use organisation::Organisation;

/// The policy, checked.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    pub lifetime_max: Duration,
    pub staleness_max: Duration,
    /// Whether another administrator must agree before a change of the policy takes effect.
    pub second_administrator: bool,
    pub reasons: Vec<ReasonRule>,
    pub tickets: Vec<TicketRule>,
    pub schedules: Vec<ScheduleConfig>,
    pub teams: Vec<Team>,
    /// Those in force: the organisation's own, then the teams'. Names are unique; a team's is `team/name`.
    pub tiers: Vec<Tier>,
    /// SHA-256 of the file, hex.
    pub digest: String,
}

/// What a tier may refer to.
struct Known<'a> {
    organisation: &'a Organisation,
    reasons: &'a [ReasonRule],
    tickets: &'a [TicketRule],
    schedules: &'a [ScheduleConfig],
    services: &'a [ServiceConfig],
}

impl PolicyConfig {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn load(file: &Path, services: &[ServiceConfig]) -> Result<Self, ConfigError> {
        Self::parse(file, &reader::read_file(file)?, services)
    }

    /// Checks the text of a policy file; `file` is named in mistakes.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(file: &Path, text: &str, services: &[ServiceConfig]) -> Result<Self, ConfigError> {
        reader::parse(file, text, |root| Some(read(root, super::digest_hex(text), services)))
    }

    pub fn tier(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.name == name)
    }
}

fn read(root: &Section<'_>, digest: String, services: &[ServiceConfig]) -> PolicyConfig {
    let reasons = reason::read(root);
    let organisation = organisation::read(root, &reasons);
    let teams = team::read_heads(root, services);
    let tickets = ticket::read(root, &teams, services);
    let schedules = schedule::read_schedules(root);
    let known =
        Known { organisation: &organisation, reasons: &reasons, tickets: &tickets, schedules: &schedules, services };
    team::check_schedules(&teams, &schedules);
    let bases = tier::read_bases(root, &known);
    let narrowed = team::read_tiers(&teams, &bases, &known);
    let tiers = tier::in_force(bases, narrowed);
    PolicyConfig {
        lifetime_max: Duration::from_secs(organisation.lifetime_max_s),
        staleness_max: Duration::from_secs(organisation.staleness_max_s),
        second_administrator: organisation.second_administrator,
        reasons,
        teams: teams.into_iter().map(|(_, team)| team).collect(),
        tickets,
        schedules,
        tiers,
        digest,
    }
}

/// The tables under `key`, at least one.
fn some_sections<'a>(root: &Section<'a>, key: &'static str) -> Vec<Section<'a>> {
    let sections = root.sections(key);
    if sections.is_empty() {
        root.mistake(key, "there must be at least one", Some(&format!("add a [[{key}]] table")));
    }
    sections
}
