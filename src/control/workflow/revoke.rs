//! Ending a grant early: by its own person, or by those who may end any.

use super::Workflow;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::GrantId;
use crate::identity::Verified;
use crate::store::{GrantRecord, RevokeOutcome};
use crate::wire::api::GrantState;

/// Greatest length of a note, in characters.
pub const NOTE_CHARS_MAX: usize = 500;

impl Workflow {
    /// # Errors
    /// Not found, not permitted (an auditor sees but may not end), ended already, or the note is too long.
    pub async fn revoke(&self, caller: &Verified, id: &GrantId, note: Option<&str>) -> Result<GrantRecord, Refusal> {
        if note.is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
            return Err(Refusal::new(Cause::NoteTooLong, format!("a note has at most {NOTE_CHARS_MAX} characters")));
        }
        let record = self.visible_grant(caller, id).await?;
        if record.grant.person != caller.person && !self.revokes_all(caller) {
            return Err(Refusal::new(Cause::NotPermitted, "you may see this grant, but not end it"));
        }
        match self.store.revoke(id, &caller.person, note).await? {
            RevokeOutcome::Revoked(record) => {
                self.metrics.grants_ended.with_label_values(&["revoked"]).inc();
                tracing::info!(grant = %id, revision = record.revision, "grant revoked");
                Ok(*record)
            }
            RevokeOutcome::Ended(record) => Err(Refusal::new(Cause::GrantEnded, ended(&record))),
            RevokeOutcome::Unknown => Err(Refusal::not_found()),
        }
    }
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
