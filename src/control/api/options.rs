//! What a caller may ask for, which sidecars there are, and the public keys.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::asked::Named;
use super::caller::Caller;
use super::etag::Tagged;
use crate::config::policy::Tier;
use crate::control::openapi::{ABOUT, SERVICES, SIDECARS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::ServiceName;
use crate::identity::Verified;
use crate::policy::is_open_to;
use crate::wire::api::{KeysView, Page, ReasonOption, RequestOptions, SidecarView, TicketOption, TierOption};

/// What the caller may ask for on a service
#[utoipa::path(
    get, path = "/v1/services/{service}/options", operation_id = "getRequestOptions", tag = SERVICES,
    params(("service" = ServiceName, Path, description = "The service's name.")),
    responses((status = 200, description = "Reasons, ticket patterns and tiers.", body = RequestOptions,
        headers(("ETag" = String)))),
    extensions(("x-refusals" = json!(refusals(&[Cause::UnknownService])))),
)]
pub(crate) async fn options(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(service): Named,
) -> Result<Tagged<RequestOptions>, Refusal> {
    let rules = state.workflow.rules();
    let known = service.parse::<ServiceName>().ok().filter(|name| rules.services.contains_key(name));
    let service = known.ok_or_else(|| Refusal::new(Cause::UnknownService, "no service has that name"))?;
    let policy = &rules.policy;
    let reasons = policy.reasons.iter().map(|rule| ReasonOption { code: rule.code.clone(), text: rule.text.clone() });
    let tickets = policy.tickets.iter().map(|rule| TicketOption {
        tracker: rule.tracker.clone(),
        pattern: rule.pattern.clone(),
        example: rule.example.to_string(),
    });
    let asker = state.workflow.asker(&caller);
    let open = |tier: &&Tier| tier.services.contains(&service) && is_open_to(tier, &asker);
    let (reasons, tickets) = (reasons.collect(), tickets.collect());
    let tiers = policy.tiers.iter().filter(open).map(tier_option).collect();
    Ok(Tagged(RequestOptions { service, reasons, tickets, tiers }))
}

fn tier_option(tier: &Tier) -> TierOption {
    TierOption {
        name: tier.name.clone(),
        role: tier.role.clone(),
        actions: tier.actions.iter().cloned().collect(),
        resources: tier.resources.iter().map(ToString::to_string).collect(),
        default_s: tier.default.as_secs(),
        maximum_s: tier.maximum.as_secs(),
        max_uses: tier.uses_maximum.map(std::num::NonZeroU32::get),
    }
}

/// List the sidecars
///
/// Those of the services that the caller may ask for; all of them for who sees everything.
#[utoipa::path(
    get, path = "/v1/sidecars", operation_id = "listSidecars", tag = SIDECARS,
    responses((status = 200, description = "All of them, on one page.", body = Page<SidecarView>)),
)]
pub(crate) async fn sidecars(State(state): State<ApiState>, Caller(caller): Caller) -> Json<Page<SidecarView>> {
    let all = state.hub.sidecars(|service| state.digest(service));
    let mut items: Vec<_> = all.into_iter().filter(|sidecar| concerns(&state, &caller, &sidecar.service)).collect();
    // Most of a service have acknowledged the same revision: one question for all of them.
    let mut behind: BTreeMap<(ServiceName, u64), Option<u64>> = BTreeMap::new();
    for sidecar in &mut items {
        let key = (sidecar.service.clone(), sidecar.revision);
        sidecar.behind = match behind.get(&key) {
            Some(known) => *known,
            None => {
                // What the hub knows is shown even where the database cannot be asked.
                let known = state.workflow.store.changes_behind(&key.0, key.1).await.ok();
                *behind.entry(key).or_insert(known)
            }
        };
    }
    Json(Page { items, next: None })
}

fn concerns(state: &ApiState, caller: &Verified, service: &ServiceName) -> bool {
    let (rules, asker) = (state.workflow.rules(), state.workflow.asker(caller));
    state.workflow.sees_all(caller)
        || rules.policy.tiers.iter().any(|tier| tier.services.contains(service) && is_open_to(tier, &asker))
}

/// The public keys
///
/// The roots that sidecars pin, and what verifies the ledger. To anyone: they are public.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "getKeys", tag = ABOUT,
    responses((status = 200, description = "The keys.", body = KeysView, headers(("ETag" = String)))),
    security(()),
)]
pub(crate) async fn keys(State(state): State<ApiState>) -> Tagged<KeysView> {
    let ledger_keys = state.ledger.verifier_keys().iter().map(ToString::to_string).collect();
    Tagged(KeysView { grant_roots: state.workflow.keys.roots(), ledger_keys })
}
