//! Who may spend how many uses of a grant.
//!
//! INVARIANT: over all lineages of a grant, the sum of what is allotted (or spent, where that is more) never exceeds
//! its `max_uses`, whatever order calls come in: each takes the writer's lock before it reads.

use super::database::Transaction;
use super::grants::{End, end_grant};
use super::rows::{parsed, uses};
use super::statement::{On, Row, sql};
use super::transition::{StoredChange, Transition};
use super::{Share, ShareHolder, SpentOutcome, Store, StoreError};
use crate::domain::{GrantId, ServiceName};
use crate::ledger::entry::Draft;
use crate::wire::feed::EndCause;

/// The limited part of a grant, as far as shares ask.
pub(super) struct Budget {
    pub(super) max_uses: Option<u32>,
    live: bool,
}

impl Budget {
    /// Neither ended nor over its time.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }
}

impl Store {
    /// Records that `spent` uses in all were spent under the holder's lineage. A lower report than before changes
    /// nothing, nor does one on a stream that is over. When the sum reaches `max_uses` the grant ends in the same
    /// transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_spent(
        &self,
        grant: &GrantId,
        holder: &ShareHolder,
        spent: u32,
    ) -> Result<SpentOutcome, StoreError> {
        // It never decreases: what was recorded before needs no turn.
        if share(&self.shared.database, grant, &holder.lineage).await?.spent >= spent {
            return Ok(SpentOutcome::default());
        }
        let mut transition = self.transition().await?;
        let Some(budget) = budget(&mut transition, grant, &holder.service).await? else {
            return Ok(SpentOutcome::default());
        };
        let before = share(transition.connection(), grant, &holder.lineage).await?;
        if spent <= before.spent || !transition.is_current(holder).await? {
            return Ok(SpentOutcome::default());
        }
        put_share(transition.connection(), grant, holder, before.allotted, spent).await?;
        let above_share = budget.max_uses.is_some() && spent > before.allotted;
        let used_up = use_up(&mut transition, grant, holder, &budget).await?;
        transition.commit().await?;
        Ok(SpentOutcome { used_up, above_share })
    }

    /// All shares of one grant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shares_of(&self, grant: &GrantId) -> Result<Vec<Share>, StoreError> {
        of_grant(&self.shared.database, grant).await
    }

    /// What a lineage holds of the active grants of its service.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shares_of_lineage(&self, holder: &ShareHolder) -> Result<Vec<Share>, StoreError> {
        let rows = sql("SELECT s.grant_id, s.lineage, s.instance, s.allotted, s.spent FROM shares s \
             JOIN grants g ON g.id = s.grant_id \
             WHERE s.lineage = $1 AND g.service = $2 AND g.state = 'active' AND g.max_uses IS NOT NULL \
             ORDER BY g.position")
        .bind(&holder.lineage)
        .bind(holder.service.as_str())
        .fetch_all(&self.shared.database)
        .await?;
        rows.iter().map(read_share).collect()
    }
}

pub(super) async fn of_grant(on: impl Into<On<'_>>, grant: &GrantId) -> Result<Vec<Share>, StoreError> {
    let rows =
        sql("SELECT grant_id, lineage, instance, allotted, spent FROM shares WHERE grant_id = $1 ORDER BY lineage")
            .bind(grant.as_str())
            .fetch_all(on)
            .await?;
    rows.iter().map(read_share).collect()
}

/// Up to `wanted` more uses for the lineage: the new sum, or `None` when none is free or the grant takes no shares.
pub(super) async fn allot(
    transition: &mut Transition<'_>,
    grant: &GrantId,
    holder: &ShareHolder,
    wanted: u32,
) -> Result<Option<u32>, StoreError> {
    let Some(Budget { max_uses: Some(max_uses), live: true }) = budget(transition, grant, &holder.service).await?
    else {
        return Ok(None);
    };
    let taken = sql("SELECT CAST(COALESCE(SUM(CASE WHEN spent > allotted THEN spent ELSE allotted END), 0) AS BIGINT) FROM shares WHERE grant_id = $1")
        .bind(grant.as_str())
        .integer(transition.connection())
        .await?;
    let given = wanted.min(max_uses.saturating_sub(uses(taken)));
    if given == 0 {
        return Ok(None);
    }
    let before = share(transition.connection(), grant, &holder.lineage).await?;
    let allotted = before.allotted.max(before.spent).saturating_add(given);
    set_allotted(transition, grant, holder, allotted, before.spent).await?;
    Ok(Some(allotted))
}

