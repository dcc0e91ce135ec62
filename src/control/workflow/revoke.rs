//! Ending a grant early: by its own person, or by those who may end any.

use super::Workflow;
use super::request::kept_id;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::GrantId;
use crate::identity::Verified;
use crate::store::{GrantRecord, OnceKey, RevokeOutcome};
use crate::wire::api::GrantState;

/// Greatest length of a note, in characters.
pub const NOTE_CHARS_MAX: usize = 500;

impl Workflow {
    /// # Errors
    /// Not found, not permitted (an auditor sees but may not end), ended already, or the note is too long.
    pub async fn revoke(
        &self,
        caller: &Verified,
        id: &GrantId,
        note: Option<&str>,
        once: Option<OnceKey>,
    ) -> Result<GrantRecord, Refusal> {
        check_note(note)?;
        let record = self.visible_grant(caller, id).await?;
        if record.grant.person != caller.person && !self.revokes_all(caller) {
            return Err(Refusal::new(Cause::NotPermitted, "you may see this grant, but not end it"));
        }
        needs_note(record.grant.person == caller.person, note)?;
        match self.store.revoke_once(id, &caller.person, note, once.as_ref()).await? {
            RevokeOutcome::Revoked(record) => {
                self.metrics.grants_ended.with_label_values(&["revoked"]).inc();
                tracing::info!(grant = %id, revision = record.revision, "grant revoked");
                Ok(*record)
            }
            RevokeOutcome::Ended(record) => {
                Err(Refusal::new(Cause::GrantEnded, ended(&record)).with_state(record.state.as_str()))
            }
            RevokeOutcome::Kept(kept) => self.visible_grant(caller, &kept_id(kept)?).await,
            RevokeOutcome::Unknown => Err(Refusal::not_found()),
        }
    }
}

pub(super) fn check_note(note: Option<&str>) -> Result<(), Refusal> {
    if note.is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
        return Err(Refusal::new(Cause::NoteTooLong, format!("a note has at most {NOTE_CHARS_MAX} characters")));
    }
    Ok(())
}

/// Whose own it is need not say why they end it.
pub(super) fn needs_note(is_own: bool, note: Option<&str>) -> Result<(), Refusal> {
    if is_own || note.is_some_and(|note| !note.trim().is_empty()) {
        return Ok(());
    }
    Err(Refusal::new(Cause::NoteMissing, "whoever ends what is not their own says why"))
}

fn ended(record: &GrantRecord) -> String {
    let how = match record.state {
        GrantState::Active => "is active",
        GrantState::Expired => "expired",
        GrantState::Revoked => "was revoked",
        GrantState::UsedUp => "was used up",
    };
    let at = record.ended.as_ref().map_or(record.changed, |end| end.at);
    format!("the grant {how} at {}", at.rfc3339())
}
