//! Revocations: each with its one entry, as many grants ended under it as it says, and told of at most once how it
//! arrived.

use super::entries::Told;
use super::{CheckReport, PAGE, numbers};
use crate::domain::Selector;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{from_json, from_sql};
use crate::store::statement::{Row, sql};

/// A revocation with what stands beside it.
const SELECT: &str = "SELECT r.position, r.id, r.selector, r.ended, r.is_open, r.settled_ms, r.enforced, \
     (SELECT COUNT(*) FROM grants g WHERE g.revocation = r.id) AS grants \
     FROM revocations r WHERE r.position > $1 ORDER BY r.position LIMIT $2";

pub(super) async fn check(reading: &mut Transaction, told: &Told, report: &mut CheckReport) -> Result<(), StoreError> {
    let (mut after, mut found) = (0_i64, 0_u64);
    loop {
        let rows = sql(SELECT).bind(after).bind(PAGE).fetch_all(&mut *reading).await?;
        for row in &rows {
            after = row.try_get("position")?;
            found = found.saturating_add(1);
            one(row, told, report)?;
        }
        if rows.is_empty() {
            break;
        }
    }
    report.agree("revocations", "their number", found, numbers::counter(reading, "revocation").await?);
    let lost = sql("SELECT COUNT(*) FROM grants g WHERE g.revocation IS NOT NULL \
                    AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.id = g.revocation)")
    .integer(reading)
    .await?;
    report.agree("grants", "the number ended by a revocation that is not there", lost, 0);
    Ok(())
}

fn one(row: &Row, told: &Told, report: &mut CheckReport) -> Result<(), StoreError> {
    let id: &str = row.try_get("id")?;
    let place = format!("revocation {id}");
    let Ok(selector) = from_json::<Selector>("selector", row.try_get("selector")?) else {
        report.find(place, "is about something that this version does not know");
        return Ok(());
    };
    let kinds: &[String] = told.revocations.get(id).map_or(&[], Vec::as_slice);
    let count = |kind: &str| i64::try_from(kinds.iter().filter(|told| *told == kind).count()).unwrap_or(i64::MAX);
    let ordered = if matches!(selector, Selector::Freeze { .. }) { "freeze_changed" } else { "revocation_ordered" };
    report.agree(&place, &format!("the number of its entries {ordered}"), count(ordered), 1);
    let ended = row.try_get::<i64>("ended")?;
    report.agree(&place, "the number of grants that it ended", row.try_get("grants")?, ended);
    report.agree(&place, "the number of its entries grant_revoked", count("grant_revoked"), ended);
    let settled = row.try_get::<Option<i64>>("settled_ms")?.is_some();
    let measured = i64::from(row.try_get::<Option<i64>>("enforced")?.is_some());
    report.agree(&place, "the number of its entries revocation_enforced", count("revocation_enforced"), measured);
    if from_sql(row.try_get("is_open")?) != 0 && settled {
        report.find(place, "is settled although it is not carried out");
    }
    Ok(())
}
