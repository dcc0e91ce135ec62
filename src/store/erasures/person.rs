//! What is told of a person in the tables, replaced or deleted: everything but what lies beside entries.
//!
//! What stands for them is the same everywhere, so that who must not be the same still is not. Whatever of it was signed
//! names them and goes whole: the tokens of their grants, and of those that they approved.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use super::naming::names;
use super::obstacles::selector;
use crate::domain::{Person, Ticket};
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::policies::read_files;
use crate::store::rows::{from_json, to_json, to_u64};
use crate::store::statement::{Row, by_dialect, sql, sql_over_rows};
use crate::store::transition::Transition;
use crate::token::claims::GrantClaims;

/// Requests and grants read and written at once.
const BATCH_MAX: usize = 500;

/// Replaces `$1`, the person, by `$2`.
const REPLACED: [&str; 14] = [
    "UPDATE elevations SET person = $2, decided_note = NULL WHERE person = $1",
    "UPDATE elevations SET decided_by = $2, decided_note = NULL WHERE decided_by = $1",
    "UPDATE approvals SET person = $2 WHERE person = $1",
    "UPDATE revocations SET note = NULL WHERE selector LIKE '{\"kind\":\"grant\",%' AND id IN \
     (SELECT revocation FROM grants WHERE person = $1 AND $2 = $2)",
    "UPDATE grants SET person = $2, end_note = NULL, \
     findings = CASE WHEN reviewed_ms IS NULL THEN findings ELSE '' END WHERE person = $1",
    "UPDATE grants SET ended_by = $2, end_note = NULL WHERE ended_by = $1",
    "UPDATE grants SET reviewed_by = $2, findings = '' WHERE reviewed_by = $1",
    "UPDATE revocations SET by_person = $2, note = NULL WHERE by_person = $1",
    "UPDATE freezes SET by_person = $2, note = NULL WHERE by_person = $1",
    "UPDATE policy_revisions SET applied_by = $2, note = NULL WHERE applied_by = $1",
    "UPDATE policy_revisions SET confirmed_by = $2 WHERE confirmed_by = $1",
    "UPDATE policy_proposals SET by_person = $2, note = NULL WHERE by_person = $1",
    "UPDATE policy_proposals SET decided_by = $2 WHERE decided_by = $1",
    "UPDATE erasures SET by_person = $2 WHERE by_person = $1",
];
/// Of no use without the name.
const DELETED: [&str; 3] = [
    "DELETE FROM idempotency_keys WHERE person = $1",
    "DELETE FROM principals WHERE person = $1",
    "DELETE FROM person_freshness WHERE person = $1",
];

/// Erases a person from the tables. The caller has made sure, in this transition, that nothing stands in the way. Answers
/// how many requests and grants were theirs.
pub(super) async fn erase(
    transition: &mut Transition<'_>,
    person: &Person,
    called: &Person,
) -> Result<u64, StoreError> {
    let elevations = elevations(transition, person).await?;
    let grants = grants(transition, person, called).await?;
    for deleted in DELETED {
        sql(deleted).bind(person.as_str()).execute(transition.connection()).await?;
    }
    for replaced in REPLACED {
        sql(replaced).bind(person.as_str()).bind(called.as_str()).execute(transition.connection()).await?;
    }
    sql("UPDATE revocations SET selector = $2, note = NULL WHERE selector = $1")
        .bind(selector(person)?)
        .bind(selector(called)?)
        .execute(transition.connection())
        .await?;
    old_policies(transition, person).await?;
    Ok(elevations.saturating_add(grants))
}

/// The requests and grants of a person, by id.
pub(super) async fn own(on: &mut Transaction, person: &Person) -> Result<HashSet<String>, StoreError> {
    let rows = sql("SELECT id FROM elevations WHERE person = $1 UNION ALL SELECT id FROM grants WHERE person = $1")
        .bind(person.as_str())
        .fetch_all(on)
        .await?;
    rows.iter().map(|row| Ok(row.first()?)).collect()
}

/// Whether anything names them. A misspelt name would erase nothing, and look as if it had.
pub(super) async fn is_known(on: &mut Transaction, person: &Person) -> Result<bool, StoreError> {
    for known in KNOWN {
        if sql(known).bind(person.as_str()).integer(&mut *on).await? > 0 {
            return Ok(true);
        }
    }
    // Lines and notes that came after the person was erased.
    let [sqlite, postgres] = MENTIONED;
    Ok(by_dialect(sqlite, postgres).bind(person.as_str()).integer(on).await? > 0)
}

