//! One transition: a transaction that holds the writer's lock from its first statement, with the numbers it allots.

use super::database::Transaction;
use super::rows::{from_sql, to_sql};
use super::statement::{Value, insert_rows, sql};
use super::{Store, StoreError};
use crate::domain::{GrantId, ServiceName, WallTime};
use crate::ledger::entry::{Draft, Entry, EntryError, FORMAT_VERSION, SALT_BYTES};
use crate::wire::feed::EndCause;
use serde::{Deserialize, Serialize};

/// A change's body as it is stored. A put names the grant only: its token lies with the grant, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum StoredChange {
    Put { grant: GrantId },
    Suspended { grant: GrantId },
    Tombstone { grant: GrantId, cause: EndCause },
    Freeze { frozen: bool },
    Keys,
    Share { lineage: String, grant: GrantId, allotted: u32 },
}

impl StoredChange {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Suspended { .. } => "suspended",
            Self::Tombstone { .. } => "tombstone",
            Self::Freeze { .. } => "freeze",
            Self::Keys => "keys",
            Self::Share { .. } => "share",
        }
    }
}

/// INVARIANT: dropped without [`Transition::commit`], nothing of it stays.
#[derive(Debug)]
pub(super) struct Transition<'a> {
    store: &'a Store,
    tx: Transaction,
    at: WallTime,
    newest: Option<u64>,
}

impl Store {
    pub(super) async fn transition(&self) -> Result<Transition<'_>, StoreError> {
        let tx = self.shared.database.write().await?;
        Ok(Transition { store: self, tx, at: self.shared.clock.wall(), newest: None })
    }
}

impl Transition<'_> {
    /// The wall-clock time that everything in this transition carries.
    pub(super) fn at(&self) -> WallTime {
        self.at
    }

    pub(super) fn connection(&mut self) -> &mut Transaction {
        &mut self.tx
    }

    /// Records what the feed tells, and answers its revision.
    pub(super) async fn change(
        &mut self,
        service: Option<&ServiceName>,
        body: &StoredChange,
    ) -> Result<u64, StoreError> {
        let revision = self.next("revision").await?;
        let json = serde_json::to_string(body).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        sql("INSERT INTO changes (revision, at_ms, service, kind, body) VALUES ($1, $2, $3, $4, $5)")
            .bind(to_sql(revision))
            .bind(self.at.unix_ms())
            .bind(service.map(ServiceName::as_str))
            .bind(body.kind())
            .bind(json)
            .execute(&mut self.tx)
            .await?;
        self.newest = Some(revision);
        Ok(revision)
    }

    /// Seals an entry at the next index, with its personal values beside it.
    pub(super) async fn entry(&mut self, draft: Draft, revision: Option<u64>) -> Result<u64, StoreError> {
        let index = self.next("entry").await?.saturating_sub(1);
        let entry = draft.seal(index, self.at, revision, fresh_salt)?;
        sql("INSERT INTO entries (entry_index, format_version, at_ms, kind, canonical) VALUES ($1, $2, $3, $4, $5)")
            .bind(to_sql(index))
            .bind(i64::from(FORMAT_VERSION))
            .bind(entry.at.unix_ms())
            .bind(entry.kind.as_str())
            .bind(&entry.canonical)
            .execute(&mut self.tx)
            .await?;
        for personal in &entry.personal {
            sql("INSERT INTO entry_values (entry_index, field, value, salt) VALUES ($1, $2, $3, $4)")
                .bind(to_sql(index))
                .bind(personal.field.as_str())
                .bind(&personal.value)
                .bind(personal.salt.as_slice())
                .execute(&mut self.tx)
                .await?;
        }
        Ok(index)
    }

    /// Seals many entries at the next indices, in order, with a few statements for all of them. Answers the first index.
    pub(super) async fn entries(&mut self, drafts: Vec<Draft>) -> Result<u64, StoreError> {
        let count = i64::try_from(drafts.len()).unwrap_or(i64::MAX);
        let end = sql("UPDATE counters SET value = value + $1 WHERE name = 'entry' RETURNING value")
            .bind(count)
            .integer(&mut self.tx)
            .await?;
        let first = from_sql(end.saturating_sub(count));
        let at = self.at;
        let seal = |(index, draft): (u64, Draft)| draft.seal(index, at, None, fresh_salt);
        let entries: Vec<Entry> = (first..).zip(drafts).map(seal).collect::<Result<_, _>>()?;
        let mut rows: Vec<[Value; 5]> = Vec::with_capacity(entries.len());
        let mut values: Vec<[Value; 4]> = Vec::new();
        for entry in entries {
            let index = to_sql(entry.index);
            values.extend(entry.personal.into_iter().map(|personal| {
                let field = personal.field.as_str().into();
                [index.into(), field, personal.value.into(), personal.salt.as_slice().into()]
            }));
            let version = i64::from(FORMAT_VERSION).into();
            rows.push([index.into(), version, at.unix_ms().into(), entry.kind.as_str().into(), entry.canonical.into()]);
        }
        let head = "INSERT INTO entries (entry_index, format_version, at_ms, kind, canonical)";
        insert_rows(&mut self.tx, head, rows).await?;
        let head = "INSERT INTO entry_values (entry_index, field, value, salt)";
        insert_rows(&mut self.tx, head, values).await?;
        Ok(first)
    }

    /// The next number of a counter, from 1, without a gap: a rolled-back transition gives its numbers back.
    pub(super) async fn next(&mut self, counter: &'static str) -> Result<u64, StoreError> {
        let value = sql("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
            .bind(counter)
            .integer(&mut self.tx)
            .await?;
        Ok(from_sql(value))
    }

    /// Makes it durable, then wakes the feed.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if let Some(newest) = self.newest {
            self.tx.announce(newest).await?;
        }
        self.tx.commit().await?;
        #[cfg(test)]
        if self.store.shared.loses_answer.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(sqlx::Error::WorkerCrashed.into());
        }
        if let Some(newest) = self.newest {
            self.store.shared.newest.send_modify(|seen| *seen = newest.max(*seen));
        }
        self.store.shared.commits.send_modify(|seen| *seen = seen.wrapping_add(1));
        Ok(())
    }
}

fn fresh_salt() -> Result<[u8; SALT_BYTES], EntryError> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| EntryError::Randomness)?;
    Ok(salt)
}
