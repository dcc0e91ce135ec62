//! The policy and the service files change as a whole: checked, shown for what it would end, then the next revision.
//!
//! Where the policy in force wants a second administrator, one proposes and another confirms; a policy that no longer
//! wants one is confirmed too. What a change no longer allows ends in the transaction that applies it.

use super::Workflow;
use super::grant::{grant_facts, random_bits};
use super::revoke::check_note;
use crate::config::{ConfigError, digest_hex};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Bounds, ProposalId, ProposalState, WallTime};
use crate::identity::Verified;
use crate::policy::Rules;
use crate::policy::standing::still_allowed;
use crate::store::{
    AppliedFile, LiveGrant, NoLongerAllowed, PROPOSALS_OPEN_MAX, PolicyChange, PolicyOutcome, Proposal, Proposed,
};

/// Mistakes that a refusal names; the preview names all.
const MISTAKES_TOLD_MAX: usize = 10;

/// The texts of a policy and its services.
#[derive(Debug, Clone)]
pub struct PolicyTexts {
    pub policy: String,
    pub services: Vec<String>,
}

/// What a change would come to.
#[derive(Debug)]
pub struct Preview {
    /// All mistakes; where there are any, nothing else is known.
    pub mistakes: Vec<String>,
    pub ends: Vec<NoLongerAllowed>,
    /// Whether another administrator must confirm it.
    pub second_administrator: bool,
}

/// What a change came to.
#[derive(Debug)]
pub enum Changed {
    Applied { revision: u64, ended: Vec<NoLongerAllowed> },
    Proposed(ProposalId),
}

impl Workflow {
    /// Administrators and auditors.
    ///
    /// # Errors
    /// Not permitted.
    pub fn check_sees_policy(&self, caller: &Verified) -> Result<(), Refusal> {
        let sees = "the policy's texts are for administrators and auditors";
        if self.sees_all(caller) { Ok(()) } else { Err(Refusal::new(Cause::NotPermitted, sees)) }
    }

    fn check_administers(&self, caller: &Verified) -> Result<(), Refusal> {
        if self.is_admin(caller) {
            return Ok(());
        }
        Err(Refusal::new(Cause::NotPermitted, "the policy is changed by administrators"))
    }

    /// What the texts would come to as the next revision. Nothing is changed.
    ///
    /// # Errors
    /// Not permitted, or the database failed.
    pub async fn preview_policy(&self, caller: &Verified, texts: &PolicyTexts) -> Result<Preview, Refusal> {
        self.check_sees_policy(caller)?;
        let second_administrator = self.rules().policy.second_administrator;
        let rules = match read(self.rules().revision.saturating_add(1), texts) {
            Ok(rules) => rules,
            Err(error) => {
                let mistakes = error.mistakes.iter().map(ToString::to_string).collect();
                return Ok(Preview { mistakes, ends: Vec::new(), second_administrator });
            }
        };
        let ends = self.store.no_longer_allowed(&|live, now| stands(&rules, live, now)).await?;
        Ok(Preview { mistakes: Vec::new(), ends, second_administrator })
    }

