//! A human asks. In a tier without approvals the request is approved as it is made, and the grant begins at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Workflow;
use super::check::{Terms, check};
use crate::control::keys::KeysError;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{
    BootTime, Elevation, ElevationId, ElevationState, Grant, GrantId, Justification, Origin, Person, WallTime,
};
use crate::identity::Verified;
use crate::ledger::Refused;
use crate::ledger::entry::Draft;
use crate::policy::Asker;
use crate::store::{Created, ElevationRecord, NewGrant, OnceKey};
use crate::wire::api::ElevationRequest;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Made,
    /// The same request came before under the same key.
    MadeBefore,
}

impl Workflow {
    /// Checks the request, and stores elevation and grant in one transaction. A refused attempt is recorded, within
    /// each person's budget.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn request(
        &self,
        caller: &Verified,
        asked: &ElevationRequest,
        once: Option<OnceKey>,
    ) -> Result<(ElevationId, Outcome), Refusal> {
        if let Some(once) = &once
            && let Some(before) = self.store.created_before(&caller.person, once).await?
        {
            return repeated(before);
        }
        let asker = Asker::new(caller.groups.iter().cloned(), caller.authentication.clone(), self.clock.wall());
        let terms = match check(&self.rules, &asker, asked.into()) {
            Ok(terms) => terms,
            Err(refusal) => return Err(self.refuse(caller, asked, refusal).await),
        };
        let new = self.draw_up(caller, asked, terms, once).await?;
        let id = new.record.elevation.id.clone();
        match self.store.create(&new).await? {
            Created::New { revision } => {
                self.metrics.grants_issued.inc();
                tracing::info!(elevation = %id, grant = %new.grant.id, revision, "grant issued");
                Ok((id, Outcome::Made))
            }
            before => repeated(before),
        }
    }

    /// Records the attempt. When that fails the caller is told so instead: no record, no answer about the policy.
    async fn refuse(&self, caller: &Verified, asked: &ElevationRequest, refusal: Refusal) -> Refusal {
        self.metrics.elevations_refused.with_label_values(&[refusal.cause.code()]).inc();
        if !self.refused.take(&caller.person, self.clock.boot()) {
            self.metrics.refusals_unrecorded.inc();
            return refusal;
        }
        let entry = Draft::elevation_refused(
            refusal.cause.code(),
            Refused {
                service: &asked.service,
                resources: &asked.resources,
                actions: &asked.actions,
                reason: asked.reason.as_str(),
                ticket: asked.ticket.as_str(),
                person: &caller.person,
            },
        );
        match self.store.record(entry).await {
            Ok(_) => refusal,
            Err(error) => error.into(),
        }
    }

    async fn draw_up(
        &self,
        caller: &Verified,
        asked: &ElevationRequest,
        terms: Terms<'_>,
        once: Option<OnceKey>,
    ) -> Result<NewGrant, KeysError> {
        let now = self.clock.wall();
        let justification = Justification { reason: asked.reason.clone(), ticket: asked.ticket.clone() };
        let (role, tier) = (terms.tier.role.clone(), terms.tier.name.clone());
        // Whole seconds, rounded down: a grant has begun when it is issued.
        let begins = WallTime::from_unix_s(now.unix_s());
        let grant = Grant {
            id: GrantId::from_random(random_bits()?),
            service: asked.service.clone(),
            person: caller.person.clone(),
            idp: caller.principal.issuer.clone(),
            authentication: caller.authentication.clone(),
            role: role.clone(),
            scope: terms.scope.clone(),
            binding: terms.binding,
            justification: justification.clone(),
            issued: begins,
            not_before: begins,
            expires: begins.plus(terms.duration),
            max_uses: terms.max_uses,
            staleness_max: terms.tier.staleness_max,
            policy_revision: self.rules.revision,
            approvals: Vec::new(),
            origin: Origin::ControlPlane,
        };
        let elevation = Elevation {
            id: ElevationId::from_random(random_bits()?),
            service: asked.service.clone(),
            person: caller.person.clone(),
            role,
            scope: terms.scope,
            justification,
            duration: terms.duration,
            requested: now,
            state: ElevationState::Approved,
            grant: Some(grant.id.clone()),
        };
        let issuer = self.issuer.to_string();
        let token = self.keys.mint(&grant, &issuer).await?;
        Ok(NewGrant { record: ElevationRecord { elevation, tier }, grant, issuer, token, once })
    }
}

fn repeated(before: Created) -> Result<(ElevationId, Outcome), Refusal> {
    match before {
        Created::Before(id) => Ok((id, Outcome::MadeBefore)),
        Created::KeyReused | Created::New { .. } => {
            Err(Refusal::new(Cause::KeyReused, "the first request under this key had another body"))
        }
    }
}

fn random_bits() -> Result<u64, KeysError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| crate::token::KeyError::Generate)?;
    Ok(u64::from_be_bytes(bytes))
}

/// How many refused attempts of one person are recorded in a span of time; further ones are only counted.
#[derive(Debug, Default)]
pub struct RefusedBudget {
    taken: Mutex<HashMap<Person, (BootTime, u32)>>,
}

impl RefusedBudget {
    pub const RECORDED_MAX: u32 = 60;
    pub const SPAN: Duration = Duration::from_secs(3600);
    /// People remembered at once; all are authenticated.
    const PEOPLE_MAX: usize = 10_000;

    fn take(&self, person: &Person, now: BootTime) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, (since, _)| now.since(*since) < Self::SPAN);
        if taken.len() >= Self::PEOPLE_MAX && !taken.contains_key(person) {
            return false;
        }
        let (_, count) = taken.entry(person.clone()).or_insert((now, 0));
        *count = count.saturating_add(1);
        *count <= Self::RECORDED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_s_refusals_are_recorded_within_a_budget() {
        let budget = RefusedBudget::default();
        let (alice, bob): (Person, Person) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        for _ in 0..RefusedBudget::RECORDED_MAX {
            assert!(budget.take(&alice, BootTime::ZERO));
        }
        assert!(!budget.take(&alice, BootTime::ZERO));
        assert!(budget.take(&bob, BootTime::ZERO), "a budget of one's own");
        assert!(budget.take(&alice, BootTime::ZERO.plus(RefusedBudget::SPAN)));
    }
}
