//! Other humans agree. Each approval is stored; the one that completes the set makes the grant.
//!
//! What an approver saw, what the policy says now and what the others agreed to are held together outside the
//! transaction, which holds only if none of it has changed.

use super::Workflow;
use super::grant::grant_facts;
use super::request::{ATTEMPTS_MAX, contended, frozen, kept_id};
use crate::config::policy::{Approvals, Tier};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Approval, Bounds, ElevationId, ElevationState, Narrowing, NarrowingError, Person, WallTime};
use crate::identity::Verified;
use crate::policy::Rules;
use crate::policy::standing::{Why, still_allowed};
use crate::store::{Answered, ElevationRecord, NewApproval, NewGrant, OnceKey, Past, Seen};

/// Earlier grants that an approver is shown.
const PAST_SHOWN: u32 = 5;

/// A request as an approver sees it.
#[derive(Debug)]
pub struct Sight {
    pub record: ElevationRecord,
    /// What the policy in force demands; `None`: its tier is gone.
    pub wanted: Option<Approvals>,
    pub policy_revision: u64,
    /// What would be granted now, after the narrowings so far.
    pub bounds: Bounds,
    /// Shown to those who may approve.
    pub past: Option<Past>,
}

/// What was seen, in one word; an error where it was something else.
pub type CheckSeen<'a> = dyn Fn(Sight) -> Result<String, Refusal> + Send + Sync + 'a;

impl Workflow {
    /// A request as `caller` sees it.
    ///
    /// # Errors
    /// Not found: there is none, or it is not theirs to see.
    pub async fn sight(&self, caller: &Verified, id: &ElevationId) -> Result<Sight, Refusal> {
        let record = self.visible_elevation(caller, id).await?;
        self.seen_by(caller, record, &self.rules()).await
    }

    /// A request in a list: without what the person did before.
    pub fn brief_sight(&self, record: ElevationRecord) -> Sight {
        brief(record, &self.rules())
    }

    /// The record as `caller`, who may see it, sees it by these rules.
    async fn seen_by(&self, caller: &Verified, record: ElevationRecord, rules: &Rules) -> Result<Sight, Refusal> {
        let may_approve = may_approve(rules, caller, &record);
        let past = match may_approve && record.elevation.state == ElevationState::Requested {
            true => Some(self.store.past(&record.elevation.person, PAST_SHOWN).await?),
            false => None,
        };
        Ok(Sight { past, ..brief(record, rules) })
    }

    /// Stores an approval of what `check_seen` accepts as seen.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub async fn approve(
        &self,
        caller: &Verified,
        id: &ElevationId,
        narrowing: &Narrowing,
        check_seen: &CheckSeen<'_>,
        once: Option<OnceKey>,
    ) -> Result<ElevationId, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let rules = self.rules();
            let record = self.visible_elevation(caller, id).await?;
            if let Some(once) = &once
                && let Some(kept) = self.store.kept(&caller.person, once).await?
            {
                return kept_id(kept);
            }
            if self.store.policy_revision().await? != rules.revision {
                self.reload_rules().await?;
                continue;
            }
            check_may_answer(&rules, caller, &record)?;
            check_waits(&record)?;
            check_step_up(&rules, caller, &record, self.clock.wall())?;
            if record.approvals.iter().any(|approval| approval.person == caller.person) {
                let detail = "you have approved it; it waits for others";
                return Err(Refusal::new(Cause::AlreadyApproved, detail).with_state(record.elevation.state.as_str()));
            }
            let etag = check_seen(self.seen_by(caller, record.clone(), &rules).await?)?;
            let new = self.agree(caller, record, narrowing, &rules, (etag, once.clone())).await?;
            match self.store.approve(&new).await? {
                Answered::Stale => {}
                Answered::Done { revision } => return Ok(self.told_approved(new, revision)),
                other => return answered(other),
            }
        }
        Err(contended())
    }

    async fn agree(
        &self,
        caller: &Verified,
        record: ElevationRecord,
        narrowing: &Narrowing,
        rules: &Rules,
        (etag, once): (String, Option<OnceKey>),
    ) -> Result<NewApproval, Refusal> {
        let tier =
            rules.policy.tier(&record.tier).ok_or_else(|| policy_changed(&Why::TierGone(record.tier.clone())))?;
        let approval = Approval {
            person: caller.person.clone(),
            idp: caller.principal.issuer.clone(),
            groups: caller.groups.iter().filter(|group| tier.approvals.groups.contains(*group)).cloned().collect(),
            narrowing: narrowing.clone(),
            at: self.clock.wall(),
        };
        let seen = Seen { version: record.version, policy_revision: rules.revision };
        let mut agreed = record;
        agreed.approvals.push(approval.clone());
        let bounds = narrowed(&agreed).map_err(refused_narrowing)?;
        let grant = match is_enough(rules, &agreed, &bounds, self.clock.wall()) {
            Ok(true) => Some(self.approved(&agreed, bounds, rules.revision, tier).await?),
            Ok(false) => None,
            Err(why) => return Err(policy_changed(&why)),
        };
        let authentication = caller.authentication.clone();
        Ok(NewApproval { elevation: agreed.elevation.id, approval, authentication, etag, seen, grant, once })
    }

    async fn approved(
        &self,
        agreed: &ElevationRecord,
        bounds: Bounds,
        policy_revision: u64,
        tier: &Tier,
    ) -> Result<NewGrant, Refusal> {
        let approvers: Vec<Person> = agreed.approvals.iter().map(|approval| approval.person.clone()).collect();
        Ok(self.grant(&agreed.elevation, bounds, approvers, policy_revision, tier.review_due).await?)
    }

    fn told_approved(&self, new: NewApproval, revision: Option<u64>) -> ElevationId {
        self.metrics.approvals.inc();
        let elevation = new.elevation;
        if let Some(grant) = &new.grant {
            self.metrics.elevations.with_label_values(&["approved"]).inc();
            self.metrics.grants_issued.inc();
            match revision {
                Some(revision) => tracing::info!(%elevation, grant = %grant.grant.id, revision, "grant issued"),
                None => tracing::info!(%elevation, grant = %grant.grant.id, "grant issued; it waits to be claimed"),
            }
        } else {
            tracing::info!(%elevation, "elevation approved by one; it waits for others");
        }
        elevation
    }
}

