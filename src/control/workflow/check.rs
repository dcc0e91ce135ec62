//! Is this a request that the policy allows? Pure: rules, caller and request in, the terms of the grant out.
//!
//! The order matters: what anyone may know (reasons, tickets, services and what they serve) is said precisely; what a
//! tier would have allowed to somebody else is not said.

use std::num::NonZeroU32;
use std::time::Duration;

use super::rules::Rules;
use crate::config::ServiceConfig;
use crate::config::policy::Tier;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Action, Resource, Scope};
use crate::wire::api::ElevationRequest;

/// The terms on which a request is approved.
#[derive(Debug)]
pub struct Terms<'r> {
    pub tier: &'r Tier,
    pub scope: Scope,
    pub duration: Duration,
    pub max_uses: Option<NonZeroU32>,
}

/// Checks a request of a member of `groups`.
///
/// # Errors
/// The refusal to answer with.
pub fn check<'r>(rules: &'r Rules, groups: &[String], asked: &ElevationRequest) -> Result<Terms<'r>, Refusal> {
    check_justification(rules, asked)?;
    let service = rules
        .services
        .get(&asked.service)
        .ok_or_else(|| Refusal::new(Cause::UnknownService, format!("no service is named \"{}\"", asked.service)))?;
    let scope = Scope::new(asked.resources.iter().cloned(), asked.actions.iter().cloned())
        .map_err(|error| Refusal::new(Cause::ScopeSize, error.to_string()))?;
    check_served(service, &scope)?;
    let tier = choose_tier(rules, groups, asked, &scope)?;
    Ok(Terms { tier, scope, duration: duration(tier, asked)?, max_uses: max_uses(tier, asked)? })
}

fn check_justification(rules: &Rules, asked: &ElevationRequest) -> Result<(), Refusal> {
    if !rules.policy.reasons.iter().any(|reason| reason.code == asked.reason) {
        let known: Vec<_> = rules.policy.reasons.iter().map(|reason| reason.code.as_str()).collect();
        let detail = format!("\"{}\" is not a reason code; there are {}", asked.reason, known.join(", "));
        return Err(Refusal::new(Cause::UnknownReason, detail));
    }
    if !rules.policy.tickets.iter().any(|ticket| ticket.matches(&asked.ticket)) {
        let examples: Vec<_> = rules.policy.tickets.iter().map(|ticket| ticket.example.as_str()).collect();
        let detail = format!("the ticket must look like {}", examples.join(" or "));
        return Err(Refusal::new(Cause::TicketMalformed, detail));
    }
    Ok(())
}

/// Every resource with every action must be one that some route serves: a grant holds the whole product.
fn check_served(service: &ServiceConfig, scope: &Scope) -> Result<(), Refusal> {
    let subjects = || service.routes.iter().filter_map(|route| route.subject.as_ref());
    for action in scope.actions() {
        if !subjects().any(|subject| subject.action == *action) {
            let detail = format!("no route of {} carries the action \"{action}\"", service.name);
            return Err(Refusal::new(Cause::ActionNotServed, detail));
        }
    }
    let unserved = |resource: &&Resource| !scope.actions().iter().any(|action| service.serves(resource, action));
    if let Some(resource) = scope.resources().iter().find(unserved) {
        let detail = format!("no route of {} with these actions leads to \"{resource}\"", service.name);
        return Err(Refusal::new(Cause::ResourceNotServed, detail));
    }
    let pairs =
        scope.resources().iter().flat_map(|resource| scope.actions().iter().map(move |action| (resource, action)));
    for (resource, action) in pairs {
        check_pair(service, resource, action)?;
    }
    Ok(())
}

fn check_pair(service: &ServiceConfig, resource: &Resource, action: &Action) -> Result<(), Refusal> {
    if service.serves(resource, action) {
        return Ok(());
    }
    let detail = format!("no route of {} carries \"{action}\" on \"{resource}\"", service.name);
    Err(Refusal::new(Cause::ActionNotServed, detail))
}

fn choose_tier<'r>(
    rules: &'r Rules,
    groups: &[String],
    asked: &ElevationRequest,
    scope: &Scope,
) -> Result<&'r Tier, Refusal> {
    let fits = |tier: &&Tier| is_open_to(tier, groups) && fits_request(tier, asked, scope);
    let fitting: Vec<&Tier> = rules.policy.tiers.iter().filter(fits).collect();
    match fitting.as_slice() {
        [] => Err(Refusal::new(Cause::NoTierFits, "no tier that is open to you covers what was asked for")),
        [tier] => Ok(tier),
        several => {
            let names: Vec<_> = several.iter().map(|tier| tier.name.as_str()).collect();
            Err(Refusal::new(Cause::TierAmbiguous, format!("{} fit", names.join(" and "))))
        }
    }
}

/// Whether a member of `groups` may use the tier at all.
pub fn is_open_to(tier: &Tier, groups: &[String]) -> bool {
    groups.iter().any(|group| tier.groups.contains(group))
}

fn fits_request(tier: &Tier, asked: &ElevationRequest, scope: &Scope) -> bool {
    asked.tier.as_ref().is_none_or(|name| *name == tier.name)
        && tier.services.contains(&asked.service)
        && scope.actions().is_subset(&tier.actions)
        && scope.resources().iter().all(|resource| tier.has_resource(resource))
}

fn duration(tier: &Tier, asked: &ElevationRequest) -> Result<Duration, Refusal> {
    let Some(seconds) = asked.duration_s else { return Ok(tier.default) };
    let most = tier.maximum.as_secs();
    match seconds {
        0 => Err(Refusal::new(Cause::DurationTooShort, "duration_s is at least 1")),
        seconds if seconds > most => {
            Err(Refusal::new(Cause::DurationTooLong, format!("the tier \"{}\" allows {most} seconds", tier.name)))
        }
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

fn max_uses(tier: &Tier, asked: &ElevationRequest) -> Result<Option<NonZeroU32>, Refusal> {
    let Some(uses) = asked.max_uses else { return Ok(tier.uses_default) };
    let uses = NonZeroU32::new(uses).ok_or_else(|| Refusal::new(Cause::TooFewUses, "max_uses is at least 1"))?;
    match tier.uses_maximum {
        Some(most) if uses > most => {
            Err(Refusal::new(Cause::TooManyUses, format!("the tier \"{}\" allows {most} uses", tier.name)))
        }
        Some(_) | None => Ok(Some(uses)),
    }
}
