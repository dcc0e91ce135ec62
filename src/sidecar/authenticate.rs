//! Step 4, authenticate: who the caller has proven to be, before anything about the grant is looked at.
//!
//! Binding `identity`: an access token of a configured issuer for this service's audience, in `Break-Glass-Identity`.
//! Binding `bearer` has nothing to be found out here: the grant token proves itself, in the decision.
//! Nothing here knows whether the grant that was named exists, so no answer can depend on it.

use crate::decision::{Caller, Unproven};
use crate::domain::Person;
use crate::identity::{IdentityError, Verifier};
use crate::secret::Secret;

/// The caller, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticated {
    Proven(Person),
    Unproven(Unproven),
}

impl Authenticated {
    /// The same as a fact for the decision.
    pub fn fact(&self) -> Caller<'_> {
        match self {
            Self::Proven(person) => Caller::Proven(person),
            Self::Unproven(why) => Caller::Unproven(*why),
        }
    }

    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Proven(person) => Some(person),
            Self::Unproven(_) => None,
        }
    }
}

/// Checks the identity token. Makes no remote call: keys that are not there yet are fetched behind its back.
pub fn authenticate(verifier: &Verifier, identity: Option<&Secret<String>>) -> Authenticated {
    let Some(token) = identity else { return Authenticated::Unproven(Unproven::Missing) };
    match verifier.verify(token.expose()) {
        Ok(verified) => Authenticated::Proven(verified.person),
        Err(error) => Authenticated::Unproven(unproven(error)),
    }
}

const fn unproven(error: IdentityError) -> Unproven {
    match error {
        IdentityError::Expired => Unproven::Expired,
        IdentityError::Unverifiable | IdentityError::KeyAwaited => Unproven::Unverifiable,
        IdentityError::TooLarge
        | IdentityError::Malformed(_)
        | IdentityError::ForbiddenHeader(_)
        | IdentityError::WrongType
        | IdentityError::AlgorithmNotAllowed
        | IdentityError::UnknownIssuer
        | IdentityError::UnknownKey
        | IdentityError::BadSignature
        | IdentityError::NotYetValid
        | IdentityError::WrongAudience
        | IdentityError::WrongParty
        | IdentityError::Delegated
        | IdentityError::Machine
        | IdentityError::SenderConstrained
        | IdentityError::Claim(_) => Unproven::Invalid,
    }
}
