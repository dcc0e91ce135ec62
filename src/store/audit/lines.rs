//! From lines to entries: each line that is not here yet becomes one, and so does each fork.

use std::collections::HashSet;

use serde::Serialize;

use super::accounts::Accounts;
use super::counters::Counters;
use super::known::{Known, Log};
use super::{AuditBatch, BatchLine, lost};
use crate::audit::{LineKind, LogId, Position};
use crate::domain::GrantId;
use crate::ledger::entry::Draft;
use crate::ledger::{AuditLine, Fork, LeftOut};
use crate::store::StoreError;
use crate::store::rows::{to_json, to_sql, to_u64};
use crate::store::statement::{Value, insert_rows, sql_over_rows};
use crate::store::transition::Transition;

/// One batch on its way in.
pub(super) struct Taking<'t, 's, 'b> {
    transition: &'t mut Transition<'s>,
    batch: &'b AuditBatch,
    known: Known,
    drafts: Vec<Draft>,
    /// Grants of which something was erased: what comes later of them is not kept either.
    erased: HashSet<String>,
    rows: Vec<LineRow<'b>>,
    /// The last line that stands in a place where another one does, too: the branch goes on from there.
    branch: Option<Position>,
    forks: u64,
    lost: u64,
}

/// A line as it is stored, but for the index of its entry: the place of its draft.
struct LineRow<'b> {
    log: u64,
    seq: u64,
    sha256: String,
    draft: u64,
    grant: Option<&'b str>,
}

/// A log as the statement reads it.
#[derive(Serialize)]
struct LogRow<'a> {
    number: u64,
    log_id: LogId,
    service: &'a str,
    instance: &'a str,
    last_seq: u64,
    last_sha256: String,
    is_over: u8,
    is_lost: u8,
    followed_by: Option<LogId>,
}

impl<'t, 's, 'b> Taking<'t, 's, 'b> {
    pub(super) fn new(transition: &'t mut Transition<'s>, batch: &'b AuditBatch, known: Known) -> Self {
        Self {
            transition,
            batch,
            known,
            drafts: Vec::new(),
            erased: HashSet::new(),
            rows: Vec::new(),
            branch: None,
            forks: 0,
            lost: 0,
        }
    }

    /// How many lines, forks and losses it brought.
    pub(super) async fn take(mut self) -> Result<(u64, u64, u64), StoreError> {
        let batch = self.batch;
        let mut accounts = Accounts::read(self.transition, &batch.lines).await?;
        self.erased = erased(self.transition, batch).await?;
        // One that is sent again because its answer was lost names nothing twice.
        let is_again = |first: &BatchLine| self.known.has(Some(&first.told.position()));
        let follows = self.known.has(batch.after.as_ref());
        if batch.lines.first().is_some_and(|first| !follows && !is_again(first)) {
            self.name_loss().await?;
        }
        let (mut counters, mut new) = (Counters::default(), 0_u64);
        for line in &batch.lines {
            let position = line.told.position();
            if self.known.has(Some(&position)) {
                continue;
            }
            let number = accounts.count(&line.told);
            let log = self.line(line, position, number).await?;
            counters.count(log, &line.told);
            new = new.saturating_add(1);
        }
        if !self.drafts.is_empty() {
            self.write().await?;
            accounts.write(self.transition).await?;
            counters.write(self.transition).await?;
        }
        Ok((new, self.forks, self.lost))
    }

    /// Answers the number of the line's log.
    async fn line(&mut self, line: &'b BatchLine, position: Position, number: Option<u64>) -> Result<u64, StoreError> {
        let told = &line.told;
        if told.begins() {
            self.follow(line).await?;
        }
        if self.known.has_other_at(&position) {
            let goes_on = self.branch.is_some_and(|branch| told.follows(Some(&branch)));
            if !goes_on {
                self.fork(position.log_id, position.sequence, None);
            }
            self.branch = Some(position);
        }
        let log = self.log(line).await?;
        if position.sequence >= log.last.sequence {
            log.last = position;
        }
        log.is_over |= told.kind == LineKind::LogEnded;
        log.is_changed = true;
        let log_number = log.number;
        let draft = self.drafts.len();
        self.rows.push(LineRow {
            log: log_number,
            seq: position.sequence,
            sha256: position.head.to_string(),
            draft: to_u64(draft),
            grant: told.grant.as_ref().map(GrantId::as_str),
        });
        let draft = Draft::audit_line(entry(line, number), &line.text);
        let is_erased = told.grant.as_ref().is_some_and(|grant| self.erased.contains(grant.as_str()));
        self.drafts.push(if is_erased { draft.without_values() } else { draft });
        Ok(log_number)
    }

