//! A period in numbers as a page.

use super::words::{grouped, percent, provenance, second, span, spread, tree_cell};
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
        foot: format!(
            "Made {} UTC from the first {} entries of {}. All times are UTC.",
            second(report.made_at),
            grouped(report.tree.size),
            report.tree.origin
        ),
    }
}

fn figures(whole: &Totals) -> Vec<Figure> {
    let median = whole.time_to_access.median_ms;
    let latency = whole.revocation_latency.median_ms;
    let figure = |label, value, note: String| Figure { label, value, note };
    vec![
        figure("Grants", Cell::number(whole.grants), format!("of {} requests", grouped(whole.requests))),
        figure(
            "Time to access",
            median.map_or_else(|| Cell::faint("–"), |ms| Cell { text: span(ms), tone: Tone::Number }),
            "median".to_owned(),
        ),
        figure("Overrides", Cell::number(whole.overrides), format!("{} not completed", grouped(whole.not_completed))),
        figure(
            "Revocation",
            latency.map_or_else(|| Cell::faint("–"), |ms| Cell { text: span(ms), tone: Tone::Number }),
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
    let line = |what: &str, cells: [(&str, Cell); 4]| {
        let mut row = vec![Cell::plain(what)];
        for (name, cell) in cells {
            row.push(if name.is_empty() {
                Cell::plain("")
            } else {
                Cell { text: format!("{} {name}", cell.text), ..cell }
            });
        }
        row
    };
    let number = Cell::number;
    let none = || ("", Cell::plain(""));
    Section {
        title: "What happened".to_owned(),
        table: Table {
            head: vec!["", "", "", "", ""],
            rows: vec![
                line(
                    "Requests",
                    [
                        ("made", number(whole.requests)),
                        ("refused by policy", number(whole.requests_refused)),
                        ("denied", number(whole.denied)),
                        ("withdrawn or lapsed", number(whole.withdrawn + whole.lapsed)),
                    ],
                ),
                line(
                    "Grants",
                    [
                        ("issued", number(whole.grants)),
                        ("expired", number(whole.expired)),
                        ("revoked", number(whole.revoked)),
                        ("used up", number(whole.used_up)),
                    ],
                ),
                line(
                    "Overrides",
                    [
                        ("made", number(whole.overrides)),
                        ("completed", number(whole.completed)),
                        ("not completed", number(whole.not_completed)),
                        ("refused by sidecars", number(whole.refusals)),
                    ],
                ),
                line(
                    "Reviews",
                    [
                        ("became due", number(whole.reviews_due)),
                        ("done", number(whole.reviews_done)),
                        ("of them late", number(whole.reviews_late)),
                        ("became overdue", Cell::wrong(whole.reviews_overdue)),
                    ],
                ),
                line(
                    "Verdicts",
                    [
                        ("justified", number(whole.justified)),
                        ("unjustified", Cell::wrong(whole.unjustified)),
                        ("unclear", Cell::wrong(whole.unclear)),
                        none(),
                    ],
                ),
            ],
        },
        ..Section::default()
    }
}

fn codes(report: &PeriodReport) -> Section {
    let row = |count: &crate::wire::reports::RefusalCount| {
        let by = if count.by == "policy" { "requests, by the policy" } else { "overrides, by sidecars" };
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
    let median =
        |ms: Option<u64>| ms.map_or_else(|| Cell::faint("–"), |ms| Cell { text: span(ms), tone: Tone::Number });
    let part = |ms| Cell { text: percent(ms, totals.granted_ms), tone: Tone::Number };
    let part = |ms| if totals.granted_ms == 0 { Cell::faint("–") } else { part(ms) };
    let reviews = format!("{} of {}", grouped(totals.reviews_done), grouped(totals.reviews_due));
    let reviews = match totals.reviews_overdue {
        0 => Cell { text: reviews, tone: Tone::Number },
        overdue => Cell::bad(format!("{reviews}, {} overdue", grouped(overdue))),
    };
    vec![
        name,
        Cell::number(totals.requests),
        Cell::number(totals.grants),
        median(totals.time_to_access.median_ms),
        part(totals.stood_ms),
        part(totals.used_ms),
        Cell::number(totals.overrides),
        Cell::number(totals.refusals + totals.requests_refused),
        median(totals.revocation_latency.median_ms),
        reviews,
    ]
}
