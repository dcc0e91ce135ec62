//! A team's tests of a policy: who asks for what, and what the verdict must be. Evaluated elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mistakes::ConfigError;
use super::reader::{self, Section};
use super::service;
use crate::domain::{Action, Authentication, Binding, ReasonCode, Resource, Role, ServiceName, Ticket, WallTime};
use crate::wire::api::ElevationRequest;

/// The moment at which every case is looked at: ages are told, so no clock is read.
pub const NOW: WallTime = WallTime::from_unix_s(1_800_000_000);
const AGE_MAX_S: u64 = 10 * 366 * 86_400;
const CASES_MAX: usize = 10_000;

/// A file of cases, checked.
#[derive(Debug, Clone)]
pub struct PolicyCases {
    /// The policy they are about, unless the command line names another.
    pub policy: Option<PathBuf>,
    /// Service files, or folders of them.
    pub services: Vec<PathBuf>,
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub who: Who,
    pub ask: ElevationRequest,
    pub binding: Option<Binding>,
    pub expect: Expect,
}

/// The person who asks.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub groups: BTreeSet<String>,
    pub on_call: BTreeSet<String>,
    pub authentication: Authentication,
    /// Tiers of live grants, a name for each grant.
    pub live: Vec<String>,
    pub ended: Vec<EndedAgo>,
}

/// A grant that ended.
#[derive(Debug, Clone)]
pub struct EndedAgo {
    pub tier: String,
    pub resource: Resource,
    pub ago: Duration,
}

/// What must come out. What is absent may be anything.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    pub allow: bool,
    pub code: Option<String>,
    pub retry_after_s: Option<u64>,
    pub tier: Option<String>,
    pub role: Option<Role>,
    pub admitted_by: Option<String>,
    pub approvals: Option<u64>,
    pub approval_groups: Option<BTreeSet<String>>,
    pub duration_s: Option<u64>,
    pub max_uses: Option<u64>,
    pub binding: Option<Binding>,
    pub step_up: Option<bool>,
    pub review_mandatory: Option<bool>,
    pub review_due_s: Option<u64>,
    pub request_lapse_s: Option<u64>,
}

impl PolicyCases {
    /// Reads and checks a file of cases.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &reader::read_file(file)?)
    }

    /// Checks the text of a file of cases; `file` is named in mistakes.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        reader::parse(file, text, |root| Some(read(root, file)))
    }
}

fn read(root: &Section<'_>, file: &Path) -> PolicyCases {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let defaults = root.section("ask").map(|section| AskKeys::read(&section)).unwrap_or_default();
    let sections = root.sections("case");
    if sections.is_empty() {
        root.mistake("case", "there must be at least one", Some("add a [[case]] table"));
    }
    if sections.len() > CASES_MAX {
        root.mistake("case", format_args!("at most {CASES_MAX} cases"), None);
    }
    PolicyCases {
        policy: root.path("policy"),
        services: root.list::<PathBuf>("services").into_iter().map(|path| folder.join(path)).collect(),
        cases: sections.iter().filter_map(|section| read_case(section, &defaults)).collect(),
    }
}

fn read_case(section: &Section<'_>, defaults: &AskKeys) -> Option<Case> {
    let name: Option<String> = section.required("name");
    let who = section.required_section("as").map(|section| read_who(&section)).unwrap_or_default();
    let own = section.section("ask").map(|section| AskKeys::read(&section)).unwrap_or_default();
    let keys = own.over(defaults);
    let binding = keys.binding;
    let ask = keys.whole(section);
    let expect = section.required_section("expect").map(|section| read_expect(&section));
    Some(Case { name: name?, who, ask: ask?, binding, expect: expect? })
}

/// What is asked; the cases' own keys stand over those of the `[ask]` at the top.
#[derive(Debug, Clone, Default)]
struct AskKeys {
    service: Option<ServiceName>,
    resources: Option<Vec<Resource>>,
    actions: Option<Vec<Action>>,
    reason: Option<ReasonCode>,
    ticket: Option<Ticket>,
    duration_s: Option<u64>,
    max_uses: Option<u64>,
    tier: Option<String>,
    binding: Option<Binding>,
}

impl AskKeys {
    fn read(section: &Section<'_>) -> Self {
        Self {
            service: section.optional("service"),
            resources: section.has("resources").then(|| section.list("resources")),
            actions: section.has("actions").then(|| section.list("actions")),
            reason: section.optional("reason"),
            ticket: section.optional("ticket"),
            duration_s: number(section, "duration_s", u64::from(u32::MAX)),
            max_uses: number(section, "max_uses", u64::from(u32::MAX)),
            tier: section.optional("tier"),
            binding: section.choice("binding", service::BINDINGS),
        }
    }

    fn over(self, under: &Self) -> Self {
        Self {
            service: self.service.or_else(|| under.service.clone()),
            resources: self.resources.or_else(|| under.resources.clone()),
            actions: self.actions.or_else(|| under.actions.clone()),
            reason: self.reason.or_else(|| under.reason.clone()),
            ticket: self.ticket.or_else(|| under.ticket.clone()),
            duration_s: self.duration_s.or(under.duration_s),
            max_uses: self.max_uses.or(under.max_uses),
            tier: self.tier.or_else(|| under.tier.clone()),
            binding: self.binding.or(under.binding),
        }
    }

