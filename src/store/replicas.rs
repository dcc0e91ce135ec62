//! What each replica heard of its sidecars, for the others to read and for its own next start.
//!
//! Reports make no revision and no entry and take no turn. INVARIANT: of two reports on one sidecar, the one of the newer
//! stream stands, and of one stream the later; so a report that arrives late, or twice, changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rows::{from_json, from_sql, parsed, to_json, to_sql};
use super::statement::{Row, sql, sql_over_rows};
use super::{Hearsay, ReplicaSeen, SidecarSeen, Store, StoreError};
use crate::domain::{ServiceName, WallTime};
use serde::Serialize;

/// Rows written by one statement at most.
const ROWS_MAX: usize = 1_000;
/// Sidecars and replicas of which nothing was heard for so long are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A sidecar as the statement reads it.
#[derive(Serialize)]
struct Told<'a> {
    service: &'a str,
    instance: &'a str,
    version: &'a str,
    service_digest: &'a str,
    lineage: &'a str,
    revision: u64,
    acked_ms: i64,
    heard_ms: i64,
    audit: String,
    replica: &'a str,
    generation: u64,
    connected: u8,
    fresh_ms: i64,
    skew_ms: Option<i64>,
    rejections: String,
}

impl<'a> Told<'a> {
    fn of(seen: &'a SidecarSeen) -> Result<Self, StoreError> {
        Ok(Self {
            service: seen.service.as_str(),
            instance: seen.instance.as_str(),
            version: &seen.version,
            service_digest: &seen.service_digest,
            lineage: &seen.lineage,
            revision: seen.revision,
            acked_ms: seen.acked.unix_ms(),
            heard_ms: seen.heard.unix_ms(),
            audit: to_json("audit position", &seen.audit)?,
            replica: &seen.replica,
            generation: seen.generation,
            connected: u8::from(seen.connected),
            fresh_ms: seen.fresh.unix_ms(),
            skew_ms: seen.skew_ms,
            rejections: to_json("rejections", &seen.rejections)?,
        })
    }
}

