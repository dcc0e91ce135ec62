//! The order of the questions. It decides what a refusal may disclose: nothing about a grant is asked before the
//! caller is proven, and nothing is told of a grant that is not the caller's.

use super::claimant::Claimant;
use super::facts::{
    Assertion, Audit, Credential, CredentialFault, Facts, Feed, Framing, Freeze, GrantFact, GrantStanding, HeldGrant,
    NamedBy, Route, Target, Uses,
};
use super::outcome::{Decision, Permit, RefusalCode};
use super::policy::{Ceiling, Policy};
use crate::domain::{Action, Grant, Resource};

/// The verdict. Total: every combination of facts has one, and whatever is unknown refuses an override.
pub fn decide(policy: &Policy, facts: &Facts<'_>) -> Decision {
    if facts.framing == Framing::Conflict {
        return Decision::Refuse(RefusalCode::FramingConflict);
    }
    let verdict = match facts.credential {
        Credential::Absent => return without_credential(policy, facts),
        Credential::Malformed(CredentialFault::Duplicated) => Err(RefusalCode::HeaderDuplicated),
        Credential::Malformed(CredentialFault::Malformed) => Err(RefusalCode::HeaderMalformed),
        Credential::Presented(named_by) => with_credential(policy, facts, named_by),
    };
    verdict.map_or_else(Decision::Refuse, Decision::Override)
}

/// Without the header only a seal refuses. Where there is one, what can't be inspected needs the operator's word: after
/// a switch of protocols nothing is matched to a route any more.
fn without_credential(policy: &Policy, facts: &Facts<'_>) -> Decision {
    if !policy.any_seal {
        return Decision::Pass;
    }
    if facts.target == Target::Ambiguous {
        return Decision::Refuse(RefusalCode::TargetAmbiguous);
    }
    match facts.route {
        Route::Overridable { sealed: false, upgrade, .. } | Route::Fixed { sealed: false, upgrade } => {
            if facts.traits.upgrade && !upgrade {
                Decision::Refuse(RefusalCode::UpgradeNotAllowed)
            } else {
                Decision::Pass
            }
        }
        Route::Overridable { sealed: true, .. } | Route::Fixed { sealed: true, .. } | Route::PathSealed => {
            Decision::Refuse(RefusalCode::GrantRequired)
        }
        Route::Unmatched => Decision::Refuse(RefusalCode::RouteUnknown),
    }
}

fn with_credential(policy: &Policy, facts: &Facts<'_>, named_by: NamedBy) -> Result<Permit, RefusalCode> {
    let (resource, action) = overridable_request(facts)?;
    let claimant = Claimant::come_forward(policy, facts, named_by)?;
    if facts.feed == Feed::NeverSynced {
        return Err(match facts.audit {
            Audit::Ready => RefusalCode::FeedNotSynced,
            // The feed is not even asked for before the log is open: what is told is the cause.
            Audit::Unavailable => RefusalCode::AuditUnavailable,
        });
    }
    let held = own_grant(policy, &claimant, &facts.grant)?;
    in_force(held, facts)?;
    in_scope(&policy.ceiling, held.grant, resource, action)?;
    can_be_kept(policy, held, facts)?;
    Ok(Permit::new(held.grant.clone(), resource.clone(), action.clone()))
}

/// The request itself: everything that can be said without looking at grant or caller.
fn overridable_request<'a>(facts: &Facts<'a>) -> Result<(&'a Resource, &'a Action), RefusalCode> {
    if facts.traits.connect {
        return Err(RefusalCode::ConnectNotOverridable);
    }
    if facts.traits.rewrite_header {
        return Err(RefusalCode::RewriteHeaderPresent);
    }
    if facts.target == Target::Ambiguous {
        return Err(RefusalCode::TargetAmbiguous);
    }
    let Route::Overridable { resource, action, sealed: _, upgrade } = facts.route else {
        return Err(RefusalCode::RouteNotOverridable);
    };
    if facts.traits.unlisted_query {
        return Err(RefusalCode::QueryNotListed);
    }
    if facts.traits.upgrade && !upgrade {
        return Err(RefusalCode::UpgradeNotAllowed);
    }
    Ok((resource, action))
}

/// INVARIANT: for a grant of another person the answer is the same as for no grant at all.
fn own_grant<'a, 'f>(
    policy: &Policy,
    claimant: &Claimant<'_>,
    fact: &'f GrantFact<'a>,
) -> Result<&'f HeldGrant<'a>, RefusalCode> {
    match fact {
        GrantFact::Held(held) => {
            claimant.owns(held.grant)?;
            if held.grant.service == policy.service { Ok(held) } else { Err(RefusalCode::WrongService) }
        }
        GrantFact::Genuine(grant) => {
            claimant.owns(grant)?;
            Err(why_not_held(policy, grant))
        }
        GrantFact::Unknown => Err(RefusalCode::GrantNotUsable),
    }
}

/// What keeps a genuine grant out of the table, told to its holder.
fn why_not_held(policy: &Policy, grant: &Grant) -> RefusalCode {
    if grant.service != policy.service {
        RefusalCode::WrongService
    } else if !policy.ceiling.admits(grant) {
        RefusalCode::OverCeiling
    } else {
        RefusalCode::GrantNotInForce
    }
}

fn in_force(held: &HeldGrant<'_>, facts: &Facts<'_>) -> Result<(), RefusalCode> {
    match held.standing {
        GrantStanding::Revoked => Err(RefusalCode::GrantRevoked),
        GrantStanding::UsedUp => Err(RefusalCode::GrantUsedUp),
        GrantStanding::Suspended if held.deadline.has_passed(facts.now) => Err(RefusalCode::GrantExpired),
        GrantStanding::Suspended => Err(RefusalCode::GrantSuspended),
        GrantStanding::Live if held.deadline.has_passed(facts.now) => Err(RefusalCode::GrantExpired),
        GrantStanding::Live => Ok(()),
    }
}

fn in_scope(ceiling: &Ceiling, grant: &Grant, resource: &Resource, action: &Action) -> Result<(), RefusalCode> {
    if !grant.scope.has_resource(resource) {
        return Err(RefusalCode::ResourceOutOfScope);
    }
    if !grant.scope.has_action(action) {
        return Err(RefusalCode::ActionOutOfScope);
    }
    if !ceiling.admits(grant) || !ceiling.actions.contains(action) {
        return Err(RefusalCode::OverCeiling);
    }
    Ok(())
}

/// Whether every other promise can be kept for this request, now.
fn can_be_kept(policy: &Policy, held: &HeldGrant<'_>, facts: &Facts<'_>) -> Result<(), RefusalCode> {
    match facts.freeze {
        Freeze::None => {}
        Freeze::ByControlPlane | Freeze::Local => return Err(RefusalCode::Frozen),
    }
    match facts.feed {
        Feed::NeverSynced => return Err(RefusalCode::FeedNotSynced),
        Feed::ClockUnsettled => return Err(RefusalCode::ClockUnsettled),
        Feed::AsOf(as_of) => {
            if facts.now.boot.since(as_of) > held.staleness_limit(policy.ceiling.staleness_max) {
                return Err(RefusalCode::FeedStale);
            }
        }
    }
    match facts.uses {
        Uses::Unlimited | Uses::Available => {}
        Uses::Elsewhere => return Err(RefusalCode::UsesElsewhere),
    }
    match facts.audit {
        Audit::Ready => {}
        Audit::Unavailable => return Err(RefusalCode::AuditUnavailable),
    }
    match facts.assertion {
        Assertion::Ready => Ok(()),
        Assertion::Unavailable => Err(RefusalCode::AssertionUnavailable),
    }
}
