//! A period in numbers as a page.

use super::words::{foot, grouped, nothing, percent, provenance, second, span, span_cell, spread, tree_cell};
use super::{Cell, Figure, Page, Section, Table, Tone};
use crate::wire::reports::{PeriodReport, Row, RowKind, Totals};

/// The page of a period.
pub fn of_period(report: &PeriodReport) -> Page {
    let mut sections = vec![ends(report), access_and_time(&report.whole), what_happened(&report.whole), codes(report)];
    let tables = [
        ("By team", "Whose the service was, as the policy said when the request was made.", &report.teams),
        ("By person", "Who asked, and whose the grants were.", &report.persons),
        ("By reason", "", &report.reasons),
        ("By service", "", &report.services),
        (
            "By resource",
            "A grant of several resources counts for each; an override, for the one it was about.",
            &report.resources,
        ),
    ];
    sections.extend(
        tables.into_iter().filter(|(.., rows)| !rows.is_empty()).map(|(title, note, rows)| by(title, note, rows)),
    );
    sections.push(provenance(&report.tree, "breakglass audit verify URL --key VKEY"));
    Page {
        title: "Break-glass report".to_owned(),
        lead: format!("{} to {} UTC", second(report.since_at), second(report.before_at)),
        verdict: None,
        figures: figures(&report.whole),
        timeline: None,
        sections,
        foot: foot(report.made_at, &report.tree),
    }
}

fn figures(whole: &Totals) -> Vec<Figure> {
    let figure = |label, value, note: String| Figure { label, value, note };
    vec![
        figure("Grants", Cell::number(whole.grants), format!("of {} requests", grouped(whole.requests))),
        figure("Time to access", span_cell(whole.time_to_access.median_ms), "median".to_owned()),
        figure("Overrides", Cell::number(whole.overrides), format!("{} not completed", grouped(whole.not_completed))),
        figure(
            "Revocation",
            span_cell(whole.revocation_latency.median_ms),
            format!("median, of {} ordered", grouped(whole.revocations)),
        ),
        figure(
            "Reviews overdue",
            Cell::wrong(whole.reviews_overdue),
            format!("{} done, {} due", grouped(whole.reviews_done), grouped(whole.reviews_due)),
        ),
    ]
}

fn ends(report: &PeriodReport) -> Section {
    Section {
        title: "Both ends".to_owned(),
        note: "The tree before the period's first entry and the tree after its last. Both are beginnings of the signed tree \
               at the end of this report."
            .to_owned(),
        facts: vec![
            ("Before", tree_cell(&report.begin)),
            ("After", tree_cell(&report.end)),
            ("Entries between", Cell::number(report.entries)),
        ],
        ..Section::default()
    }
}

fn access_and_time(whole: &Totals) -> Section {
    let of_granted =
        |ms: u64| Cell::plain(format!("{}, {} of the time granted", span(ms), percent(ms, whole.granted_ms)));
    Section {
        title: "Access and time".to_owned(),
        note: "Times and uses are of grants whose account was closed in the period. Open is from a grant's beginning to its \
               end; used is from its beginning to its last override."
            .to_owned(),
        facts: vec![
            ("Time to access", Cell::plain(spread(&whole.time_to_access))),
            ("Revocation to last sidecar", Cell::plain(spread(&whole.revocation_latency))),
            ("Accounts closed", Cell::number(whole.accounts)),
            ("Of them incomplete", Cell::wrong(whole.accounts_incomplete)),
            ("Of them never used", Cell::number(whole.unused)),
            ("Time granted", Cell::plain(span(whole.granted_ms))),
            ("Time open", of_granted(whole.stood_ms)),
            ("Time used", of_granted(whole.used_ms)),
            (
                "Uses, where limited",
                Cell::plain(format!("{} of {}", grouped(whole.uses_spent), grouped(whole.uses_granted))),
            ),
        ],
        ..Section::default()
    }
}

