//! Revocations of every size: ordered once, carried out in batches, settled when no sidecar's answer is awaited.
//!
//! An order names the newest grant there was: it covers what was live at its moment and nothing later, whoever grants
//! meanwhile. Up to [`BATCH_MAX`] grants end in the order's own transaction. More are ended by further ones, each
//! complete in itself: so sidecars hear of the first while the last are still being ended, and nobody else waits long for
//! the writer's turn. A process that dies in between leaves an open order, which any other carries on.
//!
//! INVARIANT: an order is closed only in the transaction that found nothing more to end.

use std::collections::BTreeMap;

use super::database::Transaction;
use super::freezes::key;
use super::grants::{End, end_grant, named};
use super::random::random;
use super::rows::{from_json, parsed, to_json, to_sql};
use super::statement::sql;
use super::transition::Transition;
use super::{Kept, OnceKey, Store, StoreError, endings, once};
use crate::domain::{GrantId, Person, Resource, RevocationId, Selector, ServiceName, WallTime};
use crate::ledger::entry::Draft;
use crate::ledger::{Enforced, Ordered};
use crate::wire::feed::EndCause;

/// Grants ended by one transaction at most.
pub(super) const BATCH_MAX: usize = 200;
/// Enough of them to know that there are more.
const ENOUGH: i64 = 201;
const _: () = assert!(ENOUGH as usize > BATCH_MAX);

/// An order before it has its place.
pub(super) struct NewRevocation<'a> {
    pub(super) id: RevocationId,
    pub(super) selector: &'a Selector,
    pub(super) by: &'a Person,
    pub(super) note: Option<&'a str>,
}

/// Whom an order in progress is by, and what it is about.
struct Order {
    id: RevocationId,
    selector: Selector,
    by: Person,
    note: Option<String>,
    /// Position of the newest grant that it covers.
    up_to: i64,
}

/// What one look at the table found.
struct Found {
    id: GrantId,
    service: ServiceName,
}

/// What an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderOutcome {
    Ordered(RevocationId, Progress),
    /// The same key came before, with this or another call.
    Kept(Kept),
}

/// What one transaction of an order did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub ended: usize,
    /// There may be more to end.
    pub open: bool,
}

/// How a revocation ended at the sidecars, written down once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Sidecars that acknowledged it.
    pub enforced: u32,
    /// Sidecars that stayed silent until they had stopped by themselves.
    pub stopped: u32,
    pub rejected: u32,
    /// From the order to the last acknowledgement; `None` where that is not known.
    pub elapsed_ms: Option<u64>,
}

pub(super) fn fresh_id() -> Result<RevocationId, StoreError> {
    Ok(RevocationId::from_random(u64::from_be_bytes(random()?)))
}

