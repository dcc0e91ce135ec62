//! Would this policy still allow this live grant? Asked of every live grant before a policy is applied, so that a
//! change ends what it no longer allows.
//!
//! The ticket is not looked at again: a tracker that was moved says nothing about the need. Neither is what only limits
//! asking (cool-down, number of live grants), nor whether the person is on call still: a shift ends, the work may not.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Rules;
use super::asker::AdmittedBy;
use super::check::unserved_pair;
use crate::config::policy::Tier;
use crate::config::policy::approvals::Approver;
use crate::domain::{Action, Authentication, Binding, ReasonCode, Resource, Role, Scope, ServiceName, WallTime};

/// A live grant, as far as the policy cares.
#[derive(Debug, Clone)]
pub struct GrantFacts {
    /// Name of the tier it was granted in.
    pub tier: String,
    pub admitted_by: AdmittedBy,
    pub service: ServiceName,
    pub role: Role,
    pub scope: Scope,
    pub reason: ReasonCode,
    pub binding: Binding,
    pub max_uses: Option<NonZeroU32>,
    pub staleness_max: Duration,
    /// How the person had authenticated when they asked.
    pub authentication: Authentication,
    pub requested: WallTime,
    pub expires: WallTime,
    /// Who agreed, with the groups by which they could.
    pub approvers: Vec<Approver>,
    /// Every group of every approver is known; where false, only their number is held against the policy.
    pub approver_groups_known: bool,
}

/// Why it would not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("there is no tier \"{0}\"")]
    TierGone(String),
    #[error("the tier is no longer open to {0}")]
    NotAdmitted(AdmittedBy),
    #[error("the tier is no longer for the service {0}")]
    Service(ServiceName),
    #[error("the tier confers the role {0} now")]
    Role(Role),
    #[error("the tier no longer covers {0}")]
    Resource(Resource),
    #[error("the tier no longer covers {0}")]
    Action(Action),
    #[error("no route of the service carries {action} on {resource}")]
    NotServed { resource: Resource, action: Action },
    #[error("the tier is no longer for the reason {0}")]
    Reason(ReasonCode),
    #[error("{left_s} seconds are left, the tier allows {most_s}")]
    TooLong { left_s: u64, most_s: u64 },
    #[error("the tier allows {most} uses now")]
    TooManyUses { most: NonZeroU32 },
    #[error("the tier wants a sidecar's knowledge to be {most_s} seconds old at most")]
    Staleness { most_s: u64 },
    #[error("the tier no longer accepts the binding {}", .0.as_str())]
    Binding(Binding),
    #[error("the tier wants more approvals: {0}")]
    Approvals(String),
    #[error("the tier wants a stronger or fresher login: {0}")]
    StepUp(String),
}

/// Whether `rules` would still allow the grant at `now`.
///
/// # Errors
/// The first reason why not.
pub fn still_allowed(rules: &Rules, grant: &GrantFacts, now: WallTime) -> Result<(), Why> {
    let tier = rules.policy.tier(&grant.tier).ok_or_else(|| Why::TierGone(grant.tier.clone()))?;
    let listed = match &grant.admitted_by {
        AdmittedBy::Group(group) => tier.groups.contains(group),
        AdmittedBy::OnCall(schedule) => tier.on_call.contains(schedule),
    };
    if !listed {
        return Err(Why::NotAdmitted(grant.admitted_by.clone()));
    }
    check_scope(rules, tier, grant)?;
    check_terms(tier, grant, now)?;
    check_people(tier, grant)
}

fn check_scope(rules: &Rules, tier: &Tier, grant: &GrantFacts) -> Result<(), Why> {
    let service = rules.services.get(&grant.service).filter(|_| tier.services.contains(&grant.service));
    let service = service.ok_or_else(|| Why::Service(grant.service.clone()))?;
    if tier.role != grant.role {
        return Err(Why::Role(tier.role.clone()));
    }
    if let Some(resource) = grant.scope.resources().iter().find(|resource| !tier.has_resource(resource)) {
        return Err(Why::Resource(resource.clone()));
    }
    if let Some(action) = grant.scope.actions().difference(&tier.actions).next() {
        return Err(Why::Action(action.clone()));
    }
    if let Some((resource, action)) = unserved_pair(service, &grant.scope) {
        return Err(Why::NotServed { resource: resource.clone(), action: action.clone() });
    }
    let known = rules.policy.reasons.iter().any(|rule| rule.code == grant.reason);
    if known && tier.has_reason(&grant.reason) { Ok(()) } else { Err(Why::Reason(grant.reason.clone())) }
}

fn check_terms(tier: &Tier, grant: &GrantFacts, now: WallTime) -> Result<(), Why> {
    let left = grant.expires.since(now);
    if left > tier.maximum {
        return Err(Why::TooLong { left_s: super::obstacle::whole(left), most_s: tier.maximum.as_secs() });
    }
    if let Some(most) = tier.uses_maximum.filter(|most| grant.max_uses.is_none_or(|uses| uses > *most)) {
        return Err(Why::TooManyUses { most });
    }
    if grant.staleness_max > tier.staleness_max {
        return Err(Why::Staleness { most_s: tier.staleness_max.as_secs() });
    }
    if tier.bindings.contains(&grant.binding) { Ok(()) } else { Err(Why::Binding(grant.binding)) }
}

fn check_people(tier: &Tier, grant: &GrantFacts) -> Result<(), Why> {
    let step_up = tier.step_up.as_ref();
    if let Some(step_up) = step_up.filter(|step_up| !step_up.is_met_by(&grant.authentication, grant.requested)) {
        return Err(Why::StepUp(step_up.to_string()));
    }
    let approved = if grant.approver_groups_known {
        tier.approvals.are_met_by(&grant.approvers)
    } else {
        let people: BTreeSet<_> = grant.approvers.iter().map(|approver| &approver.person).collect();
        people.len() >= usize::try_from(tier.approvals.count).unwrap_or(usize::MAX)
    };
    if approved { Ok(()) } else { Err(Why::Approvals(tier.approvals.to_string())) }
}
