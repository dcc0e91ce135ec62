//! `breakglass policy test`: a policy held to the verdicts that a file expects, for a team's own continuous integration.

use std::path::PathBuf;

use serde::Serialize;

use super::source::{Source, mistaken};
use crate::cli::args::{Format, PolicyTestArgs};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Cell, Colour, Output};
use crate::config::policy_cases::{Case, Expect, NOW, PolicyCases, Who};
use crate::domain::ServiceName;
use crate::policy::obstacle::whole;
use crate::policy::{Asked, Asker, Ended, Refused, Rules, Terms, check};

#[derive(Debug, Serialize)]
struct Report {
    cases: usize,
    failed: Vec<Failed>,
}

/// A case that came out otherwise.
#[derive(Debug, Serialize)]
struct Failed {
    name: String,
    differences: Vec<Differs>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Differs {
    what: &'static str,
    got: String,
    want: String,
}

/// # Errors
/// When a file cannot be read or has a mistake, or a case fails.
pub(super) fn run(args: &PolicyTestArgs, out: &mut Output) -> Result<(), Failure> {
    let cases = PolicyCases::load(&args.file).map_err(|error| mistaken(&error))?;
    let source = match Source::of_flags(&args.files)? {
        Some(source) => source,
        None => of_cases(&cases)?,
    };
    let rules = source.load()?;
    let failed: Vec<Failed> = cases.cases.iter().filter_map(|case| examine(&rules, case)).collect();
    let report = Report { cases: cases.cases.len(), failed };
    print(&report, out)?;
    if report.failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unverified,
        format!("{} of {} cases failed", report.failed.len(), report.cases),
        "breakglass policy explain says which tier a request would get, and why",
    ))
}

fn of_cases(cases: &PolicyCases) -> Result<Source, Failure> {
    let policy = cases.policy.clone().ok_or_else(|| {
        let hint = "say policy = \"policy.toml\" and services = [\"services\"] in the file, or use --files or --config";
        Failure::new(Exit::Usage, "no policy is named", hint)
    })?;
    let paths: Vec<PathBuf> = std::iter::once(policy).chain(cases.services.iter().cloned()).collect();
    Source::among(&paths)
}

fn print(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(report);
    }
    for failed in &report.failed {
        out.parts(&[Cell::coloured("failed: ", Colour::Red), Cell::new(&failed.name)])?;
        for differs in &failed.differences {
            out.line(&format!("  {}: got {}, want {}", differs.what, differs.got, differs.want))?;
        }
    }
    if report.failed.is_empty() {
        out.line(&format!("{} cases passed", report.cases))?;
    }
    Ok(())
}

/// `None`: it came out as expected.
fn examine(rules: &Rules, case: &Case) -> Option<Failed> {
    let asker = asker(&case.who, &case.ask.service);
    let asked = Asked { request: &case.ask, binding: case.binding };
    let differences = match check(rules, &asker, asked) {
        Ok(terms) => of_terms(&terms, &case.expect),
        Err(refused) => of_refusal(&refused, &case.expect),
    };
    (!differences.is_empty()).then(|| Failed { name: case.name.clone(), differences })
}

fn asker(who: &Who, service: &ServiceName) -> Asker {
    let mut asker = Asker::new(who.groups.iter().cloned(), who.authentication.clone(), NOW);
    asker.on_call = who.on_call.clone();
    for tier in &who.live {
        let count = asker.history.live.entry(tier.clone()).or_default();
        *count = count.saturating_add(1);
    }
    asker.history.ended = who
        .ended
        .iter()
        .map(|ended| Ended {
            tier: ended.tier.clone(),
            service: service.clone(),
            resource: ended.resource.clone(),
            at: NOW.minus(ended.ago),
        })
        .collect();
    asker
}

/// Notes what is not as wanted, where something is wanted.
fn differ<T: PartialEq>(what: &'static str, got: T, want: Option<T>, show: impl Fn(&T) -> String) -> Option<Differs> {
    let want = want.filter(|want| *want != got)?;
    Some(Differs { what, got: show(&got), want: show(&want) })
}

fn of_terms(terms: &Terms<'_>, expect: &Expect) -> Vec<Differs> {
    if !expect.allow {
        let want = expect.code.as_ref().map_or_else(|| "refuse".to_owned(), |code| format!("refuse: {code}"));
        return vec![Differs { what: "verdict", got: format!("allow in tier {}", terms.tier.name), want }];
    }
    let text = |text: &String| text.clone();
    let number = |number: &u64| number.to_string();
    let flag = |flag: &bool| flag.to_string();
    let uses = terms.max_uses.map_or(0, |uses| u64::from(uses.get()));
    [
        differ("tier", terms.tier.name.clone(), expect.tier.clone(), text),
        differ("role", terms.tier.role.to_string(), expect.role.as_ref().map(ToString::to_string), text),
        differ("admitted_by", terms.admitted_by.to_string(), expect.admitted_by.clone(), text),
        differ("approvals", u64::from(terms.approvals.count), expect.approvals, number),
        differ("approval_groups", terms.approvals.groups.clone(), expect.approval_groups.clone(), |groups| {
            groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        }),
        differ("duration_s", terms.duration.as_secs(), expect.duration_s, number),
        differ(
            "max_uses",
            uses,
            expect.max_uses,
            |uses| if *uses == 0 { "no limit".to_owned() } else { uses.to_string() },
        ),
        differ("binding", terms.binding, expect.binding, |binding| binding.as_str().to_owned()),
        differ("step_up", terms.step_up.is_some(), expect.step_up, flag),
        differ("review_mandatory", terms.review_mandatory, expect.review_mandatory, flag),
        differ("review_due_s", terms.review_due.as_secs(), expect.review_due_s, number),
        differ("request_lapse_s", terms.lapse.as_secs(), expect.request_lapse_s, number),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_refusal(refused: &Refused, expect: &Expect) -> Vec<Differs> {
    let code = refused.cause.code();
    if expect.allow {
        let got = format!("refuse: {code}, {}", refused.detail);
        let want = expect.tier.as_ref().map_or_else(|| "allow".to_owned(), |tier| format!("allow in tier {tier}"));
        return vec![Differs { what: "verdict", got, want }];
    }
    let wait = refused.retry_after.map_or(0, whole);
    let code = differ("code", code.to_owned(), expect.code.clone(), Clone::clone);
    let wait = differ("retry_after_s", wait, expect.retry_after_s, ToString::to_string);
    code.into_iter().chain(wait).collect()
}