/// From now on `allotted` in all for the lineage, never less than it has spent nor more than it had: what stands then.
pub(super) async fn hand_back(
    transition: &mut Transition<'_>,
    grant: &GrantId,
    holder: &ShareHolder,
    allotted: u32,
) -> Result<u32, StoreError> {
    let before = share(transition.connection(), grant, &holder.lineage).await?;
    let kept = allotted.max(before.spent).min(before.allotted);
    if kept != before.allotted {
        set_allotted(transition, grant, holder, kept, before.spent).await?;
    }
    Ok(kept)
}

/// The grant's budget, if it is one of that service.
pub(super) async fn budget(
    transition: &mut Transition<'_>,
    grant: &GrantId,
    service: &ServiceName,
) -> Result<Option<Budget>, StoreError> {
    let now = transition.at();
    let row = sql("SELECT max_uses, state, expires_ms FROM grants WHERE id = $1 AND service = $2")
        .bind(grant.as_str())
        .bind(service.as_str())
        .fetch_optional(transition.connection())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (max_uses, state): (Option<i64>, &str) = (row.try_get("max_uses")?, row.try_get("state")?);
    let expires_ms: i64 = row.try_get("expires_ms")?;
    Ok(Some(Budget { max_uses: max_uses.map(uses), live: state == "active" && expires_ms > now.unix_ms() }))
}

/// Ends the grant when nothing of its budget is left. Answers the tombstone's revision.
async fn use_up(
    transition: &mut Transition<'_>,
    grant: &GrantId,
    holder: &ShareHolder,
    budget: &Budget,
) -> Result<Option<u64>, StoreError> {
    let (Some(max_uses), true) = (budget.max_uses, budget.live) else { return Ok(None) };
    let sum = sql("SELECT CAST(COALESCE(SUM(spent), 0) AS BIGINT) FROM shares WHERE grant_id = $1")
        .bind(grant.as_str())
        .integer(transition.connection())
        .await?;
    if sum < i64::from(max_uses) {
        return Ok(None);
    }
    let entry = Draft::grant_used_up(grant, u64::from(uses(sum)));
    let end = End { cause: EndCause::UsedUp, by: None, note: None, revocation: None, entry };
    end_grant(transition, grant, &holder.service, end).await.map(Some)
}

async fn set_allotted(
    transition: &mut Transition<'_>,
    grant: &GrantId,
    holder: &ShareHolder,
    allotted: u32,
    spent: u32,
) -> Result<(), StoreError> {
    put_share(transition.connection(), grant, holder, allotted, spent).await?;
    let change = StoredChange::Share { lineage: holder.lineage.clone(), grant: grant.clone(), allotted };
    transition.change(Some(&holder.service), &change).await?;
    Ok(())
}

#[derive(Default)]
struct Sums {
    allotted: u32,
    spent: u32,
}

async fn share(on: impl Into<On<'_>>, grant: &GrantId, lineage: &str) -> Result<Sums, StoreError> {
    let row = sql("SELECT allotted, spent FROM shares WHERE grant_id = $1 AND lineage = $2")
        .bind(grant.as_str())
        .bind(lineage)
        .fetch_optional(on)
        .await?;
    let Some(row) = row else { return Ok(Sums::default()) };
    Ok(Sums { allotted: uses(row.try_get("allotted")?), spent: uses(row.try_get("spent")?) })
}

async fn put_share(
    connection: &mut Transaction,
    grant: &GrantId,
    holder: &ShareHolder,
    allotted: u32,
    spent: u32,
) -> Result<(), StoreError> {
    sql("INSERT INTO shares (grant_id, lineage, instance, allotted, spent) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (grant_id, lineage) DO UPDATE SET \
         instance = excluded.instance, allotted = excluded.allotted, spent = excluded.spent")
    .bind(grant.as_str())
    .bind(&holder.lineage)
    .bind(holder.instance.as_str())
    .bind(i64::from(allotted))
    .bind(i64::from(spent))
    .execute(connection)
    .await?;
    Ok(())
}

fn read_share(row: &Row) -> Result<Share, StoreError> {
    Ok(Share {
        grant: parsed("grant id", row.try_get("grant_id")?)?,
        lineage: row.try_get("lineage")?,
        instance: parsed("instance", row.try_get("instance")?)?,
        allotted: uses(row.try_get("allotted")?),
        spent: uses(row.try_get("spent")?),
    })
}
