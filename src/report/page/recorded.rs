//! What sidecars recorded under a grant, as tables.

use super::words::{NOTHING, entry, grouped, moment, nothing, some, span};
use super::{Cell, Section, Table};
use crate::wire::reports::{BodyTold, GrantReport, OutcomeTold, OverrideTold, RefusalTold};

pub(super) fn overrides(report: &GrantReport) -> Section {
    let left_out = report.overrides_left_out;
    let note = match (report.overrides.is_empty(), left_out) {
        (true, _) => "There were none.".to_owned(),
        (false, 0) => String::new(),
        (false, more) => format!("{} more are counted and not listed; the ledger holds them all.", grouped(more)),
    };
    Section {
        title: "Overrides".to_owned(),
        note,
        table: Table {
            head: vec![
                "No.",
                "Entries",
                "When",
                "Request",
                "Resource and action",
                "Outcome",
                "Bytes",
                "SHA-256 in, out",
            ],
            rows: report.overrides.iter().map(override_row).collect(),
        },
        ..Section::default()
    }
}

fn override_row(one: &OverrideTold) -> Vec<Cell> {
    let outcome = one.outcome.as_ref();
    let entries = match outcome {
        Some(outcome) => format!("{}, {}", one.entry, outcome.entry),
        None => one.entry.to_string(),
    };
    let asked = one.asked.as_ref().map_or_else(
        || Cell::faint("erased"),
        |asked| Cell::long(format!("{} {} from {}", asked.method, asked.path, asked.client)),
    );
    let bodies = |shown: fn(&BodyTold) -> Option<String>| {
        let each = |body: Option<&BodyTold>| body.and_then(shown).unwrap_or_else(|| NOTHING.to_owned());
        let both = outcome.map(|outcome| (each(outcome.request.as_ref()), each(outcome.response.as_ref())));
        both.map_or_else(nothing, |(request, response)| Cell::long(format!("{request}\n{response}")))
    };
    let of = |body: Option<&BodyTold>| body.map_or_else(|| NOTHING.to_owned(), |body| grouped(body.bytes));
    let bytes = outcome.map_or_else(nothing, |outcome| {
        Cell::plain(format!("{} in\n{} out", of(outcome.request.as_ref()), of(outcome.response.as_ref())))
    });
    vec![
        Cell::number(one.number),
        Cell::code(entries),
        Cell::code(moment(one.at)),
        asked,
        Cell::plain(format!("{} · {}", one.resource, one.action)),
        outcome.map_or_else(|| Cell::bad("unknown: no outcome has come"), outcome_cell),
        bytes,
        bodies(|body| body.sha256.clone()),
    ]
}

fn outcome_cell(outcome: &OutcomeTold) -> Cell {
    let mut text = outcome.end.replace('_', " ");
    if let Some(cause) = &outcome.cause {
        text.push_str(&format!(" ({})", cause.replace('_', " ")));
    }
    if let Some(status) = outcome.status {
        text.push_str(&format!(", status {status}"));
    }
    if let Some(ms) = outcome.duration_ms {
        text.push_str(&format!(", {}", span(ms)));
    }
    if outcome.end == "completed" { Cell::good(text) } else { Cell::bad(text) }
}

pub(super) fn refusals(report: &GrantReport) -> Section {
    let row = |refusal: &RefusalTold| {
        let asked = refusal.asked.as_ref().map_or_else(
            || Cell::faint("erased"),
            |asked| Cell::long(format!("{} {} from {}", asked.method, asked.path, asked.client)),
        );
        let about = [refusal.resource.as_deref(), refusal.action.as_deref()];
        let about: Vec<&str> = about.into_iter().flatten().collect();
        vec![
            entry(refusal.entry),
            Cell::code(moment(refusal.at)),
            Cell::bad(&refusal.code),
            some(Some(&about.join(" · "))),
            asked,
        ]
    };
    let more = report.refusals_left_out;
    let note = if more == 0 { String::new() } else { format!("{} more are counted and not listed.", grouped(more)) };
    let note = if report.refusals.is_empty() { "There were none.".to_owned() } else { note };
    Section {
        title: "Refusals".to_owned(),
        note,
        table: Table {
            head: vec!["Entry", "When", "Code", "Resource and action", "Request"],
            rows: report.refusals.iter().map(row).collect(),
        },
        ..Section::default()
    }
}
