//! Ledger entries that come alone, and reading them back.

use super::rows::{from_sql, to_sql};
use super::statement::sql;
use super::transition::StoredChange;
use super::{NewKey, Store, StoreError};
use crate::domain::WallTime;
use crate::ledger::entry::Draft;

/// An entry as it lies in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    pub index: u64,
    pub at: WallTime,
    pub kind: String,
    pub canonical: String,
}

impl Store {
    /// Records something that changes no state: a start, a refused attempt. Answers the entry's index.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not recorded.
    pub async fn record(&self, entry: Draft) -> Result<u64, StoreError> {
        let mut transition = self.transition().await?;
        let index = transition.entry(entry, None).await?;
        transition.commit().await?;
        Ok(index)
    }

    /// Records many entries at once, in one transaction. Answers the index of the first.
    ///
    /// # Errors
    /// [`StoreError`]; then none of them is recorded.
    pub async fn record_all(&self, entries: Vec<Draft>) -> Result<u64, StoreError> {
        let mut transition = self.transition().await?;
        let first = transition.entries(entries).await?;
        transition.commit().await?;
        Ok(first)
    }

    /// Records a grant key that is not known yet and tells every sidecar to take the new set. Answers the revision;
    /// `None` when the key was known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_key(&self, key: &NewKey) -> Result<Option<u64>, StoreError> {
        let mut transition = self.transition().await?;
        let added = sql("INSERT INTO grant_keys (kid, certificate) VALUES ($1, $2) ON CONFLICT (kid) DO NOTHING")
            .bind(&key.kid)
            .bind(&key.certificate)
            .execute(transition.connection())
            .await?;
        if added == 0 {
            return Ok(None);
        }
        let revision = transition.change(None, &StoredChange::Keys).await?;
        let entry = Draft::key_created(&key.kid, &key.root_kid, &key.certificate);
        transition.entry(entry, Some(revision)).await?;
        transition.commit().await?;
        Ok(Some(revision))
    }

    /// At most `limit` entries from index `from` on, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries(&self, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        let rows = sql("SELECT entry_index, at_ms, kind, canonical FROM entries WHERE entry_index >= $1 \
             ORDER BY entry_index LIMIT $2")
        .bind(to_sql(from))
        .bind(i64::from(limit))
        .fetch_all(&self.shared.database)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredEntry {
                    index: from_sql(row.try_get("entry_index")?),
                    at: WallTime::from_unix_ms(row.try_get("at_ms")?),
                    kind: row.try_get("kind")?,
                    canonical: row.try_get("canonical")?,
                })
            })
            .collect()
    }
}