    fn whole(self, case: &Section<'_>) -> Option<ElevationRequest> {
        let missing = [
            ("service", self.service.is_none()),
            ("resources", self.resources.is_none()),
            ("actions", self.actions.is_none()),
            ("reason", self.reason.is_none()),
            ("ticket", self.ticket.is_none()),
        ];
        for (key, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
            case.mistake(&format!("ask.{key}"), "is missing", Some("say it here, or once in [ask]"));
        }
        Some(ElevationRequest {
            binding: None,
            service: self.service?,
            resources: self.resources?,
            actions: self.actions?,
            reason: self.reason?,
            ticket: self.ticket?,
            duration_s: self.duration_s,
            max_uses: self.max_uses.and_then(|uses| u32::try_from(uses).ok()),
            tier: self.tier,
        })
    }
}

fn read_who(section: &Section<'_>) -> Who {
    let age = number(section, "auth_age_s", AGE_MAX_S).map(Duration::from_secs);
    Who {
        groups: section.list("groups").into_iter().collect(),
        on_call: section.list("on_call").into_iter().collect(),
        authentication: Authentication {
            acr: section.optional("acr"),
            amr: section.list("amr"),
            auth_time: age.map(|age| NOW.minus(age)),
        },
        live: section.list("live"),
        ended: section.sections("ended").iter().filter_map(read_ended).collect(),
    }
}

fn read_ended(section: &Section<'_>) -> Option<EndedAgo> {
    let (tier, resource) = (section.required("tier"), section.required("resource"));
    if !section.has("ago_s") {
        section.missing("ago_s");
    }
    let ago = Duration::from_secs(section.integer("ago_s", 0..=AGE_MAX_S, 0));
    Some(EndedAgo { tier: tier?, resource: resource?, ago })
}

fn read_expect(section: &Section<'_>) -> Expect {
    if !section.has("verdict") {
        section.missing("verdict");
    }
    let allow = section.choice("verdict", &[("allow", true), ("refuse", false)]).unwrap_or(false);
    let expect = Expect {
        allow,
        code: section.optional("code"),
        retry_after_s: number(section, "retry_after_s", AGE_MAX_S),
        tier: section.optional("tier"),
        role: section.optional("role"),
        admitted_by: section.optional("admitted_by"),
        approvals: number(section, "approvals", AGE_MAX_S),
        approval_groups: section.has("approval_groups").then(|| section.list("approval_groups").into_iter().collect()),
        duration_s: number(section, "duration_s", AGE_MAX_S),
        max_uses: number(section, "max_uses", AGE_MAX_S),
        binding: section.choice("binding", service::BINDINGS),
        step_up: section.has("step_up").then(|| section.boolean("step_up", false)),
        review_mandatory: section.has("review_mandatory").then(|| section.boolean("review_mandatory", false)),
        review_due_s: number(section, "review_due_s", AGE_MAX_S),
        request_lapse_s: number(section, "request_lapse_s", AGE_MAX_S),
    };
    check_sides(section, allow);
    expect
}

/// What only the other verdict has can never come out.
fn check_sides(section: &Section<'_>, allow: bool) {
    const REFUSED: &[&str] = &["code", "retry_after_s"];
    const ALLOWED: &[&str] = &[
        "tier",
        "role",
        "admitted_by",
        "approvals",
        "approval_groups",
        "duration_s",
        "max_uses",
        "binding",
        "step_up",
        "review_mandatory",
        "review_due_s",
        "request_lapse_s",
    ];
    let (foreign, verdict) = if allow { (REFUSED, "refuse") } else { (ALLOWED, "allow") };
    for key in foreign.iter().filter(|key| section.has(key)) {
        section.mistake(key, format_args!("comes with the verdict \"{verdict}\" only"), None);
    }
}

fn number(section: &Section<'_>, key: &'static str, most: u64) -> Option<u64> {
    section.has(key).then(|| section.integer(key, 0..=most, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = r#"
polcy = "p.toml"

[ask]
service = "payments-demo"
reason = "Stuck"

[[case]]
name = "one"
as = { group = ["a"], auth_age_s = "5m" }
ask = { resources = ["contract/*"], actions = ["a.b"], ticket = "INC-1" }
expect = { verdict = "alow", code = "x" }

[[case]]
as = { ended = [{ tier = "t" }] }
expect = { verdict = "allow", code = "x" }
"#;
        let expected = r#"c.toml:2:1: polcy: unknown key (did you mean "policy"?)
c.toml:6:10: ask.reason: a reason code is lower-case letters, digits, '_' and '-', beginning with a letter
c.toml:8:1: case[0].ask.reason: is missing (say it here, or once in [ask])
c.toml:10:8: case[0].as.group: unknown key (did you mean "groups"?)
c.toml:10:36: case[0].as.auth_age_s: must be a whole number, not string
c.toml:11:22: case[0].ask.resources: a resource is type/id, the type a lower-case word, the id 1 to 128 of A-Z a-z 0-9 - . _ ~, and no dot segment
c.toml:12:22: case[0].expect.verdict: must be one of "allow", "refuse" (did you mean "allow"?)
c.toml:14:1: case[1].ask.actions: is missing (say it here, or once in [ask])
c.toml:14:1: case[1].ask.reason: is missing (say it here, or once in [ask])
c.toml:14:1: case[1].ask.resources: is missing (say it here, or once in [ask])
c.toml:14:1: case[1].ask.ticket: is missing (say it here, or once in [ask])
c.toml:14:1: case[1].name: is missing"#;
        let report = PolicyCases::parse(Path::new("c.toml"), text).unwrap_err().to_string();
        for line in expected.lines() {
            assert!(report.contains(line), "{line:?} is not in\n{report}");
        }
    }
}
