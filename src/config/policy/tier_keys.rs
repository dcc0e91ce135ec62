//! What the table of a tier says, key by key: a key that is absent is taken from where the tier comes from, that is a
//! team's tier from its base, the organisation's from `[organisation.tier_defaults]`, and that from what is built in.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::Known;
use super::approvals::Approvals;
use super::name;
use super::organisation::Organisation;
use super::reason::ReasonRule;
use super::step_up::StepUp;
use crate::config::reader::Section;
use crate::config::resource_pattern::ResourcePattern;
use crate::config::service;
use crate::domain::{Action, Binding, ReasonCode, Role, ServiceName};

/// Longest time until a review is due, and longest cool-down: 90 days.
const REVIEW_DUE_MAX_S: u64 = 90 * 86_400;
/// Longest time that a request waits for an answer: a week.
const LAPSE_MAX_S: u64 = 7 * 86_400;
const USES_MAX: u64 = 1_000_000;
const CONCURRENT_MAX: u64 = 1000;

/// On what terms: keys that `[organisation.tier_defaults]` may have too.
#[derive(Debug, Clone, Default)]
pub(super) struct TermKeys {
    pub(super) default_s: Option<u64>,
    pub(super) maximum_s: Option<u64>,
    pub(super) uses: Option<Uses>,
    pub(super) staleness_s: Option<u64>,
    /// The first is what a request gets that names none.
    pub(super) bindings: Option<Vec<Binding>>,
    pub(super) approvals: Option<Approvals>,
    pub(super) lapse_s: Option<u64>,
    pub(super) step_up: Option<Option<StepUp>>,
    pub(super) cool_down_s: Option<u64>,
    pub(super) concurrent_max: Option<Option<NonZeroU32>>,
    pub(super) review_due_s: Option<u64>,
    pub(super) reasons: Option<BTreeSet<ReasonCode>>,
}

/// `max_uses = { default = 3, maximum = 10 }`
#[derive(Debug, Clone, Copy)]
pub(super) struct Uses {
    pub(super) default: NonZeroU32,
    pub(super) maximum: NonZeroU32,
}

impl TermKeys {
    pub(super) fn read(section: &Section<'_>, organisation: &Organisation, reasons: &[ReasonRule]) -> Self {
        let lifetime = 1..=organisation.lifetime_max_s;
        let maximum_s = number(section, "maximum_s", lifetime.clone());
        Self {
            default_s: number(section, "default_s", 1..=maximum_s.unwrap_or(organisation.lifetime_max_s)),
            maximum_s,
            uses: read_uses(section),
            staleness_s: number(section, "staleness_max_s", 1..=organisation.staleness_max_s),
            bindings: read_bindings(section),
            approvals: Approvals::read(section),
            lapse_s: number(section, "request_lapse_s", 60..=LAPSE_MAX_S),
            step_up: StepUp::read(section),
            cool_down_s: number(section, "cool_down_s", 0..=REVIEW_DUE_MAX_S),
            concurrent_max: number(section, "concurrent_max", 0..=CONCURRENT_MAX).map(limit),
            review_due_s: number(section, "review_due_s", 1..=REVIEW_DUE_MAX_S),
            reasons: section.has("reasons").then(|| read_reasons(section, reasons)),
        }
    }

    /// These, and where they are silent, `under`.
    pub(super) fn over(self, under: &Self) -> Self {
        Self {
            default_s: self.default_s.or(under.default_s),
            maximum_s: self.maximum_s.or(under.maximum_s),
            uses: self.uses.or(under.uses),
            staleness_s: self.staleness_s.or(under.staleness_s),
            bindings: self.bindings.or_else(|| under.bindings.clone()),
            approvals: self.approvals.or_else(|| under.approvals.clone()),
            lapse_s: self.lapse_s.or(under.lapse_s),
            step_up: self.step_up.or_else(|| under.step_up.clone()),
            cool_down_s: self.cool_down_s.or(under.cool_down_s),
            concurrent_max: self.concurrent_max.or(under.concurrent_max),
            review_due_s: self.review_due_s.or(under.review_due_s),
            reasons: self.reasons.or_else(|| under.reasons.clone()),
        }
    }
}