fn brief(record: ElevationRecord, rules: &Rules) -> Sight {
    let wanted = rules.policy.tier(&record.tier).map(|tier| tier.approvals.clone());
    let bounds = narrowed(&record).unwrap_or_else(|_| Bounds::of(&record.elevation));
    Sight { record, wanted, policy_revision: rules.revision, bounds, past: None }
}

/// Whether `caller` may approve or deny requests of this tier at all, by the rules in force; never their own.
pub(super) fn may_approve(rules: &Rules, caller: &Verified, record: &ElevationRecord) -> bool {
    let open = |tier: &Tier| tier.approvals.is_open_to(&caller.groups);
    record.elevation.person != caller.person && rules.policy.tier(&record.tier).is_some_and(open)
}

/// INVARIANT: persons are compared, so that no issuer makes somebody else of the one who asked.
pub(super) fn check_may_answer(rules: &Rules, caller: &Verified, record: &ElevationRecord) -> Result<(), Refusal> {
    if record.elevation.person == caller.person {
        return Err(Refusal::new(Cause::OwnRequest, "nobody decides on their own request, under any login"));
    }
    if may_approve(rules, caller, record) {
        return Ok(());
    }
    Err(Refusal::new(Cause::NotPermitted, "you may see this request, but not decide on it"))
}

/// Whether who agrees has authenticated as the tier wants of them.
fn check_step_up(rules: &Rules, caller: &Verified, record: &ElevationRecord, now: WallTime) -> Result<(), Refusal> {
    let step_up = rules.policy.tier(&record.tier).and_then(|tier| tier.approvals.step_up.as_ref());
    match step_up.filter(|step_up| !step_up.is_met_by(&caller.authentication, now)) {
        None => Ok(()),
        Some(step_up) => {
            let detail = format!(
                "the tier \"{}\" wants a stronger or fresher login of those who approve: {step_up}",
                record.tier
            );
            Err(Refusal { step_up: Some(step_up.clone()), ..Refusal::new(Cause::StepUp, detail) })
        }
    }
}

pub(super) fn check_waits(record: &ElevationRecord) -> Result<(), Refusal> {
    match record.elevation.state {
        ElevationState::Requested => Ok(()),
        state => Err(stands(state)),
    }
}

/// 409 with the state that stood in the way.
pub(super) fn stands(state: ElevationState) -> Refusal {
    let how = match state {
        ElevationState::Requested => "waits for approvals",
        ElevationState::Approved => "has been approved",
        ElevationState::Denied => "has been denied",
        ElevationState::Withdrawn => "has been withdrawn",
        ElevationState::Lapsed => "has lapsed: nobody answered in time",
    };
    Refusal::new(Cause::StateConflict, format!("the request {how}")).with_state(state.as_str())
}