impl Store {
    /// Ends every live grant that the selector names, or the first `BATCH_MAX` of them: then the order stays open, and
    /// is [carried on](Store::carry_on) until it is not. Of a person, the requests that wait are ended too.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was ordered and every grant stands as it stood.
    pub async fn order(
        &self,
        selector: &Selector,
        by: &Person,
        note: Option<&str>,
        once: Option<&OnceKey>,
    ) -> Result<OrderOutcome, StoreError> {
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, by, once).await? {
            return Ok(OrderOutcome::Kept(kept));
        }
        let new = NewRevocation { id: fresh_id()?, selector, by, note };
        let up_to = newest_grant(&mut transition).await?;
        let now = transition.at();
        let found = matching(transition.connection(), selector, now, up_to, i64::MAX).await?;
        let order = begin(&mut transition, &new, up_to, found.len()).await?;
        once::keep(&mut transition, by, once, new.id.as_str()).await?;
        if let Some(person) = selector.person() {
            let denied = endings::end_waiting_of(&mut transition, person, &new).await?;
            note_denied(&mut transition, &new.id, denied).await?;
        }
        let progress = end_batch(&mut transition, &order, &found).await?;
        transition.commit().await?;
        Ok(OrderOutcome::Ordered(new.id, progress))
    }

    /// Ends the next grants of an order.
    ///
    /// # Errors
    /// [`StoreError`]; then this batch's grants stand as they stood.
    pub async fn carry_on(&self, id: &RevocationId) -> Result<Progress, StoreError> {
        let mut transition = self.transition().await?;
        let Some(order) = open_order(&mut transition, id).await? else { return Ok(Progress::default()) };
        let now = transition.at();
        let found = matching(transition.connection(), &order.selector, now, order.up_to, ENOUGH).await?;
        let progress = end_batch(&mut transition, &order, &found).await?;
        transition.commit().await?;
        Ok(progress)
    }

    /// Orders that are not carried out to their end yet, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_orders(&self) -> Result<Vec<RevocationId>, StoreError> {
        let rows = sql("SELECT id FROM revocations WHERE is_open <> 0 ORDER BY position")
            .fetch_all(&self.shared.database)
            .await?;
        rows.iter().map(|row| parsed("revocation id", row.first()?)).collect()
    }

    /// The live grants that an order would end at this moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn would_end(&self, selector: &Selector) -> Result<Vec<GrantId>, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        let found = matching(&mut reading, selector, now, i64::MAX, i64::MAX).await?;
        Ok(found.into_iter().map(|found| found.id).collect())
    }

    /// Writes down how a revocation ended at the sidecars. False when that was done before, here or elsewhere.
    ///
    /// # Errors
    /// [`StoreError`]; then it is still to be settled.
    pub async fn settle(&self, id: &RevocationId, settled: Settled) -> Result<bool, StoreError> {
        let mut transition = self.transition().await?;
        let at = transition.at();
        let changed = sql("UPDATE revocations SET settled_ms = $1, enforced = $2, stopped = $3, rejected = $4, \
             elapsed_ms = $5 WHERE id = $6 AND settled_ms IS NULL AND is_open = 0")
        .bind(at.unix_ms())
        .bind(i64::from(settled.enforced))
        .bind(i64::from(settled.stopped))
        .bind(i64::from(settled.rejected))
        .bind(settled.elapsed_ms.map(to_sql))
        .bind(id.as_str())
        .execute(transition.connection())
        .await?;
        if changed == 0 {
            return Ok(false);
        }
        let Settled { enforced, stopped, rejected, elapsed_ms } = settled;
        let entry = Draft::revocation_enforced(id, Enforced { enforced, stopped, rejected, elapsed_ms });
        transition.entry(entry, None).await?;
        transition.commit().await?;
        Ok(true)
    }
}

/// An order about one live grant, carried out as it is made.
pub(super) async fn end_one(
    transition: &mut Transition<'_>,
    id: &GrantId,
    service: &ServiceName,
    by: &Person,
    note: Option<&str>,
) -> Result<(), StoreError> {
    let selector = Selector::Grant { grant: id.clone() };
    let new = NewRevocation { id: fresh_id()?, selector: &selector, by, note };
    let up_to = newest_grant(transition).await?;
    let found = [Found { id: id.clone(), service: service.clone() }];
    let order = begin(transition, &new, up_to, found.len()).await?;
    end_batch(transition, &order, &found).await.map(drop)
}

/// The order and its entry.
async fn begin(
    transition: &mut Transition<'_>,
    new: &NewRevocation<'_>,
    up_to: i64,
    grants: usize,
) -> Result<Order, StoreError> {
    insert(transition, new, up_to, true).await?;
    let ordered = Ordered { revocation: &new.id, selector: new.selector, grants };
    transition.entry(Draft::revocation_ordered(ordered, new.by, new.note), None).await?;
    let (id, selector, by) = (new.id.clone(), new.selector.clone(), new.by.clone());
    Ok(Order { id, selector, by, note: new.note.map(str::to_owned), up_to })
}

/// A freeze ends no grant: it has nothing but its reach.
pub(super) async fn insert_freeze(
    transition: &mut Transition<'_>,
    new: &NewRevocation<'_>,
    service: Option<&ServiceName>,
    revision: u64,
) -> Result<(), StoreError> {
    insert(transition, new, 0, false).await?;
    reach(transition, &new.id, key(service), revision).await
}

async fn insert(
    transition: &mut Transition<'_>,
    new: &NewRevocation<'_>,
    up_to: i64,
    open: bool,
) -> Result<(), StoreError> {
    let position = transition.next("revocation").await?;
    let at = transition.at();
    sql("INSERT INTO revocations (position, id, selector, by_person, note, at_ms, up_to, is_open, ended, denied) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)")
    .bind(to_sql(position))
    .bind(new.id.as_str())
    .bind(to_json("selector", new.selector)?)
    .bind(new.by.as_str())
    .bind(new.note)
    .bind(at.unix_ms())
    .bind(up_to)
    .bind(open)
    .execute(transition.connection())
    .await?;
    Ok(())
}

