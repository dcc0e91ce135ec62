//! `[[team]]`: what belongs to a team, said by the organisation, and `[[team.tier]]`: how the team narrows the
//! organisation's tiers for its services.
//!
//! INVARIANT: whatever a team's tier allows, its base allows too, as far as the base says anything about it.

use std::collections::BTreeSet;

use super::ceiling::check_services;
use super::tier::{Base, check_default, whole};
use super::tier_keys::{ScopeKeys, TermKeys, check_schedule, texts};
use super::{Known, Tier, name, narrowing};
use crate::config::reader::Section;
use crate::config::schedule::ScheduleConfig;
use crate::config::service::ServiceConfig;
use crate::domain::ServiceName;

/// A team and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    pub name: String,
    /// Its tiers are for these alone.
    pub services: BTreeSet<ServiceName>,
    /// Whom it may let in where a template leaves that open.
    pub groups: BTreeSet<String>,
    pub on_call: BTreeSet<String>,
}

/// Teams, with the tables they stand in.
pub(super) type Heads<'a> = [(Section<'a>, Team)];

pub(super) fn read_heads<'a>(root: &Section<'a>, services: &[ServiceConfig]) -> Vec<(Section<'a>, Team)> {
    let mut teams: Vec<(Section<'a>, Team)> = Vec::new();
    for section in root.sections("team") {
        let name = name::read_name(&section).unwrap_or_default();
        let own: BTreeSet<ServiceName> = section.required_list("services").into_iter().collect();
        for service in &own {
            if !services.iter().any(|known| known.name == *service) {
                name::no_service(&section, service, services);
            }
            if let Some((_, other)) = teams.iter().find(|(_, team)| team.services.contains(service)) {
                section.mistake("services", format_args!("\"{service}\" belongs to team \"{}\"", other.name), None);
            }
        }
        if teams.iter().any(|(_, team)| team.name == name) {
            section.mistake("name", format_args!("\"{name}\" stands twice"), None);
        }
        let (groups, on_call) = (texts(&section, "groups"), texts(&section, "on_call"));
        let (groups, on_call) = (groups.unwrap_or_default(), on_call.unwrap_or_default());
        teams.push((section, Team { name, services: own, groups, on_call }));
    }
    teams
}

pub(super) fn check_schedules(teams: &Heads<'_>, schedules: &[ScheduleConfig]) {
    for (section, team) in teams {
        team.on_call.iter().for_each(|schedule| check_schedule(section, schedule, schedules));
    }
}

pub(super) fn read_tiers(teams: &Heads<'_>, bases: &[Base], known: &Known<'_>) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = Vec::new();
    for (section, team) in teams {
        for section in section.sections("tier") {
            let Some(tier) = read_tier(&section, team, bases, known) else { continue };
            if tiers.iter().any(|other| other.name == tier.name) {
                let key = if section.has("name") { "name" } else { "base" };
                section.mistake(key, format_args!("\"{}\" stands twice", tier.name), Some("give it a name of its own"));
            }
            tiers.push(tier);
        }
    }
    tiers
}

fn read_tier(section: &Section<'_>, team: &Team, bases: &[Base], known: &Known<'_>) -> Option<Tier> {
    let wanted: Option<String> = section.required("base");
    let own_name: Option<String> = section.optional("name");
    let scope = ScopeKeys::read(section, known);
    let terms = TermKeys::read(section, known.organisation, known.reasons);
    let wanted = wanted?;
    let Some(base) = bases.iter().find(|base| base.name == wanted) else {
        let names = bases.iter().map(|base| base.name.as_str());
        name::unknown(section, "base", "no [[tier]] is named", &wanted, names);
        return None;
    };
    if let Some(own) = &own_name {
        name::check_name(section, "name", own);
    }
    check_default(section, &terms, &base.terms);
    let name = format!("{}/{}", team.name, own_name.unwrap_or(wanted));
    let scope = inherit(scope, base, team);
    check_scope(section, &scope, team);
    let narrow = Tier {
        team: Some(team.name.clone()),
        base: Some(base.name.clone()),
        ..whole(&name, &scope, &terms.over(&base.terms), known)?
    };
    let bound = whole(&base.name, &bound(base, &narrow, team), &base.terms, known)?;
    narrowing::check(section, &narrow, &bound);
    check_services(section, &narrow, known);
    Some(narrow)
}

/// The team's keys, else the base's, else what belongs to the team.
fn inherit(own: ScopeKeys, base: &Base, team: &Team) -> ScopeKeys {
    let base = &base.scope;
    let (groups, on_call) = if base.leaves_who_open() {
        // Naming one of both is a choice between them.
        let rest = own.leaves_who_open();
        (
            own.groups.or_else(|| rest.then(|| team.groups.clone())),
            own.on_call.or_else(|| rest.then(|| team.on_call.clone())),
        )
    } else {
        (own.groups.or_else(|| base.groups.clone()), own.on_call.or_else(|| base.on_call.clone()))
    };
    let of_team = || match &base.services {
        Some(services) => services.intersection(&team.services).cloned().collect(),
        None => team.services.clone(),
    };
    ScopeKeys {
        groups,
        on_call,
        services: own.services.or_else(|| Some(of_team())),
        role: own.role.or_else(|| base.role.clone()),
        resources: own.resources.or_else(|| base.resources.clone()),
        actions: own.actions.or_else(|| base.actions.clone()),
    }
}

/// What neither the team's table nor its base says, or says wrongly.
fn check_scope(section: &Section<'_>, scope: &ScopeKeys, team: &Team) {
    let is_empty = |who: &Option<BTreeSet<String>>| who.as_ref().is_none_or(BTreeSet::is_empty);
    if is_empty(&scope.groups) && is_empty(&scope.on_call) {
        section.mistake("groups", "nobody could ask", Some("name groups or on_call here, in the team or in the base"));
    }
    let missing = [
        ("role", scope.role.is_none()),
        ("resources", scope.resources.is_none()),
        ("actions", scope.actions.is_none()),
    ];
    for (key, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
        section.mistake(key, "is missing: the base leaves it to the team", None);
    }
    let services = scope.services.iter().flatten();
    for service in services.filter(|service| !team.services.contains(*service)) {
        section.mistake("services", format_args!("\"{service}\" does not belong to team \"{}\"", team.name), None);
    }
    if scope.services.as_ref().is_some_and(BTreeSet::is_empty) && !section.has("services") {
        section.mistake("base", format_args!("is for no service of team \"{}\"", team.name), None);
    }
}

/// The keys of the base; what it leaves open is bounded by what belongs to the team, or not at all.
fn bound(base: &Base, narrow: &Tier, team: &Team) -> ScopeKeys {
    let open = base.scope.leaves_who_open();
    let scope = base.scope.clone();
    ScopeKeys {
        groups: if open { Some(team.groups.clone()) } else { scope.groups },
        on_call: if open { Some(team.on_call.clone()) } else { scope.on_call },
        services: scope.services.or_else(|| Some(narrow.services.clone())),
        role: scope.role.or_else(|| Some(narrow.role.clone())),
        resources: scope.resources.or_else(|| Some(narrow.resources.clone())),
        actions: scope.actions.or_else(|| Some(narrow.actions.clone())),
    }
}
