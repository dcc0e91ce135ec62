//! The story of one grant as a page.

use super::recorded::{overrides, refusals};
use super::words::{entry, foot, grouped, moment, nothing, personal, provenance, second, some, span, span_cell};
use super::{Cell, Facts, Figure, Mark, Page, Section, Table, Timeline};
use crate::domain::WallTime;
use crate::wire::reports::{ApprovalTold, EventTold, GrantReport, ReviewTold};

/// The page of a grant.
pub fn of_grant(report: &GrantReport) -> Page {
    let granted = &report.granted;
    let complete = &report.completeness;
    let verdict = if complete.complete { Cell::good(&complete.statement) } else { Cell::bad(&complete.statement) };
    let verdict = if report.end.is_none() { Cell::plain(&complete.statement) } else { verdict };
    let sections = [
        what(report),
        requested_against_used(report),
        story(report),
        approvals(report),
        overrides(report),
        refusals(report),
        end(report),
        reviews(report),
        account(report),
        provenance(&report.tree, &commands(report)),
    ];
    Page {
        title: format!("Break-glass report: {}", report.grant),
        lead: format!("{} · {} · {}", granted.service, granted.reason, second(granted.issued_at)),
        verdict: Some(verdict),
        figures: figures(report),
        timeline: timeline(report),
        sections: sections.into_iter().filter(says_something).collect(),
        foot: foot(report.made_at, &report.tree),
    }
}

fn says_something(section: &Section) -> bool {
    !(section.facts.is_empty()
        && section.table.rows.is_empty()
        && section.note.is_empty()
        && section.verbatim.is_empty())
}

fn commands(report: &GrantReport) -> String {
    let grant = &report.grant;
    let first = report.granted.entry;
    format!(
        "breakglass audit prove {first} --log URL --key VKEY --out entry-{first}.tlog-proof\n\
         breakglass audit export --grant {grant} --log URL --key VKEY --out {grant}"
    )
}

fn figures(report: &GrantReport) -> Vec<Figure> {
    let usage = &report.usage;
    let end = report.end.as_ref();
    let review = match (report.reviews.last(), report.review_due_at) {
        (Some(review), _) => Figure {
            label: "Review",
            value: if review.verdict == "justified" { Cell::good(&review.verdict) } else { Cell::bad(&review.verdict) },
            note: if review.late { "after its time".to_owned() } else { String::new() },
        },
        (None, Some(due)) if due < report.made_at => {
            Figure { label: "Review", value: Cell::bad("overdue"), note: format!("since {}", second(due)) }
        }
        (None, Some(due)) => Figure { label: "Review", value: Cell::plain("due"), note: format!("by {}", second(due)) },
        (None, None) => Figure { label: "Review", value: Cell::faint("none"), note: "not asked for".to_owned() },
    };
    let access = "from request to usable".to_owned();
    vec![
        Figure { label: "Time to access", value: span_cell(usage.time_to_access_ms), note: access },
        Figure {
            label: "Overrides",
            value: Cell::number(usage.overrides),
            note: usage.granted_uses.map_or_else(|| "no limit".to_owned(), |most| format!("of {most} allowed")),
        },
        Figure { label: "Refusals", value: Cell::wrong(usage.refusals), note: "under this grant".to_owned() },
        Figure {
            label: "End",
            value: end.map_or_else(|| Cell::plain("not ended"), |end| Cell::plain(end.how.replace('_', " "))),
            note: end
                .and_then(|end| end.enforcement.as_ref()?.elapsed_ms)
                .map_or_else(String::new, |ms| format!("enforced in {}", span(ms))),
        },
        review,
    ]
}

fn timeline(report: &GrantReport) -> Option<Timeline> {
    let granted = &report.granted;
    let begin = report.request.as_ref().map_or(granted.issued_at, |request| request.at);
    let end = report.end.as_ref().map_or(granted.expires_at, |end| end.at.max(granted.expires_at));
    let whole = u64::try_from(end.since(begin).as_millis()).ok().filter(|ms| *ms > 0)?;
    let place = |at: WallTime| {
        let ms = u64::try_from(at.min(end).since(begin).as_millis()).unwrap_or(whole);
        ms.saturating_mul(1000) / whole
    };
    let stretch = |from: WallTime, to: WallTime, what| {
        let (from, to) = (place(from), place(to));
        Mark { from, width: to.saturating_sub(from).max(2), what }
    };
    let ended = report.end.as_ref().map_or(granted.expires_at, |end| end.at);
    let mut marks = vec![
        stretch(begin, granted.not_before_at, "waiting"),
        stretch(granted.not_before_at, ended, "open"),
        stretch(ended, granted.expires_at, "unused"),
    ];
    marks.retain(|mark| mark.width > 2 || mark.what == "open");
    marks.extend(report.overrides.iter().map(|one| stretch(one.at, one.at, "override")));
    let legend = [
        ("waiting", "waiting for approval"),
        ("open", "grant open"),
        ("unused", "granted, ended before"),
        ("override", "override"),
    ];
    let legend = legend.into_iter().filter(|(what, _)| marks.iter().any(|mark| mark.what == *what));
    let legend = legend.map(|(what, text)| (what, text.to_owned())).collect();
    Some(Timeline { begin: second(begin), end: second(end), legend, marks })
}

