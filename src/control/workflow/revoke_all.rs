//! Ending many grants at once: all of a person, on a resource, of a service, or all there are.

use super::Workflow;
use super::request::kept_id;
use super::revoke::{check_note, needs_note};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{RevocationId, Selector, ServiceName};
use crate::error_chain::error_chain;
use crate::identity::Verified;
use crate::store::{GrantRecord, OnceKey, OrderOutcome, Progress, RevocationRecord};

/// Grants shown of what would end.
const SHOWN_MAX: usize = 50;

impl Workflow {
    /// Ends everything that the selector names and that is live now. When this returns the order is durable; where the
    /// database fails in the middle of a large one, the upkeep of any replica carries it on.
    ///
    /// # Errors
    /// Not permitted, no such service, no note or one that is too long; for one grant as [`Workflow::revoke`].
    pub async fn order(
        &self,
        caller: &Verified,
        selector: &Selector,
        note: Option<&str>,
        once: Option<OnceKey>,
    ) -> Result<RevocationRecord, Refusal> {
        let id = match selector.grant() {
            Some(grant) => {
                let ended = self.revoke(caller, grant, note, once).await?.ended;
                ended.and_then(|end| end.revocation).ok_or_else(Refusal::not_found)?
            }
            None => self.order_many(caller, selector, note, once).await?,
        };
        self.store.revocation(&id).await?.ok_or_else(Refusal::not_found)
    }

    async fn order_many(
        &self,
        caller: &Verified,
        selector: &Selector,
        note: Option<&str>,
        once: Option<OnceKey>,
    ) -> Result<RevocationId, Refusal> {
        check_note(note)?;
        self.check_order(caller, selector)?;
        needs_note(selector.person() == Some(&caller.person), note)?;
        match self.store.order(selector, &caller.person, note, once.as_ref()).await? {
            OrderOutcome::Kept(kept) => kept_id(kept),
            OrderOutcome::Ordered(id, progress) => {
                self.metrics.revocations.with_label_values(&[selector.kind()]).inc();
                tracing::warn!(revocation = %id, of = selector.kind(), ended = progress.ended, "grants revoked");
                self.count_ended(progress);
                if progress.open {
                    self.carry_on(&id).await;
                }
                Ok(id)
            }
        }
    }

    /// How many grants would end at this moment, and the first of them.
    ///
    /// # Errors
    /// As [`Workflow::order`], but for the note.
    pub async fn preview(&self, caller: &Verified, selector: &Selector) -> Result<(usize, Vec<GrantRecord>), Refusal> {
        if let Some(grant) = selector.grant() {
            self.visible_grant(caller, grant).await?;
        } else {
            self.check_order(caller, selector)?;
        }
        let ids = self.store.would_end(selector).await?;
        let mut first = Vec::new();
        for id in ids.iter().take(SHOWN_MAX) {
            first.extend(self.store.grant(id).await?);
        }
        Ok((ids.len(), first))
    }

    fn check_order(&self, caller: &Verified, selector: &Selector) -> Result<(), Refusal> {
        if matches!(selector, Selector::Freeze { .. }) {
            return Err(Refusal::new(Cause::MalformedRequest, "a freeze is put at /v1/freezes"));
        }
        if selector.person() != Some(&caller.person) && !self.revokes_all(caller) {
            return Err(Refusal::new(Cause::NotPermitted, "you may end your own grants, not those of others"));
        }
        selector.service().map_or(Ok(()), |service| self.check_service(service))
    }

    /// A misspelt name would end, or stop, nothing, and look as if it had.
    pub(super) fn check_service(&self, service: &ServiceName) -> Result<(), Refusal> {
        if self.rules().services.contains_key(service) {
            return Ok(());
        }
        Err(Refusal::new(Cause::UnknownService, format!("no service is called {service}")))
    }

    /// Carries an order on to its end, as far as the database goes along.
    pub(super) async fn carry_on(&self, id: &RevocationId) {
        loop {
            match self.store.carry_on(id).await {
                Ok(progress) => {
                    self.count_ended(progress);
                    if !progress.open {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(revocation = %id, error = %error_chain(&error), "a revocation is carried on later");
                    return;
                }
            }
        }
    }

    fn count_ended(&self, progress: Progress) {
        let ended = u64::try_from(progress.ended).unwrap_or(u64::MAX);
        self.metrics.grants_ended.with_label_values(&["revoked"]).inc_by(ended);
    }
}
