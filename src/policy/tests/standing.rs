//! One live grant, and every change that ends it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::config::policy::approvals::Approver;
use crate::domain::{Binding, Scope};

const POLICY: &str = r#"
[organisation]
lifetime_max_s = 3600
[[reason]]
code = "one"
text = "t"
[[reason]]
code = "two"
text = "t"
[[ticket]]
tracker = "t"
pattern = "INC-[0-9]+"
example = "INC-1"
[[schedule]]
name = "shift"
source = "icalendar"
url = "https://cal.test/a.ics"
[[tier]]
name = "on-call"
groups = ["a", "b"]
on_call = ["shift"]
services = ["s-one", "s-two"]
role = "r.one"
resources = ["contract/*"]
actions = ["a.one", "a.two"]
maximum_s = 900
max_uses = { maximum = 5 }
staleness_max_s = 30
bindings = ["bearer", "identity"]
approvals = { count = 2, groups = ["leads", "risk"], every_group = true }
step_up = { acr = ["urn:strong"], max_age_s = 60 }
reasons = ["one", "two"]
"#;

fn grant() -> GrantFacts {
    let approver = |person: &str, group: &str| Approver {
        person: person.parse().unwrap(),
        groups: BTreeSet::from([group.to_owned()]),
    };
    GrantFacts {
        tier: "on-call".to_owned(),
        admitted_by: AdmittedBy::Group("b".to_owned()),
        service: "s-one".parse().unwrap(),
        role: "r.one".parse().unwrap(),
        scope: Scope::new(["contract/C-1".parse().unwrap()], ["a.one".parse().unwrap(), "a.two".parse().unwrap()])
            .unwrap(),
        reason: "one".parse().unwrap(),
        binding: Binding::Bearer,
        max_uses: "5".parse().ok(),
        staleness_max: Duration::from_secs(30),
        authentication: asker(&[]).authentication,
        requested: NOW.plus(Duration::from_secs(50)),
        expires: NOW.plus(Duration::from_secs(1000)),
        approvers: vec![approver("ann", "leads"), approver("bob", "risk")],
        approver_groups_known: true,
    }
}

/// A hundred seconds of the grant's thousand are over.
fn verdict(text: &str, grant: &GrantFacts) -> Result<(), String> {
    let rules = rules(text).unwrap();
    still_allowed(&rules, grant, NOW.plus(Duration::from_secs(100))).map_err(|why| why.to_string())
}

#[test]
fn each_change_that_ends_a_grant_says_why() {
    assert_eq!(verdict(POLICY, &grant()), Ok(()));
    for (old, new, why) in [
        ("name = \"on-call\"", "name = \"night\"", "there is no tier \"on-call\""),
        ("groups = [\"a\", \"b\"]", "groups = [\"a\"]", "the tier is no longer open to group:b"),
        ("\"s-one\", \"s-two\"", "\"s-two\"", "the tier is no longer for the service s-one"),
        ("role = \"r.one\"", "role = \"r.two\"", "the tier confers the role r.two now"),
        ("contract/*", "contract/C-2", "the tier no longer covers contract/C-1"),
        ("[\"a.one\", \"a.two\"]", "[\"a.one\"]", "the tier no longer covers a.two"),
        ("reasons = [\"one\", \"two\"]", "reasons = [\"two\"]", "the tier is no longer for the reason one"),
        ("maximum_s = 900", "maximum_s = 899", "900 seconds are left, the tier allows 899"),
        ("maximum = 5", "maximum = 4", "the tier allows 4 uses now"),
        (
            "staleness_max_s = 30",
            "staleness_max_s = 29",
            "the tier wants a sidecar's knowledge to be 29 seconds old at most",
        ),
        ("\"bearer\", ", "", "the tier no longer accepts the binding bearer"),
        ("count = 2", "count = 3", "the tier wants more approvals: 3 of leads, risk, one of each"),
        ("\"risk\"], every", "\"legal\"], every", "the tier wants more approvals: 2 of leads, legal, one of each"),
        (
            "urn:strong",
            "urn:stronger",
            "the tier wants a stronger or fresher login: acr urn:stronger, at most 60 s ago",
        ),
        (
            "max_age_s = 60",
            "max_age_s = 49",
            "the tier wants a stronger or fresher login: acr urn:strong, at most 49 s ago",
        ),
        ("code = \"one\"", "code = \"three\"", "the tier is no longer for the reason one"),
    ] {
        let text = POLICY
            .replace(old, new)
            .replace("\"one\", \"two\"]\n", if new.contains("three") { "\"two\"]\n" } else { "\"one\", \"two\"]\n" });
        assert_ne!(text, POLICY, "{old}");
        assert_eq!(verdict(&text, &grant()), Err(why.to_owned()), "{new}");
    }
}

#[test]
fn what_a_grant_outlives() {
    for (old, new) in [
        ("pattern = \"INC-[0-9]+\"\nexample = \"INC-1\"", "pattern = \"OPS-[0-9]+\"\nexample = \"OPS-1\""),
        ("maximum_s = 900", "maximum_s = 900\ndefault_s = 60\ncool_down_s = 900\nconcurrent_max = 1"),
        ("groups = [\"a\", \"b\"]", "groups = [\"b\", \"c\"]"),
    ] {
        assert_eq!(verdict(&POLICY.replace(old, new), &grant()), Ok(()), "{new}");
    }
    let on_shift = GrantFacts { admitted_by: AdmittedBy::OnCall("shift".to_owned()), ..grant() };
    assert_eq!(verdict(POLICY, &on_shift), Ok(()));
}

#[test]
fn a_team_that_narrows_the_tier_ends_grants_of_the_base() {
    let text = format!("{POLICY}[[team]]\nname = \"t\"\nservices = [\"s-one\"]\n[[team.tier]]\nbase = \"on-call\"\n");
    assert_eq!(verdict(&text, &grant()), Err("the tier is no longer for the service s-one".to_owned()));
    let own = GrantFacts { tier: "t/on-call".to_owned(), ..grant() };
    assert_eq!(verdict(&text, &own), Ok(()));
}

#[test]
fn approvers_without_known_groups_are_counted() {
    let counted = |count: &str| {
        let grant = GrantFacts {
            approver_groups_known: false,
            approvers: grant()
                .approvers
                .into_iter()
                .map(|approver| Approver { groups: BTreeSet::new(), ..approver })
                .collect(),
            ..grant()
        };
        verdict(&POLICY.replace("count = 2", count), &grant)
    };
    assert_eq!(counted("count = 2"), Ok(()));
    assert!(counted("count = 3").is_err());
}

#[test]
fn a_service_that_lost_its_route_ends_grants() {
    let mut rules = rules(POLICY).unwrap();
    let service = rules.services.get_mut(&"s-one".parse().unwrap()).unwrap();
    service.routes.retain(|route| route.subject.as_ref().unwrap().action.as_str() != "a.two");
    let why = still_allowed(&rules, &grant(), NOW.plus(Duration::from_secs(100))).unwrap_err();
    assert_eq!(why.to_string(), "no route of the service carries a.two on contract/C-1");
}

#[test]
fn who_was_admitted_by_what_can_be_kept_as_text() {
    for text in ["group:a", "on_call:shift", "group:with:colon"] {
        assert_eq!(text.parse::<AdmittedBy>().unwrap().to_string(), text);
    }
    assert!("shift".parse::<AdmittedBy>().is_err());
}
