//! Whether what a caller has proven still counts, after what was reported of them; and taking up what was suspended.

use std::time::Duration;

use super::Workflow;
use crate::config::policy::StepUp;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::identity::Verified;
use crate::store::GrantRecord;

impl Workflow {
    /// Lets the caller pass if they have authenticated after all that was reported of them. Grants of theirs that were
    /// suspended for that are taken up again.
    ///
    /// # Errors
    /// A demand for a fresh authentication (RFC 9470); or the database failed: then nothing is known.
    pub async fn admit(&self, caller: &Verified) -> Result<(), Refusal> {
        let standing = self.store.person_standing(&caller.principal, &caller.person).await?;
        if standing.deactivated {
            return Err(Refusal::new(Cause::IdentityInvalid, "the account was deactivated"));
        }
        if !standing.known {
            self.store.meet(&caller.principal, &caller.person).await?;
        }
        self.is_fresh(caller, standing.since)?;
        if standing.suspended {
            self.take_up(caller, standing.since).await;
        }
        Ok(())
    }

    /// # Errors
    /// As [`Workflow::admit`].
    pub(super) fn is_fresh(&self, caller: &Verified, since: Option<WallTime>) -> Result<(), Refusal> {
        let Some(since) = since else { return Ok(()) };
        if caller.proven_at().is_some_and(|at| at > since) {
            return Ok(());
        }
        let detail = "your identity provider reported a change of your session or credential: sign in again";
        let age = self.clock.wall().since(since).max(Duration::from_secs(1));
        let step_up = StepUp { acr: Default::default(), max_age: Some(age) };
        Err(Refusal { step_up: Some(step_up), ..Refusal::new(Cause::StepUp, detail) })
    }

    /// What is demanded of whoever wants to have more of a grant that was suspended at `since`.
    pub(super) fn suspended(&self, since: WallTime, tier: &str) -> Refusal {
        let rules = self.rules();
        let tier = rules.policy.tiers.iter().find(|known| known.name == tier);
        let acr = tier.and_then(|tier| tier.step_up.as_ref()).map(|step_up| step_up.acr.clone()).unwrap_or_default();
        let age = self.clock.wall().since(since).max(Duration::from_secs(1));
        let detail = "the grant is suspended, because your identity provider reported a change: sign in again";
        Refusal { step_up: Some(StepUp { acr, max_age: Some(age) }), ..Refusal::new(Cause::StepUp, detail) }
    }

    /// Failing does no harm: the grants stay suspended, and the next call tries again.
    async fn take_up(&self, caller: &Verified, since: Option<WallTime>) {
        match self.try_to_take_up(caller, since).await {
            Ok(0) => {}
            Ok(resumed) => {
                self.metrics.grants_resumed.inc_by(resumed);
                tracing::info!(resumed, "grants are taken up again: their person has authenticated afresh");
            }
            Err(error) => tracing::error!(error = %error_chain(&error), "suspended grants could not be taken up"),
        }
    }

    async fn try_to_take_up(
        &self,
        caller: &Verified,
        since: Option<WallTime>,
    ) -> Result<u64, crate::store::StoreError> {
        // Unlike a new request: whether a token that says nothing of it is fresh, nobody can tell.
        let is_later = |at: WallTime| since.is_none_or(|since| at > since);
        if !caller.authentication.auth_time.is_some_and(is_later) {
            return Ok(0);
        }
        let suspended = self.store.suspended(&caller.person).await?;
        let ids: Vec<_> = suspended
            .into_iter()
            .filter(|record| self.may_take_up(caller, record))
            .map(|record| record.grant.id)
            .collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let resumed = self.store.resume(&caller.person, &caller.authentication, &ids).await?;
        Ok(u64::try_from(resumed.len()).unwrap_or(u64::MAX))
    }

    /// By the same issuer as before, and as strongly as the grant's tier demands now.
    fn may_take_up(&self, caller: &Verified, record: &GrantRecord) -> bool {
        let (rules, now) = (self.rules(), self.clock.wall());
        let tier = rules.policy.tiers.iter().find(|tier| tier.name == record.tier);
        let is_met = |step_up: &StepUp| step_up.is_met_by(&caller.authentication, now);
        record.grant.idp == caller.principal.issuer && tier.is_some_and(|tier| tier.step_up.as_ref().is_none_or(is_met))
    }
}
