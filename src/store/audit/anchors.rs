//! How far each sidecar's log had become durable, kept in the ledger: a position that whoever rewrites a folder does not
//! reach. One entry in a while tells of all that have moved.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::Anchor;
use crate::ledger::entry::Draft;
use crate::store::database::Transaction;
use crate::store::rows::{from_json, from_sql, parsed, to_json};
use crate::store::statement::{sql, sql_over_rows};
use crate::store::{Store, StoreError};
use crate::wire::feed::AuditPosition;

/// How often it is looked whether one has moved.
pub const ANCHOR_EVERY: Duration = Duration::from_secs(60);
/// Anchors in one entry: each takes at most about 400 bytes, and an entry is to stay below 65,535.
const PER_ENTRY_MAX: usize = 128;

#[derive(Serialize)]
struct AnchorRow<'a> {
    service: &'a str,
    instance: &'a str,
    log_id: &'a str,
    seq: u64,
}

impl Store {
    /// Anchors the positions that sidecars told and that moved since. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]; then none is anchored.
    pub async fn anchor_audit_logs(&self) -> Result<usize, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let any = !moved(&mut reading).await?.is_empty();
        drop(reading);
        if !any {
            return Ok(0);
        }
        let mut transition = self.transition().await?;
        let anchors = moved(transition.connection()).await?;
        for anchors in anchors.chunks(PER_ENTRY_MAX) {
            transition.entry(Draft::audit_anchored(anchors), None).await?;
        }
        sql_over_rows!(
            "INSERT INTO audit_anchors (service, instance, log_id, seq) SELECT told.value ->> 'service', \
             told.value ->> 'instance', told.value ->> 'log_id', CAST(told.value ->> 'seq' AS BIGINT) FROM",
            "WHERE true ON CONFLICT (service, instance) DO UPDATE SET log_id = excluded.log_id, seq = excluded.seq"
        )
        .bind(to_json("anchors", &anchors.iter().map(to_row).collect::<Vec<_>>())?)
        .execute(transition.connection())
        .await?;
        transition.commit().await?;
        Ok(anchors.len())
    }
}

fn to_row(anchor: &Anchor) -> AnchorRow<'_> {
    AnchorRow {
        service: anchor.service.as_str(),
        instance: anchor.instance.as_str(),
        log_id: &anchor.log_id,
        seq: anchor.seq,
    }
}

async fn moved(on: &mut Transaction) -> Result<Vec<Anchor>, StoreError> {
    let rows = sql("SELECT service, instance, log_id, seq FROM audit_anchors").fetch_all(&mut *on).await?;
    let mut anchored: HashMap<(String, String), (String, u64)> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let at = (row.try_get("log_id")?, from_sql(row.try_get("seq")?));
        anchored.insert((row.try_get("service")?, row.try_get("instance")?), at);
    }
    let rows = sql("SELECT service, instance, audit FROM sidecars ORDER BY service, instance").fetch_all(on).await?;
    let mut moved = Vec::new();
    for row in &rows {
        let (service, instance): (String, String) = (row.try_get("service")?, row.try_get("instance")?);
        let audit: AuditPosition = from_json("audit position", row.try_get("audit")?)?;
        let known = anchored.get(&(service.clone(), instance.clone()));
        if audit.sequence == 0 || known.is_some_and(|(log_id, seq)| *log_id == audit.log_id && *seq == audit.sequence) {
            continue;
        }
        moved.push(Anchor {
            service: parsed("service", &service)?,
            instance: parsed("instance", &instance)?,
            log_id: audit.log_id,
            seq: audit.sequence,
            head: audit.head,
        });
    }
    Ok(moved)
}
