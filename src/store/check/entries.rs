//! Entries: dense, canonical, true to their columns and commitments, and one for each change that has one.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{CheckReport, PAGE, numbers};
use crate::ledger::entry::{EntryKind, FORMAT_VERSION, PersonalField, PersonalValue, SALT_BYTES};
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{from_sql, to_u64};
use crate::store::statement::{Row, sql};

/// What entries say of grants: for each, the kinds in order, and the digest of its token; and of elevations.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) grants: HashMap<String, ToldGrant>,
    pub(super) elevations: HashMap<String, Vec<String>>,
    /// The kinds of entries that name each revocation.
    pub(super) revocations: HashMap<String, Vec<String>>,
    /// Values that are committed to, and those of them that erasures say are gone.
    committed: u64,
    gone: u64,
    /// Entries by the revision they name.
    revisions: BTreeMap<u64, u32>,
}

#[derive(Debug, Default)]
pub(super) struct ToldGrant {
    pub(super) kinds: Vec<String>,
    pub(super) token_sha256: Option<String>,
}

pub(super) async fn check(reading: &mut Transaction, report: &mut CheckReport) -> Result<Told, StoreError> {
    let mut told = Told::default();
    let mut expected = 0_u64;
    loop {
        let rows = sql("SELECT entry_index, format_version, at_ms, kind, canonical FROM entries \
                        WHERE entry_index >= $1 ORDER BY entry_index LIMIT $2")
        .bind(crate::store::rows::to_sql(expected))
        .bind(PAGE)
        .fetch_all(&mut *reading)
        .await?;
        for row in &rows {
            let index = from_sql(row.try_get("entry_index")?);
            if index != expected {
                report.find(format!("entry {expected}"), "is missing");
            }
            expected = index.saturating_add(1);
            entry(row, index, &mut told, report)?;
        }
        personal_values(reading, &rows, report).await?;
        if rows.is_empty() {
            break;
        }
    }
    let counted = numbers::counter(reading, "entry").await?;
    report.agree("entries", "their number", expected, counted);
    report.entries = expected;
    changes_have_entries(reading, &told, report).await?;
    values_are_accounted_for(reading, &told, report).await?;
    Ok(told)
}

fn entry(row: &Row, index: u64, told: &mut Told, report: &mut CheckReport) -> Result<(), StoreError> {
    let (place, canonical) = (format!("entry {index}"), row.try_get::<&str>("canonical")?);
    let Ok(document) = serde_json::from_str::<Value>(canonical) else {
        report.find(place, "is not JSON");
        return Ok(());
    };
    if serde_json_canonicalizer::to_string(&document).ok().as_deref() != Some(canonical) {
        report.find(place.as_str(), "is not in canonical form (RFC 8785)");
    }
    let (kind, at): (&str, i64) = (row.try_get("kind")?, row.try_get("at_ms")?);
    let says = [
        ("index", Value::from(index)),
        ("kind", Value::from(kind)),
        ("at", Value::from(at)),
        ("format", Value::from(FORMAT_VERSION)),
    ];
    for (member, column) in says {
        if document.get(member) != Some(&column) {
            report.find(place.as_str(), format!("its {member} is not what its row says"));
        }
    }
    if row.try_get::<i64>("format_version")? != i64::from(FORMAT_VERSION) {
        report.find(place.as_str(), "has a format of another version");
    }
    note(&document, kind, told);
    Ok(())
}

fn note(document: &Value, kind: &str, told: &mut Told) {
    if let Some(revision) = document.get("revision").and_then(Value::as_u64) {
        *told.revisions.entry(revision).or_default() += 1;
    }
    let facts = document.get("facts");
    note_values(document, facts, kind, told);
    let fact = |name: &str| facts.and_then(|facts| facts.get(name)?.as_str()).map(str::to_owned);
    if let Some(elevation) = fact("elevation").filter(|_| kind.starts_with("elevation_")) {
        told.elevations.entry(elevation).or_default().push(kind.to_owned());
    }
    if let Some(revocation) = fact("revocation") {
        told.revocations.entry(revocation).or_default().push(kind.to_owned());
    }
    let is_of_grant = kind.starts_with("grant_") || kind == "review_overdue";
    let Some(grant) = fact("grant").filter(|_| is_of_grant) else { return };
    let told = told.grants.entry(grant).or_default();
    told.kinds.push(kind.to_owned());
    told.token_sha256 = told.token_sha256.take().or_else(|| fact("token_sha256"));
}