fn what(report: &GrantReport) -> Section {
    let granted = &report.granted;
    let mut facts: Facts = vec![
        ("Person", personal(&granted.person)),
        ("Reason", Cell::plain(&granted.reason)),
        ("Ticket", personal(&granted.ticket)),
        ("Service", Cell::plain(&granted.service)),
        ("Role", Cell::plain(&granted.role)),
        ("Resources", Cell::plain(granted.resources.join(", "))),
        ("Actions", Cell::plain(granted.actions.join(", "))),
        ("Tier", Cell::plain(format!("{}, policy revision {}", granted.tier, granted.policy_revision))),
        ("Binding", Cell::plain(&granted.binding)),
    ];
    if let Some(request) = &report.request {
        let how = &request.authentication;
        let methods = how.acr.iter().cloned().chain((!how.amr.is_empty()).then(|| how.amr.join(", ")));
        let at = how.auth_at.map(|at| format!("at {}", second(at)));
        let authenticated: Vec<String> = methods.chain(at).collect();
        facts.push(("Team", some(request.team.as_deref())));
        facts.push(("Admitted by", some(request.admitted_by.as_deref())));
        facts.push(("Authenticated", some(Some(&authenticated.join(" · ")))));
        facts.push(("Request", Cell::code(&request.elevation)));
    }
    facts.push(("Identity provider", Cell::plain(&granted.idp)));
    Section { title: "What was granted".to_owned(), facts, ..Section::default() }
}

fn requested_against_used(report: &GrantReport) -> Section {
    let usage = &report.usage;
    let uses = |most: Option<u64>| most.map_or_else(|| Cell::faint("no limit"), Cell::number);
    let mut rows = vec![
        vec![
            Cell::plain("Time"),
            span_cell(usage.requested_ms),
            span_cell(Some(usage.granted_ms)),
            span_cell(usage.stood_ms),
            span_cell(Some(usage.used_ms)),
        ],
        vec![
            Cell::plain("Uses"),
            uses(usage.requested_uses),
            uses(usage.granted_uses),
            nothing(),
            Cell::number(usage.overrides),
        ],
    ];
    let request = report.request.as_ref();
    let asked_actions: &[String] = request.map_or(&[], |request| &request.actions);
    let asked_resources: &[String] = request.map_or(&[], |request| &request.resources);
    let yes = |is_in: bool| if is_in { Cell::plain("yes") } else { Cell::faint("no") };
    for (name, count) in &usage.actions {
        let (asked, given) = (asked_actions.contains(name), report.granted.actions.contains(name));
        rows.push(vec![Cell::plain(name), yes(asked), yes(given), nothing(), Cell::number(*count)]);
    }
    for (name, count) in &usage.resources {
        let (asked, given) = (asked_resources.contains(name), report.granted.resources.contains(name));
        rows.push(vec![Cell::plain(name), yes(asked), yes(given), nothing(), Cell::number(*count)]);
    }
    Section {
        title: "Requested against used".to_owned(),
        note: "Open is from the grant's beginning to its end; used is from its beginning to its last override."
            .to_owned(),
        table: Table { head: vec!["", "Requested", "Granted", "Open", "Used"], rows },
        ..Section::default()
    }
}

fn story(report: &GrantReport) -> Section {
    let row = |event: &EventTold| {
        let what = event.kind.replace('_', " ");
        let said = [&event.detail, event.note.value.as_deref().unwrap_or_default()];
        let said: Vec<&str> = said.iter().map(AsRef::as_ref).filter(|text: &&str| !text.is_empty()).collect();
        let note = if event.note.erased { "note erased".to_owned() } else { said.join(" · ") };
        vec![
            entry(event.entry),
            Cell::code(moment(event.at)),
            Cell::plain(what),
            personal(&event.by),
            some(Some(&note)),
        ]
    };
    Section {
        title: "The story".to_owned(),
        table: Table {
            head: vec!["Entry", "When", "What", "By", "Said"],
            rows: report.events.iter().map(row).collect(),
        },
        ..Section::default()
    }
}

