//! Policies that stand, and every mistake that one can have.

use super::*;

const SERVICE: &str = include_str!("../../../config/services/payments-demo.toml");
const POLICY: &str = include_str!("../../../config/policy.toml");

fn services() -> Vec<ServiceConfig> {
    vec![ServiceConfig::parse(Path::new("payments-demo.toml"), SERVICE).unwrap()]
}

fn report(text: &str) -> String {
    PolicyConfig::parse(Path::new("p.toml"), text, &services()).unwrap_err().to_string()
}

#[test]
fn the_example_stands() {
    let policy = PolicyConfig::parse(Path::new("p.toml"), POLICY, &services()).unwrap();
    assert_eq!(policy.tiers.len(), 1);
    assert!(policy.tiers[0].has_resource(&"contract/C-1042".parse().unwrap()));
    assert!(!policy.tiers[0].has_resource(&"account/C-1042".parse().unwrap()));
    assert!(policy.tickets[0].matches(&"INC-2041".parse().unwrap()));
}

#[test]
fn a_ticket_pattern_matches_the_whole_ticket() {
    let whole = ticket::whole_match("INC-[0-9]+|OPS-[0-9]+").unwrap();
    assert!(whole.is_match("OPS-1"));
    for bad in ["xINC-1", "INC-1x", "INC-1\n", "OPS-", ""] {
        assert!(!whole.is_match(bad), "{bad:?}");
    }
    assert!(ticket::whole_match("a)|(?:.*").is_err(), "it can't leave its group");
    assert!(ticket::whole_match("(a{1000}){1000}").is_err(), "its size is bounded");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = r#"
[organisation]
lifetime_max_s = 100
stalenes_max_s = 30

[[reason]]
code = "Bad Code"
text = "t"

[[ticket]]
tracker = "jira"
pattern = "INC-[0-9]+"
example = "OPS-1"

[[tier]]
name = "on call"
groups = []
services = ["payments-demo", "nowhere"]
role = "payments.root"
resources = ["contract/*", "*"]
actions = ["payment.release", "payment.steal"]
maximum_s = 4000
default_s = 5000
approvals = 1
binding = "carrier"
max_uses = { default = 3 }
staleness_max_s = 31
"#;
    let expected = r#"p.toml:4:1: organisation.stalenes_max_s: unknown key (did you mean "staleness_max_s"?)
p.toml:7:8: reason[0].code: a reason code is lower-case letters, digits, '_' and '-', beginning with a letter
p.toml:13:11: ticket[0].example: does not match the pattern
p.toml:16:8: tier[0].name: must be 1 to 63 of a-z, 0-9, '-' and '_'
p.toml:17:10: tier[0].groups: must not be empty
p.toml:18:12: tier[0].services: no service file is named "nowhere"
p.toml:19:8: tier[0].role: "payments.root" is not in ceiling.roles of service payments-demo
p.toml:20:28: tier[0].resources: "*" is neither an exact resource such as contract/C-1042 nor contract/*
p.toml:21:11: tier[0].actions: "payment.steal" is not in ceiling.actions of service payments-demo
p.toml:22:13: tier[0].maximum_s: must be from 1 to 100
p.toml:23:13: tier[0].default_s: must be from 1 to 100
p.toml:24:13: tier[0].approvals: must say who approves (such as approvals = { count = 2, groups = ["payments-leads"] })
p.toml:25:11: tier[0].binding: must be one of "identity", "mtls", "dpop", "bearer"
p.toml:26:12: tier[0].max_uses.maximum: is missing
p.toml:27:19: tier[0].staleness_max_s: must be from 1 to 30"#;
    assert_eq!(report(text), expected);
}

const ORGANISATION: &str = r#"
[organisation]
lifetime_max_s = 1000
[organisation.tier_defaults]
maximum_s = 600
concurrent_max = 2
[[reason]]
code = "one"
text = "t"
[[reason]]
code = "two"
text = "t"
[[ticket]]
tracker = "jira"
pattern = "INC-[0-9]+"
example = "INC-1"
[[schedule]]
name = "shift"
source = "icalendar"
url = "https://cal.test/a.ics"
[[schedule]]
name = "night"
source = "icalendar"
url = "https://cal.test/b.ics"
[[tier]]
name = "on-call"
groups = ["a", "b"]
on_call = ["shift"]
services = ["payments-demo"]
role = "payments.override"
resources = ["contract/*", "account/A-1"]
actions = ["payment.release", "payment.cancel"]
max_uses = { default = 2, maximum = 5 }
approvals = { count = 2, groups = ["leads", "risk"], every_group = true }
request_lapse_s = 600
step_up = { acr = ["urn:a", "urn:b"], max_age_s = 300 }
cool_down_s = 60
review_due_s = 3600
reasons = ["one"]
[[tier]]
name = "open"
template = true
"#;

/// The organisation's policy with one tier of one team.
fn with_team(tier: &str) -> String {
    format!(
        "{ORGANISATION}[[team]]\nname = \"pay\"\nservices = [\"payments-demo\"]\ngroups = [\"a\"]\n[[team.tier]]\n{tier}\n"
    )
}

fn team_tier(tier: &str) -> Tier {
    let policy = PolicyConfig::parse(Path::new("p.toml"), &with_team(tier), &services()).unwrap();
    policy.tiers.last().unwrap().clone()
}

#[test]
fn a_team_s_tier_takes_over_what_it_does_not_say() {
    let policy = PolicyConfig::parse(Path::new("p.toml"), &with_team("base = \"on-call\""), &services()).unwrap();
    let [own] = policy.tiers.as_slice() else {
        panic!("the base is narrowed for its only service: {:?}", policy.tiers)
    };
    let base = PolicyConfig::parse(Path::new("p.toml"), ORGANISATION, &services()).unwrap().tiers.remove(0);
    let names = (own.name.as_str(), own.team.as_deref(), own.base.as_deref());
    assert_eq!(names, ("pay/on-call", Some("pay"), Some("on-call")));
    let same = Tier { name: base.name.clone(), team: None, base: None, ..own.clone() };
    assert_eq!(same, base);
    assert_eq!((base.maximum.as_secs(), base.default.as_secs()), (600, 600), "the organisation's default");
    assert_eq!(base.concurrent_max.map(std::num::NonZeroU32::get), Some(2));
    assert!(narrowing::is_within(own, &base) && narrowing::is_within(&base, own));
}

#[test]
fn a_shorter_maximum_shortens_the_default() {
    let tier = team_tier("base = \"on-call\"\nmaximum_s = 100");
    assert_eq!((tier.maximum.as_secs(), tier.default.as_secs()), (100, 100));
}

#[test]
fn what_a_template_leaves_out_the_team_says() {
    let tier = team_tier(
        "base = \"open\"\nname = \"own\"\nrole = \"payments.override\"\nresources = [\"contract/*\"]\nactions = [\"limit.set\"]",
    );
    assert_eq!((tier.name.as_str(), tier.groups.len(), tier.on_call.len()), ("pay/own", 1, 0), "the team's people");
    assert_eq!(tier.services.len(), 1, "the team's services");
    let missing = report(&with_team("base = \"open\"\ngroups = [\"b\"]"));
    for key in ["role", "resources", "actions"] {
        assert!(
            missing.contains(&format!("team[0].tier[0].{key}: is missing: the base leaves it to the team")),
            "{missing}"
        );
    }
}

#[test]
fn a_narrowing_is_no_mistake() {
    for tier in [
        "groups = [\"a\"]",
        "groups = []",
        "on_call = []",
        "resources = [\"contract/C-1\", \"account/A-1\"]",
        "actions = [\"payment.cancel\"]",
        "maximum_s = 599\ndefault_s = 10",
        "max_uses = { maximum = 1 }",
        "staleness_max_s = 1",
        "approvals = { count = 3, groups = [\"leads\", \"risk\"], every_group = true }",
        "request_lapse_s = 60",
        "step_up = { acr = [\"urn:a\"], max_age_s = 1 }",
        "cool_down_s = 61",
        "concurrent_max = 1",
        "review_due_s = 1",
        "reasons = [\"one\"]",
        "binding = \"identity\"",
    ] {
        team_tier(&format!("base = \"on-call\"\n{tier}"));
    }
}

#[test]
fn every_widening_is_a_mistake_at_its_line() {
    let place = with_team("base = \"on-call\"\n").lines().count();
    for (tier, key, column, what) in [
        ("groups = [\"a\", \"c\"]", "groups", 10, "\"c\" is not in the base \"on-call\""),
        ("on_call = [\"night\"]", "on_call", 11, "\"night\" is not in the base \"on-call\""),
        ("resources = [\"account/*\"]", "resources", 13, "\"account/*\" is not in the base \"on-call\""),
        ("actions = [\"limit.set\"]", "actions", 11, "\"limit.set\" is not in the base \"on-call\""),
        ("maximum_s = 601", "maximum_s", 13, "\"601\" is wider than \"600\" of the base \"on-call\""),
        ("max_uses = { maximum = 6 }", "max_uses", 12, "\"6\" is wider than \"5\" of the base \"on-call\""),
        (
            "approvals = { count = 2, groups = [\"leads\", \"risk\"] }",
            "approvals",
            13,
            "\"2 of leads, risk\" is wider than \"2 of leads, risk, one of each\" of the base \"on-call\"",
        ),
        (
            "approvals = 0",
            "approvals",
            13,
            "\"none\" is wider than \"2 of leads, risk, one of each\" of the base \"on-call\"",
        ),
        ("request_lapse_s = 601", "request_lapse_s", 19, "\"601\" is wider than \"600\" of the base \"on-call\""),
        (
            "step_up = { acr = [\"urn:a\"] }",
            "step_up",
            11,
            "\"acr urn:a\" is wider than \"acr urn:a or urn:b, at most 300 s ago\" of the base \"on-call\"",
        ),
        (
            "step_up = { max_age_s = 1 }",
            "step_up",
            11,
            "\"at most 1 s ago\" is wider than \"acr urn:a or urn:b, at most 300 s ago\" of the base \"on-call\"",
        ),
        (
            "step_up = {}",
            "step_up",
            11,
            "\"none\" is wider than \"acr urn:a or urn:b, at most 300 s ago\" of the base \"on-call\"",
        ),
        ("cool_down_s = 59", "cool_down_s", 15, "\"59\" is wider than \"60\" of the base \"on-call\""),
        ("concurrent_max = 3", "concurrent_max", 18, "\"3\" is wider than \"2\" of the base \"on-call\""),
        ("concurrent_max = 0", "concurrent_max", 18, "\"no limit\" is wider than \"2\" of the base \"on-call\""),
        ("review_due_s = 3601", "review_due_s", 16, "\"3601\" is wider than \"3600\" of the base \"on-call\""),
        ("reasons = [\"one\", \"two\"]", "reasons", 11, "\"one, two\" is wider than \"one\" of the base \"on-call\""),
    ] {
        let expected =
            format!("p.toml:{place}:{column}: team[0].tier[0].{key}: {what} (a team narrows, it never widens)");
        assert_eq!(report(&with_team(&format!("base = \"on-call\"\n{tier}"))), expected, "{tier}");
    }
}

#[test]
fn mistakes_of_teams_trackers_and_terms_are_reported_at_once() {
    let text = ORGANISATION
        .replace("max_age_s = 300", "max_age_s = 0, acr_values = [\"x\"]")
        .replace(
            "reasons = [\"one\"]",
            "reasons = [\"on\"]\nbinding = \"bearer\"\nbindings = [\"bearer\"]\nconcurent_max = 1",
        )
        .replace("on_call = [\"shift\"]", "on_call = [\"shft\"]")
        .replace("count = 2, groups = [\"leads\", \"risk\"]", "count = 1, groups = [\"leads\", \"risk\"]")
        .replace(
            "example = \"INC-1\"",
            "example = \"INC-1\"\nurl = \"ftp://x/{ticket}{ticket}\"\nservices = [\"payment-demo\"]\nteams = [\"pey\"]",
        )
        + r#"default_s = 700
approvals = 1
bindings = ["identity", "identity", "sign"]
step_up = { acr = ["two words"] }
[[team]]
name = "pay"
services = ["payments-demo", "other"]
on_call = ["late"]
[[team.tier]]
base = "on-cal"
[[team.tier]]
base = "on-call"
services = ["other"]
[[team.tier]]
name = "A"
base = "open"
role = "payments.override"
resources = ["contract/*"]
actions = ["limit.set"]
[[team]]
name = "pay"
services = ["payments-demo"]
"#;
    insta::assert_snapshot!(report(&text));
}

#[test]
fn a_tier_whose_people_would_have_no_tracker_is_a_mistake() {
    let text = ORGANISATION.replace("example = \"INC-1\"", "example = \"INC-1\"\nservices = []");
    assert_eq!(
        report(&text),
        "p.toml:30:12: tier[0].services: no [[ticket]] serves \"payments-demo\", so nobody could ask (add the service to \
         the services of a [[ticket]])"
    );
}

#[test]
fn a_link_holds_the_ticket_as_one_value() {
    let text = ORGANISATION
        .replace("\"INC-[0-9]+\"", "\".*\"")
        .replace("example = \"INC-1\"", "example = \"INC-1\"\nurl = \"https://t.test/?q={ticket}\"");
    let policy = PolicyConfig::parse(Path::new("p.toml"), &text, &services()).unwrap();
    let link = policy.tickets[0].link(&"INC-1/../&x=#%41".parse().unwrap());
    assert_eq!(link.as_deref(), Some("https://t.test/?q=INC-1%2F..%2F%26x%3D%23%2541"));
}
