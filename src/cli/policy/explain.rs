//! `breakglass policy explain`: which tier a request would get and why, and what would be demanded for it.

use std::num::NonZeroU32;

use serde::Serialize;

use super::source::Source;
use crate::cli::args::{Format, PolicyExplainArgs};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Cell, Colour, Output};
use crate::config::policy_cases::NOW;
use crate::domain::{Action, Authentication, Binding, Person, Resource, Role, ServiceName};
use crate::policy::check::{check_request, examine_all};
use crate::policy::obstacle::whole;
use crate::policy::{Asked, Asker, Refused, Rules, Terms, TierVerdict, check};
use crate::wire::api::ElevationRequest;

#[derive(Debug, Serialize)]
struct Explanation {
    person: Person,
    service: ServiceName,
    resources: Vec<Resource>,
    actions: Vec<Action>,
    /// `allow` or `refuse`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Given>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
    /// Every tier; empty where the request would be refused to anyone.
    tiers: Vec<TierLine>,
}

/// What would be given, and demanded for it.
#[derive(Debug, Serialize)]
struct Given {
    tier: String,
    admitted_by: String,
    role: Role,
    duration_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<NonZeroU32>,
    binding: Binding,
    approvals: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approval_groups: Vec<String>,
    every_group: bool,
    request_lapse_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_up: Option<String>,
    review_mandatory: bool,
    review_due_s: u64,
}