/// For whom and for what.
#[derive(Debug, Clone, Default)]
pub(super) struct ScopeKeys {
    pub(super) groups: Option<BTreeSet<String>>,
    pub(super) on_call: Option<BTreeSet<String>>,
    pub(super) services: Option<BTreeSet<ServiceName>>,
    pub(super) role: Option<Role>,
    pub(super) resources: Option<Vec<ResourcePattern>>,
    pub(super) actions: Option<BTreeSet<Action>>,
}

impl ScopeKeys {
    pub(super) fn read(section: &Section<'_>, known: &Known<'_>) -> Self {
        let on_call = texts(section, "on_call");
        for schedule in on_call.iter().flatten() {
            check_schedule(section, schedule, known.schedules);
        }
        let services: Option<BTreeSet<ServiceName>> =
            section.has("services").then(|| section.required_list("services").into_iter().collect());
        for service in services.iter().flatten() {
            if !known.services.iter().any(|known| known.name == *service) {
                name::no_service(section, service, known.services);
            }
        }
        Self {
            groups: texts(section, "groups"),
            on_call,
            services,
            role: section.optional("role"),
            resources: section.has("resources").then(|| section.required_list("resources")),
            actions: section.has("actions").then(|| section.required_list("actions").into_iter().collect()),
        }
    }

    /// Whether it says nothing about who may ask.
    pub(super) const fn leaves_who_open(&self) -> bool {
        self.groups.is_none() && self.on_call.is_none()
    }
}

pub(super) fn check_schedule(
    section: &Section<'_>,
    schedule: &str,
    schedules: &[crate::config::schedule::ScheduleConfig],
) {
    if !schedules.iter().any(|known| known.name == schedule) {
        let known = schedules.iter().map(|schedule| schedule.name.as_str());
        name::unknown(section, "on_call", "no [[schedule]] is named", schedule, known);
    }
}

pub(super) fn texts(section: &Section<'_>, key: &'static str) -> Option<BTreeSet<String>> {
    section.has(key).then(|| section.list(key).into_iter().collect())
}

/// `None` where it is absent or wrong, so that a mistake leads to no second one.
fn number(section: &Section<'_>, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
    const WRONG: u64 = u64::MAX;
    Some(section.integer(key, range, WRONG)).filter(|number| *number != WRONG)
}

/// 0: no limit.
fn limit(number: u64) -> Option<NonZeroU32> {
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

fn read_uses(section: &Section<'_>) -> Option<Uses> {
    let uses = section.section("max_uses")?;
    if !uses.has("maximum") {
        uses.missing("maximum");
    }
    let maximum = uses.integer("maximum", 1..=USES_MAX, USES_MAX);
    let default = uses.integer("default", 1..=maximum, maximum);
    Some(Uses { default: limit(default)?, maximum: limit(maximum)? })
}

/// `binding = "identity"` or `bindings = ["identity", "bearer"]`.
fn read_bindings(section: &Section<'_>) -> Option<Vec<Binding>> {
    let one = section.choice("binding", service::BINDINGS);
    if section.has("binding") {
        if section.has("bindings") {
            section.mistake("bindings", "stands beside binding", Some("keep one of them"));
        }
        return one.map(|binding| vec![binding]);
    }
    if !section.has("bindings") {
        return None;
    }
    let mut bindings = Vec::new();
    for word in section.required_list::<String>("bindings") {
        match service::BINDINGS.iter().find(|(name, _)| *name == word) {
            Some((_, binding)) if bindings.contains(binding) => {
                section.mistake("bindings", format_args!("\"{word}\" stands twice"), None);
            }
            Some((_, binding)) => bindings.push(*binding),
            None => {
                let known = service::BINDINGS.iter().map(|(name, _)| *name);
                name::unknown(section, "bindings", "there is no binding", &word, known);
            }
        }
    }
    (!bindings.is_empty()).then_some(bindings)
}

fn read_reasons(section: &Section<'_>, known: &[ReasonRule]) -> BTreeSet<ReasonCode> {
    let reasons: BTreeSet<ReasonCode> = section.required_list("reasons").into_iter().collect();
    for reason in &reasons {
        if !known.iter().any(|rule| rule.code == *reason) {
            let known = known.iter().map(|rule| rule.code.as_str());
            name::unknown(section, "reasons", "no [[reason]] has the code", reason.as_str(), known);
        }
    }
    reasons
}
