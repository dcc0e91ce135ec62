//! What is here already of the logs that a batch is about.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::AuditBatch;
use crate::audit::{LineHash, LogId, Position};
use crate::store::StoreError;
use crate::store::rows::{from_sql, parsed, to_json, to_sql};
use crate::store::statement::{Row, sql, sql_over_rows};
use crate::store::transition::Transition;

/// A log, up to its last line that is here.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) number: u64,
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) last: Position,
    /// Nothing of it is awaited any more.
    pub(super) is_over: bool,
    /// Something of it was named as lost.
    pub(super) is_lost: bool,
    /// The log that goes on from its end.
    pub(super) followed_by: Option<LogId>,
    pub(super) is_changed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) logs: HashMap<LogId, Log>,
    /// Lines at the places that the batch names, where a log is here beyond them.
    lines: HashSet<(LogId, u64, LineHash)>,
    places: HashSet<(LogId, u64)>,
}

impl Known {
    pub(super) async fn read(transition: &mut Transition<'_>, batch: &AuditBatch) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let mut named: Vec<LogId> = batch.after.iter().map(|after| after.log_id).collect();
        named.extend(batch.lines.iter().map(|line| line.told.link.log_id));
        named.dedup();
        let rows = sql_over_rows!(
            "SELECT l.number, l.log_id, l.service, l.instance, l.last_seq, l.last_sha256, l.is_over, l.is_lost, l.followed_by FROM",
            "JOIN audit_logs l ON l.log_id = told.value ->> 'log_id'"
        )
        .bind(to_json("log ids", &named.iter().map(|log_id| Named { log_id: *log_id }).collect::<Vec<_>>())?)
        .fetch_all(transition.connection())
        .await?;
        for row in &rows {
            let log = log(row)?;
            known.logs.insert(log.last.log_id, log);
        }
        known.read_lines(transition, batch).await?;
        Ok(known)
    }

    /// Only where the batch reaches back behind what is here is any line of it looked up.
    async fn read_lines(&mut self, transition: &mut Transition<'_>, batch: &AuditBatch) -> Result<(), StoreError> {
        let mut behind: HashMap<LogId, (u64, u64)> = HashMap::new();
        let places = batch.lines.iter().map(|line| (line.told.link.log_id, line.told.link.seq));
        let after = batch.after.iter().map(|after| (after.log_id, after.sequence));
        for (log_id, seq) in places.chain(after) {
            if self.logs.get(&log_id).is_some_and(|log| log.last.sequence >= seq) {
                let range = behind.entry(log_id).or_insert((seq, seq));
                *range = (range.0.min(seq), range.1.max(seq));
            }
        }
        for (log_id, (from, to)) in behind {
            let Some(number) = self.logs.get(&log_id).map(|log| log.number) else { continue };
            let rows = sql("SELECT seq, line_sha256 FROM audit_lines WHERE log_number = $1 AND seq BETWEEN $2 AND $3")
                .bind(to_sql(number))
                .bind(to_sql(from))
                .bind(to_sql(to))
                .fetch_all(transition.connection())
                .await?;
            for row in &rows {
                let (seq, hash) = (from_sql(row.try_get("seq")?), parsed("hash", row.try_get("line_sha256")?)?);
                self.lines.insert((log_id, seq, hash));
                self.places.insert((log_id, seq));
            }
        }
        Ok(())
    }

    pub(super) fn is_foreign(&self, batch: &AuditBatch) -> bool {
        let own = |log: &Log| log.service == batch.service.as_str() && log.instance == batch.instance.as_str();
        !self.logs.values().all(own)
    }

    /// Whether this line is here; nothing stands before the first line of all.
    pub(super) fn has(&self, line: Option<&Position>) -> bool {
        line.is_none_or(|line| {
            self.logs.get(&line.log_id).is_some_and(|log| log.last == *line)
                || self.lines.contains(&(line.log_id, line.sequence, line.head))
        })
    }

    /// Whether some line is here in this place.
    pub(super) fn has_other_at(&self, line: &Position) -> bool {
        self.places.contains(&(line.log_id, line.sequence))
    }

    /// The last line that is here of the log that the batch goes on from; of the instance's newest log where that log is
    /// not here at all.
    pub(super) async fn nearest(
        &self,
        transition: &mut Transition<'_>,
        batch: &AuditBatch,
    ) -> Result<Option<Position>, StoreError> {
        if let Some(log) = batch.after.as_ref().and_then(|after| self.logs.get(&after.log_id)) {
            return Ok(Some(log.last));
        }
        let row =
            sql("SELECT number, log_id, service, instance, last_seq, last_sha256, is_over, is_lost, followed_by \
             FROM audit_logs WHERE service = $1 AND instance = $2 ORDER BY number DESC LIMIT 1")
            .bind(batch.service.as_str())
            .bind(batch.instance.as_str())
            .fetch_optional(transition.connection())
            .await?;
        row.map(|row| log(&row).map(|log| log.last)).transpose()
    }
}

#[derive(Serialize)]
struct Named {
    log_id: LogId,
}

pub(super) fn log(row: &Row) -> Result<Log, StoreError> {
    let followed_by: Option<String> = row.try_get("followed_by")?;
    Ok(Log {
        number: from_sql(row.try_get("number")?),
        service: row.try_get("service")?,
        instance: row.try_get("instance")?,
        last: Position {
            log_id: parsed("log id", row.try_get("log_id")?)?,
            sequence: from_sql(row.try_get("last_seq")?),
            head: parsed("hash", row.try_get("last_sha256")?)?,
        },
        is_over: row.try_get::<i64>("is_over")? != 0,
        is_lost: row.try_get::<i64>("is_lost")? != 0,
        followed_by: followed_by.as_deref().map(|text| parsed("log id", text)).transpose()?,
        is_changed: false,
    })
}
