//! A report as CSV (RFC 4180): one head, then one row for each event or each name, with the tree it was made from in every row.
//!
//! INVARIANT: no field begins a formula. Spreadsheets calculate fields that begin with `=`, `+`, `-`, `@`, a tab or a carriage
//! return, and a name or a ticket that somebody typed may; such a field is preceded by an apostrophe.

use csv::{Terminator, Writer, WriterBuilder};

use crate::domain::WallTime;
use crate::wire::reports::{
    BodyTold, EventTold, GrantReport, OverrideTold, PeriodReport, Personal, RefusalTold, Row, RowKind, Totals,
};

/// Stands for a value that was erased.
const ERASED: &str = "[erased]";

const GRANT_HEAD: [&str; 23] = [
    "grant",
    "entry",
    "outcome_entry",
    "at",
    "what",
    "number",
    "by",
    "instance",
    "resource",
    "action",
    "method",
    "path",
    "client",
    "request_id",
    "end",
    "status",
    "duration_ms",
    "request_bytes",
    "request_sha256",
    "response_bytes",
    "response_sha256",
    "text",
    "tree",
];
/// Before the numbers, and after them.
const PERIOD_NAMED: [&str; 5] = ["since", "before", "dimension", "kind", "name"];
const PERIOD_TREES: [&str; 2] = ["tree_begin", "tree_end"];

/// Events, overrides and refusals of a grant, in the order of the ledger.
///
/// # Errors
/// What the writer says; memory gives it no cause.
pub fn of_grant(report: &GrantReport) -> Result<Vec<u8>, csv::Error> {
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    rows.extend(report.events.iter().map(|event| (event.entry, event_row(event))));
    rows.extend(report.overrides.iter().map(|one| (one.entry, override_row(one))));
    rows.extend(report.refusals.iter().map(|refusal| (refusal.entry, refusal_row(refusal))));
    rows.sort_by_key(|(entry, _)| *entry);
    let mut writer = writer();
    writer.write_record(GRANT_HEAD)?;
    let tree = format!("{} {}", report.tree.size, report.tree.root);
    for (_, row) in rows {
        let whole = std::iter::once(report.grant.as_str()).chain(row.iter().map(String::as_str));
        write(&mut writer, whole.chain([tree.as_str()]))?;
    }
    finish(writer)
}

