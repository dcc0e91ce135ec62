//! Who comes forward with a grant, and whether that proves that the grant is theirs. Both are asked here alone.
//!
//! INVARIANT: nothing is told of a grant to a caller who has shown nothing. What is wrong with what came (an identity, a
//! proof) is said without a look at any grant; after that a grant that is not proven to be the caller's gets the same
//! answer as one that does not exist.

use super::facts::{Caller, Certificate, Facts, Feed, GrantFact, NamedBy, Proof, Unproven};
use super::outcome::RefusalCode;
use super::policy::Policy;
use crate::domain::{Binding, CertificateThumbprint, Confirmation, Grant, KeyThumbprint, Person};

/// What the request itself proves.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// By a token of an identity provider.
    person: Option<&'a Person>,
    /// By the connection's client certificate.
    certificate: Option<&'a CertificateThumbprint>,
    /// By a DPoP proof for this very request.
    key: Option<&'a KeyThumbprint>,
    /// The request carries the grant token, not only the grant's id.
    has_token: bool,
}

impl<'a> Claimant<'a> {
    /// What came, where nothing of it is wrong.
    ///
    /// # Errors
    /// What is wrong; it does not depend on any grant.
    pub fn of(
        caller: Caller<'a>,
        certificate: Certificate<'a>,
        proof: Proof<'a>,
        named_by: NamedBy,
    ) -> Result<Self, RefusalCode> {
        let person = match caller {
            Caller::Proven(person) => Some(person),
            Caller::Unproven(Unproven::Missing) | Caller::Ambient(_) => None,
            Caller::Unproven(why) => return Err(refused(why)),
        };
        let certificate = match certificate {
            Certificate::Proven(thumbprint) => Some(thumbprint),
            Certificate::Absent | Certificate::Untrusted => None,
        };
        let key = match proof {
            Proof::Proven(thumbprint) => Some(thumbprint),
            Proof::Absent => None,
            Proof::Invalid => return Err(RefusalCode::DpopProofInvalid),
            Proof::NonceWanted => return Err(RefusalCode::UseDpopNonce),
            Proof::Unverifiable => return Err(RefusalCode::DpopProofUnverifiable),
            // It proves no more than whoever has seen it knows.
            Proof::Replayed => return Err(RefusalCode::GrantNotUsable),
        };
        Ok(Self { person, certificate, key, has_token: named_by == NamedBy::Token })
    }

    /// The claimant of a request who has shown something.
    pub(super) fn come_forward(policy: &Policy, facts: &Facts<'a>, named_by: NamedBy) -> Result<Self, RefusalCode> {
        let claimant = Self::of(facts.caller, facts.certificate, facts.proof, named_by)?;
        if claimant.shows_anything() || (claimant.has_token && may_be_borne(policy, facts)) {
            return Ok(claimant);
        }
        match (facts.caller, facts.certificate) {
            (Caller::Ambient(why), _) => Err(refused(why)),
            (_, Certificate::Untrusted) => Err(RefusalCode::CertificateUntrusted),
            (_, Certificate::Absent | Certificate::Proven(_)) => Err(RefusalCode::IdentityMissing),
        }
    }

    fn shows_anything(&self) -> bool {
        self.person.is_some() || self.certificate.is_some() || self.key.is_some()
    }

    /// Whether the grant's binding is proven. An identity that came too must fit, whatever the binding asks for.
    pub(super) fn owns(&self, grant: &Grant) -> Result<(), RefusalCode> {
        if self.person.is_some_and(|person| *person != grant.person) {
            return Err(RefusalCode::GrantNotUsable);
        }
        match (grant.binding, &grant.confirmation) {
            (Binding::Identity, _) if self.person.is_some() => Ok(()),
            (Binding::Bearer, _) if self.has_token => Ok(()),
            (Binding::Bearer, _) if self.person.is_some() => Err(RefusalCode::TokenRequired),
            (Binding::Mtls, Some(Confirmation::Certificate(bound))) if self.certificate == Some(bound) => Ok(()),
            (Binding::Dpop, Some(Confirmation::Key(bound))) if self.key == Some(bound) => match self.has_token {
                true => Ok(()),
                false => Err(RefusalCode::TokenRequired),
            },
            // Another's, or nothing is bound that could be proven.
            (Binding::Identity | Binding::Bearer | Binding::Mtls | Binding::Dpop, _) => {
                Err(RefusalCode::GrantNotUsable)
            }
        }
    }

    /// Whether the grant is the claimant's, though its token may be missing for a use.
    pub fn is_holder_of(&self, grant: &Grant) -> bool {
        matches!(self.owns(grant), Ok(()) | Err(RefusalCode::TokenRequired))
    }
}

const fn refused(why: Unproven) -> RefusalCode {
    match why {
        Unproven::Missing => RefusalCode::IdentityMissing,
        Unproven::Invalid => RefusalCode::IdentityInvalid,
        Unproven::Expired => RefusalCode::IdentityExpired,
        Unproven::Unverifiable => RefusalCode::IdentityUnverifiable,
    }
}

/// Whether the token that came alone is enough here. Before the first snapshot no token is known, so that is all that
/// can be said of any.
fn may_be_borne(policy: &Policy, facts: &Facts<'_>) -> bool {
    policy.ceiling.bindings.contains(&Binding::Bearer)
        && match &facts.grant {
            GrantFact::Held(held) => held.grant.binding == Binding::Bearer,
            GrantFact::Genuine(grant) => grant.binding == Binding::Bearer,
            GrantFact::Unknown => facts.feed == Feed::NeverSynced,
        }
}
