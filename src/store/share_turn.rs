//! The writer's turn for moving uses about: what it reads stands until it ends, over all replicas.
//!
//! Who may be asked and what is given is decided by whoever holds the turn; the sums are kept here. INVARIANT: over all
//! lineages of a grant, the sum of what is allotted (or spent, where that is more) never exceeds its `max_uses`, and
//! while a lineage is asked to give back, nothing is allotted to it.

use super::rows::{from_sql, parsed, to_sql, uses};
use super::shares::{self, Budget};
use super::statement::{Row, sql};
use super::transition::Transition;
use super::{Share, ShareHolder, ShareRecall, Store, StoreError};
use crate::domain::{GrantId, ServiceName, WallTime};

/// See the module. Dropped without [`ShareTurn::commit`], nothing was moved.
#[derive(Debug)]
pub struct ShareTurn<'a> {
    store: &'a Store,
    transition: Transition<'a>,
    /// Somebody was asked something.
    asked: bool,
}

impl Store {
    /// # Errors
    /// [`StoreError`].
    pub async fn share_turn(&self) -> Result<ShareTurn<'_>, StoreError> {
        Ok(ShareTurn { store: self, transition: self.transition().await?, asked: false })
    }

    /// Every question that waits for its answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recalls(&self) -> Result<Vec<ShareRecall>, StoreError> {
        let rows = sql("SELECT * FROM share_recalls ORDER BY number").fetch_all(&self.shared.database).await?;
        rows.iter().map(recall).collect()
    }
}

