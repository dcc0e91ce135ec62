//! Is one tier within another? Said term by term, so that a mistake and a difference can name the term.
//!
//! INVARIANT: a tier that [`is_within`] another allows nothing that the other would not. Each term has its direction
//! here and nowhere else: teams are held to it, and `policy diff` tells gains from losses by it.

use std::collections::BTreeSet;

use super::Tier;
use crate::config::reader::Section;
use crate::config::resource_pattern::ResourcePattern;

/// One of the terms on which a tier grants.
#[derive(Debug)]
pub struct Term {
    /// Its key in the policy.
    pub key: &'static str,
    /// Whether the first demands as much and gives no more than the second.
    pub within: fn(&Tier, &Tier) -> bool,
    /// For people.
    pub show: fn(&Tier) -> String,
}

/// All of them but the scope: for whom, on what.
pub const TERMS: &[Term] = &[
    Term { key: "role", within: |own, outer| own.role == outer.role, show: |tier| tier.role.to_string() },
    Term {
        key: "maximum_s",
        within: |own, outer| own.maximum <= outer.maximum,
        show: |tier| tier.maximum.as_secs().to_string(),
    },
    Term {
        key: "max_uses",
        within: |own, outer| no_more(own.uses_maximum, outer.uses_maximum),
        show: |tier| tier.uses_maximum.map_or_else(|| "no limit".to_owned(), |uses| uses.to_string()),
    },
    Term {
        key: "staleness_max_s",
        within: |own, outer| own.staleness_max <= outer.staleness_max,
        show: |tier| tier.staleness_max.as_secs().to_string(),
    },
    Term {
        key: "bindings",
        within: |own, outer| own.bindings.iter().all(|binding| outer.bindings.contains(binding)),
        show: |tier| tier.bindings.iter().map(|binding| binding.as_str()).collect::<Vec<_>>().join(", "),
    },
    Term {
        key: "approvals",
        within: |own, outer| own.approvals.is_within(&outer.approvals),
        show: |tier| tier.approvals.to_string(),
    },
    Term {
        key: "request_lapse_s",
        within: |own, outer| own.request_lapse <= outer.request_lapse,
        show: |tier| tier.request_lapse.as_secs().to_string(),
    },
    Term {
        key: "step_up",
        within: |own, outer| match (&own.step_up, &outer.step_up) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(outer)) => own.is_within(outer),
        },
        show: |tier| tier.step_up.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
    },
    Term {
        key: "cool_down_s",
        within: |own, outer| own.cool_down >= outer.cool_down,
        show: |tier| tier.cool_down.as_secs().to_string(),
    },
    Term {
        key: "concurrent_max",
        within: |own, outer| no_more(own.concurrent_max, outer.concurrent_max),
        show: |tier| tier.concurrent_max.map_or_else(|| "no limit".to_owned(), |most| most.to_string()),
    },
    Term {
        key: "review_due_s",
        within: |own, outer| own.review_due <= outer.review_due,
        show: |tier| tier.review_due.as_secs().to_string(),
    },
    Term {
        key: "reasons",
        within: |own, outer| match (&own.reasons, &outer.reasons) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(outer)) => own.is_subset(outer),
        },
        show: |tier| tier.reasons.as_ref().map_or_else(|| "all".to_owned(), joined),
    },
];

/// `None` is no limit.
fn no_more<T: Ord>(own: Option<T>, outer: Option<T>) -> bool {
    outer.is_none_or(|most| own.is_some_and(|own| own <= most))
}

fn joined<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether whatever `own` allows, `outer` allows too.
pub fn is_within(own: &Tier, outer: &Tier) -> bool {
    wider_scope(own, outer).is_empty() && TERMS.iter().all(|term| (term.within)(own, outer))
}

/// What of the scope of `own` is not in that of `outer`, by key.
fn wider_scope(own: &Tier, outer: &Tier) -> Vec<(&'static str, String)> {
    let groups = own.groups.difference(&outer.groups).map(|group| ("groups", group.clone()));
    let on_call = own.on_call.difference(&outer.on_call).map(|schedule| ("on_call", schedule.clone()));
    let services = own.services.difference(&outer.services).map(|service| ("services", service.to_string()));
    let covered = |pattern: &ResourcePattern| outer.resources.iter().any(|other| pattern.is_within(other));
    let resources = own.resources.iter().filter(|pattern| !covered(pattern));
    let resources = resources.map(|pattern| ("resources", pattern.to_string()));
    let actions = own.actions.difference(&outer.actions).map(|action| ("actions", action.to_string()));
    groups.chain(on_call).chain(services).chain(resources).chain(actions).collect()
}

/// Every widening is a mistake at its key.
pub(super) fn check(section: &Section<'_>, narrow: &Tier, base: &Tier) {
    const HINT: &str = "a team narrows, it never widens";
    for (key, what) in wider_scope(narrow, base) {
        section.mistake(key, format_args!("\"{what}\" is not in the base \"{}\"", base.name), Some(HINT));
    }
    for term in TERMS.iter().filter(|term| !(term.within)(narrow, base)) {
        let (own, most) = ((term.show)(narrow), (term.show)(base));
        let key = if term.key == "bindings" && section.has("binding") { "binding" } else { term.key };
        let what = format_args!("\"{own}\" is wider than \"{most}\" of the base \"{}\"", base.name);
        section.mistake(key, what, Some(HINT));
    }
}
