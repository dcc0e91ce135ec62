//! Random policies, askers and requests, small enough that most of them meet.

use std::collections::BTreeMap;

use proptest::collection::{btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::domain::{Binding, Resource};

const HEAD: &str = "[organisation]\nlifetime_max_s = 900\n\
    [[reason]]\ncode = \"one\"\ntext = \"t\"\n[[reason]]\ncode = \"two\"\ntext = \"t\"\n\
    [[ticket]]\ntracker = \"t\"\npattern = \"INC-1\"\nexample = \"INC-1\"\n\
    [[schedule]]\nname = \"shift\"\nsource = \"icalendar\"\nurl = \"https://cal.test/a.ics\"\n";

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", words.join(", "))
}

/// `key = value` lines, each there or not.
type Lines = BTreeMap<&'static str, String>;

fn some_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(words, 1..=words.len()).prop_map(|words| quoted(&words))
}

fn optional(
    key: &'static str,
    value: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<Option<(&'static str, String)>> {
    of(value).prop_map(move |value| value.map(|value| (key, value))).boxed()
}

fn number(values: &'static [u64]) -> impl Strategy<Value = String> {
    select(values).prop_map(|number| number.to_string())
}

/// Any of the terms.
fn terms() -> impl Strategy<Value = Lines> {
    let step_up = select(
        &[
            "{ acr = [\"urn:strong\"] }",
            "{ acr = [\"urn:strong\", \"urn:weak\"] }",
            "{ max_age_s = 60 }",
            "{ acr = [\"urn:strong\"], max_age_s = 30 }",
            "{}",
        ][..],
    );
    let approvals = select(
        &[
            "0",
            "{ count = 1, groups = [\"g\", \"h\"] }",
            "{ count = 2, groups = [\"g\"] }",
            "{ count = 2, groups = [\"g\", \"h\"], every_group = true }",
        ][..],
    );
    let uses = select(&["{ maximum = 1 }", "{ maximum = 5 }", "{ default = 2, maximum = 9 }"][..]);
    let lines = vec![
        optional("maximum_s", number(&[60, 300, 900])),
        optional("max_uses", uses.prop_map(ToString::to_string)),
        optional("staleness_max_s", number(&[5, 30])),
        optional("bindings", some_of(&["identity", "bearer"])),
        optional("approvals", approvals.prop_map(ToString::to_string)),
        optional("request_lapse_s", number(&[60, 3600])),
        optional("step_up", step_up.prop_map(ToString::to_string)),
        optional("cool_down_s", number(&[0, 60, 600])),
        optional("concurrent_max", number(&[0, 1, 2])),
        optional("review_due_s", number(&[60, 86400])),
        optional("reasons", some_of(&["one", "two"])),
    ];
    lines.prop_map(|lines| lines.into_iter().flatten().collect())
}

/// For whom and for what: whole for the organisation's tiers, any part of it for a team's.
fn scope() -> impl Strategy<Value = Lines> {
    let lines = vec![
        optional("groups", some_of(&["a", "b", "c"])),
        optional("on_call", Just(quoted(&["shift"]))),
        optional("services", some_of(&["s-one", "s-two"])),
        optional("role", select(&["\"r.one\"", "\"r.two\""][..]).prop_map(ToString::to_string)),
        optional("resources", some_of(&["contract/*", "contract/C-1", "book/main"])),
        optional("actions", some_of(&["a.one", "a.two", "a.three"])),
    ];
    lines.prop_map(|lines| lines.into_iter().flatten().collect())
}

fn table(head: &str, lines: &Lines) -> String {
    let lines: Vec<String> = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("{head}\n{}", lines.concat())
}

fn base(name: &str, scope: &Lines, terms: &Lines, template: bool) -> String {
    let mut lines: Lines = scope.clone();
    if !template {
        for (key, usual) in [
            ("groups", "[\"a\", \"b\"]"),
            ("services", "[\"s-one\", \"s-two\"]"),
            ("role", "\"r.one\""),
            ("resources", "[\"contract/*\", \"book/main\"]"),
            ("actions", "[\"a.one\", \"a.two\"]"),
        ] {
            lines.entry(key).or_insert_with(|| usual.to_owned());
        }
    }
    lines.extend(terms.clone());
    let template = if template { "template = true\n" } else { "" };
    table(&format!("[[tier]]\nname = \"{name}\"\n{template}"), &lines)
}

/// The organisation's part of a policy.
pub(super) fn organisation() -> impl Strategy<Value = String> {
    let tier = || (scope(), terms());
    (tier(), of(tier())).prop_map(|(one, two)| {
        let two = two.map(|(scope, terms)| base("two", &scope, &terms, false)).unwrap_or_default();
        format!("{HEAD}{}{two}", base("one", &one.0, &one.1, false))
    })
}

/// What a team makes of the tier `one`. Most of it is within.
pub(super) fn team() -> impl Strategy<Value = String> {
    let tiers = vec((scope(), terms()), 1..=2);
    let few = |lines: Lines, keep: &[bool]| -> Lines {
        lines.into_iter().zip(keep.iter().cycle()).filter(|(_, keep)| **keep).map(|(line, _)| line).collect()
    };
    (tiers, vec(prop::bool::weighted(0.3), 7)).prop_map(move |(tiers, keep)| {
        let tiers = tiers.into_iter().enumerate().map(|(at, (scope, terms))| {
            let mut lines = few(scope, &keep);
            lines.extend(few(terms, &keep));
            table(&format!("[[team.tier]]\nbase = \"one\"\nname = \"t{at}\""), &lines)
        });
        format!("[[team]]\nname = \"team\"\nservices = [\"s-one\"]\n{}", tiers.collect::<String>())
    })
}

/// A policy with or without a team.
pub(super) fn any_policy() -> impl Strategy<Value = String> {
    (organisation(), of(team())).prop_map(|(organisation, team)| organisation + &team.unwrap_or_default())
}

/// Someone who may have had grants before.
pub(super) fn any_asker() -> impl Strategy<Value = Asker> {
    let groups = btree_set(select(&["a", "b", "c", "d"][..]), 0..3);
    let live = vec((select(&["one", "two", "team/t0", "team/t1"][..]), 0_u32..3), 0..3);
    let ended = of((select(&["one", "two", "team/t0"][..]), select(&[0_u64, 59, 599][..])));
    (groups, any::<bool>(), select(&["urn:strong", "urn:weak"][..]), select(&[0_u64, 45, 100][..]), live, ended)
        .prop_map(|(groups, on_shift, acr, age, live, ended)| {
            let mut asker = asker(&groups.into_iter().collect::<Vec<_>>());
            asker.authentication.acr = Some(acr.to_owned());
            asker.authentication.auth_time = Some(NOW.minus(std::time::Duration::from_secs(age)));
            if on_shift {
                asker.on_call.insert("shift".to_owned());
            }
            asker.history.live = live.into_iter().map(|(tier, count)| (tier.to_owned(), count)).collect();
            asker.history.ended = ended
                .map(|(tier, ago)| Ended {
                    tier: tier.to_owned(),
                    service: "s-one".parse().unwrap(),
                    resource: "contract/C-1".parse().unwrap(),
                    at: NOW.minus(std::time::Duration::from_secs(ago)),
                })
                .into_iter()
                .collect();
            asker
        })
}

/// A request, and the binding it names.
pub(super) fn any_request() -> impl Strategy<Value = (ElevationRequest, Option<Binding>)> {
    let pair = select(
        &[("contract/C-1", "a.one"), ("contract/C-2", "a.two"), ("contract/C-1", "a.three"), ("book/main", "a.one")][..],
    );
    let binding = of(select(&[Binding::Identity, Binding::Bearer][..]));
    let amounts = (of(select(&[1_u64, 60, 61, 300, 900][..])), of(1_u32..9));
    (select(&["s-one", "s-two"][..]), pair, any::<bool>(), select(&["one", "two"][..]), amounts, binding).prop_map(
        |(service, (resource, action), more, reason, (duration_s, max_uses), binding)| {
            let mut request = request(service, resource, action);
            if more && resource != "book/main" {
                request.resources.push("contract/C-9".parse::<Resource>().unwrap());
            }
            request.reason = reason.parse().unwrap();
            (ElevationRequest { duration_s, max_uses, ..request }, binding)
        },
    )
}
