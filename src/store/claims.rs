//! A grant that was approved unbound is claimed: what its person has proven is bound to it, once and for good, and only
//! then is there a token, and does the feed hear of it.
//!
//! INVARIANT: of all claims one binds. A grant that has ended, or has a token, can't be claimed. Nor
//! can one that is suspended: who claims it must have authenticated after what suspended it.

use super::grants::fetch;
use super::proofs::{self, UsedProof};
use super::requests::is_frozen;
use super::rows::{to_json, to_sql};
use super::statement::sql;
use super::transition::{StoredChange, Transition};
use super::{Kept, OnceKey, Store, StoreError, once};
use crate::config::digest_hex;
use crate::domain::{Grant, WallTime};
use crate::ledger::entry::Draft;
use crate::secret::Secret;
use crate::token::claims::GrantClaims;
use crate::wire::api::GrantState;

/// A grant with what was proven, and its token.
#[derive(Debug, Clone)]
pub struct NewClaim {
    pub grant: Grant,
    pub issuer: String,
    pub token: Secret<String>,
    /// The proof, where it was one of a key.
    pub proof: Option<UsedProof>,
    pub once: Option<OnceKey>,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    Done {
        revision: u64,
    },
    Kept(Kept),
    /// Something is bound to it, or nothing ever is.
    Bound,
    /// It has ended.
    Ended(GrantState),
    /// It waits for its person to authenticate afresh.
    Suspended {
        since: WallTime,
    },
    /// The proof was used before.
    Replayed,
    /// Nothing is granted for the service now.
    Frozen,
    Unknown,
}

impl Store {
    /// Binds what was proven.
    ///
    /// # Errors
    /// [`StoreError`]; then it stands as it stood.
    pub async fn claim(&self, new: &NewClaim) -> Result<Claimed, StoreError> {
        let (id, person) = (&new.grant.id, &new.grant.person);
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, person, new.once.as_ref()).await? {
            return Ok(Claimed::Kept(kept));
        }
        let Some(record) = fetch(transition.connection(), id).await? else { return Ok(Claimed::Unknown) };
        if record.state != GrantState::Active {
            return Ok(Claimed::Ended(record.state));
        }
        if record.grant.expires <= transition.at() {
            return Ok(Claimed::Ended(GrantState::Expired));
        }
        if record.grant.is_bound() {
            return Ok(Claimed::Bound);
        }
        if let Some(since) = record.suspended {
            return Ok(Claimed::Suspended { since });
        }
        // What was signed is what was approved, and what is bound to it; nothing else.
        if (Grant { confirmation: None, ..new.grant.clone() }) != record.grant || !new.grant.is_bound() {
            return Ok(Claimed::Unknown);
        }
        if is_frozen(transition.connection(), &record.grant.service).await? {
            return Ok(Claimed::Frozen);
        }
        if !proofs::use_up(&mut transition, new.proof.as_ref()).await? {
            return Ok(Claimed::Replayed);
        }
        let revision = bind(&mut transition, new).await?;
        once::keep(&mut transition, person, new.once.as_ref(), id.as_str()).await?;
        transition.commit().await?;
        Ok(Claimed::Done { revision })
    }
}

async fn bind(transition: &mut Transition<'_>, new: &NewClaim) -> Result<u64, StoreError> {
    let grant = &new.grant;
    let revision = transition.change(Some(&grant.service), &StoredChange::Put { grant: grant.id.clone() }).await?;
    let at = transition.at();
    sql("UPDATE grants SET claims = $1, token = $2, revision = $3, changed_ms = $4, claimed_ms = $4 \
         WHERE id = $5 AND state = 'active' AND token = ''")
    .bind(to_json("claims", &GrantClaims::of(grant, &new.issuer))?)
    .bind(new.token.expose())
    .bind(to_sql(revision))
    .bind(at.unix_ms())
    .bind(grant.id.as_str())
    .execute(transition.connection())
    .await?;
    transition.entry(Draft::grant_claimed(grant, &digest_hex(new.token.expose())), Some(revision)).await?;
    Ok(revision)
}
