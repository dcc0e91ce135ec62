//! What each log counts of a grant, held against what came of it: a sidecar numbers the intents of a grant and the assertions it
//! signs under it, both dense from 1 within one log, and says of the latter how far it has come.
//!
//! The highest number is how many there were; the lines that carry one are how many there are. Must never: call a number that an
//! older sidecar does not tell a difference.

use std::collections::BTreeMap;

use serde::Serialize;

use super::AuditBatch;
use crate::audit::{LineKind, ToldLine};
use crate::domain::GrantId;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{from_sql, to_json};
use crate::store::statement::{sql, sql_over_rows};
use crate::store::transition::Transition;
use crate::wire::audit::Signed;

/// What a sidecar may say is bounded: more than any grant has uses, and sums of it fit the database's numbers.
const NUMBER_MAX: u64 = 1 << 40;

/// Numbers that tell of the same and do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A sidecar counted other intents than the ledger has.
    Intents,
    /// A sidecar signed other assertions than its outcomes tell of.
    Assertions,
    /// The uses that sidecars reported do not fit the intents.
    Uses,
}

impl Difference {
    pub const ALL: &[Self] = &[Self::Intents, Self::Assertions, Self::Uses];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intents => "intents",
            Self::Assertions => "assertions",
            Self::Uses => "uses",
        }
    }
}

/// What new lines add to the counts of each grant in each log.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<(GrantId, u64), Count>);

#[derive(Debug, Default, Serialize)]
struct Count {
    intents: u64,
    intent_number: u64,
    assertions: u64,
    assertion_number: u64,
}

#[derive(Serialize)]
struct CountRow<'a> {
    grant: &'a str,
    log: u64,
    #[serde(flatten)]
    count: &'a Count,
}

#[derive(Serialize)]
struct SignedRow<'a> {
    grant: &'a str,
    number: u64,
}

impl Counters {
    /// A line that was not here before.
    pub(super) fn count(&mut self, log: u64, line: &ToldLine) {
        let (is_intent, assertion) = (line.kind == LineKind::Intent, line.assertion);
        let Some(grant) = line.grant.as_ref().filter(|_| is_intent || assertion.is_some()) else { return };
        let count = self.0.entry((grant.clone(), log)).or_default();
        if is_intent {
            count.intents = count.intents.saturating_add(1);
            count.intent_number = count.intent_number.max(line.number.unwrap_or_default().min(NUMBER_MAX));
        }
        if let Some(number) = assertion {
            count.assertions = count.assertions.saturating_add(1);
            count.assertion_number = count.assertion_number.max(number.min(NUMBER_MAX));
        }
    }

    pub(super) async fn write(self, transition: &mut Transition<'_>) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> =
            self.0.iter().map(|((grant, log), count)| CountRow { grant: grant.as_str(), log: *log, count }).collect();
        sql_over_rows!(
            "INSERT INTO audit_counters (grant_id, log_number, intents, intent_number, assertions, assertion_number, signed) \
             SELECT told.value ->> 'grant', CAST(told.value ->> 'log' AS BIGINT), \
             CAST(told.value ->> 'intents' AS BIGINT), CAST(told.value ->> 'intent_number' AS BIGINT), \
             CAST(told.value ->> 'assertions' AS BIGINT), CAST(told.value ->> 'assertion_number' AS BIGINT), 0 FROM",
            "WHERE true ON CONFLICT (grant_id, log_number) DO UPDATE SET \
             intents = audit_counters.intents + excluded.intents, \
             assertions = audit_counters.assertions + excluded.assertions, \
             intent_number = CASE WHEN excluded.intent_number > audit_counters.intent_number \
             THEN excluded.intent_number ELSE audit_counters.intent_number END, \
             assertion_number = CASE WHEN excluded.assertion_number > audit_counters.assertion_number \
             THEN excluded.assertion_number ELSE audit_counters.assertion_number END"
        )
        .bind(to_json("counts", &rows)?)
        .execute(transition.connection())
        .await?;
        Ok(())
    }
}

/// The sidecar's own counter. Only of its own log, and of grants of its service.
pub(super) async fn note_signed(
    transition: &mut Transition<'_>,
    batch: &AuditBatch,
    signed: &Signed,
) -> Result<(), StoreError> {
    let bounded = |number: &u64| (*number).min(NUMBER_MAX);
    let numbers = signed.numbers.iter();
    let rows: Vec<_> =
        numbers.map(|(grant, number)| SignedRow { grant: grant.as_str(), number: bounded(number) }).collect();
    sql_over_rows!(
        "INSERT INTO audit_counters (grant_id, log_number, intents, intent_number, assertions, assertion_number, signed) \
         SELECT g.id, l.number, 0, 0, 0, 0, CAST(told.value ->> 'number' AS BIGINT) FROM",
        "JOIN grants g ON g.id = told.value ->> 'grant' AND g.service = $3 \
         JOIN audit_logs l ON l.log_id = $2 AND l.service = $3 AND l.instance = $4 \
         WHERE true ON CONFLICT (grant_id, log_number) DO UPDATE SET signed = CASE \
         WHEN excluded.signed > audit_counters.signed THEN excluded.signed ELSE audit_counters.signed END"
    )
    .bind(to_json("signed", &rows)?)
    .bind(&signed.log_id)
    .bind(batch.service.as_str())
    .bind(batch.instance.as_str())
    .execute(transition.connection())
    .await?;
    Ok(())
}

/// The counts of one grant, over all logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Outcomes that name an assertion.
    pub(super) assertions: u64,
    /// The highest numbers, added up.
    pub(super) signed: u64,
    /// Assertions that no outcome tells of.
    pub(super) untold: u64,
    /// Outcomes that tell of an assertion too many.
    pub(super) surplus: u64,
    /// By how much the intents of the logs differ from their numbers, where these tell one.
    pub(super) intents_off: u64,
}

const OF_GRANT: &str = "SELECT CAST(COALESCE(SUM(c.assertions), 0) AS BIGINT) AS assertions, \
    CAST(COALESCE(SUM(c.top), 0) AS BIGINT) AS signed, \
    CAST(COALESCE(SUM(CASE WHEN c.top > c.assertions THEN c.top - c.assertions ELSE 0 END), 0) AS BIGINT) AS untold, \
    CAST(COALESCE(SUM(CASE WHEN c.assertions > c.top THEN c.assertions - c.top ELSE 0 END), 0) AS BIGINT) AS surplus, \
    CAST(COALESCE(SUM(CASE WHEN c.intent_number = 0 THEN 0 WHEN c.intents > c.intent_number \
    THEN c.intents - c.intent_number ELSE c.intent_number - c.intents END), 0) AS BIGINT) AS intents_off \
    FROM (SELECT intents, intent_number, assertions, CASE WHEN signed > assertion_number THEN signed \
    ELSE assertion_number END AS top FROM audit_counters WHERE grant_id = $1) AS c";

pub(super) async fn of_grant(on: &mut Transaction, grant: &GrantId) -> Result<Counted, StoreError> {
    let row = sql(OF_GRANT).bind(grant.as_str()).fetch_optional(on).await?;
    let Some(row) = row else { return Ok(Counted::default()) };
    Ok(Counted {
        assertions: from_sql(row.try_get("assertions")?),
        signed: from_sql(row.try_get("signed")?),
        untold: from_sql(row.try_get("untold")?),
        surplus: from_sql(row.try_get("surplus")?),
        intents_off: from_sql(row.try_get("intents_off")?),
    })
}