/// Each counts what is of the person `$1`.
const KNOWN: [&str; 4] = [
    "SELECT COUNT(*) FROM elevations WHERE person = $1",
    "SELECT COUNT(*) FROM principals WHERE person = $1",
    "SELECT COUNT(*) FROM approvals WHERE person = $1",
    "SELECT COUNT(*) FROM entry_values WHERE value = $1 AND field IN ('person', 'by', 'confirmed_by')",
];
const MENTIONED: [&str; 2] = [
    "SELECT COUNT(*) FROM entry_values WHERE field IN ('line', 'note') AND instr(value, $1) > 0",
    "SELECT COUNT(*) FROM entry_values WHERE field IN ('line', 'note') AND strpos(value, $1) > 0",
];

/// A row's new JSON.
#[derive(Serialize)]
struct Rewritten {
    i: String,
    b: String,
}

async fn elevations(transition: &mut Transition<'_>, person: &Person) -> Result<u64, StoreError> {
    let rows = sql("SELECT id, body FROM elevations WHERE person = $1")
        .bind(person.as_str())
        .fetch_all(transition.connection())
        .await?;
    let rewritten = |row: &Row| Ok(Rewritten { i: row.try_get("id")?, b: body_without_names(row.try_get("body")?)? });
    let rows = rows.iter().map(rewritten).collect::<Result<Vec<_>, StoreError>>()?;
    for batch in rows.chunks(BATCH_MAX) {
        sql_over_rows!(
            "UPDATE elevations SET body = told.value ->> 'b', ticket = $2 FROM",
            "WHERE elevations.id = told.value ->> 'i'"
        )
        .bind(to_json("elevations", &batch)?)
        .bind(Ticket::erased().as_str())
        .execute(transition.connection())
        .await?;
    }
    Ok(to_u64(rows.len()))
}

/// The body of a request without its ticket and what only one human has.
pub(super) fn body_without_names(body: &str) -> Result<String, StoreError> {
    let mut body: serde_json::Map<String, Value> = from_json("body of an elevation", body)?;
    body.insert("ticket".to_owned(), Ticket::erased().as_str().into());
    body.remove("confirmation");
    to_json("body of an elevation", &body)
}

/// Their own grants lose ticket, key and token; those that they approved, name and token.
async fn grants(transition: &mut Transition<'_>, person: &Person, called: &Person) -> Result<u64, StoreError> {
    let rows = sql("SELECT id, claims FROM grants WHERE person = $1 OR elevation IN \
         (SELECT elevation FROM approvals WHERE person = $1)")
    .bind(person.as_str())
    .fetch_all(transition.connection())
    .await?;
    let rewritten = |row: &Row| {
        let mut claims: GrantClaims = from_json("claims of a grant", row.try_get("claims")?)?;
        let is_theirs = claims.sub == *person;
        if is_theirs {
            claims = without_justification(claims);
        }
        let claims = renamed(claims, |name| if name == *person { called.clone() } else { name });
        Ok(Rewritten { i: row.try_get("id")?, b: to_json("claims", &claims)? })
    };
    let rows = rows.iter().map(rewritten).collect::<Result<Vec<_>, StoreError>>()?;
    let at = transition.at();
    for batch in rows.chunks(BATCH_MAX) {
        sql_over_rows!(
            "UPDATE grants SET claims = told.value ->> 'b', token = '', erased_ms = $2 FROM",
            "WHERE grants.id = told.value ->> 'i'"
        )
        .bind(to_json("grants", &batch)?)
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
    }
    Ok(to_u64(rows.len()))
}

/// Without the ticket, and without what only one human has.
pub(super) fn without_justification(mut claims: GrantClaims) -> GrantClaims {
    claims.cnf = None;
    claims.bg.ticket = Ticket::erased();
    claims
}

/// With its people called otherwise.
pub(super) fn renamed(mut claims: GrantClaims, mut name: impl FnMut(Person) -> Person) -> GrantClaims {
    claims.sub = name(claims.sub);
    claims.bg.approvals = claims.bg.approvals.into_iter().map(name).collect();
    claims
}

/// Texts of policies that are no longer in force and name the person. Their digests stay.
async fn old_policies(transition: &mut Transition<'_>, person: &Person) -> Result<(), StoreError> {
    let rows =
        sql("SELECT CAST(revision AS TEXT) AS id, CAST(1 AS BIGINT) AS applied, text, services FROM policy_revisions \
         UNION ALL SELECT id, CAST(0 AS BIGINT) AS applied, text, services FROM policy_proposals")
        .fetch_all(transition.connection())
        .await?;
    for row in &rows {
        let services = read_files(row.try_get("services")?)?;
        let mut texts = services.iter().map(|file| file.text.as_str()).chain([row.try_get("text")?]);
        if !texts.any(|text| names(text, person.as_str())) {
            continue;
        }
        let forget = if row.try_get::<i64>("applied")? == 1 {
            sql("UPDATE policy_revisions SET text = '', services = '[]' WHERE CAST(revision AS TEXT) = $1")
        } else {
            sql("UPDATE policy_proposals SET text = '', services = '[]' WHERE id = $1")
        };
        forget.bind(row.try_get::<&str>("id")?).execute(transition.connection()).await?;
    }
    Ok(())
}