    /// Makes the texts the revision after `base`, or a proposal where a second administrator is needed.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn change_policy(
        &self,
        caller: &Verified,
        texts: &PolicyTexts,
        base: u64,
        note: Option<&str>,
    ) -> Result<Changed, Refusal> {
        self.check_administers(caller)?;
        check_note(note)?;
        let rules = read(base.saturating_add(1), texts).map_err(|error| invalid(&error))?;
        let change = PolicyChange {
            text: texts.policy.clone(),
            digest: rules.policy.digest.clone(),
            services: files(&rules, texts),
            base,
            by: caller.person.clone(),
            note: note.map(str::to_owned),
        };
        self.reload_rules().await?;
        if !self.rules().policy.second_administrator {
            return self.apply(change, None, &rules).await;
        }
        let id = ProposalId::from_random(random_bits()?);
        match self.store.propose_policy(&id, &change).await? {
            Proposed::Open => Ok(Changed::Proposed(id)),
            Proposed::Stale { .. } => Err(moved_on()),
            Proposed::TooMany => {
                Err(Refusal::new(Cause::ProposalsTooMany, format!("{PROPOSALS_OPEN_MAX} proposals are open")))
            }
        }
    }

    /// Another administrator than the one who proposed it confirms an open proposal.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn confirm_policy(&self, caller: &Verified, id: &ProposalId) -> Result<Changed, Refusal> {
        self.check_administers(caller)?;
        let proposal = self.open_proposal(id).await?;
        if proposal.change.by == caller.person {
            let detail = "whoever proposed it can't confirm it, under any login";
            return Err(Refusal::new(Cause::SecondAdministrator, detail));
        }
        let change = proposal.change;
        let services = change.services.iter().map(|file| file.text.clone()).collect();
        let texts = PolicyTexts { policy: change.text.clone(), services };
        let rules = read(change.base.saturating_add(1), &texts).map_err(|error| invalid(&error))?;
        self.apply(change, Some((id, caller)), &rules).await
    }

    /// Any administrator takes an open proposal back.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn withdraw_policy(&self, caller: &Verified, id: &ProposalId) -> Result<(), Refusal> {
        self.check_administers(caller)?;
        self.open_proposal(id).await?;
        if self.store.withdraw_proposal(id, &caller.person).await? { Ok(()) } else { Err(decided()) }
    }

    async fn open_proposal(&self, id: &ProposalId) -> Result<Proposal, Refusal> {
        let proposal = self.store.proposal(id).await?.ok_or_else(Refusal::not_found)?;
        match proposal.state {
            ProposalState::Open => Ok(proposal),
            state @ (ProposalState::Applied | ProposalState::Withdrawn) => Err(decided().with_state(state.as_str())),
        }
    }

    async fn apply(
        &self,
        change: PolicyChange,
        confirms: Option<(&ProposalId, &Verified)>,
        rules: &Rules,
    ) -> Result<Changed, Refusal> {
        let confirms = confirms.map(|(id, caller)| (id, &caller.person));
        let still = |live: &LiveGrant, now| stands(rules, live, now);
        match self.store.apply_policy(&change, confirms, &still).await? {
            PolicyOutcome::Applied { revision, ended } => {
                let count = u64::try_from(ended.len()).unwrap_or(u64::MAX);
                self.metrics.grants_ended.with_label_values(&["revoked"]).inc_by(count);
                tracing::info!(revision, ended = count, "policy applied");
                self.reload_rules().await?;
                Ok(Changed::Applied { revision, ended })
            }
            PolicyOutcome::Stale { .. } => Err(moved_on()),
            PolicyOutcome::Decided => Err(decided()),
        }
    }
}

/// Names of service files in mistakes: what the file says of itself is not known before it is read.
fn read(revision: u64, texts: &PolicyTexts) -> Result<Rules, ConfigError> {
    let names: Vec<String> = (0..texts.services.len()).map(|number| format!("services[{number}]")).collect();
    let services: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(texts.services.iter().map(String::as_str)).collect();
    Rules::read(revision, &texts.policy, &services)
}

fn files(rules: &Rules, texts: &PolicyTexts) -> Vec<AppliedFile> {
    let named = |text: &String| {
        let digest = digest_hex(text);
        let service = rules.services.values().find(|service| service.digest == digest)?;
        Some(AppliedFile { name: service.name.to_string(), text: text.clone(), digest })
    };
    texts.services.iter().filter_map(named).collect()
}

/// Why the rules would end the grant.
fn stands(rules: &Rules, live: &LiveGrant, now: WallTime) -> Result<(), String> {
    let (grant, elevation) = (&live.grant.grant, &live.elevation);
    let admitted_by = elevation.admitted_by.clone().ok_or("it is not known by what its tier was open")?;
    let bounds = Bounds { scope: grant.scope.clone(), max_uses: grant.max_uses, ..Bounds::of(&elevation.elevation) };
    let facts = grant_facts(elevation, admitted_by, bounds, grant.expires);
    still_allowed(rules, &facts, now).map_err(|why| why.to_string())
}

fn invalid(error: &ConfigError) -> Refusal {
    let mut told: Vec<String> = error.mistakes.iter().take(MISTAKES_TOLD_MAX).map(ToString::to_string).collect();
    let rest = error.mistakes.len().saturating_sub(told.len());
    if rest > 0 {
        told.push(format!("and {rest} more"));
    }
    Refusal::new(Cause::PolicyInvalid, told.join("; "))
}

fn moved_on() -> Refusal {
    Refusal::new(Cause::PreconditionFailed, "another revision was applied meanwhile: look at it, then apply anew")
}

fn decided() -> Refusal {
    Refusal::new(Cause::ProposalDecided, "it was applied or withdrawn before")
}