    /// The log that this line begins goes on from another one, or from nothing.
    async fn follow(&mut self, line: &BatchLine) -> Result<(), StoreError> {
        let Some(previous) = line.told.previous else { return self.name_vanished().await };
        let own = line.told.link.log_id;
        let Some(log) = self.known.logs.get_mut(&previous.log_id) else { return Ok(()) };
        let has_gone_on = log.last.sequence > previous.sequence || log.followed_by.is_some_and(|by| by != own);
        log.is_over = true;
        log.followed_by = Some(own);
        log.is_changed = true;
        if has_gone_on {
            self.fork(previous.log_id, previous.sequence, Some(own));
        }
        Ok(())
    }

    /// A folder that begins anew: what its sidecar was still to ship of an earlier one does not come any more.
    async fn name_vanished(&mut self) -> Result<(), StoreError> {
        let next = self.batch.lines.first().map(|line| line.told.position());
        let (service, instance) = (&self.batch.service, &self.batch.instance);
        let open = lost::open_logs(self.transition, service, instance).await?;
        for log in open {
            if self.known.logs.contains_key(&log.last.log_id) {
                continue;
            }
            self.lose(&log, next, "vanished").await?;
            self.known.logs.insert(log.last.log_id, Log { is_over: true, is_lost: true, is_changed: true, ..log });
        }
        Ok(())
    }

    /// The sidecar says that it can't ship what stands between the last line here and the first of the batch.
    async fn name_loss(&mut self) -> Result<(), StoreError> {
        let cause = self.batch.lost.map_or("missing", crate::wire::audit::LossCause::as_str);
        let next = self.batch.lines.first().map(|line| line.told.position());
        let known = self.known.nearest(self.transition, self.batch).await?;
        let log = match known {
            Some(at) => lost::log_of(self.transition, &at).await?,
            None => None,
        };
        match log {
            Some(log) => {
                self.lose(&log, next, cause).await?;
                let goes_on = next.is_some_and(|next| next.log_id == log.last.log_id);
                let known = self.known.logs.entry(log.last.log_id).or_insert(log);
                (known.is_over, known.is_lost, known.is_changed) = (!goes_on, true, true);
            }
            None => {
                let draft = lost::nothing_came(&self.batch.service, &self.batch.instance, next, cause);
                self.push_loss(draft);
            }
        }
        Ok(())
    }

    async fn lose(&mut self, log: &Log, next: Option<Position>, cause: &'static str) -> Result<(), StoreError> {
        let (service, instance) = (&self.batch.service, &self.batch.instance);
        let draft = lost::draft(self.transition, (service, instance), log, next, cause).await?;
        self.push_loss(draft);
        Ok(())
    }

    fn push_loss(&mut self, draft: Draft) {
        self.lost = self.lost.saturating_add(1);
        self.drafts.push(draft);
    }

    fn fork(&mut self, log_id: LogId, seq: u64, by_log: Option<LogId>) {
        self.forks = self.forks.saturating_add(1);
        self.drafts.push(Draft::audit_fork(Fork {
            service: &self.batch.service,
            instance: &self.batch.instance,
            log_id: log_id.to_string(),
            seq,
            by_log: by_log.map(|log_id| log_id.to_string()),
        }));
    }

