//! Entries about access tokens of which their issuer, when it was asked, said that they stand no more.

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{GrantId, Issuer, Person, WallTime};

/// What is told of such a token; never the token itself, or its id.
#[derive(Debug, Clone, Copy)]
pub struct InactiveToken<'a> {
    pub idp: &'a Issuer,
    /// Its `iat`.
    pub issued: WallTime,
    /// What was proven at or before this time no longer counts.
    pub since: WallTime,
}

impl Draft {
    /// `counts`: grants and requests that it ends.
    pub fn token_inactive(token: InactiveToken<'_>, [ended, lapsed]: [usize; 2], person: &Person) -> Self {
        Self::new(EntryKind::TokenInactive)
            .fact("idp", token.idp.as_str())
            .fact("issued", token.issued.unix_ms())
            .fact("since", token.since.unix_ms())
            .fact("ended", ended)
            .fact("lapsed", lapsed)
            .personal(PersonalField::Person, person.as_str())
    }

    /// A live grant that rested on such a token.
    pub fn grant_revoked_by_introspection(grant: &GrantId, idp: &Issuer) -> Self {
        Self::new(EntryKind::GrantRevoked)
            .fact("grant", grant.as_str())
            .fact("cause", "introspection")
            .fact("idp", idp.as_str())
    }
}
