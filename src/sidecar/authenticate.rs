//! Step 4, authenticate: who the caller has proven to be, before anything about the grant is looked at.
//!
//! Binding `identity`: an access token of a configured issuer for this service's audience, in `Break-Glass-Identity` or,
//! where configured, in `Authorization`. What proves a key is read in [`super::possession`], what proves a certificate
//! with the connection. Binding `bearer` has nothing to be found out here: the grant token proves itself, in the decision.
//! Nothing here knows whether the grant that was named exists, so no answer can depend on it.

use super::intake::Taken;
use super::setup::Setup;
use crate::audit::Asker;
use crate::decision::{Caller, Unproven};
use crate::domain::Person;
use crate::identity::{IdentityError, IdentityFault, Verified, Verifier};
use crate::secret::Secret;

/// The caller, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticated {
    Proven(Box<Verified>),
    Unproven(Unproven),
    /// What came in `Authorization` does not hold: it may be meant for the API alone.
    Ambient(Unproven),
}

impl Authenticated {
    /// The same as a fact for the decision.
    pub fn fact(&self) -> Caller<'_> {
        match self {
            Self::Proven(verified) => Caller::Proven(&verified.person),
            Self::Unproven(why) => Caller::Unproven(*why),
            Self::Ambient(why) => Caller::Ambient(*why),
        }
    }

    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Proven(verified) => Some(&verified.person),
            Self::Unproven(_) | Self::Ambient(_) => None,
        }
    }

    /// The same for a line of the audit log, without a grant.
    pub fn asker(&self) -> Option<Asker> {
        let Self::Proven(verified) = self else { return None };
        Some(Asker {
            person: verified.person.clone(),
            idp: verified.principal.issuer.clone(),
            authentication: verified.authentication.clone(),
            grant: None,
        })
    }
}

/// Checks the identity token. Makes no remote call: keys that are not there yet are fetched behind its back.
pub fn authenticate(setup: &Setup, taken: &Taken) -> Authenticated {
    let ambient = taken.authorization.as_ref().filter(|_| setup.identity_from_authorization);
    match (&taken.identity, ambient) {
        (Some(token), _) => person(&setup.verifier, token).unwrap_or_else(Authenticated::Unproven),
        (None, Some(token)) => person(&setup.verifier, token).unwrap_or_else(Authenticated::Ambient),
        (None, None) => Authenticated::Unproven(Unproven::Missing),
    }
}

fn person(verifier: &Verifier, token: &Secret<String>) -> Result<Authenticated, Unproven> {
    let verified = verifier.verify(token.expose()).map_err(unproven)?;
    Ok(Authenticated::Proven(Box::new(verified)))
}

const fn unproven(error: IdentityError) -> Unproven {
    match error.fault() {
        IdentityFault::Expired => Unproven::Expired,
        IdentityFault::Unverifiable => Unproven::Unverifiable,
        // Whether it is a machine's is no business of a stranger.
        IdentityFault::NotAHuman | IdentityFault::Invalid => Unproven::Invalid,
    }
}