fn approvals(report: &GrantReport) -> Section {
    let row = |approval: &ApprovalTold| {
        let mut off: Vec<String> = Vec::new();
        off.extend(approval.duration_s.map(|s| format!("time to {}", span(s.saturating_mul(1000)))));
        off.extend(approval.max_uses.map(|uses| format!("uses to {uses}")));
        off.extend(approval.actions.as_ref().map(|actions| format!("actions to {}", actions.join(", "))));
        let how = &approval.authentication;
        let how: Vec<&str> = how.acr.iter().map(String::as_str).chain(how.amr.iter().map(String::as_str)).collect();
        vec![
            entry(approval.entry),
            Cell::code(moment(approval.at)),
            personal(&approval.by),
            some(Some(&approval.groups.join(", "))),
            some(Some(&off.join("; "))),
            some(Some(&how.join(", "))),
        ]
    };
    Section {
        title: "Approvals".to_owned(),
        note: if report.approvals.is_empty() { "The tier asked for none.".to_owned() } else { String::new() },
        table: Table {
            head: vec!["Entry", "When", "By", "For the groups", "Taken off", "Authenticated"],
            rows: report.approvals.iter().map(row).collect(),
        },
        ..Section::default()
    }
}

fn end(report: &GrantReport) -> Section {
    let Some(end) = &report.end else { return Section::default() };
    let mut facts: Facts = vec![
        ("How", Cell::plain(end.how.replace('_', " "))),
        ("When", Cell::code(moment(end.at))),
        ("Entry", entry(end.entry)),
        ("By", personal(&end.by)),
    ];
    facts.extend(end.cause.as_deref().map(|cause| ("Cause", Cell::plain(cause))));
    facts.extend(end.revocation.as_deref().map(|revocation| ("Revocation", Cell::code(revocation))));
    if let Some(enforced) = &end.enforcement {
        let time = enforced
            .elapsed_ms
            .map_or_else(|| "in a time that is not known".to_owned(), |ms| format!("in {}", span(ms)));
        let text = format!(
            "{} sidecars acknowledged it {time}; {} had stopped, {} rejected it (entry {})",
            enforced.enforced, enforced.stopped, enforced.rejected, enforced.entry
        );
        facts.push(("Enforcement", Cell::plain(text)));
    }
    Section { title: "The end".to_owned(), facts, ..Section::default() }
}

fn reviews(report: &GrantReport) -> Section {
    let row = |review: &ReviewTold| {
        let late = if review.late { " (late)" } else { "" };
        let verdict = format!("{}{late}", review.verdict);
        let verdict = if review.verdict == "justified" { Cell::good(verdict) } else { Cell::bad(verdict) };
        vec![
            entry(review.entry),
            Cell::code(moment(review.at)),
            personal(&review.by),
            verdict,
            personal(&review.findings),
        ]
    };
    let note = match (report.reviews.is_empty(), report.review_due_at) {
        (true, Some(due)) => format!("Nobody has reviewed it; the review is due by {}.", second(due)),
        (true, None) if report.end.is_some() => "None is asked for.".to_owned(),
        _ => String::new(),
    };
    Section {
        title: "Reviews".to_owned(),
        note,
        table: Table {
            head: vec!["Entry", "When", "By", "Verdict", "Findings"],
            rows: report.reviews.iter().map(row).collect(),
        },
        ..Section::default()
    }
}

fn account(report: &GrantReport) -> Section {
    let Some(account) = &report.account else { return Section::default() };
    let ends: Vec<String> =
        account.ends.iter().map(|(end, count)| format!("{count} {}", end.replace('_', " "))).collect();
    let reconciled = if account.reconciled { Cell::good("yes") } else { Cell::bad("no") };
    let mut facts: Facts = vec![
        ("Entry", entry(account.entry)),
        ("Closed", Cell::code(moment(account.at))),
        ("Overrides", Cell::number(account.overrides)),
        ("Outcomes", some(Some(&ends.join(", ")))),
        ("Without outcome", Cell::wrong(account.open)),
        ("Refusals", Cell::number(account.refusals)),
        ("Uses spent", account.spent.map_or_else(nothing, Cell::number)),
        ("Reconciled", reconciled),
    ];
    if let Some((told, signed)) = account.assertions.zip(account.signed) {
        let text = format!("{} that outcomes tell of, {} signed", grouped(told), grouped(signed));
        facts.push(("Assertions", Cell::plain(text)));
    }
    if !account.differences.is_empty() {
        let differences: Vec<&str> = account.differences.iter().map(|name| difference(name)).collect();
        facts.push(("Do not agree", Cell::bad(differences.join("; "))));
    }
    if !account.missing.is_empty() {
        facts.push(("Missing sidecars", Cell::bad(account.missing.join(", "))));
    }
    if !report.completeness.missing_numbers.is_empty() {
        let numbers: Vec<String> = report.completeness.missing_numbers.iter().map(u64::to_string).collect();
        facts.push(("Missing numbers", Cell::bad(numbers.join(", "))));
    }
    Section {
        title: "Completeness".to_owned(),
        note: report.completeness.statement.clone(),
        facts,
        ..Section::default()
    }
}

/// `docs/ledger-entries.md` says the same.
fn difference(name: &str) -> &str {
    match name {
        "intents" => "intents: in some log the sidecar counted others than came from it",
        "assertions" => "assertions: more were signed than outcomes tell of, or two outcomes tell of one",
        "uses" => "uses: those that sidecars reported do not fit the intents",
        other => other,
    }
}
