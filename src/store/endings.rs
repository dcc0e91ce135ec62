//! How a request ends without a grant: denied, withdrawn, or lapsed because nobody answered.

use super::revocations::NewRevocation;
use super::rows::parsed;
use super::statement::{On, sql};
use super::transition::Transition;
use super::{Answered, ElevationRecord, OnceKey, Store, StoreError, elevations, once};
use crate::domain::{ElevationId, ElevationState, Person, WallTime};
use crate::ledger::entry::Draft;

/// Requests lapsed by one sweep's transaction at most.
const SWEEP_MAX: u32 = 100;

impl Store {
    /// Somebody who could have approved it says no.
    ///
    /// # Errors
    /// [`StoreError`]; then it stands as it stood.
    pub async fn deny(
        &self,
        id: &ElevationId,
        by: &Person,
        note: &str,
        once: Option<&OnceKey>,
    ) -> Result<Answered, StoreError> {
        let entry = Draft::elevation_denied(id, by, note);
        self.end(id, by, once, Ending { state: ElevationState::Denied, note: Some(note), entry }).await
    }

    /// Its own person takes it back.
    ///
    /// # Errors
    /// [`StoreError`]; then it stands as it stood.
    pub async fn withdraw(
        &self,
        id: &ElevationId,
        by: &Person,
        once: Option<&OnceKey>,
    ) -> Result<Answered, StoreError> {
        let entry = Draft::elevation_withdrawn(id, by);
        self.end(id, by, once, Ending { state: ElevationState::Withdrawn, note: None, entry }).await
    }

    async fn end(
        &self,
        id: &ElevationId,
        by: &Person,
        once: Option<&OnceKey>,
        ending: Ending<'_>,
    ) -> Result<Answered, StoreError> {
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, by, once).await? {
            return Ok(Answered::Kept(kept));
        }
        if let Err(answered) = waiting(&mut transition, id).await? {
            return ended(transition, answered).await;
        }
        elevations::decide(&mut transition, id, ending.state, Some(by), ending.note).await?;
        once::keep(&mut transition, by, once, id.as_str()).await?;
        transition.entry(ending.entry, None).await?;
        transition.commit().await?;
        Ok(Answered::Done { revision: None })
    }

    /// Ends the requests that nobody answered in time, and answers their ids. Each sweep ends a bounded number.
    ///
    /// # Errors
    /// [`StoreError`]; then all of them stand as they stood.
    pub async fn lapse_due(&self) -> Result<Vec<ElevationId>, StoreError> {
        let now = self.shared.clock.wall();
        if due(&self.shared.database, now).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut transition = self.transition().await?;
        let due = due(transition.connection(), now).await?;
        for id in &due {
            lapse(&mut transition, id).await?;
        }
        transition.commit().await?;
        Ok(due)
    }
}

/// Ends the requests of a person that wait, as a part of a revocation: denied, or withdrawn where it is their own doing.
/// Answers how many.
pub(super) async fn end_waiting_of(
    transition: &mut Transition<'_>,
    person: &Person,
    revocation: &NewRevocation<'_>,
) -> Result<usize, StoreError> {
    let now = transition.at();
    let rows = sql("SELECT id FROM elevations WHERE state = 'requested' AND person = $1 AND lapses_ms > $2")
        .bind(person.as_str())
        .bind(now.unix_ms())
        .fetch_all(transition.connection())
        .await?;
    let (by, note) = (revocation.by, revocation.note);
    for row in &rows {
        let id: ElevationId = parsed("elevation id", row.try_get("id")?)?;
        let (state, entry) = if by == person {
            (ElevationState::Withdrawn, Draft::elevation_withdrawn(&id, by))
        } else {
            (ElevationState::Denied, Draft::elevation_denied(&id, by, note.unwrap_or_default()))
        };
        elevations::decide(transition, &id, state, Some(by), note).await?;
        transition.entry(entry.under(&revocation.id), None).await?;
    }
    Ok(rows.len())
}

struct Ending<'a> {
    state: ElevationState,
    note: Option<&'a str>,
    entry: Draft,
}

/// The request, if it waits. One whose time is over lapses here: `ended` commits that.
pub(super) async fn waiting(
    transition: &mut Transition<'_>,
    id: &ElevationId,
) -> Result<Result<ElevationRecord, Answered>, StoreError> {
    let Some(record) = elevations::fetch(transition.connection(), id).await? else {
        return Ok(Err(Answered::Unknown));
    };
    if record.elevation.state != ElevationState::Requested {
        return Ok(Err(Answered::Stands(record.elevation.state)));
    }
    if record.lapses.is_some_and(|lapses| lapses <= transition.at()) {
        lapse(transition, id).await?;
        return Ok(Err(Answered::Stands(ElevationState::Lapsed)));
    }
    Ok(Ok(record))
}

/// Answers why nothing was done, and keeps what time did.
pub(super) async fn ended(transition: Transition<'_>, answered: Answered) -> Result<Answered, StoreError> {
    if answered == Answered::Stands(ElevationState::Lapsed) {
        transition.commit().await?;
    }
    Ok(answered)
}

async fn lapse(transition: &mut Transition<'_>, id: &ElevationId) -> Result<(), StoreError> {
    lapse_for(transition, id, None).await
}

/// The same, for a `cause` that is nobody's answer.
pub(super) async fn lapse_for(
    transition: &mut Transition<'_>,
    id: &ElevationId,
    cause: Option<&'static str>,
) -> Result<(), StoreError> {
    elevations::decide(transition, id, ElevationState::Lapsed, None, None).await?;
    transition.entry(Draft::elevation_lapsed(id, cause), None).await?;
    Ok(())
}

/// Ends every request that waits, whatever its deadline.
pub(super) async fn lapse_all(transition: &mut Transition<'_>, cause: &'static str) -> Result<(), StoreError> {
    let rows = sql("SELECT id FROM elevations WHERE state = 'requested' ORDER BY position")
        .fetch_all(transition.connection())
        .await?;
    for row in &rows {
        lapse_for(transition, &parsed("elevation id", row.try_get("id")?)?, Some(cause)).await?;
    }
    Ok(())
}

async fn due(on: impl Into<On<'_>>, now: WallTime) -> Result<Vec<ElevationId>, StoreError> {
    let rows =
        sql("SELECT id FROM elevations WHERE state = 'requested' AND lapses_ms <= $1 ORDER BY lapses_ms LIMIT $2")
            .bind(now.unix_ms())
            .bind(i64::from(SWEEP_MAX))
            .fetch_all(on)
            .await?;
    rows.iter().map(|row| parsed("elevation id", row.try_get("id")?)).collect()
}
