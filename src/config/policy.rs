//! The organisation's policy: reason codes, ticket patterns, and the tiers that say who may ask for what.
//!
//! The file is input: the control plane stores it as a numbered revision and serves that. It is checked against the
//! service files it speaks of, so that no tier promises what every sidecar would refuse.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use regex::Regex;

use super::mistakes::ConfigError;
use super::reader::{self, Section};
use super::resource_pattern::ResourcePattern;
use super::schedule::{self, ScheduleConfig};
use super::service::{self, ServiceConfig};
use crate::domain::{Action, Binding, ReasonCode, Resource, Role, ServiceName, Ticket};

/// Longest lifetime that an organisation can allow: a day.
const LIFETIME_MAX_S: u64 = 86_400;
/// Longest staleness that an organisation can allow: five minutes.
const STALENESS_MAX_S: u64 = 300;
/// Longest time until a review is due: 90 days.
const REVIEW_DUE_MAX_S: u64 = 90 * 86_400;
/// Greatest size of a compiled ticket pattern.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
const USES_MAX: u64 = 1_000_000;

/// The policy, checked.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    pub lifetime_max: Duration,
    pub staleness_max: Duration,
    pub reasons: Vec<ReasonRule>,
    pub tickets: Vec<TicketRule>,
    pub tiers: Vec<Tier>,
    pub schedules: Vec<ScheduleConfig>,
    /// SHA-256 of the file, hex.
    pub digest: String,
}

/// One category of need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonRule {
    pub code: ReasonCode,
    /// What a human chooses by.
    pub text: String,
}

/// How references in one tracker look.
#[derive(Debug, Clone)]
pub struct TicketRule {
    pub tracker: String,
    pub pattern: String,
    pub example: Ticket,
    whole: Regex,
}

impl TicketRule {
    /// True when the pattern matches the whole ticket.
    pub fn matches(&self, ticket: &Ticket) -> bool {
        self.whole.is_match(ticket.as_str())
    }
}

/// Who may ask for what, and for how long.
#[derive(Debug, Clone)]
pub struct Tier {
    pub name: String,
    /// Members of any of these may ask.
    pub groups: BTreeSet<String>,
    pub services: BTreeSet<ServiceName>,
    /// The role its grants confer.
    pub role: Role,
    pub resources: Vec<ResourcePattern>,
    pub actions: BTreeSet<Action>,
    pub default: Duration,
    pub maximum: Duration,
    /// What a request that names no number of uses is given, and the most it can name; both absent: no limit.
    pub uses_default: Option<NonZeroU32>,
    pub uses_maximum: Option<NonZeroU32>,
    pub staleness_max: Duration,
    pub binding: Binding,
    pub review_due: Duration,
}

impl Tier {
    pub fn has_resource(&self, resource: &Resource) -> bool {
        self.resources.iter().any(|pattern| pattern.matches(resource))
    }
}

/// The organisation's limits, which no tier exceeds.
struct Maxima {
    lifetime_s: u64,
    staleness_s: u64,
}

impl PolicyConfig {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn load(file: &Path, services: &[ServiceConfig]) -> Result<Self, ConfigError> {
        Self::parse(file, &reader::read_file(file)?, services)
    }

    /// Checks the text of a policy file; `file` is named in mistakes.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(file: &Path, text: &str, services: &[ServiceConfig]) -> Result<Self, ConfigError> {
        reader::parse(file, text, |root| {
            let maxima = root.required_section("organisation").map(|section| Maxima {
                lifetime_s: section.integer("lifetime_max_s", 1..=LIFETIME_MAX_S, 3600),
                staleness_s: section.integer("staleness_max_s", 1..=STALENESS_MAX_S, 30),
            });
            let reasons = read_reasons(root);
            let tickets = read_tickets(root);
            let maxima = maxima.unwrap_or(Maxima { lifetime_s: LIFETIME_MAX_S, staleness_s: STALENESS_MAX_S });
            let tiers = read_tiers(root, &maxima, services);
            let schedules = schedule::read_schedules(root);
            Some(Self {
                lifetime_max: Duration::from_secs(maxima.lifetime_s),
                staleness_max: Duration::from_secs(maxima.staleness_s),
                reasons,
                tickets,
                tiers,
                schedules,
                digest: super::digest_hex(text),
            })
        })
    }
}

/// The tables under `key`, at least one.
fn some_sections<'a>(root: &Section<'a>, key: &'static str) -> Vec<Section<'a>> {
    let sections = root.sections(key);
    if sections.is_empty() {
        root.mistake(key, "there must be at least one", Some(&format!("add a [[{key}]] table")));
    }
    sections
}

fn read_reasons(root: &Section<'_>) -> Vec<ReasonRule> {
    let mut reasons: Vec<ReasonRule> = Vec::new();
    for section in some_sections(root, "reason") {
        let (code, text) = (section.required::<ReasonCode>("code"), section.required::<String>("text"));
        let (Some(code), Some(text)) = (code, text) else { continue };
        if reasons.iter().any(|known| known.code == code) {
            section.mistake("code", format_args!("\"{code}\" stands twice"), None);
        }
        reasons.push(ReasonRule { code, text });
    }
    reasons
}

fn read_tickets(root: &Section<'_>) -> Vec<TicketRule> {
    some_sections(root, "ticket").iter().filter_map(read_ticket).collect()
}

fn read_ticket(section: &Section<'_>) -> Option<TicketRule> {
    let tracker = section.required("tracker");
    let pattern: Option<String> = section.required("pattern");
    let example = section.required("example");
    let whole = pattern.as_deref().and_then(|pattern| {
        whole_match(pattern).map_err(|why| section.mistake("pattern", why, Some("a regular expression"))).ok()
    });
    let rule = TicketRule { tracker: tracker?, pattern: pattern?, example: example?, whole: whole? };
    if !rule.matches(&rule.example) {
        section.mistake("example", "does not match the pattern", None);
    }
    Some(rule)
}

