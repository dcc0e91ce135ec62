//! What differs beside the tiers: reasons, trackers, schedules, the organisation's own rules, the teams.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Effect};
use crate::config::policy::{PolicyConfig, TicketRule};
use crate::domain::ServiceName;
use crate::policy::Rules;

const NOTHING: &str = "-";

pub(super) fn compare(old: &Rules, new: &Rules, changes: &mut BTreeSet<Change>) {
    organisation(&old.policy, &new.policy, changes);
    let reasons = |policy: &PolicyConfig| {
        policy.reasons.iter().map(|rule| (format!("reason {}", rule.code), rule.text.clone())).collect()
    };
    // Another text is for people; another code is something to ask with.
    listed(reasons(&old.policy), reasons(&new.policy), "text", Effect::Gain, changes);
    tickets(&old.policy, &new.policy, changes);
    schedules(&old.policy, &new.policy, changes);
    services(old, new, changes);
}

fn organisation(old: &PolicyConfig, new: &PolicyConfig, changes: &mut BTreeSet<Change>) {
    let rows = |policy: &PolicyConfig| {
        [
            ("lifetime_max_s", policy.lifetime_max.as_secs().to_string()),
            ("staleness_max_s", policy.staleness_max.as_secs().to_string()),
        ]
    };
    for ((key, old), (_, new)) in rows(old).into_iter().zip(rows(new)) {
        note(changes, "organisation", key, old, new, Effect::Neutral);
    }
    let (was, is) = (old.second_administrator, new.second_administrator);
    note(
        changes,
        "organisation",
        "second_administrator",
        was.to_string(),
        is.to_string(),
        Effect::of(is || !was, was || !is),
    );
}

/// Trackers by name and pattern: another pattern lets other tickets in.
fn tickets(old: &PolicyConfig, new: &PolicyConfig, changes: &mut BTreeSet<Change>) {
    let by_pattern = |policy: &PolicyConfig| -> BTreeMap<String, TicketRule> {
        policy.tickets.iter().map(|rule| (format!("ticket {} {}", rule.tracker, rule.pattern), rule.clone())).collect()
    };
    let (old, new) = (by_pattern(old), by_pattern(new));
    let shown = |rules: &BTreeMap<String, TicketRule>| {
        rules.iter().map(|(about, rule)| (about.clone(), rule.example.to_string())).collect()
    };
    listed(shown(&old), shown(&new), "example", Effect::Gain, changes);
    for (about, was) in &old {
        let Some(is) = new.get(about) else { continue };
        let effect = Effect::of(serves_within(is, was), serves_within(was, is));
        note(changes, about, "services", served(was), served(is), effect);
        let url = |rule: &TicketRule| rule.url.clone().unwrap_or_else(|| NOTHING.to_owned());
        note(changes, about, "url", url(was), url(is), Effect::Neutral);
    }
}

fn serves_within(own: &TicketRule, outer: &TicketRule) -> bool {
    match (&own.services, &outer.services) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(own), Some(outer)) => own.is_subset(outer),
    }
}

fn served(rule: &TicketRule) -> String {
    rule.services.as_ref().map_or_else(|| "all".to_owned(), joined)
}

fn joined(services: &BTreeSet<ServiceName>) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}

/// Who is on call stands elsewhere; that it is asked for otherwise may let others in and keep some out.
fn schedules(old: &PolicyConfig, new: &PolicyConfig, changes: &mut BTreeSet<Change>) {
    let names = |policy: &PolicyConfig| -> BTreeMap<String, String> {
        policy.schedules.iter().map(|schedule| (format!("schedule {}", schedule.name), "there".to_owned())).collect()
    };
    listed(names(old), names(new), "schedule", Effect::Neutral, changes);
    for was in &old.schedules {
        let is = new.schedules.iter().find(|is| is.name == was.name);
        if is.is_some_and(|is| is != was) {
            let about = format!("schedule {}", was.name);
            note(changes, &about, "source", "one way".to_owned(), "another way".to_owned(), Effect::Both);
        }
    }
}

/// A service file says more than routes: what it says otherwise is for its own review.
fn services(old: &Rules, new: &Rules, changes: &mut BTreeSet<Change>) {
    let digests = |rules: &Rules| -> BTreeMap<String, String> {
        let short = |digest: &str| digest.chars().take(12).collect();
        rules.services.iter().map(|(name, service)| (format!("service {name}"), short(&service.digest))).collect()
    };
    listed(digests(old), digests(new), "digest", Effect::Neutral, changes);
}

/// Things by name: one that came has `effect`, one that went the opposite, one that only reads otherwise none.
fn listed(
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
    key: &str,
    effect: Effect,
    changes: &mut BTreeSet<Change>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let shown = |side: &BTreeMap<String, String>| side.get(name).cloned().unwrap_or_else(|| NOTHING.to_owned());
        let effect = match (old.contains_key(name), new.contains_key(name)) {
            (false, true) => effect,
            (true, false) => effect.reversed(),
            _ => Effect::Neutral,
        };
        note(changes, name, key, shown(&old), shown(&new), effect);
    }
}

fn note(changes: &mut BTreeSet<Change>, about: &str, key: &str, old: String, new: String, effect: Effect) {
    if old != new {
        changes.insert(Change { about: about.to_owned(), key: key.to_owned(), old, new, effect });
    }
}
