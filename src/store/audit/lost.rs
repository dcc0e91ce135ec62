//! Lines that were recorded and do not come: each log is named once, with the last line that did.

use std::time::Duration;

use super::known::{self, Log};
use crate::audit::Position;
use crate::domain::{InstanceName, ServiceName};
use crate::ledger::Lost;
use crate::ledger::entry::Draft;
use crate::store::rows::{from_json, parsed, to_sql};
use crate::store::statement::sql;
use crate::store::transition::Transition;
use crate::store::{Store, StoreError};
use crate::wire::feed::AuditPosition;

/// A log that was not closed, of a sidecar of which nothing was heard for so long, counts as lost from its last line on.
/// What comes later all the same is taken in.
pub const LOST_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Named by one transaction at most.
const AT_ONCE: i64 = 64;

const COLUMNS: &str = "SELECT number, log_id, service, instance, last_seq, last_sha256, is_over, is_lost, followed_by \
    FROM audit_logs WHERE service = $1 AND instance = $2 AND is_over = 0 ORDER BY number";
const BY_ID: &str = "SELECT number, log_id, service, instance, last_seq, last_sha256, is_over, is_lost, followed_by \
    FROM audit_logs WHERE log_id = $1";
const SILENT: &str = "SELECT number, log_id, service, instance, last_seq, last_sha256, is_over, is_lost, followed_by \
    FROM audit_logs l WHERE is_over = 0 AND heard_ms < $1 AND NOT EXISTS (SELECT 1 FROM sidecars s \
    WHERE s.service = l.service AND s.instance = l.instance AND s.heard_ms >= $1) ORDER BY number LIMIT $2";

impl Store {
    /// Names the logs of sidecars that have been silent for [`LOST_AFTER`]. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn name_silent_logs(&self) -> Result<usize, StoreError> {
        let before = self.shared.clock.wall().minus(LOST_AFTER).unix_ms();
        let due = sql(SILENT).bind(before).bind(AT_ONCE).fetch_all(&self.shared.database).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let mut transition = self.transition().await?;
        let rows = sql(SILENT).bind(before).bind(AT_ONCE).fetch_all(transition.connection()).await?;
        let at = transition.at().unix_ms();
        for row in &rows {
            let log = known::log(row)?;
            let (service, instance) = (parsed("service", &log.service)?, parsed("instance", &log.instance)?);
            let draft = draft(&mut transition, (&service, &instance), &log, None, "silent").await?;
            transition.entry(draft, None).await?;
            sql("UPDATE audit_logs SET is_over = 1, is_lost = 1, heard_ms = $2 WHERE number = $1")
                .bind(to_sql(log.number))
                .bind(at)
                .execute(transition.connection())
                .await?;
        }
        transition.commit().await?;
        Ok(rows.len())
    }
}

/// The logs of an instance of which more is awaited.
pub(super) async fn open_logs(
    transition: &mut Transition<'_>,
    service: &ServiceName,
    instance: &InstanceName,
) -> Result<Vec<Log>, StoreError> {
    let rows = sql(COLUMNS).bind(service.as_str()).bind(instance.as_str()).fetch_all(transition.connection()).await?;
    rows.iter().map(known::log).collect()
}

pub(super) async fn log_of(transition: &mut Transition<'_>, at: &Position) -> Result<Option<Log>, StoreError> {
    let row = sql(BY_ID).bind(at.log_id.to_string()).fetch_optional(transition.connection()).await?;
    row.as_ref().map(known::log).transpose()
}

/// What is lost after the last line of a log, and how far that log is known to have been written.
pub(super) async fn draft(
    transition: &mut Transition<'_>,
    (service, instance): (&ServiceName, &InstanceName),
    log: &Log,
    next: Option<Position>,
    cause: &'static str,
) -> Result<Draft, StoreError> {
    let row = sql("SELECT audit FROM sidecars WHERE service = $1 AND instance = $2")
        .bind(service.as_str())
        .bind(instance.as_str())
        .fetch_optional(transition.connection())
        .await?;
    let heard: Option<AuditPosition> = match row {
        Some(row) => Some(from_json("audit position", row.try_get("audit")?)?),
        None => None,
    };
    let own = heard.filter(|heard| heard.log_id == log.last.log_id.to_string());
    Ok(Draft::audit_lost(Lost {
        service,
        instance,
        after: Some((log.last.log_id.to_string(), log.last.sequence)),
        heard: own.map(|heard| heard.sequence).filter(|sequence| *sequence > log.last.sequence),
        next: next.map(|next| (next.log_id.to_string(), next.sequence)),
        cause,
    }))
}

/// Nothing of the instance had ever come.
pub(super) fn nothing_came(
    service: &ServiceName,
    instance: &InstanceName,
    next: Option<Position>,
    cause: &'static str,
) -> Draft {
    let next = next.map(|next| (next.log_id.to_string(), next.sequence));
    Draft::audit_lost(Lost { service, instance, after: None, heard: None, next, cause })
}
