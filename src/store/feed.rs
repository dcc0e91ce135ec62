//! What the feed reads.

use super::database::Transaction;
use super::rows::{end_cause, from_json, from_sql, parsed, state, to_sql, uses};
use super::statement::sql;
use super::transition::StoredChange;
use super::{ChangeBody, FeedChange, FeedSnapshot, SnapshotEnd, SnapshotGrant, Store, StoreError};
use crate::domain::{GrantId, ServiceName, WallTime};
use crate::secret::Secret;

impl Store {
    /// The newest committed revision, from the database itself; 0 when there is none.
    ///
    /// # Errors
    /// When the database cannot be read: then nothing is known to be current.
    pub async fn newest_revision(&self) -> Result<u64, StoreError> {
        let newest = sql("SELECT value FROM counters WHERE name = 'revision'").integer(&self.shared.database).await?;
        Ok(from_sql(newest))
    }

    /// The first revision still held; one past the newest when none is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn oldest_change(&self) -> Result<u64, StoreError> {
        let oldest = sql(
            "SELECT COALESCE((SELECT MIN(revision) FROM changes), (SELECT value + 1 FROM counters WHERE name = 'revision'))",
        )
        .integer(&self.shared.database)
        .await?;
        Ok(from_sql(oldest))
    }

    /// Everything a sidecar of `service` must hold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self, service: &ServiceName) -> Result<FeedSnapshot, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        let revision = sql("SELECT value FROM counters WHERE name = 'revision'").integer(&mut reading).await?;
        Ok(FeedSnapshot {
            revision: from_sql(revision),
            frozen: frozen(&mut reading, service).await?,
            tokens: live(&mut reading, LIVE, service, now).await?,
            suspended: live(&mut reading, SUSPENDED, service, now).await?,
            ended_recently: ended(&mut reading, service, now.minus(Self::ENDED_RECENTLY)).await?,
        })
    }

    /// At most `limit` changes after `after` that concern `service`, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_after(
        &self,
        service: &ServiceName,
        after: u64,
        limit: u32,
    ) -> Result<Vec<FeedChange>, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let rows = sql("SELECT revision, at_ms, body FROM changes \
             WHERE revision > $1 AND (service = $2 OR service IS NULL) ORDER BY revision LIMIT $3")
        .bind(to_sql(after))
        .bind(service.as_str())
        .bind(i64::from(limit))
        .fetch_all(&mut reading)
        .await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let stored = from_json("body of a change", row.try_get("body")?)?;
            changes.push(FeedChange {
                revision: from_sql(row.try_get("revision")?),
                at: WallTime::from_unix_ms(row.try_get("at_ms")?),
                body: told(&mut reading, service, stored).await?,
            });
        }
        Ok(changes)
    }
}

pub(super) async fn frozen(reading: &mut Transaction, service: &ServiceName) -> Result<bool, StoreError> {
    let frozen = sql("SELECT COUNT(*) FROM freezes WHERE frozen <> 0 AND service IN ('', $1)")
        .bind(service.as_str())
        .integer(&mut *reading)
        .await?;
    Ok(frozen > 0)
}

const LIVE: &str = "SELECT id, revision, token, identity_since_ms FROM grants \
     WHERE service = $1 AND state = 'active' AND expires_ms > $2 AND suspended_ms IS NULL AND token <> '' ORDER BY position";
const SUSPENDED: &str = "SELECT id, revision, token, identity_since_ms FROM grants \
     WHERE service = $1 AND state = 'active' AND expires_ms > $2 AND suspended_ms IS NOT NULL AND token <> '' ORDER BY position";

async fn live(
    reading: &mut Transaction,
    which: &'static str,
    service: &ServiceName,
    now: WallTime,
) -> Result<Vec<SnapshotGrant>, StoreError> {
    let rows = sql(which).bind(service.as_str()).bind(now.unix_ms()).fetch_all(&mut *reading).await?;
    rows.iter()
        .map(|row| {
            Ok(SnapshotGrant {
                grant: parsed("grant id", row.try_get("id")?)?,
                revision: from_sql(row.try_get("revision")?),
                token: Secret::new(row.try_get("token")?),
                identity_since: row.try_get::<Option<i64>>("identity_since_ms")?.map(WallTime::from_unix_ms),
            })
        })
        .collect()
}

async fn ended(
    reading: &mut Transaction,
    service: &ServiceName,
    since: WallTime,
) -> Result<Vec<SnapshotEnd>, StoreError> {
    let rows = sql("SELECT id, revision, state, token FROM grants \
         WHERE service = $1 AND state <> 'active' AND ended_ms > $2 AND token <> '' ORDER BY position")
    .bind(service.as_str())
    .bind(since.unix_ms())
    .fetch_all(&mut *reading)
    .await?;
    rows.iter()
        .map(|row| {
            let ended = end_cause(state(row.try_get("state")?)?);
            Ok(SnapshotEnd {
                grant: parsed("grant id", row.try_get("id")?)?,
                revision: from_sql(row.try_get("revision")?),
                cause: ended.ok_or_else(|| StoreError::Corrupt("an ended grant without a cause".to_owned()))?,
                token: Secret::new(row.try_get("token")?),
            })
        })
        .collect()
}

/// The change as the feed tells it: with the token, and with what stands now.
async fn told(
    reading: &mut Transaction,
    service: &ServiceName,
    stored: StoredChange,
) -> Result<ChangeBody, StoreError> {
    Ok(match stored {
        StoredChange::Put { grant } | StoredChange::Suspended { grant } => put(reading, grant).await?,
        StoredChange::Tombstone { grant, cause } => ChangeBody::Tombstone { grant, cause },
        StoredChange::Freeze { .. } => ChangeBody::Freeze { frozen: frozen(reading, service).await? },
        StoredChange::Keys => ChangeBody::Keys,
        StoredChange::Share { lineage, grant, .. } => {
            let allotted = sql("SELECT allotted FROM shares WHERE grant_id = $1 AND lineage = $2")
                .bind(grant.as_str())
                .bind(&lineage)
                .integer(&mut *reading)
                .await?;
            ChangeBody::Share { lineage, grant, allotted: uses(allotted) }
        }
    })
}

async fn put(reading: &mut Transaction, grant: GrantId) -> Result<ChangeBody, StoreError> {
    let row = sql("SELECT token, state, suspended_ms, identity_since_ms, erased_ms FROM grants WHERE id = $1")
        .bind(grant.as_str())
        .fetch_one(reading)
        .await?;
    if row.try_get::<Option<i64>>("erased_ms")?.is_some() {
        // It has ended, and its token is gone: that it has ended is all there is to tell.
        let cause = end_cause(state(row.try_get("state")?)?);
        let cause = cause.ok_or_else(|| StoreError::Corrupt("a grant that was erased and is active".to_owned()))?;
        return Ok(ChangeBody::Tombstone { grant, cause });
    }
    let token = Secret::new(row.try_get("token")?);
    if row.try_get::<Option<i64>>("suspended_ms")?.is_some() {
        return Ok(ChangeBody::Suspended { grant, token });
    }
    let identity_since = row.try_get::<Option<i64>>("identity_since_ms")?.map(WallTime::from_unix_ms);
    Ok(ChangeBody::Put { grant, token, identity_since })
}
