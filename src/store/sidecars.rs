//! Sidecars heard of, kept over restarts: one that has gone silent still counts until its grants have stopped.

use super::rows::{from_json, from_sql, parsed, to_json, to_sql};
use super::statement::sql;
use super::{SidecarSeen, Store, StoreError};
use crate::domain::{ServiceName, WallTime};

impl Store {
    /// Remembers what was last heard of one sidecar. Makes no revision and no entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_sidecar(&self, seen: &SidecarSeen) -> Result<(), StoreError> {
        let mut transition = self.transition().await?;
        sql("INSERT INTO sidecars (service, instance, version, service_digest, lineage, revision, heard_ms, audit) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (service, instance) DO UPDATE SET \
             version = excluded.version, service_digest = excluded.service_digest, lineage = excluded.lineage, \
             revision = excluded.revision, heard_ms = excluded.heard_ms, audit = excluded.audit")
        .bind(seen.service.as_str())
        .bind(seen.instance.as_str())
        .bind(&seen.version)
        .bind(&seen.service_digest)
        .bind(&seen.lineage)
        .bind(to_sql(seen.revision))
        .bind(seen.heard.unix_ms())
        .bind(to_json("audit position", &seen.audit)?)
        .execute(transition.connection())
        .await?;
        transition.commit().await
    }

    /// How many changes after `revision` concern every sidecar of `service`: what one that has acknowledged `revision`
    /// does not enforce yet. Shares concern one sidecar alone and are not counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_behind(&self, service: &ServiceName, revision: u64) -> Result<u64, StoreError> {
        let behind = sql("SELECT COUNT(*) FROM changes \
             WHERE revision > $1 AND (service = $2 OR service IS NULL) AND kind <> 'share'")
        .bind(to_sql(revision))
        .bind(service.as_str())
        .integer(&self.shared.database)
        .await?;
        Ok(from_sql(behind))
    }

    /// Every sidecar ever heard of, by service and instance.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sidecars(&self) -> Result<Vec<SidecarSeen>, StoreError> {
        let rows = sql("SELECT * FROM sidecars ORDER BY service, instance").fetch_all(&self.shared.database).await?;
        rows.iter()
            .map(|row| {
                Ok(SidecarSeen {
                    service: parsed("service", row.try_get("service")?)?,
                    instance: parsed("instance", row.try_get("instance")?)?,
                    version: row.try_get("version")?,
                    service_digest: row.try_get("service_digest")?,
                    lineage: row.try_get("lineage")?,
                    revision: from_sql(row.try_get("revision")?),
                    heard: WallTime::from_unix_ms(row.try_get("heard_ms")?),
                    audit: from_json("audit position", row.try_get("audit")?)?,
                })
            })
            .collect()
    }
}
