//! Who gains and who loses by a change of the policy: what can be asked for, not what stands in the files.
//!
//! An access is one tier, one group or schedule, one service, one resource pattern, one action that some route serves.
//! It is gained where no tier gave it on as wide terms before. Terms of a tier that is on both sides are told once,
//! with their direction. INVARIANT: exchanging old and new exchanges gains and losses, and nothing else.

mod terms;

use std::collections::BTreeSet;

use super::Rules;
use super::asker::AdmittedBy;
use crate::config::ServiceConfig;
use crate::config::policy::Tier;
use crate::config::policy::narrowing::TERMS;
use crate::config::resource_pattern::ResourcePattern;
use crate::config::route_path::ResourceTemplate;
use crate::domain::{Action, ServiceName};

/// In which direction something changed, for those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// More is allowed, or less is demanded.
    Gain,
    /// Less is allowed, or more is demanded.
    Loss,
    /// Some of both.
    Both,
    /// Neither.
    Neutral,
}

impl Effect {
    /// From whether the new is within the old, and the old within the new.
    pub(super) const fn of(new_within: bool, old_within: bool) -> Self {
        match (new_within, old_within) {
            (true, true) => Self::Neutral,
            (true, false) => Self::Loss,
            (false, true) => Self::Gain,
            (false, false) => Self::Both,
        }
    }

    /// The effect of the opposite change.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Gain => Self::Loss,
            Self::Loss => Self::Gain,
            Self::Both | Self::Neutral => self,
        }
    }
}

/// Somebody can ask for something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    pub tier: String,
    pub who: AdmittedBy,
    pub service: ServiceName,
    pub resource: ResourcePattern,
    pub action: Action,
}

/// Something is said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Change {
    pub about: String,
    pub key: String,
    pub old: String,
    pub new: String,
    pub effect: Effect,
}

/// What a change of the policy comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub gained: BTreeSet<Access>,
    pub lost: BTreeSet<Access>,
    pub changes: BTreeSet<Change>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty() && self.changes.is_empty()
    }

    /// Whether anybody is allowed more than before, or held to less.
    pub fn widens(&self) -> bool {
        !self.gained.is_empty()
            || self.changes.iter().any(|change| matches!(change.effect, Effect::Gain | Effect::Both))
    }
}

/// What differs between two policies with their services.
pub fn difference(old: &Rules, new: &Rules) -> Difference {
    let (before, after) = (accesses(old), accesses(new));
    let pairs = pairs(old, new);
    let gained = beyond(&after, &before, |own, other| {
        pairs.contains(&(other.name.as_str(), own.name.as_str())) || stands_in(new, own, other)
    });
    let lost = beyond(&before, &after, |own, other| {
        pairs.contains(&(own.name.as_str(), other.name.as_str())) || stands_in(old, own, other)
    });
    let mut changes = BTreeSet::new();
    for (was, is) in &pairs {
        let (Some(was), Some(is)) = (old.policy.tier(was), new.policy.tier(is)) else { continue };
        if meet(was, is) {
            changes.extend(tier_changes(was, is));
        }
    }
    terms::compare(old, new, &mut changes);
    Difference { gained, lost, changes }
}

/// Whether `other`, of the other side, gives at least what `own` does. A tier beside one that limits how often one may
/// ask is a way around the limit, even on the same terms.
fn stands_in(rules: &Rules, own: &Tier, other: &Tier) -> bool {
    let limits = other.concurrent_max.is_some() || !other.cool_down.is_zero();
    let is_beside = rules.policy.tier(&other.name).is_some() && own.family() != other.family();
    !(limits && is_beside) && TERMS.iter().all(|term| (term.within)(own, other))
}

/// Tiers of both sides that are to be compared: the same name, or a team's tier with the base it stands in for.
fn pairs<'r>(old: &'r Rules, new: &'r Rules) -> BTreeSet<(&'r str, &'r str)> {
    let mut pairs = BTreeSet::new();
    for was in &old.policy.tiers {
        for is in &new.policy.tiers {
            let narrowed = is.base.as_ref() == Some(&was.name) && old.policy.tier(&is.name).is_none();
            let freed = was.base.as_ref() == Some(&is.name) && new.policy.tier(&was.name).is_none();
            if was.name == is.name || narrowed || freed {
                pairs.insert((was.name.as_str(), is.name.as_str()));
            }
        }
    }
    pairs
}

/// Whether some service is in both: else there is nothing whose terms could have changed.
fn meet(was: &Tier, is: &Tier) -> bool {
    was.name == is.name || !was.services.is_disjoint(&is.services)
}