impl Store {
    /// Writes down what was heard of sidecars, as this replica's report number `batch`, and that this replica is at work.
    /// Numbers rise. After an error nothing is known of it: the same sidecars belong into the next report.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report(&self, batch: u64, sidecars: &[SidecarSeen]) -> Result<(), StoreError> {
        let mut rows = sidecars.iter().map(Told::of).collect::<Result<Vec<_>, _>>()?;
        // Rows are locked in one order, whoever writes them.
        rows.sort_by(|a, b| (a.service, a.instance).cmp(&(b.service, b.instance)));
        let mut tx = self.shared.database.beside().await?;
        for rows in rows.chunks(ROWS_MAX) {
            sql_over_rows!(
                "INSERT INTO sidecars (service, instance, version, service_digest, lineage, revision, acked_ms, heard_ms, \
                 audit, replica, generation, connected, fresh_ms, skew_ms, rejections, batch) \
                 SELECT told.value ->> 'service', told.value ->> 'instance', told.value ->> 'version', \
                 told.value ->> 'service_digest', told.value ->> 'lineage', \
                 CAST(told.value ->> 'revision' AS BIGINT), CAST(told.value ->> 'acked_ms' AS BIGINT), \
                 CAST(told.value ->> 'heard_ms' AS BIGINT), told.value ->> 'audit', told.value ->> 'replica', \
                 CAST(told.value ->> 'generation' AS BIGINT), CAST(told.value ->> 'connected' AS BIGINT), \
                 CAST(told.value ->> 'fresh_ms' AS BIGINT), CAST(told.value ->> 'skew_ms' AS BIGINT), told.value ->> 'rejections', $2 FROM",
                "WHERE true ON CONFLICT (service, instance) DO UPDATE SET version = excluded.version, \
                 service_digest = excluded.service_digest, lineage = excluded.lineage, revision = excluded.revision, \
                 acked_ms = excluded.acked_ms, heard_ms = excluded.heard_ms, audit = excluded.audit, \
                 replica = excluded.replica, generation = excluded.generation, connected = excluded.connected, \
                 fresh_ms = excluded.fresh_ms, skew_ms = excluded.skew_ms, rejections = excluded.rejections, batch = excluded.batch \
                 WHERE excluded.generation > sidecars.generation \
                 OR (excluded.generation = sidecars.generation AND excluded.batch >= sidecars.batch)"
            )
            .bind(to_json("report", &rows)?)
            .bind(to_sql(batch))
            .execute(&mut tx)
            .await?;
        }
        sql("INSERT INTO replicas (id, alive_ms, batch) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET alive_ms = excluded.alive_ms, batch = excluded.batch \
             WHERE excluded.batch >= replicas.batch")
        .bind(self.replica())
        .bind(self.shared.clock.wall().unix_ms())
        .bind(to_sql(batch))
        .execute(&mut tx)
        .await?;
        if !sidecars.is_empty() {
            tx.announce_report(self.replica()).await?;
        }
        Ok(tx.commit().await?)
    }

    /// What the other replicas reported; `read` holds for each the number of the last report that was read here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hearsay(&self, read: &BTreeMap<String, u64>) -> Result<Hearsay, StoreError> {
        let replicas = self.other_replicas().await?;
        let mut sidecars = Vec::new();
        for replica in &replicas {
            let read = read.get(&replica.id).copied();
            if read.is_some_and(|read| read >= replica.batch) {
                continue;
            }
            let rows = sql("SELECT * FROM sidecars WHERE replica = $1 AND batch > $2")
                .bind(&replica.id)
                .bind(read.map_or(-1, to_sql))
                .fetch_all(&self.shared.database)
                .await?;
            for row in &rows {
                sidecars.push(seen(row)?);
            }
        }
        Ok(Hearsay { replicas, sidecars })
    }

    async fn other_replicas(&self) -> Result<Vec<ReplicaSeen>, StoreError> {
        let rows = sql("SELECT id, alive_ms, batch FROM replicas WHERE id <> $1 ORDER BY id")
            .bind(self.replica())
            .fetch_all(&self.shared.database)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ReplicaSeen {
                    id: row.try_get("id")?,
                    alive: WallTime::from_unix_ms(row.try_get("alive_ms")?),
                    batch: from_sql(row.try_get("batch")?),
                })
            })
            .collect()
    }

    /// Every sidecar that was heard of and not forgotten, by service and instance.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sidecars(&self) -> Result<Vec<SidecarSeen>, StoreError> {
        let rows = sql("SELECT * FROM sidecars ORDER BY service, instance").fetch_all(&self.shared.database).await?;
        rows.iter().map(seen).collect()
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

    /// Forgets whoever has not been heard of for a day.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_silent(&self) -> Result<(), StoreError> {
        let before = self.shared.clock.wall().minus(FORGOTTEN_AFTER).unix_ms();
        let mut tx = self.shared.database.beside().await?;
        sql("DELETE FROM sidecars WHERE heard_ms < $1").bind(before).execute(&mut tx).await?;
        sql("DELETE FROM replicas WHERE alive_ms < $1").bind(before).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

fn seen(row: &Row) -> Result<SidecarSeen, StoreError> {
    Ok(SidecarSeen {
        service: parsed("service", row.try_get("service")?)?,
        instance: parsed("instance", row.try_get("instance")?)?,
        version: row.try_get("version")?,
        service_digest: row.try_get("service_digest")?,
        lineage: row.try_get("lineage")?,
        revision: from_sql(row.try_get("revision")?),
        acked: WallTime::from_unix_ms(row.try_get("acked_ms")?),
        heard: WallTime::from_unix_ms(row.try_get("heard_ms")?),
        audit: from_json("audit position", row.try_get("audit")?)?,
        replica: row.try_get("replica")?,
        generation: from_sql(row.try_get("generation")?),
        connected: row.try_get::<i64>("connected")? == 1,
        fresh: WallTime::from_unix_ms(row.try_get("fresh_ms")?),
        skew_ms: row.try_get("skew_ms")?,
        rejections: from_json("rejections", row.try_get("rejections")?)?,
    })
}
