//! `[[tier]]`: who may ask for what, on which terms. With `template = true` it grants nothing itself: it is what the
//! tiers of teams narrow, and what it leaves out of role, resources, actions, services and who may ask, they say.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::approvals::Approvals;
use super::ceiling::check_services;
use super::name;
use super::step_up::StepUp;
use super::tier_keys::{ScopeKeys, TermKeys};
use super::{Known, some_sections};
use crate::config::reader::Section;
use crate::config::resource_pattern::ResourcePattern;
use crate::domain::{Action, Binding, ReasonCode, Resource, Role, ServiceName};

/// What is built in: a quarter of an hour, a day to review, a day to answer.
const MAXIMUM_S: u64 = 900;
const REVIEW_DUE_S: u64 = 86_400;
const LAPSE_S: u64 = 86_400;

/// Who may ask for what, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Unique in the policy; a team's is `team/name`.
    pub name: String,
    /// The team whose tier it is.
    pub team: Option<String>,
    /// The organisation's tier that it narrows.
    pub base: Option<String>,
    /// Members of any of these may ask.
    pub groups: BTreeSet<String>,
    /// Whoever is on call in any of these schedules may ask.
    pub on_call: BTreeSet<String>,
    pub services: BTreeSet<ServiceName>,
    /// The role its grants confer.
    pub role: Role,
    pub resources: Vec<ResourcePattern>,
    pub actions: BTreeSet<Action>,
    /// The reasons it is for; `None`: all.
    pub reasons: Option<BTreeSet<ReasonCode>>,
    pub default: Duration,
    pub maximum: Duration,
    /// What a request that names no number of uses is given, and the most it can name; both absent: no limit.
    pub uses_default: Option<NonZeroU32>,
    pub uses_maximum: Option<NonZeroU32>,
    pub staleness_max: Duration,
    /// Never empty; the first is what a request gets that names none.
    pub bindings: Vec<Binding>,
    pub approvals: Approvals,
    /// By when a request that nobody answers ends.
    pub request_lapse: Duration,
    pub step_up: Option<StepUp>,
    /// After a grant of this tier on a resource ended, how long its person waits for the next on that resource.
    pub cool_down: Duration,
    /// How many live grants of this tier one person may have; `None`: any number.
    pub concurrent_max: Option<NonZeroU32>,
    pub review_due: Duration,
}

impl Tier {
    pub fn has_resource(&self, resource: &Resource) -> bool {
        self.resources.iter().any(|pattern| pattern.matches(resource))
    }

    pub fn has_reason(&self, reason: &ReasonCode) -> bool {
        self.reasons.as_ref().is_none_or(|reasons| reasons.contains(reason))
    }

    /// What a request gets that names no binding.
    pub fn binding(&self) -> Binding {
        self.bindings.first().copied().unwrap_or(Binding::Identity)
    }

    /// Without approvals, somebody must look at it afterwards.
    pub const fn review_is_mandatory(&self) -> bool {
        !self.approvals.is_wanted()
    }
}

/// A tier of the organisation: for itself, or for teams to narrow, or both.
pub(super) struct Base {
    pub(super) name: String,
    pub(super) scope: ScopeKeys,
    pub(super) terms: TermKeys,
    /// `None`: a template, or one with a mistake.
    pub(super) own: Option<Tier>,
}

pub(super) fn read_bases(root: &Section<'_>, known: &Known<'_>) -> Vec<Base> {
    let mut bases: Vec<Base> = Vec::new();
    for section in some_sections(root, "tier") {
        let name = name::read_name(&section);
        let template = section.boolean("template", false);
        let scope = ScopeKeys::read(&section, known);
        let terms = TermKeys::read(&section, known.organisation, known.reasons);
        check_default(&section, &terms, &known.organisation.tier_defaults);
        let terms = terms.over(&known.organisation.tier_defaults);
        if !template {
            check_complete(&section, &scope);
        }
        let Some(name) = name else { continue };
        if bases.iter().any(|base| base.name == name) {
            section.mistake("name", format_args!("\"{name}\" stands twice"), None);
        }
        let own = whole(&name, &scope, &terms, known).filter(|_| !template);
        if let Some(tier) = &own {
            check_services(&section, tier, known);
        }
        bases.push(Base { name, scope, terms, own });
    }
    bases
}