fn note_values(document: &Value, facts: Option<&Value>, kind: &str, told: &mut Told) {
    let fact = |name: &str| facts.and_then(|facts| facts.get(name));
    let committed = document.get("personal").and_then(Value::as_object).map_or(0, |values| to_u64(values.len()));
    told.committed = told.committed.saturating_add(committed);
    if fact("values_kept") == Some(&Value::Bool(false)) {
        told.gone = told.gone.saturating_add(committed);
    }
    if kind == EntryKind::PersonalErased.as_str() {
        let values = fact("values").and_then(Value::as_u64).unwrap_or_default();
        told.gone = told.gone.saturating_add(values);
    }
}

/// Whatever is committed to lies beside its entry, or an entry says that it was erased.
async fn values_are_accounted_for(
    reading: &mut Transaction,
    told: &Told,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let there = from_sql(sql("SELECT COUNT(*) FROM entry_values").integer(reading).await?);
    report.agree("personal values", "their number", there, told.committed.saturating_sub(told.gone));
    Ok(())
}

/// A value that is still there fits its commitment. One that is gone was erased.
async fn personal_values(
    reading: &mut Transaction,
    entries: &[Row],
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
    let values = sql("SELECT v.entry_index, v.field, v.value, v.salt, e.canonical FROM entry_values v \
                      JOIN entries e ON e.entry_index = v.entry_index \
                      WHERE v.entry_index BETWEEN $1 AND $2 ORDER BY v.entry_index")
    .bind(first.try_get::<i64>("entry_index")?)
    .bind(last.try_get::<i64>("entry_index")?)
    .fetch_all(reading)
    .await?;
    for row in &values {
        let (index, field): (i64, &str) = (row.try_get("entry_index")?, row.try_get("field")?);
        let (value, salt): (&str, &[u8]) = (row.try_get("value")?, row.try_get("salt")?);
        let document: Value = serde_json::from_str(row.try_get("canonical")?).unwrap_or_default();
        let stands = document.get("personal").and_then(|personal| personal.get(field)?.as_str());
        if commitment(field, value, salt).as_deref() != stands || stands.is_none() {
            let what = match (value, salt) {
                (_, []) => "has no salt",
                ("", _) => "is gone, and its salt is not",
                _ => "does not fit the commitment",
            };
            report.find(format!("entry {index}"), format!("its value \"{field}\" {what}"));
        }
    }
    Ok(())
}

fn commitment(field: &str, value: &str, salt: &[u8]) -> Option<String> {
    let field: PersonalField = serde_json::from_value(Value::from(field)).ok()?;
    let salt: [u8; SALT_BYTES] = salt.try_into().ok()?;
    Some(PersonalValue { field, value: value.to_owned(), salt }.commitment())
}

/// Every change that is more than a move of shares has its one entry, and every entry's revision its change.
async fn changes_have_entries(
    reading: &mut Transaction,
    told: &Told,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let mut after = 0_u64;
    let mut named = told.revisions.clone();
    let oldest = sql("SELECT COALESCE(MIN(revision), 0) FROM changes").integer(&mut *reading).await?;
    loop {
        let rows = sql("SELECT revision, kind FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2")
            .bind(crate::store::rows::to_sql(after))
            .bind(PAGE)
            .fetch_all(&mut *reading)
            .await?;
        for row in &rows {
            let (revision, kind): (u64, &str) = (from_sql(row.try_get("revision")?), row.try_get("kind")?);
            let entries = named.remove(&revision).unwrap_or_default();
            let place = format!("revision {revision}");
            report.agree(&place, "the number of its entries", entries, u32::from(kind != "share"));
            after = revision;
        }
        if rows.is_empty() {
            break;
        }
    }
    for (revision, _) in named.into_iter().filter(|(revision, _)| *revision >= from_sql(oldest)) {
        report.find(format!("revision {revision}"), "has an entry and no change");
    }
    Ok(())
}
