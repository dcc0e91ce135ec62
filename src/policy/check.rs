//! Is this a request that the policy allows? Rules, asker and request in, the terms of the grant out.
//!
//! The order matters: what anyone may know (reasons, tickets, services and what they serve) is said precisely; what a
//! tier would have allowed to somebody else is not said. Within the one tier that fits, what needs no new login comes
//! before what does.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Rules;
use super::asker::{AdmittedBy, Asked, Asker};
use super::obstacle::{TierVerdict, examine};
use super::refused::{Cause, Refused};
use crate::config::ServiceConfig;
use crate::config::policy::{Approvals, StepUp, TicketRule, Tier};
use crate::domain::{Action, Binding, Resource, Scope, ServiceName};

/// The terms on which a request is granted, at once or after its approvals.
#[derive(Debug)]
pub struct Terms<'r> {
    pub tier: &'r Tier,
    pub admitted_by: AdmittedBy,
    pub scope: Scope,
    /// From the approval on.
    pub duration: Duration,
    pub max_uses: Option<NonZeroU32>,
    /// What the request asked for, or the tier's first.
    pub binding: Binding,
    pub approvals: &'r Approvals,
    /// How long the request waits for its approvals.
    pub lapse: Duration,
    /// What the authentication was held to, and met.
    pub step_up: Option<&'r StepUp>,
    /// How long after the end of the grant a review is due.
    pub review_due: Duration,
    /// Nobody approved, so somebody must review.
    pub review_mandatory: bool,
}

/// Checks a request.
///
/// # Errors
/// Why it is refused.
pub fn check<'r>(rules: &'r Rules, asker: &Asker, asked: Asked<'_>) -> Result<Terms<'r>, Refused> {
    let scope = check_request(rules, asked)?;
    let verdicts = examine_all(rules, asker, asked, &scope);
    let verdict = choose(verdicts)?;
    if let Some(obstacle) = verdict.obstacles.first() {
        return Err(obstacle.refused(verdict.tier));
    }
    let (tier, Some(admitted_by)) = (verdict.tier, verdict.admitted_by) else { return Err(none_fits()) };
    Ok(Terms {
        tier,
        admitted_by,
        scope,
        duration: asked.request.duration_s.map_or(tier.default, Duration::from_secs),
        max_uses: asked.request.max_uses.map_or(tier.uses_default, NonZeroU32::new),
        binding: asked.binding.unwrap_or_else(|| tier.binding()),
        approvals: &tier.approvals,
        lapse: tier.request_lapse,
        step_up: tier.step_up.as_ref(),
        review_due: tier.review_due,
        review_mandatory: tier.review_is_mandatory(),
    })
}

/// Every tier of the policy against the request, for whoever wants to see them all.
pub fn examine_all<'r>(rules: &'r Rules, asker: &Asker, asked: Asked<'_>, scope: &Scope) -> Vec<TierVerdict<'r>> {
    rules.policy.tiers.iter().map(|tier| examine(tier, asker, asked, scope)).collect()
}

/// What does not depend on who asks; the scope that is asked for.
///
/// # Errors
/// Why it is refused.
pub fn check_request(rules: &Rules, asked: Asked<'_>) -> Result<Scope, Refused> {
    let request = asked.request;
    check_reason(rules, asked)?;
    let tickets = matching_tickets(rules, asked)?;
    let service = rules
        .services
        .get(&request.service)
        .ok_or_else(|| Refused::new(Cause::UnknownService, format!("no service is named \"{}\"", request.service)))?;
    check_tracker(rules, &tickets, &service.name)?;
    let scope = Scope::new(request.resources.iter().cloned(), request.actions.iter().cloned())
        .map_err(|error| Refused::new(Cause::ScopeSize, error.to_string()))?;
    check_served(service, &scope)?;
    Ok(scope)
}

fn check_reason(rules: &Rules, asked: Asked<'_>) -> Result<(), Refused> {
    let reason = &asked.request.reason;
    if rules.policy.reasons.iter().any(|rule| rule.code == *reason) {
        return Ok(());
    }
    let known: Vec<_> = rules.policy.reasons.iter().map(|rule| rule.code.as_str()).collect();
    let detail = format!("\"{reason}\" is not a reason code; there are {}", known.join(", "));
    Err(Refused::new(Cause::UnknownReason, detail))
}

