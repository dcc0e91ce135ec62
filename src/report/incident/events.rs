//! An entry of a grant's story in a few words.

use crate::ledger::entry::{EntryKind, PersonalField};
use crate::report::told::Told;
use crate::wire::reports::{EventTold, Personal};

/// Whose doing it was: `by`, or where there is none the person whom the entry is about.
pub(super) fn event(told: &Told<'_>) -> EventTold {
    let by = told.personal(PersonalField::By);
    let own = || told.personal(PersonalField::Person);
    EventTold {
        entry: told.index,
        at: told.at,
        kind: told.kind.as_str().to_owned(),
        by: if by.is_absent() && is_of_the_person(told.kind) { own() } else { by },
        note: note(told),
        detail: detail(told).unwrap_or_default(),
    }
}

const fn is_of_the_person(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::ElevationRequested | EntryKind::GrantClaimed | EntryKind::ElevationWithdrawn)
}

fn note(told: &Told<'_>) -> Personal {
    told.personal(PersonalField::Note)
}

fn detail(told: &Told<'_>) -> Option<String> {
    let facts = &told.facts;
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
    match told.kind {
        EntryKind::GrantIssued => text(&facts.elevation),
        EntryKind::ElevationRequested => text(&facts.tier).map(|tier| format!("tier {tier}")),
        EntryKind::ElevationApproved => {
            let complete = if facts.complete == Some(true) { ", the last one needed" } else { "" };
            facts.number.map(|number| format!("approval {number}{complete}"))
        }
        EntryKind::ElevationLapsed => text(&facts.cause),
        EntryKind::GrantClaimed => text(&facts.binding),
        EntryKind::GrantRevoked => {
            let why = facts.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            let cause = facts.cause.as_deref().map(|cause| format!("{cause}{why}"));
            cause.or_else(|| text(&facts.revocation))
        }
        EntryKind::GrantUsedUp => facts.spent.map(|spent| format!("{} spent", counted(spent, "use"))),
        EntryKind::GrantSuspended => text(&facts.transmitter),
        EntryKind::GrantReviewed => {
            let late = if facts.late == Some(true) { ", late" } else { "" };
            facts.verdict.as_deref().map(|verdict| format!("{verdict}{late}"))
        }
        EntryKind::RevocationOrdered => {
            let grants = counted(facts.grants.unwrap_or_default(), "grant");
            facts.of.as_deref().map(|of| format!("by {of}: {grants}"))
        }
        EntryKind::RevocationEnforced => {
            let elapsed = facts.elapsed_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
            facts.enforced.map(|enforced| format!("{}{elapsed}", counted(enforced, "sidecar")))
        }
        EntryKind::GrantClosed => {
            let agrees = if facts.reconciled == Some(true) { "reconciled" } else { "not reconciled" };
            let assertions = facts
                .assertions
                .zip(facts.signed)
                .map(|(told, signed)| format!(", {} told of and {signed} signed", counted(told, "assertion")));
            let differ = facts.differences.as_ref().map(|differ| format!(": {} do not agree", differ.join(", ")));
            let (assertions, differ) = (assertions.unwrap_or_default(), differ.unwrap_or_default());
            let overrides = facts.overrides.map(|overrides| counted(overrides, "override"));
            overrides.map(|overrides| format!("{overrides}{assertions}, {agrees}{differ}"))
        }
        _ => None,
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