    /// The line's log, begun where it is not here yet.
    async fn log(&mut self, line: &BatchLine) -> Result<&mut Log, StoreError> {
        let log_id = line.told.link.log_id;
        if !self.known.logs.contains_key(&log_id) {
            let number = self.transition.next("audit_log").await?;
            let log = Log {
                number,
                service: self.batch.service.to_string(),
                instance: self.batch.instance.to_string(),
                last: line.told.position(),
                is_over: false,
                is_lost: false,
                followed_by: None,
                is_changed: true,
            };
            self.known.logs.insert(log_id, log);
        }
        self.known.logs.get_mut(&log_id).ok_or_else(|| StoreError::Corrupt("a log that was just begun".to_owned()))
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let first = self.transition.entries(std::mem::take(&mut self.drafts)).await?;
        let row = |row: LineRow<'_>| -> [Value; 5] {
            let index = to_sql(first.saturating_add(row.draft));
            [to_sql(row.log).into(), to_sql(row.seq).into(), row.sha256.into(), index.into(), row.grant.into()]
        };
        let rows = std::mem::take(&mut self.rows).into_iter().map(row).collect();
        let head = "INSERT INTO audit_lines (log_number, seq, line_sha256, entry_index, grant_id)";
        insert_rows(self.transition.connection(), head, rows).await?;
        let changed = self.known.logs.values().filter(|log| log.is_changed);
        let rows: Vec<_> = changed.map(LogRow::of).collect();
        write_logs(self.transition, &self.batch.lineage, &rows).await
    }
}

impl<'a> LogRow<'a> {
    fn of(log: &'a Log) -> Self {
        Self {
            number: log.number,
            log_id: log.last.log_id,
            service: &log.service,
            instance: &log.instance,
            last_seq: log.last.sequence,
            last_sha256: log.last.head.to_string(),
            is_over: u8::from(log.is_over),
            is_lost: u8::from(log.is_lost),
            followed_by: log.followed_by,
        }
    }
}

/// A grant as the statement reads it.
#[derive(Serialize)]
struct GrantRow<'b> {
    g: &'b str,
}

/// Of the grants that the batch names, those of which something was erased.
async fn erased(transition: &mut Transition<'_>, batch: &AuditBatch) -> Result<HashSet<String>, StoreError> {
    let named: HashSet<&str> =
        batch.lines.iter().filter_map(|line| line.told.grant.as_ref()).map(GrantId::as_str).collect();
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    let named: Vec<_> = named.into_iter().map(|g| GrantRow { g }).collect();
    let rows =
        sql_over_rows!("SELECT g.id FROM", "JOIN grants g ON g.id = told.value ->> 'g' WHERE g.erased_ms IS NOT NULL")
            .bind(to_json("grants", &named)?)
            .fetch_all(transition.connection())
            .await?;
    rows.iter().map(|row| Ok(row.first()?)).collect()
}

async fn write_logs(transition: &mut Transition<'_>, lineage: &str, rows: &[LogRow<'_>]) -> Result<(), StoreError> {
    let at = transition.at().unix_ms();
    sql_over_rows!(
        "INSERT INTO audit_logs (number, log_id, service, instance, lineage, last_seq, last_sha256, is_over, is_lost, \
         followed_by, heard_ms) \
         SELECT CAST(told.value ->> 'number' AS BIGINT), told.value ->> 'log_id', told.value ->> 'service', \
         told.value ->> 'instance', $2, CAST(told.value ->> 'last_seq' AS BIGINT), told.value ->> 'last_sha256', \
         CAST(told.value ->> 'is_over' AS BIGINT), CAST(told.value ->> 'is_lost' AS BIGINT), told.value ->> 'followed_by', $3 FROM",
        "WHERE true ON CONFLICT (number) DO UPDATE SET last_seq = excluded.last_seq, \
         last_sha256 = excluded.last_sha256, is_over = excluded.is_over, is_lost = excluded.is_lost, followed_by = excluded.followed_by, \
         heard_ms = excluded.heard_ms"
    )
    .bind(to_json("audit logs", &rows)?)
    .bind(lineage)
    .bind(at)
    .execute(transition.connection())
    .await?;
    Ok(())
}

fn entry<'a>(line: &'a BatchLine, number: Option<u64>) -> AuditLine<'a> {
    let told = &line.told;
    AuditLine {
        service: &told.service,
        instance: &told.instance,
        log_id: told.link.log_id.to_string(),
        seq: told.link.seq,
        line: told.kind.as_str(),
        recorded_at: told.at,
        decision: told.decision.as_deref(),
        resource: told.resource.as_ref(),
        action: told.action.as_ref(),
        grant: told.grant.as_ref(),
        number,
        log_number: told.number,
        end: told.end.as_deref(),
        cause: told.cause.as_deref(),
        status: told.status,
        assertion: told.assertion,
        intent: told.intent.map(|(log_id, seq)| (log_id.to_string(), seq)),
        counts: told.counts.iter().map(|of| LeftOut { kind: &of.kind, code: &of.code, count: of.count }).collect(),
    }
}
