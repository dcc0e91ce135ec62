//! A human asks. With a grant the request is approved as it is made; without one it waits for approvals.

use super::database::Transaction;
use super::policies::newest_policy;
use super::transition::Transition;
use super::{
    Basis, Created, NewElevation, Store, StoreError, elevations, feed, grants, history, once, proofs, suspension,
};
use crate::domain::{Person, ServiceName};
use crate::ledger::entry::Draft;

impl Store {
    /// Stores a request, and where it comes with a grant, that too: one change, two entries.
    ///
    /// # Errors
    /// [`StoreError`]; then neither exists.
    pub async fn create(&self, new: &NewElevation) -> Result<Created, StoreError> {
        let person = &new.record.elevation.person;
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, person, new.once.as_ref()).await? {
            return Ok(Created::Kept(kept));
        }
        if !still_stands(&mut transition, person, &new.basis).await? {
            return Ok(Created::Stale);
        }
        if new.grant.is_some() && is_frozen(transition.connection(), &new.record.elevation.service).await? {
            return Ok(Created::Frozen);
        }
        if !proofs::use_up(&mut transition, new.proof.as_ref()).await? {
            return Ok(Created::Replayed);
        }
        let revision = insert(&mut transition, new).await?;
        transition.commit().await?;
        Ok(if new.grant.is_some() { Created::New { revision } } else { Created::Waiting })
    }
}

async fn insert(transition: &mut Transition<'_>, new: &NewElevation) -> Result<Option<u64>, StoreError> {
    let elevation = &new.record.elevation;
    elevations::insert(transition, &new.record).await?;
    once::keep(transition, &elevation.person, new.once.as_ref(), elevation.id.as_str()).await?;
    let admitted_by = new.record.admitted_by.as_ref().map(ToString::to_string);
    let asked = Draft::elevation_requested(elevation, &new.record.tier, new.record.lapses)
        .admitted(admitted_by.as_deref(), new.stood_in.as_deref())
        .of_team(new.team.as_deref());
    transition.entry(asked, None).await?;
    match &new.grant {
        Some(grant) => grants::insert(transition, grant, &elevation.id, &new.record.tier).await,
        None => Ok(None),
    }
}

/// INVARIANT: two requests of one person can't both rest on the same history: the second finds the first.
async fn still_stands(transition: &mut Transition<'_>, person: &Person, basis: &Basis) -> Result<bool, StoreError> {
    let now = transition.at();
    let connection = transition.connection();
    Ok(newest_policy(&mut *connection).await? == basis.policy_revision
        && history::live(&mut *connection, person, now).await? == basis.history.live
        && history::ended(&mut *connection, person, now, basis.ended_since).await? == basis.history.ended
        && suspension::fresh_since(connection, person).await? == basis.fresh_since)
}

/// INVARIANT: no grant is made in a transaction that has not read this.
pub(super) async fn is_frozen(connection: &mut Transaction, service: &ServiceName) -> Result<bool, StoreError> {
    feed::frozen(connection, service).await
}
