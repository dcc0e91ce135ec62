//! Another human agrees. The approval that completes the set makes the grant in the same transaction.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::database::Transaction;
use super::policies::newest_policy;
use super::requests::is_frozen;
use super::rows::{from_json, parsed, to_json};
use super::statement::{Row, sql};
use super::transition::Transition;
use super::{Answered, ElevationRecord, NewApproval, Store, StoreError, elevations, endings, grants, once};
use crate::domain::{Action, Approval, ElevationId, ElevationState, Narrowing, WallTime};
use crate::ledger::entry::Draft;
use serde::{Deserialize, Serialize};

/// [`Narrowing`] as it is stored.
#[derive(Serialize, Deserialize)]
struct Narrowed {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    duration_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    actions: Option<BTreeSet<Action>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    max_uses: Option<NonZeroU32>,
}

impl Store {
    /// Stores an approval, and where it completes the set, the grant.
    ///
    /// # Errors
    /// [`StoreError`]; then neither exists.
    pub async fn approve(&self, new: &NewApproval) -> Result<Answered, StoreError> {
        let by = &new.approval.person;
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, by, new.once.as_ref()).await? {
            return Ok(Answered::Kept(kept));
        }
        let record = match endings::waiting(&mut transition, &new.elevation).await? {
            Ok(record) => record,
            Err(answered) => return endings::ended(transition, answered).await,
        };
        if record.version != new.seen.version
            || newest_policy(transition.connection()).await? != new.seen.policy_revision
        {
            return Ok(Answered::Stale);
        }
        if is_frozen(transition.connection(), &record.elevation.service).await? {
            return Ok(Answered::Frozen);
        }
        let revision = agree(&mut transition, &record, new).await?;
        transition.commit().await?;
        Ok(Answered::Done { revision })
    }
}

async fn agree(
    transition: &mut Transition<'_>,
    record: &ElevationRecord,
    new: &NewApproval,
) -> Result<Option<u64>, StoreError> {
    let id = &record.elevation.id;
    insert(transition, id, &new.approval).await?;
    once::keep(transition, &new.approval.person, new.once.as_ref(), id.as_str()).await?;
    let number = record.approvals.len().saturating_add(1);
    let entry = Draft::elevation_approved(id, &new.approval, number, new.grant.is_some(), &new.etag)
        .authenticated(&new.authentication);
    transition.entry(entry, None).await?;
    match &new.grant {
        Some(grant) => {
            elevations::decide(transition, id, ElevationState::Approved, Some(&new.approval.person), None).await?;
            grants::insert(transition, grant, id, &record.tier).await
        }
        None => {
            let version = sql("UPDATE elevations SET version = version + 1 WHERE id = $1").bind(id.as_str());
            version.execute(transition.connection()).await?;
            Ok(None)
        }
    }
}

/// INVARIANT: a person stands here once for each request; the table's key sees to it.
async fn insert(transition: &mut Transition<'_>, id: &ElevationId, approval: &Approval) -> Result<(), StoreError> {
    let at = transition.at();
    let narrowing = Narrowed {
        duration_s: approval.narrowing.duration.map(|duration| duration.as_secs()),
        actions: approval.narrowing.actions.clone(),
        max_uses: approval.narrowing.max_uses,
    };
    sql("INSERT INTO approvals (elevation, person, idp, at_ms, member_of, narrowing) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id.as_str())
        .bind(approval.person.as_str())
        .bind(approval.idp.as_str())
        .bind(at.unix_ms())
        .bind(to_json("groups of an approver", &approval.groups)?)
        .bind(to_json("narrowing", &narrowing)?)
        .execute(transition.connection())
        .await?;
    Ok(())
}

/// The approvals of one request, in the order they were given.
pub(super) async fn of(connection: &mut Transaction, id: &ElevationId) -> Result<Vec<Approval>, StoreError> {
    let rows = sql("SELECT person, idp, at_ms, member_of, narrowing FROM approvals WHERE elevation = $1 \
                    ORDER BY at_ms, person")
    .bind(id.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Approval, StoreError> {
    let narrowed: Narrowed = from_json("narrowing", row.try_get("narrowing")?)?;
    Ok(Approval {
        person: parsed("person", row.try_get("person")?)?,
        idp: parsed("issuer", row.try_get("idp")?)?,
        groups: from_json("groups of an approver", row.try_get("member_of")?)?,
        narrowing: Narrowing {
            duration: narrowed.duration_s.map(Duration::from_secs),
            actions: narrowed.actions,
            max_uses: narrowed.max_uses,
        },
        at: WallTime::from_unix_ms(row.try_get("at_ms")?),
    })
}