fn tier_changes(was: &Tier, is: &Tier) -> impl Iterator<Item = Change> {
    let about = if was.name == is.name { format!("tier {}", is.name) } else { both_names(was, is) };
    let of_terms = TERMS.iter().map(move |term| {
        let effect = Effect::of((term.within)(is, was), (term.within)(was, is));
        (term.key, (term.show)(was), (term.show)(is), effect)
    });
    let shown =
        |uses: Option<std::num::NonZeroU32>| uses.map_or_else(|| "no limit".to_owned(), |uses| uses.to_string());
    let defaults = [
        ("default_s", was.default.as_secs().to_string(), is.default.as_secs().to_string(), Effect::Neutral),
        ("max_uses.default", shown(was.uses_default), shown(is.uses_default), Effect::Neutral),
    ];
    let changed = of_terms.chain(defaults).filter(|(_, old, new, _)| old != new);
    let change =
        |(key, old, new, effect): (&str, _, _, _), about| Change { about, key: key.to_owned(), old, new, effect };
    changed.map(|row| change(row, about.clone())).collect::<Vec<_>>().into_iter()
}

/// The team's name first, whichever side it stands on.
fn both_names(was: &Tier, is: &Tier) -> String {
    if is.team.is_some() {
        format!("tier {} (narrows {})", is.name, was.name)
    } else {
        format!("tier {} (narrows {})", was.name, is.name)
    }
}

/// One tier, and what it gives access to.
struct Reach<'r> {
    tier: &'r Tier,
    accesses: BTreeSet<Access>,
}

/// What of `own` is given by none of the `others` that count: counterparts, whose terms are told elsewhere, and those
/// that give it on as wide terms.
fn beyond(own: &[Reach<'_>], others: &[Reach<'_>], counts: impl Fn(&Tier, &Tier) -> bool) -> BTreeSet<Access> {
    let mut beyond = BTreeSet::new();
    for reach in own {
        let others: Vec<&Reach<'_>> = others.iter().filter(|other| counts(reach.tier, other.tier)).collect();
        let is_given =
            |access: &&Access| others.iter().any(|other| other.accesses.iter().any(|has| covers(has, access)));
        beyond.extend(reach.accesses.iter().filter(|access| !is_given(access)).cloned());
    }
    beyond
}

fn covers(has: &Access, access: &Access) -> bool {
    has.who == access.who
        && has.service == access.service
        && has.action == access.action
        && access.resource.is_within(&has.resource)
}

fn accesses(rules: &Rules) -> Vec<Reach<'_>> {
    rules.policy.tiers.iter().map(|tier| Reach { tier, accesses: reach(rules, tier) }).collect()
}

fn reach(rules: &Rules, tier: &Tier) -> BTreeSet<Access> {
    let groups = tier.groups.iter().cloned().map(AdmittedBy::Group);
    let who: Vec<AdmittedBy> = groups.chain(tier.on_call.iter().cloned().map(AdmittedBy::OnCall)).collect();
    let mut accesses = BTreeSet::new();
    for service in tier.services.iter().filter_map(|name| rules.services.get(name)) {
        for (resource, action) in served(service, tier) {
            accesses.extend(who.iter().map(|who| Access {
                tier: tier.name.clone(),
                who: who.clone(),
                service: service.name.clone(),
                resource: resource.clone(),
                action: action.clone(),
            }));
        }
    }
    accesses
}

/// What of the tier's scope the service has routes for.
fn served(service: &ServiceConfig, tier: &Tier) -> BTreeSet<(ResourcePattern, Action)> {
    let mut served = BTreeSet::new();
    let subjects = service.routes.iter().filter_map(|route| route.subject.as_ref());
    for subject in subjects.filter(|subject| tier.actions.contains(&subject.action)) {
        for pattern in &tier.resources {
            if let Some(pattern) = meeting(&subject.resource, pattern) {
                served.insert((pattern, subject.action.clone()));
            }
        }
    }
    served
}

/// What a route and a pattern have in common.
fn meeting(route: &ResourceTemplate, pattern: &ResourcePattern) -> Option<ResourcePattern> {
    match (route, pattern) {
        (ResourceTemplate::Fixed(fixed), pattern) => {
            pattern.matches(fixed).then(|| ResourcePattern::Exact(fixed.clone()))
        }
        (ResourceTemplate::FromPath { kind, .. }, ResourcePattern::Exact(exact)) => {
            (kind.as_str() == exact.kind()).then(|| pattern.clone())
        }
        (ResourceTemplate::FromPath { kind, .. }, ResourcePattern::AnyOf(any)) => {
            (kind == any).then(|| pattern.clone())
        }
    }
}