fn matching_tickets<'r>(rules: &'r Rules, asked: Asked<'_>) -> Result<Vec<&'r TicketRule>, Refused> {
    let matching: Vec<_> = rules.policy.tickets.iter().filter(|rule| rule.matches(&asked.request.ticket)).collect();
    if matching.is_empty() {
        let detail = format!("the ticket must look like {}", examples(rules.policy.tickets.iter()));
        return Err(Refused::new(Cause::TicketMalformed, detail));
    }
    Ok(matching)
}

/// A ticket of a tracker that is not kept for this service explains nothing about it.
fn check_tracker(rules: &Rules, tickets: &[&TicketRule], service: &ServiceName) -> Result<(), Refused> {
    if tickets.iter().any(|rule| rule.serves(service)) {
        return Ok(());
    }
    let own = examples(rules.policy.tickets.iter().filter(|rule| rule.serves(service)));
    let tracker = tickets.first().map_or("", |rule| rule.tracker.as_str());
    let detail = format!("the tracker \"{tracker}\" is not kept for {service}; a ticket there looks like {own}");
    Err(Refused::new(Cause::TicketForeign, detail))
}

fn examples<'r>(rules: impl Iterator<Item = &'r TicketRule>) -> String {
    rules.map(|rule| rule.example.as_str()).collect::<Vec<_>>().join(" or ")
}

/// Every resource with every action must be one that some route serves: a grant holds the whole product.
fn check_served(service: &ServiceConfig, scope: &Scope) -> Result<(), Refused> {
    let subjects = || service.routes.iter().filter_map(|route| route.subject.as_ref());
    for action in scope.actions() {
        if !subjects().any(|subject| subject.action == *action) {
            let detail = format!("no route of {} carries the action \"{action}\"", service.name);
            return Err(Refused::new(Cause::ActionNotServed, detail));
        }
    }
    let unserved = |resource: &&Resource| !scope.actions().iter().any(|action| service.serves(resource, action));
    if let Some(resource) = scope.resources().iter().find(unserved) {
        let detail = format!("no route of {} with these actions leads to \"{resource}\"", service.name);
        return Err(Refused::new(Cause::ResourceNotServed, detail));
    }
    match unserved_pair(service, scope) {
        None => Ok(()),
        Some((resource, action)) => {
            let detail = format!("no route of {} carries \"{action}\" on \"{resource}\"", service.name);
            Err(Refused::new(Cause::ActionNotServed, detail))
        }
    }
}

/// A resource with an action that no route serves.
pub(super) fn unserved_pair<'s>(service: &ServiceConfig, scope: &'s Scope) -> Option<(&'s Resource, &'s Action)> {
    let pairs =
        scope.resources().iter().flat_map(|resource| scope.actions().iter().map(move |action| (resource, action)));
    pairs.into_iter().find(|(resource, action)| !service.serves(resource, action))
}

/// The one tier that is meant.
fn choose(verdicts: Vec<TierVerdict<'_>>) -> Result<TierVerdict<'_>, Refused> {
    let fitting: Vec<TierVerdict<'_>> = verdicts.into_iter().filter(TierVerdict::fits).collect();
    if !fitting.iter().any(TierVerdict::fits_reason) {
        return match fitting.first() {
            Some(verdict) => Err(not_for_the_reason(verdict)),
            None => Err(none_fits()),
        };
    }
    let mut fitting: Vec<TierVerdict<'_>> = fitting.into_iter().filter(TierVerdict::fits_reason).collect();
    match (fitting.pop(), fitting.as_slice()) {
        (Some(only), []) => Ok(only),
        (Some(last), others) => {
            let names: Vec<_> = others.iter().chain([&last]).map(|verdict| verdict.tier.name.as_str()).collect();
            Err(Refused::new(Cause::TierAmbiguous, format!("{} fit", names.join(" and "))))
        }
        (None, _) => Err(none_fits()),
    }
}

fn not_for_the_reason(verdict: &TierVerdict<'_>) -> Refused {
    verdict.obstacles.first().map_or_else(none_fits, |obstacle| obstacle.refused(verdict.tier))
}

fn none_fits() -> Refused {
    Refused::new(Cause::NoTierFits, "no tier that is open to you covers what was asked for")
}