/// The whole first, then each team, person, reason, service and resource.
///
/// # Errors
/// As [`of_grant`].
pub fn of_period(report: &PeriodReport) -> Result<Vec<u8>, csv::Error> {
    let mut writer = writer();
    let columns = numbers(&Totals::default()).map(|(name, _)| name);
    writer.write_record(PERIOD_NAMED.iter().chain(&columns).chain(&PERIOD_TREES))?;
    let whole = Row { kind: RowKind::Named, name: None, totals: report.whole.clone() };
    let dimensions = [
        ("whole", std::slice::from_ref(&whole)),
        ("team", report.teams.as_slice()),
        ("person", &report.persons),
        ("reason", &report.reasons),
        ("service", &report.services),
        ("resource", &report.resources),
    ];
    let (begin, end) = (&report.begin, &report.end);
    let trees = [format!("{} {}", begin.size, begin.root), format!("{} {}", end.size, end.root)];
    let times = [report.since_at.rfc3339(), report.before_at.rfc3339()];
    for (dimension, rows) in dimensions {
        for row in rows {
            let numbers = numbers(&row.totals).map(|(_, value)| number(value));
            let named = [dimension, kind(row.kind), row.name.as_deref().unwrap_or_default()];
            let fields = times.iter().map(String::as_str).chain(named).chain(numbers.iter().map(String::as_str));
            write(&mut writer, fields.chain(trees.iter().map(String::as_str)))?;
        }
    }
    finish(writer)
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

fn finish(writer: Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn write<'a>(writer: &mut Writer<Vec<u8>>, fields: impl Iterator<Item = &'a str>) -> Result<(), csv::Error> {
    writer.write_record(fields.map(guarded))
}

fn guarded(field: &str) -> String {
    let calculates = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if calculates { format!("'{field}") } else { field.to_owned() }
}

fn personal(told: &Personal) -> String {
    if told.erased { ERASED.to_owned() } else { told.value.clone().unwrap_or_default() }
}

fn number<T: ToString>(number: Option<T>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn time(at: WallTime) -> String {
    at.rfc3339()
}

/// The fields between grant and tree, empty but for these: place in the head, and text.
fn sparse<const N: usize>(fields: [(&str, String); N]) -> Vec<String> {
    let inner = GRANT_HEAD.iter().skip(1).take(GRANT_HEAD.len() - 2);
    let field = |name: &&str| fields.iter().find(|(own, _)| own == name).map(|(_, text)| text.clone());
    inner.map(|name| field(name).unwrap_or_default()).collect()
}

fn event_row(event: &EventTold) -> Vec<String> {
    let note = personal(&event.note);
    let said: Vec<&str> = [event.detail.as_str(), &note].into_iter().filter(|text| !text.is_empty()).collect();
    sparse([
        ("entry", event.entry.to_string()),
        ("at", time(event.at)),
        ("what", event.kind.clone()),
        ("by", personal(&event.by)),
        ("text", said.join(": ")),
    ])
}

fn override_row(one: &OverrideTold) -> Vec<String> {
    let (asked, outcome) = (one.asked.clone().unwrap_or_default(), one.outcome.as_ref());
    let erased = if one.asked.is_none() { ERASED.to_owned() } else { String::new() };
    let (came, went) =
        (outcome.and_then(|outcome| outcome.request.as_ref()), outcome.and_then(|outcome| outcome.response.as_ref()));
    let bytes = |body: Option<&BodyTold>| number(body.map(|body| body.bytes));
    let digest = |body: Option<&BodyTold>| number(body.and_then(|body| body.sha256.clone()));
    let end = outcome.map_or_else(|| "no outcome".to_owned(), |outcome| outcome.end.clone());
    let by = if erased.is_empty() { asked.person } else { erased };
    sparse([
        ("entry", one.entry.to_string()),
        ("outcome_entry", number(outcome.map(|outcome| outcome.entry))),
        ("at", time(one.at)),
        ("what", "override".to_owned()),
        ("number", one.number.to_string()),
        ("by", by),
        ("instance", one.instance.clone()),
        ("resource", one.resource.clone()),
        ("action", one.action.clone()),
        ("method", asked.method),
        ("path", asked.path),
        ("client", asked.client),
        ("request_id", asked.request_id),
        ("end", end),
        ("status", number(outcome.and_then(|outcome| outcome.status))),
        ("duration_ms", number(outcome.and_then(|outcome| outcome.duration_ms))),
        ("request_bytes", bytes(came)),
        ("request_sha256", digest(came)),
        ("response_bytes", bytes(went)),
        ("response_sha256", digest(went)),
        ("text", outcome.and_then(|outcome| outcome.cause.clone()).unwrap_or_default()),
    ])
}

fn refusal_row(refusal: &RefusalTold) -> Vec<String> {
    let asked = refusal.asked.clone().unwrap_or_default();
    sparse([
        ("entry", refusal.entry.to_string()),
        ("at", time(refusal.at)),
        ("what", "refusal".to_owned()),
        ("by", if refusal.asked.is_none() { ERASED.to_owned() } else { asked.person }),
        ("instance", refusal.instance.clone()),
        ("resource", refusal.resource.clone().unwrap_or_default()),
        ("action", refusal.action.clone().unwrap_or_default()),
        ("method", asked.method),
        ("path", asked.path),
        ("client", asked.client),
        ("request_id", asked.request_id),
        ("text", refusal.code.clone()),
    ])
}

const fn kind(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Named => "named",
        RowKind::Erased => "erased",
        RowKind::None => "none",
        RowKind::Others => "others",
    }
}

/// The numbers of a row, each under its column.
const fn numbers(totals: &Totals) -> [(&'static str, Option<u64>); 39] {
    let (access, latency) = (&totals.time_to_access, &totals.revocation_latency);
    [
        ("requests", Some(totals.requests)),
        ("requests_refused", Some(totals.requests_refused)),
        ("approvals", Some(totals.approvals)),
        ("denied", Some(totals.denied)),
        ("withdrawn", Some(totals.withdrawn)),
        ("lapsed", Some(totals.lapsed)),
        ("grants", Some(totals.grants)),
        ("time_to_access_count", Some(access.count)),
        ("time_to_access_mean_ms", access.mean_ms),
        ("time_to_access_median_ms", access.median_ms),
        ("time_to_access_p90_ms", access.p90_ms),
        ("time_to_access_max_ms", access.max_ms),
        ("expired", Some(totals.expired)),
        ("revoked", Some(totals.revoked)),
        ("used_up", Some(totals.used_up)),
        ("accounts", Some(totals.accounts)),
        ("accounts_incomplete", Some(totals.accounts_incomplete)),
        ("unused", Some(totals.unused)),
        ("granted_ms", Some(totals.granted_ms)),
        ("stood_ms", Some(totals.stood_ms)),
        ("used_ms", Some(totals.used_ms)),
        ("uses_granted", Some(totals.uses_granted)),
        ("uses_spent", Some(totals.uses_spent)),
        ("overrides", Some(totals.overrides)),
        ("completed", Some(totals.completed)),
        ("not_completed", Some(totals.not_completed)),
        ("refusals", Some(totals.refusals)),
        ("refusals_summarised", Some(totals.refusals_summarised)),
        ("revocations", Some(totals.revocations)),
        ("revocation_median_ms", latency.median_ms),
        ("revocation_p90_ms", latency.p90_ms),
        ("revocation_max_ms", latency.max_ms),
        ("reviews_due", Some(totals.reviews_due)),
        ("reviews_done", Some(totals.reviews_done)),
        ("reviews_late", Some(totals.reviews_late)),
        ("reviews_overdue", Some(totals.reviews_overdue)),
        ("justified", Some(totals.justified)),
        ("unjustified", Some(totals.unjustified)),
        ("unclear", Some(totals.unclear)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_calculated_is_text() {
        for typed in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"] {
            assert_eq!(guarded(typed), format!("'{typed}"));
        }
        assert_eq!(guarded("INC-2041"), "INC-2041");
    }

    #[test]
    fn fields_are_quoted_as_rfc_4180_says() {
        let name = "=HYPERLINK(\"http://evil.test\",\"x\")\r\nsecond, line";
        let row = Row { kind: RowKind::Named, name: Some(name.to_owned()), totals: Totals::default() };
        let report = PeriodReport {
            persons: vec![row],
            ..super::super::period::Period::default().finish(crate::report::period::tests::placed())
        };
        let bytes = of_period(&report).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains("\"'=HYPERLINK(\"\"http://evil.test\"\",\"\"x\"\")\r\nsecond, line\""), "{text}");
        assert!(text.starts_with("since,before,dimension,kind,name,requests,"));
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2, "the whole, and one person");
        assert_eq!((&rows[1][2], &rows[1][4]), ("person", format!("'{name}").as_str()));
        assert_eq!(rows[1].len(), reader.headers().unwrap().len());
    }
}
