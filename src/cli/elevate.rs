//! Asking for elevation: reason and ticket from flags or from the person, the request, and the wait until it counts.

use std::collections::BTreeSet;

use super::api::Api;
use super::approval;
use super::args::Justify;
use super::enforcement;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::prompt::Prompt;
use crate::domain::{Action, Binding, ElevationState, Justification, Resource, ServiceName, Ticket};
use crate::wire::api::{ElevationRequest, ElevationView, GrantView, RequestOptions};

/// What is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub service: ServiceName,
    pub resources: Vec<Resource>,
    pub actions: Vec<Action>,
}

/// Requests elevation, waits for those who approve it, and returns once every connected sidecar enforces the grant.
/// Where it is not to wait for approvals, a request without a grant.
///
/// # Errors
/// When reason or ticket are missing, the control plane or an approver refuses, or not every sidecar answers in time.
pub(super) async fn elevate(
    api: &Api,
    wanted: &Wanted,
    (justify, waits): (&Justify, bool),
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<ElevationView, Failure> {
    let justification = justification(api, &wanted.service, justify, prompt, out).await?;
    let request = ElevationRequest {
        service: wanted.service.clone(),
        resources: wanted.resources.clone(),
        actions: wanted.actions.clone(),
        reason: justification.reason,
        ticket: justification.ticket,
        duration_s: justify.duration.map(|span| span.as_secs()),
        max_uses: justify.uses,
        tier: justify.tier.clone(),
        binding: justify.binding.map(Binding::from),
    };
    let mut view = api.request(&request).await?;
    if view.state == ElevationState::Requested {
        approval::announce(&view, out);
        if !waits {
            return Ok(view);
        }
        view = approval::wait(api, view, justify.approval_wait, out).await?;
    }
    let Some(grant) = view.grant.take() else {
        let message = format!("{} is approved, but shows no grant", view.id);
        return Err(Failure::new(Exit::Failed, message, "look again with: breakglass grants --mine"));
    };
    // What was approved unbound is its requester's to bind, and that is who types here.
    let grant = if grant.is_unclaimed() { api.claim(&grant).await? } else { grant };
    view.grant = Some(settle(api, grant, justify, out).await?);
    Ok(view)
}

/// Waits until a grant is enforced wherever a sidecar is connected.
///
/// # Errors
/// When that is not so in time.
pub(super) async fn settle(
    api: &Api,
    grant: GrantView,
    justify: &Justify,
    out: &mut Output,
) -> Result<GrantView, Failure> {
    let patience = justify.wait.unwrap_or_default();
    let known = enforcement::wait(api, &grant.id, grant.enforcement.clone(), patience, out).await?;
    enforcement::check_granted(&grant.id, &known)?;
    out.note(&format!("{}: {}", grant.id, enforcement::summary(&known)));
    Ok(GrantView { enforcement: known, ..grant })
}

async fn justification(
    api: &Api,
    service: &ServiceName,
    given: &Justify,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<Justification, Failure> {
    if let (Some(reason), Some(ticket)) = (&given.reason, &given.ticket) {
        return Ok(Justification { reason: reason.clone(), ticket: ticket.clone() });
    }
    let options = api.options(service).await?;
    if !prompt.can_ask() {
        return Err(unanswered(given, &options));
    }
    let reason = match &given.reason {
        Some(reason) => reason.clone(),
        None => {
            let choices: Vec<String> = options.reasons.iter().map(|r| format!("{}: {}", r.code, r.text)).collect();
            let chosen = prompt.choose(out, "Why is this needed?", &choices).await?;
            let no_reason = || {
                Failure::new(
                    Exit::Refused,
                    "policy has no reason code for this service",
                    "ask those who own the policy",
                )
            };
            options.reasons.get(chosen).ok_or_else(no_reason)?.code.clone()
        }
    };
    let ticket = match &given.ticket {
        Some(ticket) => ticket.clone(),
        None => {
            prompt
                .value(out, &ticket_question(&options), |text| text.parse::<Ticket>().map_err(|e| e.to_string()))
                .await?
        }
    };
    Ok(Justification { reason, ticket })
}

fn ticket_question(options: &RequestOptions) -> String {
    let examples = examples(options);
    if examples.is_empty() { "Ticket:".to_owned() } else { format!("Ticket (such as {examples}):") }
}

fn examples(options: &RequestOptions) -> String {
    options.tickets.iter().map(|ticket| ticket.example.as_str()).collect::<Vec<_>>().join(" or ")
}

/// Nobody can be asked: says which flags are missing and what they can be.
fn unanswered(given: &Justify, options: &RequestOptions) -> Failure {
    let mut missing = Vec::new();
    let mut possible = Vec::new();
    if given.reason.is_none() {
        missing.push("--reason");
        let codes: BTreeSet<&str> = options.reasons.iter().map(|reason| reason.code.as_str()).collect();
        possible.push(format!("reasons: {}", codes.into_iter().collect::<Vec<_>>().join(", ")));
    }
    if given.ticket.is_none() {
        missing.push("--ticket");
        possible.push(format!("ticket: such as {}", examples(options)));
    }
    let message = format!("{} must be given where nobody can be asked", missing.join(" and "));
    Failure::new(Exit::Usage, message, possible.join("; "))
}