impl ShareTurn<'_> {
    /// The time that all of the turn carries.
    pub fn at(&self) -> WallTime {
        self.transition.at()
    }

    /// Whether the holder's stream is the newest of its sidecar and of its lineage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_current(&mut self, holder: &ShareHolder) -> Result<bool, StoreError> {
        self.transition.is_current(holder).await
    }

    /// `max_uses` of a grant of that service that has not ended; `None` where there is nothing to share out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn limit(&mut self, grant: &GrantId, service: &ServiceName) -> Result<Option<u32>, StoreError> {
        let budget = shares::budget(&mut self.transition, grant, service).await?;
        Ok(budget.filter(Budget::is_live).and_then(|budget| budget.max_uses))
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn shares(&mut self, grant: &GrantId) -> Result<Vec<Share>, StoreError> {
        shares::of_grant(self.transition.connection(), grant).await
    }

    /// The sidecars of a service that are connected, here or at another replica that is at work, by instance name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn connected(&mut self, service: &ServiceName) -> Result<Vec<ShareHolder>, StoreError> {
        let silent_since = self.at().minus(Store::REPLICA_SILENT);
        let rows = sql("SELECT service, instance, lineage, generation FROM sidecars \
             WHERE service = $1 AND connected = 1 \
             AND (replica = $2 OR replica IN (SELECT id FROM replicas WHERE alive_ms > $3)) ORDER BY instance")
        .bind(service.as_str())
        .bind(self.store.replica())
        .bind(silent_since.unix_ms())
        .fetch_all(self.transition.connection())
        .await?;
        rows.iter().map(|row| holder(row, "instance", "lineage", "generation")).collect()
    }

    /// The questions about a grant whose streams stand. The others are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recalls(&mut self, grant: &GrantId) -> Result<Vec<ShareRecall>, StoreError> {
        sql("DELETE FROM share_recalls WHERE grant_id = $1 AND NOT EXISTS (SELECT 1 FROM sidecars s \
             WHERE s.service = share_recalls.service AND s.lineage = share_recalls.lineage \
             AND s.generation = share_recalls.generation AND s.connected = 1)")
        .bind(grant.as_str())
        .execute(self.transition.connection())
        .await?;
        let rows = sql("SELECT * FROM share_recalls WHERE grant_id = $1 ORDER BY number")
            .bind(grant.as_str())
            .fetch_all(self.transition.connection())
            .await?;
        rows.iter().map(recall).collect()
    }

    /// Gives the holder's lineage up to `wanted` more uses. Answers the new sum allotted to it, or `None` when nothing is
    /// free, the grant has ended or has no limit to share out, or the lineage is asked to give back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn allot(
        &mut self,
        grant: &GrantId,
        holder: &ShareHolder,
        wanted: u32,
    ) -> Result<Option<u32>, StoreError> {
        let asked = sql("SELECT COUNT(*) FROM share_recalls WHERE grant_id = $1 AND lineage = $2")
            .bind(grant.as_str())
            .bind(&holder.lineage)
            .integer(self.transition.connection())
            .await?;
        if asked > 0 {
            return Ok(None);
        }
        shares::allot(&mut self.transition, grant, holder, wanted).await
    }

    /// Asks a lineage to give back all above `keep`, on the stream named; at most one such question at a time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask(
        &mut self,
        grant: &GrantId,
        donor: &ShareHolder,
        keep: u32,
        asker: &ShareHolder,
        wanted: u32,
    ) -> Result<(), StoreError> {
        let number = self.transition.next("recall").await?;
        let revision = sql("SELECT value FROM counters WHERE name = 'revision'");
        let revision = revision.integer(self.transition.connection()).await?;
        let at = self.at();
        sql("INSERT INTO share_recalls (number, grant_id, service, lineage, generation, keep, \
             asker_instance, asker_lineage, asker_generation, wanted, asked_ms, revision) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(to_sql(number))
        .bind(grant.as_str())
        .bind(donor.service.as_str())
        .bind(&donor.lineage)
        .bind(to_sql(donor.generation))
        .bind(i64::from(keep))
        .bind(asker.instance.as_str())
        .bind(&asker.lineage)
        .bind(to_sql(asker.generation))
        .bind(i64::from(wanted))
        .bind(at.unix_ms())
        .bind(revision)
        .execute(self.transition.connection())
        .await?;
        self.asked = true;
        Ok(())
    }

    /// The question has its answer, or needs none any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close(&mut self, recall: &ShareRecall) -> Result<(), StoreError> {
        sql("DELETE FROM share_recalls WHERE number = $1")
            .bind(to_sql(recall.number))
            .execute(self.transition.connection())
            .await?;
        Ok(())
    }

    /// Takes back what the lineage no longer claims: from now on `allotted` in all, but never less than it has spent
    /// nor more than it had. Answers the sum that stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hand_back(&mut self, grant: &GrantId, holder: &ShareHolder, allotted: u32) -> Result<u32, StoreError> {
        shares::hand_back(&mut self.transition, grant, holder, allotted).await
    }

    /// Makes it stand, and wakes whoever passes questions on.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not known whether it stands.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if self.asked {
            self.transition.connection().announce_report(self.store.replica()).await?;
        }
        self.transition.commit().await?;
        if self.asked {
            self.store.shared.replicas.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(())
    }
}

fn holder(row: &Row, instance: &str, lineage: &str, generation: &str) -> Result<ShareHolder, StoreError> {
    Ok(ShareHolder {
        service: parsed("service", row.try_get("service")?)?,
        instance: parsed("instance", row.try_get(instance)?)?,
        lineage: row.try_get(lineage)?,
        generation: from_sql(row.try_get(generation)?),
    })
}

fn recall(row: &Row) -> Result<ShareRecall, StoreError> {
    Ok(ShareRecall {
        number: from_sql(row.try_get("number")?),
        grant: parsed("grant id", row.try_get("grant_id")?)?,
        lineage: row.try_get("lineage")?,
        generation: from_sql(row.try_get("generation")?),
        keep: uses(row.try_get("keep")?),
        asker: holder(row, "asker_instance", "asker_lineage", "asker_generation")?,
        wanted: uses(row.try_get("wanted")?),
        asked: WallTime::from_unix_ms(row.try_get("asked_ms")?),
        revision: from_sql(row.try_get("revision")?),
    })
}
