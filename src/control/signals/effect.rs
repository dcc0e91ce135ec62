//! What an event does: one row a kind, no wildcard.

use crate::control::metrics::signals::Outcome;
use crate::identity::signals::{EventKind, SecurityEvent, SubjectMapping};
use crate::store::{Effect, EventOutcome, SignalEvent};

/// A session, credential or account that is over ends what rests on it. One that has only changed may be its person's as
/// before: what rests on it waits until they have shown themselves. Claims of later tokens (CAEP `token-claims-change`) do
/// nothing: a grant rests on what was true, and approved, when it was made.
pub(super) const fn effect(kind: EventKind) -> Effect {
    match kind {
        EventKind::SessionRevoked
        | EventKind::CredentialEnded
        | EventKind::CredentialCompromised
        | EventKind::AccountDisabled
        | EventKind::AccountPurged => Effect::End,
        EventKind::CredentialChanged | EventKind::AssuranceLowered | EventKind::CredentialChangeRequired => {
            Effect::Suspend
        }
        EventKind::Verification | EventKind::StreamUpdated | EventKind::Other => Effect::Nothing,
    }
}

pub(super) fn of(event: &SecurityEvent, subjects: &SubjectMapping) -> SignalEvent {
    SignalEvent {
        uri: event.uri.clone(),
        effect: effect(event.kind),
        since: event.since,
        idp: subjects.issuer.clone(),
        subjects: subjects.named(&event.subject),
    }
}

/// What is counted of an event that came for the first time.
pub(super) fn outcome(kind: EventKind, outcome: &EventOutcome) -> Outcome {
    match effect(kind) {
        Effect::Nothing => Outcome::Noted,
        Effect::End | Effect::Suspend if !outcome.known => Outcome::UnknownPerson,
        Effect::End | Effect::Suspend => Outcome::Applied,
    }
}
