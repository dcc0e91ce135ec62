//! A human asks. In a tier without approvals the request is approved as it is made, and the grant begins at once;
//! otherwise it waits for its approvals.
//!
//! The policy's verdict is made outside the transaction, on what was read; the transaction holds only if that still
//! stands, so that neither a policy that changed nor a second request of the same person slips by.

use super::Workflow;
use super::check::{Terms, check};
use super::claim::{Bindable, Proven, replayed};
use super::grant::random_bits;
use crate::config::policy::{Team, Tier};
use crate::control::keys::KeysError;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Bounds, Elevation, ElevationId, ElevationState, Justification, WallTime};
use crate::identity::Verified;
use crate::ledger::Refused;
use crate::ledger::entry::Draft;
use crate::policy::{AdmittedBy, Asker, Rules};
use crate::store::{Basis, Created, Decided, ElevationRecord, Kept, NewElevation, OnceKey};
use crate::wire::api::ElevationRequest;

/// How often a decision is made anew because what it rested on had changed.
pub(super) const ATTEMPTS_MAX: u32 = 5;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Made,
    /// The same call came before under the same key.
    MadeBefore,
}

impl Workflow {
    /// Checks the request, and stores it in one transaction, with the grant where nobody has to approve it. A refused
    /// attempt is recorded, within each person's budget.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn request(
        &self,
        caller: &Verified,
        asked: &ElevationRequest,
        proven: &Proven,
        once: Option<OnceKey>,
    ) -> Result<(ElevationId, Outcome), Refusal> {
        if let Some(once) = &once
            && let Some(kept) = self.store.kept(&caller.person, once).await?
        {
            return repeated(kept);
        }
        for _ in 0..ATTEMPTS_MAX {
            let rules = self.rules();
            let basis = self.store.basis(&caller.person, ended_since(&rules, self.clock.wall())).await?;
            if basis.policy_revision != rules.revision {
                self.reload_rules().await?;
                continue;
            }
            // A signal may have come since the caller was let in.
            self.is_fresh(caller, basis.fresh_since)?;
            let asker = Asker { history: basis.history.clone(), ..self.asker(caller) };
            let terms = match check(&rules, &asker, asked.into()) {
                Ok(terms) => terms,
                Err(refusal) => return Err(self.refuse(caller, asked, refusal).await),
            };
            let bindable = proven.for_binding(terms.binding)?;
            let new = self.draw_up(caller, asked, &terms, &rules, (basis, bindable, once.clone())).await?;
            match self.store.create(&new).await? {
                Created::Stale => {}
                Created::Replayed => return Err(replayed()),
                Created::Kept(kept) => return repeated(kept),
                Created::Frozen => return Err(self.refuse(caller, asked, frozen()).await),
                Created::Waiting => return Ok((self.told_waiting(&new), Outcome::Made)),
                Created::New { revision } => return Ok((self.told_granted(&new, revision), Outcome::Made)),
            }
        }
        Err(contended())
    }

    fn told_waiting(&self, new: &NewElevation) -> ElevationId {
        let id = new.record.elevation.id.clone();
        self.metrics.elevations.with_label_values(&["requested"]).inc();
        tracing::info!(elevation = %id, "elevation requested");
        id
    }

    fn told_granted(&self, new: &NewElevation, revision: Option<u64>) -> ElevationId {
        let id = new.record.elevation.id.clone();
        self.metrics.elevations.with_label_values(&["requested"]).inc();
        self.metrics.elevations.with_label_values(&["approved"]).inc();
        self.metrics.grants_issued.inc();
        let grant = new.grant.as_ref().map(|new| new.grant.id.to_string()).unwrap_or_default();
        match revision {
            Some(revision) => tracing::info!(elevation = %id, grant, revision, "grant issued"),
            None => tracing::info!(elevation = %id, grant, "grant issued; it waits to be claimed"),
        }
        id
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
        terms: &Terms<'_>,
        rules: &Rules,
        (basis, bindable, once): (Basis, Option<Bindable>, Option<OnceKey>),
    ) -> Result<NewElevation, KeysError> {
        let now = self.clock.wall();
        let waits = terms.approvals.is_wanted();
        let (confirmation, proof) = bindable.unzip();
        let mut elevation = elevation(caller, asked, terms, rules.revision, now)?;
        elevation.confirmation = confirmation;
        let grant = if waits {
            None
        } else {
            let bounds = Bounds::of(&elevation);
            let grant = self.grant(&elevation, bounds, Vec::new(), rules.revision, terms.review_due).await?;
            elevation.grant = Some(grant.grant.id.clone());
            Some(grant)
        };
        let record = ElevationRecord {
            elevation,
            tier: terms.tier.name.clone(),
            admitted_by: Some(terms.admitted_by.clone()),
            lapses: waits.then(|| now.plus(terms.lapse)),
            approvals: Vec::new(),
            decided: (!waits).then_some(Decided { at: now, by: None, note: None }),
            version: 1,
        };
        let stood_in = self.stood_in(caller, &terms.admitted_by);
        if let (Some(_), AdmittedBy::OnCall(schedule)) = (&stood_in, &terms.admitted_by) {
            tracing::warn!(schedule, "who is on call is not known: a group stands in");
        }
        let owns = |team: &&Team| team.services.contains(&record.elevation.service);
        let team = rules.policy.teams.iter().find(owns).map(|team| team.name.clone());
        Ok(NewElevation { record, stood_in, team, grant, proof: proof.flatten(), once, basis })
    }
}

fn elevation(
    caller: &Verified,
    asked: &ElevationRequest,
    terms: &Terms<'_>,
    policy_revision: u64,
    now: WallTime,
) -> Result<Elevation, KeysError> {
    let state = if terms.approvals.is_wanted() { ElevationState::Requested } else { ElevationState::Approved };
    Ok(Elevation {
        id: ElevationId::from_random(random_bits()?),
        service: asked.service.clone(),
        person: caller.person.clone(),
        idp: caller.principal.issuer.clone(),
        authentication: caller.authentication.clone(),
        role: terms.tier.role.clone(),
        scope: terms.scope.clone(),
        justification: Justification { reason: asked.reason.clone(), ticket: asked.ticket.clone() },
        binding: terms.binding,
        confirmation: None,
        duration: terms.duration,
        max_uses: terms.max_uses,
        staleness_max: terms.tier.staleness_max,
        policy_revision,
        requested: now,
        state,
        grant: None,
    })
}

/// Earlier ends limit nobody.
fn ended_since(rules: &Rules, now: WallTime) -> WallTime {
    now.minus(rules.policy.tiers.iter().map(|tier: &Tier| tier.cool_down).max().unwrap_or_default())
}

fn repeated(kept: Kept) -> Result<(ElevationId, Outcome), Refusal> {
    kept_id(kept).map(|id| (id, Outcome::MadeBefore))
}

/// What came of the same call before.
pub(super) fn kept_id<T: std::str::FromStr>(kept: Kept) -> Result<T, Refusal> {
    let reused = || Refusal::new(Cause::KeyReused, "the first request under this key was another one");
    match kept {
        Kept::Before(id) => id.parse().map_err(|_| reused()),
        Kept::Reused => Err(reused()),
    }
}

pub(super) fn frozen() -> Refusal {
    Refusal::new(Cause::Frozen, "overrides of this service are frozen: nothing is granted until that is lifted")
}

/// What was decided on changed each time.
pub(super) fn contended() -> Refusal {
    Refusal::new(Cause::Overloaded, "what this rests on keeps changing")
}
