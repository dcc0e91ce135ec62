//! Entries as reports read them: in pages, by the index, of a period, or of one grant, request or revocation.
//!
//! Every statement reads a bounded number of entries and sees one committed state; entries never change, so that pages fit
//! together. Nothing is held between two of them: whoever writes waits for no report.

use std::collections::BTreeMap;
use std::ops::Range;

use super::rows::{from_sql, to_sql};
use super::statement::{Row, Statement, by_dialect, sql};
use super::{Store, StoreError};
use crate::domain::WallTime;

/// An entry's canonical bytes with the personal values that are still beside it, by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub canonical: String,
    pub values: BTreeMap<String, String>,
}

/// What entries may be about. Ids that came out of entries are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    Grant(&'a str),
    Elevation(&'a str),
    /// What was ordered and how it arrived; the grants that it ended name it, and are none of these.
    Revocation(&'a str),
    /// What sidecars recorded under a grant.
    Lines(&'a str),
}

/// The entries that a part of a statement finds, each with its values.
macro_rules! with_values {
    ($($found:expr),*) => {
        concat!(
            "SELECT w.entry_index, w.canonical, v.field, v.value FROM (", $($found,)* " LIMIT $4) w \
             LEFT JOIN entry_values v ON v.entry_index = w.entry_index ORDER BY w.entry_index"
        )
    };
}

/// Entries of these kinds whose fact is `$1`. Kinds and expressions are those of the indices, word by word.
macro_rules! about {
    ($fact:literal, $kinds:literal) => {
        by_dialect(
            with_values!(
                "SELECT entry_index, canonical FROM entries WHERE kind IN (",
                $kinds,
                ") AND json_extract(canonical, '$.facts.",
                $fact,
                "') = $1 \
                 AND entry_index >= $2 AND entry_index < $3 ORDER BY entry_index"
            ),
            with_values!(
                "SELECT entry_index, canonical FROM entries WHERE kind IN (",
                $kinds,
                ") AND substring(canonical FROM '\"",
                $fact,
                "\":\"([^\"]+)\"') = $1 \
                 AND entry_index >= $2 AND entry_index < $3 ORDER BY entry_index"
            ),
        )
    };
}

const LINES: &str = with_values!(
    "SELECT e.entry_index, e.canonical FROM audit_lines l JOIN entries e ON e.entry_index = l.entry_index \
     WHERE l.grant_id = $1 AND l.entry_index >= $2 AND l.entry_index < $3 ORDER BY l.entry_index"
);
/// Of the values only the person's, and of kinds only those that a period counts: most entries of a ledger have others.
const COUNTED: &str = "SELECT e.canonical, v.value FROM entries e LEFT JOIN entry_values v \
    ON v.entry_index = e.entry_index AND v.field = 'person' \
    AND e.kind IN ('elevation_requested', 'elevation_refused', 'grant_issued') \
    WHERE e.entry_index >= $1 AND e.entry_index < $2 AND e.at_ms >= $3 AND e.at_ms < $4 ORDER BY e.entry_index";

impl Subject<'_> {
    fn statement(&self) -> Statement {
        match self {
            Self::Grant(id) => about!(
                "grant",
                "'grant_issued', 'grant_claimed', 'grant_revoked', 'grant_expired', 'grant_used_up', 'grant_suspended', \
                 'grant_resumed', 'grant_reviewed', 'review_overdue', 'grant_closed'"
            )
            .bind(*id),
            Self::Elevation(id) => about!(
                "elevation",
                "'elevation_requested', 'elevation_approved', 'elevation_denied', 'elevation_withdrawn', 'elevation_lapsed'"
            )
            .bind(*id),
            Self::Revocation(id) => about!("revocation", "'revocation_ordered', 'revocation_enforced'").bind(*id),
            Self::Lines(id) => sql(LINES).bind(*id),
        }
    }
}

impl Store {
    /// The first and the last entry that were made at or after `since` and before `before`, among the first `size`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries_within(
        &self,
        since: WallTime,
        before: WallTime,
        size: u64,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let row = sql("SELECT MIN(entry_index) AS first, MAX(entry_index) AS last FROM entries \
             WHERE at_ms >= $1 AND at_ms < $2 AND entry_index < $3")
        .bind(since.unix_ms())
        .bind(before.unix_ms())
        .bind(to_sql(size))
        .fetch_one(&self.shared.database)
        .await?;
        let index = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>>(column)?.map(from_sql));
        Ok(index("first")?.zip(index("last")?))
    }

    /// How many of the first `size` entries there were when the newest before `at` had been made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries_until(&self, at: WallTime, size: u64) -> Result<u64, StoreError> {
        let row = sql("SELECT entry_index FROM entries WHERE at_ms < $1 AND entry_index < $2 \
             ORDER BY at_ms DESC, entry_index DESC LIMIT 1")
        .bind(at.unix_ms())
        .bind(to_sql(size))
        .fetch_optional(&self.shared.database)
        .await?;
        let newest = row.map(|row| row.first()).transpose()?.map(from_sql);
        Ok(newest.map_or(0, |newest| newest.saturating_add(1)))
    }

    /// Those of `indices` that were made at or after `since` and before `before`, in order, each with its person.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counted_entries(
        &self,
        indices: Range<u64>,
        since: WallTime,
        before: WallTime,
    ) -> Result<Vec<Written>, StoreError> {
        let rows = sql(COUNTED)
            .bind(to_sql(indices.start))
            .bind(to_sql(indices.end))
            .bind(since.unix_ms())
            .bind(before.unix_ms())
            .fetch_all(&self.shared.database)
            .await?;
        let written = |row: &Row| {
            let person = row.try_get::<Option<String>>("value")?;
            let values = person.map(|person| ("person".to_owned(), person)).into_iter().collect();
            Ok(Written { canonical: row.try_get("canonical")?, values })
        };
        rows.iter().map(written).collect()
    }

    /// At most `limit` entries of `indices` about `subject`, in order, and the index after the last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries_about(
        &self,
        subject: Subject<'_>,
        indices: Range<u64>,
        limit: u32,
    ) -> Result<(Vec<Written>, u64), StoreError> {
        let rows = subject
            .statement()
            .bind(to_sql(indices.start))
            .bind(to_sql(indices.end))
            .bind(i64::from(limit))
            .fetch_all(&self.shared.database)
            .await?;
        let mut written: BTreeMap<u64, Written> = BTreeMap::new();
        for row in &rows {
            let index = from_sql(row.try_get("entry_index")?);
            let entry = match written.entry(index) {
                std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Written { canonical: row.try_get("canonical")?, values: BTreeMap::new() })
                }
            };
            if let (Some(field), Some(value)) = (row.try_get("field")?, row.try_get("value")?) {
                entry.values.insert(field, value);
            }
        }
        let next = written.last_key_value().map_or(indices.end, |(last, _)| last.saturating_add(1));
        Ok((written.into_values().collect(), next))
    }
}

#[cfg(test)]
impl Store {
    /// As whoever erases would leave it: entries without the values beside them.
    pub(crate) async fn forget_values_for_test(&self) {
        let mut tx = self.shared.database.write().await.unwrap();
        sql("DELETE FROM entry_values").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}
