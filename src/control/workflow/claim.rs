//! What a person has proven is bound to their grant: as it is asked for, or once it was approved unbound.
//!
//! INVARIANT: a confirmation comes from a proof alone, and from its own person's call. Nothing that was typed gets here.

use super::Workflow;
use super::request::{frozen, kept_id};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Binding, CertificateThumbprint, Confirmation, Grant, GrantId, KeyThumbprint};
use crate::identity::Verified;
use crate::store::{Claimed, GrantRecord, NewClaim, OnceKey, UsedProof};
use crate::wire::api::GrantState;

/// What a call proves beyond whose it is.
#[derive(Debug, Clone, Default)]
pub struct Proven {
    /// A key, and the proof that is used up for it.
    pub key: Option<(KeyThumbprint, UsedProof)>,
    pub certificate: ShownCertificate,
}

/// The client certificate of the call's connection.
#[derive(Debug, Clone, Default)]
pub enum ShownCertificate {
    #[default]
    None,
    /// Of no authority that is trusted here, or not in its time.
    Untrusted,
    Proven(CertificateThumbprint),
}

/// What can be bound, with the proof it takes.
pub(super) type Bindable = (Confirmation, Option<UsedProof>);

impl Proven {
    /// What `binding` can be bound to; `None` where nothing of the kind was shown.
    ///
    /// # Errors
    /// A certificate was shown, and is not one to be bound.
    pub(super) fn for_binding(&self, binding: Binding) -> Result<Option<Bindable>, Refusal> {
        match (binding, &self.key, &self.certificate) {
            (Binding::Dpop, Some((key, proof)), _) => Ok(Some((Confirmation::Key(key.clone()), Some(proof.clone())))),
            (Binding::Mtls, _, ShownCertificate::Proven(shown)) => {
                Ok(Some((Confirmation::Certificate(shown.clone()), None)))
            }
            (Binding::Mtls, _, ShownCertificate::Untrusted) => {
                Err(Refusal::new(Cause::CertificateUntrusted, "it is of another authority, or not in its time"))
            }
            (Binding::Dpop | Binding::Mtls | Binding::Identity | Binding::Bearer, _, _) => Ok(None),
        }
    }
}

impl Workflow {
    /// Binds what `caller` proves to their own grant, which was approved unbound.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn claim(
        &self,
        caller: &Verified,
        id: &GrantId,
        proven: &Proven,
        once: Option<OnceKey>,
    ) -> Result<GrantRecord, Refusal> {
        let record = self.visible_grant(caller, id).await?;
        if record.grant.person != caller.person {
            return Err(Refusal::new(Cause::NotPermitted, "only the requester binds a key to a grant"));
        }
        if let Some(once) = &once
            && let Some(kept) = self.store.kept(&caller.person, once).await?
        {
            return self.visible_grant(caller, &kept_id(kept)?).await;
        }
        check_claimable(&record)?;
        let (confirmation, proof) = proven.for_binding(record.grant.binding)?.ok_or_else(|| unproven(&record.grant))?;
        let grant = Grant { confirmation: Some(confirmation), ..record.grant.clone() };
        let issuer = self.issuer.to_string();
        let token = self.keys.mint(&grant, &issuer).await?;
        let new = NewClaim { grant, issuer, token, proof, once };
        match self.store.claim(&new).await? {
            Claimed::Done { revision } => {
                tracing::info!(grant = %id, revision, binding = new.grant.binding.as_str(), "grant claimed");
                self.visible_grant(caller, id).await
            }
            Claimed::Kept(kept) => self.visible_grant(caller, &kept_id(kept)?).await,
            Claimed::Bound => Err(bound(&new.grant)),
            Claimed::Ended(state) => Err(ended(state)),
            Claimed::Suspended { since } => Err(self.suspended(since, &record.tier)),
            Claimed::Replayed => Err(replayed()),
            Claimed::Frozen => Err(frozen()),
            Claimed::Unknown => Err(Refusal::not_found()),
        }
    }
}

fn check_claimable(record: &GrantRecord) -> Result<(), Refusal> {
    match record.state {
        GrantState::Active if record.grant.is_bound() => Err(bound(&record.grant)),
        GrantState::Active => Ok(()),
        state => Err(ended(state)),
    }
}

fn ended(state: GrantState) -> Refusal {
    Refusal::new(Cause::GrantEnded, "the grant has ended: nothing can be bound to it").with_state(state.as_str())
}

fn bound(grant: &Grant) -> Refusal {
    let detail = match grant.binding {
        Binding::Identity | Binding::Bearer => format!("the binding \"{}\" needs no key", grant.binding.as_str()),
        Binding::Mtls | Binding::Dpop => "something is bound to the grant already, and stays so".to_owned(),
    };
    Refusal::new(Cause::GrantBound, detail)
}

fn unproven(grant: &Grant) -> Refusal {
    let detail = match grant.binding {
        Binding::Mtls => "the grant is to be bound to a client certificate, and the connection shows none",
        Binding::Dpop | Binding::Identity | Binding::Bearer => {
            "the grant is to be bound to a key, and no proof came in DPoP"
        }
    };
    Refusal::new(Cause::ProofMissing, detail)
}

pub(super) fn replayed() -> Refusal {
    Refusal::new(Cause::DpopProofInvalid, "the proof was used before: make a new one for each request")
}