/// What a tier must say that grants something itself.
fn check_complete(section: &Section<'_>, scope: &ScopeKeys) {
    let is_empty = |who: &Option<BTreeSet<String>>| who.as_ref().is_none_or(BTreeSet::is_empty);
    if scope.leaves_who_open() {
        section.mistake("groups", "is missing", Some("say who may ask: groups, on_call or both"));
    } else if is_empty(&scope.groups) && is_empty(&scope.on_call) {
        let key = if scope.groups.is_some() { "groups" } else { "on_call" };
        section.mistake(key, "must not be empty", None);
    }
    for key in ["services", "role", "resources", "actions"] {
        if !section.has(key) {
            section.missing(key);
        }
    }
}

/// A default that the tier itself names must fit a maximum that it takes over.
pub(super) fn check_default(section: &Section<'_>, own: &TermKeys, under: &TermKeys) {
    let maximum = own.maximum_s.or(under.maximum_s).unwrap_or(MAXIMUM_S);
    if let Some(default) = own.default_s
        && default > maximum
    {
        section.mistake("default_s", format_args!("{default} is above maximum_s, which is {maximum}"), None);
    }
}

/// The tier that these keys make, where none is missing.
pub(super) fn whole(name: &str, scope: &ScopeKeys, terms: &TermKeys, known: &Known<'_>) -> Option<Tier> {
    let organisation = known.organisation;
    let maximum = terms.maximum_s.unwrap_or(MAXIMUM_S).min(organisation.lifetime_max_s);
    let default = terms.default_s.unwrap_or(maximum).min(maximum);
    Some(Tier {
        name: name.to_owned(),
        team: None,
        base: None,
        groups: scope.groups.clone().unwrap_or_default(),
        on_call: scope.on_call.clone().unwrap_or_default(),
        services: scope.services.clone()?,
        role: scope.role.clone()?,
        resources: scope.resources.clone()?,
        actions: scope.actions.clone()?,
        reasons: terms.reasons.clone(),
        default: Duration::from_secs(default),
        maximum: Duration::from_secs(maximum),
        uses_default: terms.uses.map(|uses| uses.default),
        uses_maximum: terms.uses.map(|uses| uses.maximum),
        staleness_max: Duration::from_secs(terms.staleness_s.unwrap_or(organisation.staleness_max_s)),
        bindings: terms.bindings.clone().unwrap_or_else(|| vec![Binding::Identity]),
        approvals: terms.approvals.clone().unwrap_or_default(),
        request_lapse: Duration::from_secs(terms.lapse_s.unwrap_or(LAPSE_S)),
        step_up: terms.step_up.clone().flatten(),
        cool_down: Duration::from_secs(terms.cool_down_s.unwrap_or(0)),
        concurrent_max: terms.concurrent_max.flatten(),
        review_due: Duration::from_secs(terms.review_due_s.unwrap_or(REVIEW_DUE_S)),
    })
}

/// The organisation's tiers, then the teams'. Where a team narrowed one for a service, the team's stands in its place:
/// a narrowing that could be got around by naming the base would be none.
pub(super) fn in_force(bases: Vec<Base>, teams: Vec<Tier>) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = bases.into_iter().filter_map(|base| base.own).collect();
    for tier in &mut tiers {
        let narrowed = teams.iter().filter(|narrow| narrow.base.as_ref() == Some(&tier.name));
        let taken: BTreeSet<_> = narrowed.flat_map(|narrow| narrow.services.iter().cloned()).collect();
        tier.services.retain(|service| !taken.contains(service));
    }
    tiers.retain(|tier| !tier.services.is_empty());
    tiers.extend(teams);
    tiers
}
