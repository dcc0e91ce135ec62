//! Stopping a service, or everything, until somebody lifts it again.
//!
//! Many may stop, few may open: a freeze costs some overrides, a lift may cost what the freeze was for.

use super::Workflow;
use super::revoke::{check_note, needs_note};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::ServiceName;
use crate::identity::Verified;
use crate::store::{FreezeLifted, FreezeOutcome};

impl Workflow {
    /// # Errors
    /// Not permitted, no such service, no note or one that is too long.
    pub async fn freeze(
        &self,
        caller: &Verified,
        service: Option<&ServiceName>,
        note: &str,
    ) -> Result<FreezeOutcome, Refusal> {
        if !self.may_freeze(caller) {
            return Err(Refusal::new(Cause::NotPermitted, "admins, revokers and freezers may freeze"));
        }
        check_note(Some(note))?;
        needs_note(false, Some(note))?;
        service.map_or(Ok(()), |service| self.check_service(service))?;
        let outcome = self.store.freeze(service, &caller.person, Some(note)).await?;
        if let FreezeOutcome::Frozen(freeze) = &outcome {
            self.metrics.revocations.with_label_values(&["freeze"]).inc();
            tracing::warn!(service = named(service), revision = freeze.revision, "frozen");
        }
        Ok(outcome)
    }

    /// A service that is no longer configured can still be lifted.
    ///
    /// # Errors
    /// Not permitted, or nothing of that name is frozen.
    pub async fn lift(&self, caller: &Verified, service: Option<&ServiceName>) -> Result<FreezeLifted, Refusal> {
        if !self.is_admin(caller) {
            return Err(Refusal::new(Cause::NotPermitted, "only admins lift a freeze"));
        }
        let lifted = self.store.lift_freeze(service, &caller.person).await?;
        let lifted = lifted.ok_or_else(|| Refusal::new(Cause::NotFound, "no such freeze stands"))?;
        tracing::warn!(service = named(service), revision = lifted.revision, "no longer frozen");
        Ok(lifted)
    }
}

fn named(service: Option<&ServiceName>) -> &str {
    service.map_or("everything", ServiceName::as_str)
}
