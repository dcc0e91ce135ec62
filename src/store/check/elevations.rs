//! Requests: state true to the entries, approvals by others than the one who asked, each with its entry, and a grant
//! exactly where one was approved.

use super::entries::Told;
use super::{CheckReport, PAGE};
use crate::domain::ElevationState;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::statement::{Row, sql};

/// A request with what stands beside it.
const SELECT: &str = "SELECT e.position, e.id, e.state, e.decided_ms, \
     (SELECT COUNT(*) FROM grants g WHERE g.elevation = e.id) AS grants, \
     (SELECT COUNT(*) FROM approvals a WHERE a.elevation = e.id) AS approvals, \
     (SELECT COUNT(*) FROM approvals a WHERE a.elevation = e.id AND a.person = e.person) AS own \
     FROM elevations e WHERE e.position > $1 ORDER BY e.position LIMIT $2";

pub(super) async fn check(reading: &mut Transaction, told: &Told, report: &mut CheckReport) -> Result<(), StoreError> {
    let mut after = 0_i64;
    loop {
        let rows = sql(SELECT).bind(after).bind(PAGE).fetch_all(&mut *reading).await?;
        for row in &rows {
            after = row.try_get("position")?;
            one(row, told, report)?;
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

fn one(row: &Row, told: &Told, report: &mut CheckReport) -> Result<(), StoreError> {
    let (id, text): (&str, &str) = (row.try_get("id")?, row.try_get("state")?);
    let place = format!("elevation {id}");
    let Some(state) = ElevationState::ALL.into_iter().find(|state| state.as_str() == text) else {
        report.find(place, "has a state that this version does not know");
        return Ok(());
    };
    let kinds: &[String] = told.elevations.get(id).map_or(&[], Vec::as_slice);
    let count = |kind: &str| i64::try_from(kinds.iter().filter(|told| *told == kind).count()).unwrap_or(i64::MAX);
    report.agree(&place, "the number of its entries elevation_requested", count("elevation_requested"), 1);
    for ended in [ElevationState::Denied, ElevationState::Withdrawn, ElevationState::Lapsed] {
        let kind = format!("elevation_{}", ended.as_str());
        report.agree(&place, &format!("the number of its entries {kind}"), count(&kind), i64::from(ended == state));
    }
    let approvals: i64 = row.try_get("approvals")?;
    report.agree(&place, "the number of its entries elevation_approved", count("elevation_approved"), approvals);
    report.agree(&place, "the number of approvals by the one who asked", row.try_get::<i64>("own")?, 0);
    let granted = i64::from(state == ElevationState::Approved);
    report.agree(&place, "the number of its grants", row.try_get("grants")?, granted);
    let decided = row.try_get::<Option<i64>>("decided_ms")?.is_some();
    if decided == (state == ElevationState::Requested) {
        report.find(place, "waits and is decided, or neither");
    }
    Ok(())
}
