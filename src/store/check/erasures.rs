//! Erasures: one that is done has forgotten whose it was, and left nothing of it.

use super::CheckReport;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::statement::sql;

pub(super) async fn check(reading: &mut Transaction, report: &mut CheckReport) -> Result<(), StoreError> {
    let rows = sql("SELECT id FROM erasures WHERE done_ms IS NOT NULL AND (person IS NOT NULL OR next_index < up_to) \
                    ORDER BY position")
    .fetch_all(reading)
    .await?;
    for row in &rows {
        report.find(format!("erasure {}", row.first::<&str>()?), "is done, and something of it is left");
    }
    Ok(())
}
