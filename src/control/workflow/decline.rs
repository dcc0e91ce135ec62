//! A request that comes to nothing: denied by somebody who could have approved it, or taken back by its own person.

use super::Workflow;
use super::approve::{answered, check_may_answer, check_waits};
use super::request::kept_id;
use super::revoke::check_note;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::ElevationId;
use crate::identity::Verified;
use crate::store::{Answered, OnceKey};

impl Workflow {
    /// # Errors
    /// The refusal to answer with.
    pub async fn deny(
        &self,
        caller: &Verified,
        id: &ElevationId,
        note: &str,
        once: Option<OnceKey>,
    ) -> Result<ElevationId, Refusal> {
        check_note(Some(note))?;
        if note.trim().is_empty() {
            return Err(Refusal::new(Cause::NoteMissing, "the person who asked is owed a reason"));
        }
        let record = self.visible_elevation(caller, id).await?;
        if let Some(before) = self.before(caller, once.as_ref()).await? {
            return Ok(before);
        }
        check_may_answer(&self.rules(), caller, &record)?;
        check_waits(&record)?;
        let denied = self.store.deny(id, &caller.person, note, once.as_ref()).await?;
        self.told_ended(id, denied, "denied")
    }

    /// # Errors
    /// The refusal to answer with.
    pub async fn withdraw(
        &self,
        caller: &Verified,
        id: &ElevationId,
        once: Option<OnceKey>,
    ) -> Result<ElevationId, Refusal> {
        let record = self.visible_elevation(caller, id).await?;
        if let Some(before) = self.before(caller, once.as_ref()).await? {
            return Ok(before);
        }
        if record.elevation.person != caller.person {
            return Err(Refusal::new(Cause::NotPermitted, "only the person who asked can take a request back"));
        }
        check_waits(&record)?;
        let withdrawn = self.store.withdraw(id, &caller.person, once.as_ref()).await?;
        self.told_ended(id, withdrawn, "withdrawn")
    }

    async fn before(&self, caller: &Verified, once: Option<&OnceKey>) -> Result<Option<ElevationId>, Refusal> {
        let Some(once) = once else { return Ok(None) };
        self.store.kept(&caller.person, once).await?.map(kept_id).transpose()
    }

    fn told_ended(&self, id: &ElevationId, ended: Answered, how: &'static str) -> Result<ElevationId, Refusal> {
        match ended {
            Answered::Done { .. } => {
                self.metrics.elevations.with_label_values(&[how]).inc();
                tracing::info!(elevation = %id, "elevation {how}");
                Ok(id.clone())
            }
            other => answered(other),
        }
    }
}
