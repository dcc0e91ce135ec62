//! Entries about what transmitters of shared signals said, and what came of it.

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{GrantId, Issuer, Person, WallTime};

/// One event of a security event token (RFC 8417).
#[derive(Debug, Clone, Copy)]
pub struct Signalled<'a> {
    pub transmitter: &'a Issuer,
    /// The token's `jti`.
    pub id: &'a str,
    /// The event's type.
    pub event: &'a str,
}

impl Draft {
    /// An event about a person. `counts`: grants that it ends, grants that it suspends, requests that it ends.
    pub fn signal_received(
        signalled: Signalled<'_>,
        effect: &'static str,
        since: WallTime,
        [ended, suspended, lapsed]: [usize; 3],
        person: &Person,
    ) -> Self {
        Self::new(EntryKind::SignalReceived)
            .signalled(signalled)
            .fact("effect", effect)
            .fact("since", since.unix_ms())
            .fact("ended", ended)
            .fact("suspended", suspended)
            .fact("lapsed", lapsed)
            .personal(PersonalField::Person, person.as_str())
    }

    /// A live grant of somebody whose session, credential or account is over.
    pub fn grant_revoked_by_signal(grant: &GrantId, signalled: Signalled<'_>) -> Self {
        Self::new(EntryKind::GrantRevoked).fact("grant", grant.as_str()).fact("cause", "signal").signalled(signalled)
    }

    /// A live grant whose person is to authenticate afresh.
    pub fn grant_suspended(grant: &GrantId, signalled: Signalled<'_>) -> Self {
        Self::new(EntryKind::GrantSuspended).fact("grant", grant.as_str()).signalled(signalled)
    }

    /// They have, at `auth_time`.
    pub fn grant_resumed(grant: &GrantId, auth_time: WallTime, acr: Option<&str>) -> Self {
        Self::new(EntryKind::GrantResumed)
            .fact("grant", grant.as_str())
            .fact("auth_time", auth_time.unix_ms())
            .fact_if("acr", acr)
    }

    fn signalled(self, signalled: Signalled<'_>) -> Self {
        self.fact("transmitter", signalled.transmitter.as_str())
            .fact("event_id", signalled.id)
            .fact("event", signalled.event)
    }
}