fn what_happened(whole: &Totals) -> Section {
    // Titles say nothing here: each cell names itself.
    let head = vec![""; 5];
    let line = |what: &str, cells: &[(&str, Cell)]| {
        let named = cells.iter().map(|(name, cell)| Cell { text: format!("{} {name}", cell.text), tone: cell.tone });
        let all = std::iter::once(Cell::plain(what)).chain(named).chain(std::iter::repeat(Cell::plain("")));
        all.take(head.len()).collect()
    };
    let number = Cell::number;
    let rows = vec![
        line(
            "Requests",
            &[
                ("made", number(whole.requests)),
                ("refused by policy", number(whole.requests_refused)),
                ("denied", number(whole.denied)),
                ("withdrawn or lapsed", number(whole.withdrawn + whole.lapsed)),
            ],
        ),
        line(
            "Grants",
            &[
                ("issued", number(whole.grants)),
                ("expired", number(whole.expired)),
                ("revoked", number(whole.revoked)),
                ("used up", number(whole.used_up)),
            ],
        ),
        line(
            "Overrides",
            &[
                ("made", number(whole.overrides)),
                ("completed", number(whole.completed)),
                ("not completed", number(whole.not_completed)),
            ],
        ),
        line(
            "Refused by sidecars",
            &[("recorded", number(whole.refusals)), ("only counted", number(whole.refusals_summarised))],
        ),
        line(
            "Reviews",
            &[
                ("became due", number(whole.reviews_due)),
                ("done", number(whole.reviews_done)),
                ("of them late", number(whole.reviews_late)),
                ("became overdue", Cell::wrong(whole.reviews_overdue)),
            ],
        ),
        line(
            "Verdicts",
            &[
                ("justified", number(whole.justified)),
                ("unjustified", Cell::wrong(whole.unjustified)),
                ("unclear", Cell::wrong(whole.unclear)),
            ],
        ),
    ];
    Section { title: "What happened".to_owned(), table: Table { head, rows }, ..Section::default() }
}

fn codes(report: &PeriodReport) -> Section {
    let row = |count: &crate::wire::reports::RefusalCount| {
        let by = match count.by.as_str() {
            "policy" => "requests, by the policy",
            "sidecar_summary" => "overrides, by sidecars: a summary, beyond what they record one by one",
            _ => "overrides, by sidecars",
        };
        vec![Cell::code(&count.code), Cell::plain(by), Cell::number(count.count)]
    };
    Section {
        title: "Why it was refused".to_owned(),
        note: if report.refusals.is_empty() { "Nothing was.".to_owned() } else { String::new() },
        table: Table { head: vec!["Code", "What", "How often"], rows: report.refusals.iter().map(row).collect() },
        ..Section::default()
    }
}

const COLUMNS: [&str; 10] =
    ["", "Requests", "Grants", "To access", "Open", "Used", "Overrides", "Refusals", "Revoked in", "Reviews"];

fn by(title: &str, note: &str, rows: &[Row]) -> Section {
    Section {
        title: title.to_owned(),
        note: note.to_owned(),
        table: Table { head: COLUMNS.to_vec(), rows: rows.iter().map(row).collect() },
        ..Section::default()
    }
}

fn row(row: &Row) -> Vec<Cell> {
    let totals = &row.totals;
    let name = match (row.kind, &row.name) {
        (RowKind::Named, Some(name)) => Cell::plain(name),
        (RowKind::Named | RowKind::None, _) => Cell::faint("none named"),
        (RowKind::Erased, _) => Cell::faint("erased"),
        (RowKind::Others, _) => Cell::faint("all others"),
    };
    let part = |ms| Cell { text: percent(ms, totals.granted_ms), tone: Tone::Number };
    let part = |ms| if totals.granted_ms == 0 { nothing() } else { part(ms) };
    let reviews = format!("{} of {}", grouped(totals.reviews_done), grouped(totals.reviews_due));
    let reviews = match totals.reviews_overdue {
        0 if totals.reviews_due == 0 && totals.reviews_done == 0 => nothing(),
        0 => Cell { text: reviews, tone: Tone::Number },
        overdue => Cell::bad(format!("{reviews}, {} overdue", grouped(overdue))),
    };
    vec![
        name,
        Cell::number(totals.requests),
        Cell::number(totals.grants),
        span_cell(totals.time_to_access.median_ms),
        part(totals.stood_ms),
        part(totals.used_ms),
        Cell::number(totals.overrides),
        Cell::number(totals.refusals + totals.refusals_summarised + totals.requests_refused),
        span_cell(totals.revocation_latency.median_ms),
        reviews,
    ]
}