/// The pattern compiled to match a whole text. It is compiled alone first, so that it can't close our group.
fn whole_match(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    build(pattern)
        .and_then(|_| build(&format!(r"\A(?:{pattern})\z")))
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

fn read_tiers(root: &Section<'_>, maxima: &Maxima, services: &[ServiceConfig]) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = Vec::new();
    for section in some_sections(root, "tier") {
        let Some(tier) = read_tier(&section, maxima) else { continue };
        if tiers.iter().any(|known| known.name == tier.name) {
            section.mistake("name", format_args!("\"{}\" stands twice", tier.name), None);
        }
        for name in &tier.services {
            match services.iter().find(|service| service.name == *name) {
                Some(service) => check_ceiling(&section, &tier, service),
                None => section.mistake("services", format_args!("no service file is named \"{name}\""), None),
            }
        }
        tiers.push(tier);
    }
    tiers
}

fn read_tier(section: &Section<'_>, maxima: &Maxima) -> Option<Tier> {
    let name = read_name(section);
    let groups = section.required_list("groups").into_iter().collect();
    let services = section.required_list("services").into_iter().collect();
    let role = section.required("role");
    let resources = section.required_list("resources");
    let actions = section.required_list("actions").into_iter().collect();
    let maximum = section.integer("maximum_s", 1..=maxima.lifetime_s, maxima.lifetime_s.min(900));
    let default = section.integer("default_s", 1..=maximum, maximum);
    let (uses_default, uses_maximum) = read_uses(section);
    let staleness_max = section.integer("staleness_max_s", 1..=maxima.staleness_s, maxima.staleness_s);
    if section.integer("approvals", 0..=u64::from(u32::MAX), 0) > 0 {
        section.mistake("approvals", "only 0 is understood by this version", Some("remove the key or set it to 0"));
    }
    let binding = section.choice("binding", service::BINDINGS).unwrap_or(Binding::Identity);
    let review_due = section.integer("review_due_s", 1..=REVIEW_DUE_MAX_S, 86_400);
    Some(Tier {
        name: name?,
        groups,
        services,
        role: role?,
        resources,
        actions,
        default: Duration::from_secs(default),
        maximum: Duration::from_secs(maximum),
        uses_default,
        uses_maximum,
        staleness_max: Duration::from_secs(staleness_max),
        binding,
        review_due: Duration::from_secs(review_due),
    })
}

fn read_name(section: &Section<'_>) -> Option<String> {
    let name: String = section.required("name")?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(word) {
        section.mistake("name", "must be 1 to 63 of a-z, 0-9, '-' and '_'", None);
    }
    Some(name)
}

/// `max_uses = { default = 3, maximum = 10 }`
fn read_uses(section: &Section<'_>) -> (Option<NonZeroU32>, Option<NonZeroU32>) {
    let Some(uses) = section.section("max_uses") else { return (None, None) };
    if !uses.has("maximum") {
        uses.missing("maximum");
    }
    let maximum = uses.integer("maximum", 1..=USES_MAX, USES_MAX);
    let default = uses.integer("default", 1..=maximum, maximum);
    let limit = |uses: u64| u32::try_from(uses).ok().and_then(NonZeroU32::new);
    (limit(default), limit(maximum))
}

/// What the sidecars of the service would refuse is a mistake here.
fn check_ceiling(section: &Section<'_>, tier: &Tier, service: &ServiceConfig) {
    let (name, ceiling) = (&service.name, &service.ceiling);
    if !ceiling.roles.contains(&tier.role) {
        section.mistake("role", format_args!("\"{}\" is not in ceiling.roles of service {name}", tier.role), None);
    }
    for action in tier.actions.difference(&ceiling.actions) {
        section.mistake("actions", format_args!("\"{action}\" is not in ceiling.actions of service {name}"), None);
    }
    if tier.maximum > ceiling.lifetime_max {
        let most = ceiling.lifetime_max.as_secs();
        section.mistake("maximum_s", format_args!("is above ceiling.lifetime_max_s of service {name}, {most}"), None);
    }
    if tier.staleness_max > ceiling.staleness_max {
        let most = ceiling.staleness_max.as_secs();
        section.mistake(
            "staleness_max_s",
            format_args!("is above ceiling.staleness_max_s of service {name}, {most}"),
            None,
        );
    }
    if !ceiling.bindings.contains(&tier.binding) {
        section.mistake(
            "binding",
            format_args!("\"{}\" is not in ceiling.bindings of service {name}", tier.binding.as_str()),
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = include_str!("../../config/services/payments-demo.toml");
    const POLICY: &str = include_str!("../../config/policy.toml");

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
        let whole = whole_match("INC-[0-9]+|OPS-[0-9]+").unwrap();
        assert!(whole.is_match("OPS-1"));
        for bad in ["xINC-1", "INC-1x", "INC-1\n", "OPS-", ""] {
            assert!(!whole.is_match(bad), "{bad:?}");
        }
        assert!(whole_match("a)|(?:.*").is_err(), "it can't leave its group");
        assert!(whole_match("(a{1000}){1000}").is_err(), "its size is bounded");
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
p.toml:24:13: tier[0].approvals: only 0 is understood by this version (remove the key or set it to 0)
p.toml:25:11: tier[0].binding: must be one of "identity", "bearer"
p.toml:26:12: tier[0].max_uses.maximum: is missing
p.toml:27:19: tier[0].staleness_max_s: must be from 1 to 30"#;
        assert_eq!(report(text), expected);
    }
}