/// What remains to be said of an answer that changed nothing.
pub(super) fn answered(answered: Answered) -> Result<ElevationId, Refusal> {
    match answered {
        Answered::Kept(kept) => kept_id(kept),
        Answered::Stands(state) => Err(stands(state)),
        Answered::Frozen => Err(frozen()),
        Answered::Stale => Err(contended()),
        Answered::Unknown | Answered::Done { .. } => Err(Refusal::not_found()),
    }
}

/// What is left of a request after its approvals' narrowings.
fn narrowed(record: &ElevationRecord) -> Result<Bounds, NarrowingError> {
    let asked = Bounds::of(&record.elevation);
    record.approvals.iter().try_fold(asked.clone(), |bounds, approval| bounds.narrowed(&approval.narrowing, &asked))
}

/// Whether the approvals are enough; an error where the rules no longer allow it at all.
fn is_enough(rules: &Rules, record: &ElevationRecord, bounds: &Bounds, now: WallTime) -> Result<bool, Why> {
    let admitted_by = record.admitted_by.clone().ok_or_else(|| Why::TierGone(record.tier.clone()))?;
    let facts = grant_facts(record, admitted_by, bounds.clone(), now.plus(bounds.duration));
    match still_allowed(rules, &facts, now) {
        Ok(()) => Ok(true),
        // The last thing that is asked: all else is as the rules want it.
        Err(Why::Approvals(_)) => Ok(false),
        Err(why) => Err(why),
    }
}

fn policy_changed(why: &Why) -> Refusal {
    Refusal::new(Cause::PolicyChanged, format!("the policy no longer allows this request: {why}"))
}

fn refused_narrowing(error: NarrowingError) -> Refusal {
    let cause = match error {
        NarrowingError::NothingLeft => Cause::NarrowingEmpty,
        NarrowingError::NoTime => Cause::DurationTooShort,
        NarrowingError::Longer { .. } | NarrowingError::ActionNotAsked(_) | NarrowingError::MoreUses { .. } => {
            Cause::NarrowingWidens
        }
    };
    Refusal::new(cause, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::config::policy::approvals::Approver;

    const GROUPS: [&str; 4] = ["leads", "legal", "ops", "risk"];

    /// By trying every way: each group its own person, and enough of them in all.
    fn by_brute_force(approvals: &Approvals, approvers: &[Approver]) -> bool {
        let persons: BTreeSet<&Person> = approvers
            .iter()
            .filter(|approver| approver.groups.iter().any(|group| approvals.groups.contains(group)))
            .map(|approver| &approver.person)
            .collect();
        let enough = persons.len() >= approvals.count as usize;
        let groups: Vec<&String> = approvals.groups.iter().collect();
        enough && (!approvals.every_group || stand_for(&groups, approvers, &BTreeSet::new()))
    }

    fn stand_for(groups: &[&String], approvers: &[Approver], taken: &BTreeSet<Person>) -> bool {
        let [group, others @ ..] = groups else { return true };
        approvers.iter().filter(|approver| approver.groups.contains(*group)).any(|approver| {
            let mut taken = taken.clone();
            taken.insert(approver.person.clone()) && stand_for(others, approvers, &taken)
        })
    }

    fn groups() -> impl Strategy<Value = BTreeSet<String>> {
        proptest::sample::subsequence(GROUPS.to_vec(), 0..=4)
            .prop_map(|groups| groups.into_iter().map(str::to_owned).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn k_of_n_by_group_is_what_trying_every_way_says(
            count in 1_u32..5,
            wanted in groups(),
            every_group in any::<bool>(),
            people in proptest::collection::vec((0_u8..6, groups()), 0..6),
        ) {
            prop_assume!(!wanted.is_empty());
            let count = if every_group { count.max(wanted.len() as u32) } else { count };
            let approvals = Approvals { count, groups: wanted, every_group, step_up: None };
            // One person, whatever logins they came by, stands once; the last known groups are theirs.
            let mut approvers: Vec<Approver> = Vec::new();
            for (number, groups) in people {
                let person: Person = format!("p{number}").parse().unwrap();
                if !approvers.iter().any(|known| known.person == person) {
                    approvers.push(Approver { person, groups });
                }
            }
            prop_assert_eq!(approvals.are_met_by(&approvers), by_brute_force(&approvals, &approvers));
        }
    }
}
