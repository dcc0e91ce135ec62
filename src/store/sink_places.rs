//! How far each sink has the entries, and which replica hands them on.
//!
//! A turn is held for a while and renewed by who holds it; a replica that dies or loses the database loses its turn with time.
//! By clocks that disagree two may hand on at once: each entry then arrives twice, and none is left out, since a place moves
//! only by the word of who holds the turn.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entries::StoredEntry;
use super::rows::{from_sql, to_sql};
use super::statement::sql;
use super::{Store, StoreError};

/// How long a turn is held without being renewed.
const TURN: Duration = Duration::from_secs(15);

/// An entry with the personal values that are still beside it, by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldEntry {
    pub entry: StoredEntry,
    pub values: BTreeMap<String, String>,
}

impl Store {
    /// Takes or renews this replica's turn for the sink. Answers the entry that it is to have next; `None` while another
    /// replica has the turn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sink_turn(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let now = self.shared.clock.wall();
        let mut tx = self.shared.database.beside().await?;
        sql("INSERT INTO sink_places (name, next_index, holder, held_until_ms) VALUES ($1, 0, '', 0) \
             ON CONFLICT (name) DO NOTHING")
        .bind(sink)
        .execute(&mut tx)
        .await?;
        let row = sql("UPDATE sink_places SET holder = $2, held_until_ms = $3 \
             WHERE name = $1 AND (holder = $2 OR held_until_ms < $4) RETURNING next_index")
        .bind(sink)
        .bind(self.replica())
        .bind(now.plus(TURN).unix_ms())
        .bind(now.unix_ms())
        .fetch_optional(&mut tx)
        .await?;
        let next = row.map(|row| row.first()).transpose()?;
        tx.commit().await?;
        Ok(next.map(from_sql))
    }

    /// The sink has everything before `next`. False where the turn is another's by now, or another had it meanwhile and has
    /// come further: a place never goes back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle_sink(&self, sink: &str, next: u64) -> Result<bool, StoreError> {
        let until = self.shared.clock.wall().plus(TURN);
        let mut tx = self.shared.database.beside().await?;
        let moved = sql("UPDATE sink_places SET next_index = $3, held_until_ms = $4 WHERE name = $1 AND holder = $2 \
             AND next_index <= $3")
        .bind(sink)
        .bind(self.replica())
        .bind(to_sql(next))
        .bind(until.unix_ms())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(moved > 0)
    }

    /// At most `limit` entries from index `from` on, in order, with what lies beside them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn told_entries(&self, from: u64, limit: u32) -> Result<Vec<ToldEntry>, StoreError> {
        let entries = self.entries(from, limit).await?;
        let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(Vec::new()) };
        let rows =
            sql("SELECT entry_index, field, value FROM entry_values WHERE entry_index >= $1 AND entry_index <= $2")
                .bind(to_sql(from))
                .bind(to_sql(last))
                .fetch_all(&self.shared.database)
                .await?;
        let mut values: BTreeMap<u64, BTreeMap<String, String>> = BTreeMap::new();
        for row in &rows {
            let index = from_sql(row.try_get("entry_index")?);
            values.entry(index).or_default().insert(row.try_get("field")?, row.try_get("value")?);
        }
        let told = |entry: StoredEntry| {
            let values = values.remove(&entry.index).unwrap_or_default();
            ToldEntry { entry, values }
        };
        Ok(entries.into_iter().map(told).collect())
    }

    /// How many entries there are from `next` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries_from(&self, next: u64) -> Result<u64, StoreError> {
        let newest = sql("SELECT COALESCE(MAX(entry_index), -1) FROM entries").integer(&self.shared.database).await?;
        Ok(u64::try_from(newest.saturating_add(1)).unwrap_or_default().saturating_sub(next))
    }
}