async fn note_denied(transition: &mut Transition<'_>, id: &RevocationId, denied: usize) -> Result<(), StoreError> {
    sql("UPDATE revocations SET denied = $1 WHERE id = $2")
        .bind(i64::try_from(denied).unwrap_or(i64::MAX))
        .bind(id.as_str())
        .execute(transition.connection())
        .await?;
    Ok(())
}

async fn reach(
    transition: &mut Transition<'_>,
    id: &RevocationId,
    service: &str,
    revision: u64,
) -> Result<(), StoreError> {
    sql("INSERT INTO revocation_reach (revocation, service, revision) VALUES ($1, $2, $3) \
         ON CONFLICT (revocation, service) DO UPDATE SET revision = excluded.revision")
    .bind(id.as_str())
    .bind(service)
    .bind(to_sql(revision))
    .execute(transition.connection())
    .await?;
    Ok(())
}

/// Ends the first of what was found, and closes the order where that was all.
async fn end_batch(transition: &mut Transition<'_>, order: &Order, found: &[Found]) -> Result<Progress, StoreError> {
    let mut reached: BTreeMap<&ServiceName, u64> = BTreeMap::new();
    for Found { id, service } in found.iter().take(BATCH_MAX) {
        let end = End {
            cause: EndCause::Revoked,
            by: Some(&order.by),
            note: order.note.as_deref(),
            revocation: Some(&order.id),
            entry: Draft::grant_revoked(id, &order.id, &order.by),
        };
        reached.insert(service, end_grant(transition, id, service, end).await?);
    }
    for (service, revision) in reached {
        reach(transition, &order.id, service.as_str(), revision).await?;
    }
    let (ended, open) = (found.len().min(BATCH_MAX), found.len() > BATCH_MAX);
    // Where nothing was ended no sidecar has anything to enforce.
    sql("UPDATE revocations SET ended = ended + $1, is_open = $2, \
         settled_ms = CASE WHEN $2 = 0 AND ended + $1 = 0 THEN at_ms ELSE NULL END WHERE id = $3")
    .bind(i64::try_from(ended).unwrap_or(i64::MAX))
    .bind(open)
    .bind(order.id.as_str())
    .execute(transition.connection())
    .await?;
    Ok(Progress { ended, open })
}

async fn open_order(transition: &mut Transition<'_>, id: &RevocationId) -> Result<Option<Order>, StoreError> {
    let row = sql("SELECT selector, by_person, note, up_to FROM revocations WHERE id = $1 AND is_open <> 0")
        .bind(id.as_str())
        .fetch_optional(transition.connection())
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Order {
        id: id.clone(),
        selector: from_json("selector", row.try_get("selector")?)?,
        by: parsed("person", row.try_get("by_person")?)?,
        note: row.try_get("note")?,
        up_to: row.try_get("up_to")?,
    }))
}

async fn newest_grant(transition: &mut Transition<'_>) -> Result<i64, StoreError> {
    Ok(sql("SELECT COALESCE(MAX(position), 0) FROM grants").integer(transition.connection()).await?)
}

/// Live grants that the selector names, up to a position, at most `most`, in the order they were issued. The one place
/// that knows what a selector means.
async fn matching(
    on: &mut Transaction,
    selector: &Selector,
    now: WallTime,
    up_to: i64,
    most: i64,
) -> Result<Vec<Found>, StoreError> {
    if matches!(selector, Selector::Freeze { .. }) {
        return Ok(Vec::new());
    }
    let rows = sql("SELECT id, service FROM grants \
         WHERE state = 'active' AND expires_ms > $1 AND position <= $2 \
         AND ($3 IS NULL OR id = $3) AND ($4 IS NULL OR person = $4) AND ($5 IS NULL OR service = $5) \
         AND ($6 IS NULL OR EXISTS (SELECT 1 FROM scope_items s \
              WHERE s.owner = grants.id AND s.kind = 'resource' AND s.item = $6)) \
         ORDER BY position LIMIT $7")
    .bind(now.unix_ms())
    .bind(up_to)
    .bind(selector.grant().map(GrantId::as_str))
    .bind(selector.person().map(Person::as_str))
    .bind(selector.service().map(ServiceName::as_str))
    .bind(selector.resource().map(Resource::as_str))
    .bind(most)
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let (id, service) = named(row)?;
            Ok(Found { id, service })
        })
        .collect()
}
