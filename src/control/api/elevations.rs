//! `/v1/elevations`: ask, list, show.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use serde::Deserialize;

use super::ApiState;
use super::answer::created;
use super::asked::{Asked, Named};
use super::body::JsonBytes;
use super::caller::{Caller, Presented};
use super::elevation_view::view;
use super::etag::Tagged;
use super::once::once_key;
use super::paging::ListAsked;
use super::possession::Shown;
use super::words::{without_wildcard, word, words};
use crate::control::openapi::{ELEVATIONS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::reads::View;
use crate::domain::{Binding, ElevationId};
use crate::store::{ElevationRecord, Operation};
use crate::wire::api::{ElevationRequest, ElevationView, Page};
use crate::wire::query::ElevationsQuery;

/// [`ElevationRequest`] before its words are checked, so that each is refused under a code of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    service: String,
    resources: Vec<String>,
    actions: Vec<String>,
    reason: String,
    ticket: String,
    #[serde(default)]
    duration_s: Option<u64>,
    #[serde(default)]
    max_uses: Option<u32>,
    #[serde(default)]
    tier: Option<String>,
    #[serde(default)]
    binding: Option<Binding>,
}

impl TryFrom<RawRequest> for ElevationRequest {
    type Error = Refusal;

    fn try_from(raw: RawRequest) -> Result<Self, Refusal> {
        without_wildcard(&raw.resources)?;
        without_wildcard(&raw.actions)?;
        Ok(Self {
            service: word(&raw.service, Cause::UnknownService)?,
            resources: words(&raw.resources, Cause::ResourceMalformed)?,
            actions: words(&raw.actions, Cause::ActionMalformed)?,
            reason: word(&raw.reason, Cause::UnknownReason)?,
            ticket: word(&raw.ticket, Cause::TicketMalformed)?,
            duration_s: raw.duration_s,
            max_uses: raw.max_uses,
            tier: raw.tier,
            binding: raw.binding,
        })
    }
}

/// Ask for elevation
///
/// In a tier without approvals the grant begins at once and is in the answer. An `Idempotency-Key` makes it safe to
/// send the same request again.
#[utoipa::path(
    post, path = "/v1/elevations", operation_id = "requestElevation", tag = ELEVATIONS,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041"),
        ("DPoP" = Option<String>, Header, description = "A proof (RFC 9449) for this call and its access token, with a \
        nonce of `DPoP-Nonce`: its key is bound to the grant, where that is its binding.",
        example = "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.c2ln")),
    request_body = ElevationRequest,
    responses((status = 201, description = "The request, and the grant where there is one already.",
        body = ElevationView, headers(("Location" = String, description = "Where the request is.")))),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::UnknownService, Cause::UnknownReason, Cause::TicketMalformed, Cause::ResourceMalformed, Cause::Wildcard,
        Cause::ActionMalformed, Cause::ScopeSize, Cause::ResourceNotServed, Cause::ActionNotServed, Cause::NoTierFits,
        Cause::TierAmbiguous, Cause::DurationTooShort, Cause::DurationTooLong, Cause::TooFewUses, Cause::TooManyUses,
        Cause::KeyMalformed, Cause::KeyReused, Cause::TicketForeign, Cause::ReasonNotInTier, Cause::BindingNotInTier,
        Cause::TooManyLive, Cause::CoolDown, Cause::StepUp, Cause::Frozen, Cause::RulesUnavailable,
        Cause::KeyUnavailable, Cause::DpopProofInvalid, Cause::UseDpopNonce, Cause::CertificateUntrusted,
    ])))),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Presented(token): Presented,
    Shown(proven): Shown,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    let asked: ElevationRequest = body.parse::<RawRequest>()?.try_into()?;
    let once = once_key(&headers, Operation::Request, "", &asked)?;
    // A task of its own: a caller who leaves can't leave a half-told commit behind.
    let (workflow, asking) = (state.workflow.clone(), caller.clone());
    let task = tokio::spawn(async move {
        let made = workflow.request(&asking, &asked, &proven, once).await;
        workflow.hold(&asking, token.expose()).await;
        made
    });
    let (id, _) = task.await.map_err(|_| Refusal::new(Cause::Internal, "the request was not finished"))??;
    let sight = state.workflow.sight(&caller, &id).await?;
    created(&format!("/v1/elevations/{id}"), view(&state, sight).await?)
}

/// List elevation requests
///
/// One's own; everybody's for admins and auditors; with `to_approve` what one can approve now. Newest first.
#[utoipa::path(
    get, path = "/v1/elevations", operation_id = "listElevations", tag = ELEVATIONS,
    params(ElevationsQuery),
    responses((status = 200, description = "One page.", body = Page<ElevationView>)),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<ElevationsQuery>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (workflow, to_approve) = (&state.workflow, query.to_approve.unwrap_or(false));
    let asked = ListAsked::from(query);
    // Who asks what they can approve asks for others' requests, and for those that wait.
    let sees_all = to_approve || workflow.sees_all(&caller);
    let Some(listing) = asked.listing(&caller.person, sees_all)? else {
        return Ok(asked.page::<ElevationView>(&uri, Vec::new(), None));
    };
    let fits = |record: &ElevationRecord| !to_approve || workflow.can_approve(&caller, record);
    let listed = asked.read(listing, |listing| async move { workflow.store.elevations(&listing).await }, fits).await?;
    if asked.is_beyond(&caller.person, sees_all) {
        let others = listed.items.iter().map(|record| &record.elevation).filter(|one| one.person != caller.person);
        let shown = others.map(|elevation| elevation.id.as_str()).collect();
        workflow.record_look(&caller, asked.look(View::Elevations, shown)).await?;
    }
    let mut items = Vec::with_capacity(listed.items.len());
    for record in listed.items {
        items.push(view(&state, workflow.brief_sight(record)).await?);
    }
    Ok(asked.page(&uri, items, listed.next))
}

/// Show an elevation request
#[utoipa::path(
    get, path = "/v1/elevations/{id}", operation_id = "getElevation", tag = ELEVATIONS,
    params(("id" = ElevationId, Path, description = "The request's id.")),
    responses((status = 200, description = "The request.", body = ElevationView, headers(("ETag" = String)))),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Tagged<ElevationView>, Refusal> {
    let id: ElevationId = id.parse().map_err(|_| Refusal::not_found())?;
    let sight = state.workflow.sight(&caller, &id).await?;
    let owner = &sight.record.elevation.person;
    state.workflow.record_look_at(&caller, View::Elevation, owner, id.as_str()).await?;
    Ok(Tagged(view(&state, sight).await?))
}