#[derive(Debug, Serialize)]
struct Refusal {
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct TierLine {
    tier: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    admitted_by: Option<String>,
    fits: bool,
    obstacles: Vec<ObstacleLine>,
}

#[derive(Debug, Serialize)]
struct ObstacleLine {
    code: &'static str,
    text: String,
}

/// # Errors
/// When the policy cannot be read, or has a mistake. A refusal is an explanation too.
pub(super) fn run(args: &PolicyExplainArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::of_flags(&args.files)?.ok_or_else(|| {
        Failure::new(Exit::Usage, "no policy is named", "say --config control.toml, or --files for policy and services")
    })?;
    let rules = source.load()?;
    let request = request(args, &rules, out)?;
    let asker = asker(args);
    let asked = Asked { request: &request, binding: args.binding.map(Binding::from) };
    let explanation = explain(args, &rules, &asker, asked);
    if out.format == Format::Json { out.json(&explanation) } else { print(&explanation, out) }
}

fn asker(args: &PolicyExplainArgs) -> Asker {
    let auth_time = args.auth_age.map(|age| NOW.minus(age));
    let authentication = Authentication { acr: args.acr.clone(), amr: Vec::new(), auth_time };
    let mut asker = Asker::new(args.groups.iter().cloned(), authentication, NOW);
    asker.on_call.extend(args.on_call.iter().cloned());
    asker
}

/// The request, with a reason and a ticket that pass where none is given.
fn request(args: &PolicyExplainArgs, rules: &Rules, out: &mut Output) -> Result<ElevationRequest, Failure> {
    let none = |what: &str| Failure::new(Exit::Unverified, format!("the policy has no {what}"), "add one");
    let reason = match &args.reason {
        Some(reason) => reason.clone(),
        None => {
            let first = rules.policy.reasons.first().ok_or_else(|| none("reason"))?;
            out.note(&format!("without --reason: explained for \"{}\"", first.code));
            first.code.clone()
        }
    };
    let ticket = match &args.ticket {
        Some(ticket) => ticket.clone(),
        None => {
            let mut tickets = rules.policy.tickets.iter();
            let own = tickets.find(|rule| rule.serves(&args.service)).or_else(|| rules.policy.tickets.first());
            own.ok_or_else(|| none("ticket pattern"))?.example.clone()
        }
    };
    Ok(ElevationRequest {
        binding: None,
        service: args.service.clone(),
        resources: args.resources.clone(),
        actions: args.actions.clone(),
        reason,
        ticket,
        duration_s: args.duration.map(|span| span.as_secs()),
        max_uses: args.uses,
        tier: args.tier.clone(),
    })
}

fn explain(args: &PolicyExplainArgs, rules: &Rules, asker: &Asker, asked: Asked<'_>) -> Explanation {
    let verdicts =
        check_request(rules, asked).map(|scope| examine_all(rules, asker, asked, &scope)).unwrap_or_default();
    let (terms, refusal) = match check(rules, asker, asked) {
        Ok(terms) => (Some(given(&terms)), None),
        Err(refused) => (None, Some(refusal(refused))),
    };
    Explanation {
        person: args.person.clone(),
        service: args.service.clone(),
        resources: args.resources.clone(),
        actions: args.actions.clone(),
        verdict: if terms.is_some() { "allow" } else { "refuse" },
        terms,
        refusal,
        tiers: verdicts.iter().map(tier_line).collect(),
    }
}

fn given(terms: &Terms<'_>) -> Given {
    Given {
        tier: terms.tier.name.clone(),
        admitted_by: terms.admitted_by.to_string(),
        role: terms.tier.role.clone(),
        duration_s: terms.duration.as_secs(),
        max_uses: terms.max_uses,
        binding: terms.binding,
        approvals: terms.approvals.count,
        approval_groups: terms.approvals.groups.iter().cloned().collect(),
        every_group: terms.approvals.every_group,
        request_lapse_s: terms.lapse.as_secs(),
        step_up: terms.step_up.map(ToString::to_string),
        review_mandatory: terms.review_mandatory,
        review_due_s: terms.review_due.as_secs(),
    }
}

fn refusal(refused: Refused) -> Refusal {
    Refusal { code: refused.cause.code(), detail: refused.detail, retry_after_s: refused.retry_after.map(whole) }
}

fn tier_line(verdict: &TierVerdict<'_>) -> TierLine {
    let obstacles = verdict.obstacles.iter();
    TierLine {
        tier: verdict.tier.name.clone(),
        admitted_by: verdict.admitted_by.as_ref().map(ToString::to_string),
        fits: verdict.obstacles.is_empty(),
        obstacles: obstacles.map(|o| ObstacleLine { code: o.cause().code(), text: o.to_string() }).collect(),
    }
}

fn print(explanation: &Explanation, out: &mut Output) -> Result<(), Failure> {
    let mut facts = Vec::new();
    if let Some(given) = &explanation.terms {
        facts.push(("verdict", Cell::coloured(verdict(given), Colour::Green)));
        facts.extend(terms(given));
    }
    if let Some(refusal) = &explanation.refusal {
        facts.push(("verdict", Cell::coloured(format!("refused: {}", refusal.code), Colour::Red)));
        facts.push(("because", Cell::new(&refusal.detail)));
    }
    out.facts(&facts)?;
    if explanation.tiers.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows: Vec<Vec<Cell>> = explanation.tiers.iter().map(row).collect();
    out.table(&["TIER", "OPEN BY", "WHY"], &rows)
}

fn verdict(given: &Given) -> String {
    match given.approvals {
        0 => "granted at once".to_owned(),
        1 => "granted after 1 approval".to_owned(),
        count => format!("granted after {count} approvals"),
    }
}

fn terms(given: &Given) -> Vec<(&'static str, Cell)> {
    let uses = given.max_uses.map_or_else(|| "any number".to_owned(), |uses| uses.to_string());
    let each = if given.every_group { ", one of each" } else { "" };
    let approvals = match given.approvals {
        0 => "none".to_owned(),
        count => format!("{count} of {}{each}, within {} s", given.approval_groups.join(", "), given.request_lapse_s),
    };
    let must = if given.review_mandatory { "mandatory, " } else { "" };
    vec![
        ("tier", Cell::new(&given.tier)),
        ("open by", Cell::new(&given.admitted_by)),
        ("role", Cell::new(&given.role)),
        ("time", Cell::new(format!("{} s", given.duration_s))),
        ("uses", Cell::new(uses)),
        ("binding", Cell::new(given.binding.as_str())),
        ("approvals", Cell::new(approvals)),
        ("login", Cell::new(given.step_up.as_deref().unwrap_or("any"))),
        ("review", Cell::new(format!("{must}within {} s", given.review_due_s))),
    ]
}

fn row(line: &TierLine) -> Vec<Cell> {
    let why: Vec<&str> = line.obstacles.iter().map(|obstacle| obstacle.text.as_str()).collect();
    let why = if line.fits { Cell::coloured("fits", Colour::Green) } else { Cell::new(why.join("; ")) };
    vec![Cell::new(&line.tier), Cell::new(line.admitted_by.as_deref().unwrap_or("-")), why]
}
