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
p.toml:25:11: tier[0].binding: must be one of "identity", "bearer"
p.toml:26:12: tier[0].max_uses.maximum: is missing
p.toml:27:19: tier[0].staleness_max_s: must be from 1 to 30"#;
    assert_eq!(report(text), expected);
}
