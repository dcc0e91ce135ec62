//! Beginning streams: each gets a number, over all replicas, by which every earlier one of its sidecar is over.
//!
//! INVARIANT: a row of `sidecars` holds the number of its sidecar's newest stream, and of one lineage at most one row is
//! the stream's that last began with it. Numbers are given under the writer's lock, and whatever moves uses compares.

use super::rows::{from_sql, to_json, to_sql};
use super::statement::{sql, sql_over_rows};
use super::transition::Transition;
use super::{Admission, ShareHolder, Store, StoreError, StreamClaim};
use serde::Serialize;

/// A claim as the statements read it.
#[derive(Serialize)]
struct Row<'a> {
    service: &'a str,
    instance: &'a str,
    lineage: &'a str,
    version: &'a str,
    service_digest: &'a str,
    audit: String,
    generation: u64,
}

impl Store {
    /// Begins streams of different instances and different lineages, in one transition. The answers are in the order of
    /// the claims.
    ///
    /// # Errors
    /// [`StoreError`]; then none has begun.
    pub async fn admit(&self, claims: &[StreamClaim]) -> Result<Vec<Admission>, StoreError> {
        let mut transition = self.transition().await?;
        let count = to_sql(u64::try_from(claims.len()).unwrap_or(u64::MAX));
        let last = sql("UPDATE counters SET value = value + $1 WHERE name = 'stream' RETURNING value")
            .bind(count)
            .integer(transition.connection())
            .await?;
        let first = from_sql(last.saturating_sub(count).saturating_add(1));
        let mut rows = rows(claims, first)?;
        let taken = self.in_use_elsewhere(&mut transition, &rows).await?;
        let admission = |row: &Row<'_>| match taken.contains(&row.generation) {
            true => Admission::LineageInUse,
            false => Admission::Begun(row.generation),
        };
        let admissions = rows.iter().map(admission).collect();
        rows.retain(|row| !taken.contains(&row.generation));
        // Rows are locked in one order, whoever writes them.
        rows.sort_by(|a, b| (a.service, a.instance).cmp(&(b.service, b.instance)));
        self.begin(&mut transition, &rows).await?;
        transition.commit().await?;
        Ok(admissions)
    }

    /// The numbers of those whose lineage another instance is connected with, at a replica that is at work.
    async fn in_use_elsewhere(
        &self,
        transition: &mut Transition<'_>,
        rows: &[Row<'_>],
    ) -> Result<Vec<u64>, StoreError> {
        let silent_since = transition.at().minus(Self::REPLICA_SILENT);
        let found = sql_over_rows!(
            "SELECT CAST(told.value ->> 'generation' AS BIGINT) FROM",
            "JOIN sidecars s ON s.lineage = told.value ->> 'lineage' \
             WHERE s.connected = 1 AND s.replica <> $2 \
             AND NOT (s.service = told.value ->> 'service' AND s.instance = told.value ->> 'instance') \
             AND s.replica IN (SELECT id FROM replicas WHERE alive_ms > $3)"
        )
        .bind(to_json("claims", &rows)?)
        .bind(self.replica())
        .bind(silent_since.unix_ms())
        .fetch_all(transition.connection())
        .await?;
        Ok(found.iter().map(|row| row.first().map(from_sql)).collect::<Result<_, _>>()?)
    }

    async fn begin(&self, transition: &mut Transition<'_>, rows: &[Row<'_>]) -> Result<(), StoreError> {
        let at = transition.at().unix_ms();
        let rows = to_json("claims", &rows)?;
        // What else was connected under the lineage is over.
        sql_over_rows!(
            "UPDATE sidecars SET connected = 0, generation = CAST(told.value ->> 'generation' AS BIGINT) FROM",
            "WHERE sidecars.lineage = told.value ->> 'lineage' AND NOT (sidecars.service = told.value ->> 'service' \
             AND sidecars.instance = told.value ->> 'instance')"
        )
        .bind(&rows)
        .execute(transition.connection())
        .await?;
        sql_over_rows!(
            "INSERT INTO sidecars (service, instance, lineage, version, service_digest, audit, generation, replica, \
             connected, revision, acked_ms, heard_ms, fresh_ms) \
             SELECT told.value ->> 'service', told.value ->> 'instance', told.value ->> 'lineage', \
             told.value ->> 'version', told.value ->> 'service_digest', told.value ->> 'audit', \
             CAST(told.value ->> 'generation' AS BIGINT), $2, 1, 0, 0, $3, $3 FROM",
            "WHERE true ON CONFLICT (service, instance) DO UPDATE SET lineage = excluded.lineage, \
             version = excluded.version, service_digest = excluded.service_digest, audit = excluded.audit, \
             generation = excluded.generation, replica = excluded.replica, connected = 1, revision = 0, acked_ms = 0, \
             heard_ms = excluded.heard_ms, fresh_ms = excluded.fresh_ms, batch = 0"
        )
        .bind(&rows)
        .bind(self.replica())
        .bind(at)
        .execute(transition.connection())
        .await?;
        // A question dies with the stream that it was asked on.
        sql_over_rows!("DELETE FROM share_recalls WHERE lineage IN (SELECT told.value ->> 'lineage' FROM", ")")
            .bind(&rows)
            .execute(transition.connection())
            .await?;
        Ok(())
    }
}

fn rows(claims: &[StreamClaim], first: u64) -> Result<Vec<Row<'_>>, StoreError> {
    (first..).zip(claims).map(|(generation, claim)| row(claim, generation)).collect()
}

fn row(claim: &StreamClaim, generation: u64) -> Result<Row<'_>, StoreError> {
    Ok(Row {
        service: claim.service.as_str(),
        instance: claim.instance.as_str(),
        lineage: &claim.lineage,
        version: &claim.version,
        service_digest: &claim.service_digest,
        audit: to_json("audit position", &claim.audit)?,
        generation,
    })
}

impl Transition<'_> {
    /// Whether the holder's stream is the newest of its sidecar and of its lineage.
    pub(super) async fn is_current(&mut self, holder: &ShareHolder) -> Result<bool, StoreError> {
        let count = sql("SELECT COUNT(*) FROM sidecars \
             WHERE service = $1 AND instance = $2 AND lineage = $3 AND generation = $4")
        .bind(holder.service.as_str())
        .bind(holder.instance.as_str())
        .bind(&holder.lineage)
        .bind(to_sql(holder.generation))
        .integer(self.connection())
        .await?;
        Ok(count > 0)
    }
}
