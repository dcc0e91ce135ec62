//! The order of the questions. It decides what a refusal may disclose: nothing about a grant is asked before the
//! caller is proven, and nothing is told of a grant that is not the caller's.

use super::facts::{
    Assertion, Audit, Caller, Credential, CredentialFault, Facts, Feed, Framing, Freeze, GrantFact, GrantStanding,
    HeldGrant, NamedBy, Route, Target, Unproven, Uses,
};
use super::outcome::{Decision, Permit, RefusalCode};
use super::policy::{Ceiling, Policy};
use crate::domain::{Action, Binding, Grant, Person, Resource};

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
    let claimant = claimant(policy, facts, named_by)?;
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

/// Who comes forward, by what the request itself carries.
struct Claimant<'a> {
    /// Proven by a token of an identity provider.
    person: Option<&'a Person>,
    /// The request carries the grant token, not only the grant's id.
    has_token: bool,
}

/// INVARIANT: nothing is told of a grant to a caller who proves neither a person nor, for a grant that is bound to
/// nothing else, the possession of its token.
fn claimant<'a>(policy: &Policy, facts: &Facts<'a>, named_by: NamedBy) -> Result<Claimant<'a>, RefusalCode> {
    let has_token = named_by == NamedBy::Token;
    match facts.caller {
        Caller::Proven(person) => Ok(Claimant { person: Some(person), has_token }),
        Caller::Unproven(Unproven::Missing) if has_token && may_be_borne(policy, facts) => {
            Ok(Claimant { person: None, has_token })
        }
        Caller::Unproven(Unproven::Missing) => Err(RefusalCode::IdentityMissing),
        Caller::Unproven(Unproven::Invalid) => Err(RefusalCode::IdentityInvalid),
        Caller::Unproven(Unproven::Expired) => Err(RefusalCode::IdentityExpired),
        Caller::Unproven(Unproven::Unverifiable) => Err(RefusalCode::IdentityUnverifiable),
    }
}

/// Whether the token that came alone is enough here. Before the first snapshot no token is known, so that is all that
/// can be said of any.
fn may_be_borne(policy: &Policy, facts: &Facts<'_>) -> bool {
    policy.ceiling.bindings.contains(&Binding::Bearer)
        && match &facts.grant {
            GrantFact::Held(held) => held.grant.binding == Binding::Bearer,
            GrantFact::Genuine(grant) => grant.binding == Binding::Bearer,
            GrantFact::Unknown => facts.feed == Feed::NeverSynced,
        }
}

/// INVARIANT: for a grant of another person the answer is the same as for no grant at all.
fn own_grant<'a, 'f>(
    policy: &Policy,
    claimant: &Claimant<'_>,
    fact: &'f GrantFact<'a>,
) -> Result<&'f HeldGrant<'a>, RefusalCode> {
    match fact {
        GrantFact::Held(held) => {
            proven(claimant, held.grant)?;
            if held.grant.service == policy.service { Ok(held) } else { Err(RefusalCode::WrongService) }
        }
        GrantFact::Genuine(grant) => {
            proven(claimant, grant)?;
            Err(why_not_held(policy, grant))
        }
        GrantFact::Unknown => Err(RefusalCode::GrantNotUsable),
    }
}

/// Whether the grant's binding is proven: who holds a grant, and how they show it, is asked here alone. A proof more
/// than the binding asks for must fit all the same.
fn proven(claimant: &Claimant<'_>, grant: &Grant) -> Result<(), RefusalCode> {
    let is_person = claimant.person.map(|person| *person == grant.person);
    match (grant.binding, is_person) {
        (Binding::Identity, Some(true)) => Ok(()),
        (Binding::Bearer, Some(true) | None) if claimant.has_token => Ok(()),
        (Binding::Bearer, Some(true)) => Err(RefusalCode::TokenRequired),
        // No request can carry the proofs of these yet.
        (Binding::Mtls | Binding::Dpop, _) => Err(RefusalCode::GrantNotUsable),
        (Binding::Identity | Binding::Bearer, _) => Err(RefusalCode::GrantNotUsable),
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
