//! Revocations as they are read: one by one, in pages, and those whose arrival is still awaited.

use super::freezes::from_key;
use super::grants::next_position;
use super::rows::{from_json, from_sql, parsed};
use super::statement::{Row, sql};
use super::{Listed, Settled, Store, StoreError};
use crate::domain::{Person, RevocationId, Selector, ServiceName, WallTime};

/// A revocation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRecord {
    pub id: RevocationId,
    pub selector: Selector,
    pub by: Person,
    pub note: Option<String>,
    pub at: WallTime,
    /// Grants remain to be ended: it is being carried out.
    pub open: bool,
    pub grants_ended: u64,
    pub requests_denied: u64,
    pub reach: Vec<Reach>,
    /// When no answer was awaited any more, and how it stood then.
    pub settled: Option<(WallTime, Settled)>,
}

/// What a service's sidecars must have acknowledged to enforce it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// `None`: every service.
    pub service: Option<ServiceName>,
    pub revision: u64,
}

/// Which revocations to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationListing {
    pub by: Option<Person>,
    pub before: Option<i64>,
    pub limit: u32,
}

impl Store {
    /// # Errors
    /// [`StoreError`].
    pub async fn revocation(&self, id: &RevocationId) -> Result<Option<RevocationRecord>, StoreError> {
        let row = sql("SELECT * FROM revocations WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.shared.database)
            .await?;
        match row {
            Some(row) => self.with_reach(&row).await.map(Some),
            None => Ok(None),
        }
    }

    /// One page, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revocations(&self, listing: &RevocationListing) -> Result<Listed<RevocationRecord>, StoreError> {
        let rows = sql("SELECT * FROM revocations WHERE ($1 IS NULL OR by_person = $1) \
             AND ($2 IS NULL OR position < $2) ORDER BY position DESC LIMIT $3")
        .bind(listing.by.as_ref().map(Person::as_str))
        .bind(listing.before)
        .bind(i64::from(listing.limit))
        .fetch_all(&self.shared.database)
        .await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            items.push(self.with_reach(row).await?);
        }
        Ok(Listed { items, next: next_position(&rows, listing.limit)? })
    }

    /// Carried out, but sidecars' answers may be awaited: the oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unsettled(&self, limit: u32) -> Result<Vec<RevocationRecord>, StoreError> {
        let rows = sql("SELECT * FROM revocations WHERE settled_ms IS NULL AND is_open = 0 ORDER BY position LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.shared.database)
            .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            records.push(self.with_reach(row).await?);
        }
        Ok(records)
    }

    async fn with_reach(&self, row: &Row) -> Result<RevocationRecord, StoreError> {
        let id: RevocationId = parsed("revocation id", row.try_get("id")?)?;
        let rows = sql("SELECT service, revision FROM revocation_reach WHERE revocation = $1 ORDER BY service")
            .bind(id.as_str())
            .fetch_all(&self.shared.database)
            .await?;
        let reach = |row: &Row| {
            let revision = from_sql(row.try_get("revision")?);
            Ok(Reach { service: from_key(row.try_get("service")?)?, revision })
        };
        Ok(RevocationRecord {
            selector: from_json("selector", row.try_get("selector")?)?,
            by: parsed("person", row.try_get("by_person")?)?,
            note: row.try_get("note")?,
            at: WallTime::from_unix_ms(row.try_get("at_ms")?),
            open: row.try_get::<i64>("is_open")? != 0,
            grants_ended: from_sql(row.try_get("ended")?),
            requests_denied: from_sql(row.try_get("denied")?),
            reach: rows.iter().map(reach).collect::<Result<_, StoreError>>()?,
            settled: settled(row)?,
            id,
        })
    }
}

fn settled(row: &Row) -> Result<Option<(WallTime, Settled)>, StoreError> {
    let Some(at) = row.try_get::<Option<i64>>("settled_ms")? else { return Ok(None) };
    let count = |column: &str| {
        let value: Option<i64> = row.try_get(column)?;
        Ok::<_, StoreError>(value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0))
    };
    let settled = Settled {
        enforced: count("enforced")?,
        stopped: count("stopped")?,
        rejected: count("rejected")?,
        elapsed_ms: row.try_get::<Option<i64>>("elapsed_ms")?.map(from_sql),
    };
    Ok(Some((WallTime::from_unix_ms(at), settled)))
}
