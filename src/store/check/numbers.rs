//! Numbers that must be dense: revisions of the feed, revisions of the policy; and that what they name is there.

use super::CheckReport;
use crate::config::digest_hex;
use crate::store::database::Transaction;
use crate::store::rows::from_sql;
use crate::store::statement::sql;
use crate::store::{StoreError, rows};

pub(super) async fn check(reading: &mut Transaction, report: &mut CheckReport) -> Result<(), StoreError> {
    report.revision = counter(reading, "revision").await?;
    revisions(reading, report).await?;
    policies(reading, report).await
}

pub(super) async fn counter(reading: &mut Transaction, name: &'static str) -> Result<u64, StoreError> {
    Ok(from_sql(sql("SELECT value FROM counters WHERE name = $1").bind(name).integer(reading).await?))
}

/// The changes that are still held are dense up to the counter.
async fn revisions(reading: &mut Transaction, report: &mut CheckReport) -> Result<(), StoreError> {
    let row = sql("SELECT COUNT(*) AS held, COALESCE(MIN(revision), 0) AS first, COALESCE(MAX(revision), 0) AS last \
                   FROM changes")
    .fetch_one(reading)
    .await?;
    let (held, first, last): (i64, i64, i64) = (row.try_get("held")?, row.try_get("first")?, row.try_get("last")?);
    if held == 0 {
        return Ok(());
    }
    report.agree("changes", "the last revision", from_sql(last), report.revision);
    report.agree("changes", "the number of revisions", held, last - first + 1);
    Ok(())
}

async fn policies(reading: &mut Transaction, report: &mut CheckReport) -> Result<(), StoreError> {
    let policies =
        sql("SELECT revision, text, digest FROM policy_revisions ORDER BY revision").fetch_all(&mut *reading).await?;
    let erasures = sql("SELECT COUNT(*) FROM erasures WHERE of_kind = 'person'").integer(&mut *reading).await?;
    for (expected, row) in (1_u64..).zip(&policies) {
        let revision = from_sql(row.try_get("revision")?);
        let place = format!("policy revision {revision}");
        report.agree(&place, "its number", revision, expected);
        let (text, digest): (&str, &str) = (row.try_get("text")?, row.try_get("digest")?);
        // One that is no longer in force and named somebody who was erased.
        let is_erased = erasures > 0 && text.is_empty() && expected < rows::to_u64(policies.len());
        if digest_hex(text) != digest && !is_erased {
            report.find(place, "its text is not what its digest says");
        }
    }
    let counted = counter(reading, "policy").await?;
    report.agree("policy", "the number of revisions", rows::to_u64(policies.len()), counted);
    Ok(())
}
