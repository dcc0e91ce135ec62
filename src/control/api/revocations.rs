//! `/v1/revocations`: end many grants at once, see what became of it, wait until it has arrived.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use serde::Deserialize;

use super::ApiState;
use super::answer::created;
use super::asked::{Asked, Named};
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::Tagged;
use super::grants::WAIT_MS_MAX;
use super::once::once_key;
use super::paging::ListAsked;
use crate::control::arrival::{enforcement, wait_reached};
use crate::control::openapi::{REVOCATIONS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::reads::View;
use crate::domain::RevocationId;
use crate::store::{GrantRecord, Operation, RevocationListing, RevocationRecord};
use crate::wire::api::Page;
use crate::wire::query::RevocationsQuery;
use crate::wire::revocations::{
    GrantBrief, RevocationEnforcement, RevocationPreview, RevocationRequest, RevocationView,
};

/// End many grants at once
///
/// All that are live at this moment: of a person (their requests that wait end too), on a resource, of a service, or all
/// there are. What is granted later is not concerned: freeze for that. One's own grants, or any for admins and revokers.
/// The answer does not wait for the sidecars: ask for the enforcement.
#[utoipa::path(
    post, path = "/v1/revocations", operation_id = "createRevocation", tag = REVOCATIONS,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = RevocationRequest,
    responses((status = 201, description = "The revocation.", body = RevocationView, headers(("Location" = String)))),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::NotFound, Cause::UnknownService, Cause::NoteMissing, Cause::NoteTooLong,
        Cause::GrantEnded, Cause::KeyMalformed, Cause::KeyReused,
    ])))),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    let asked: RevocationRequest = body.parse()?;
    let once = once_key(&headers, Operation::RevokeAll, "", &asked)?;
    let workflow = state.workflow.clone();
    // A task of its own: a caller who leaves can't leave a revocation half carried out.
    let order = async move { workflow.order(&caller, &asked.what, asked.note.as_deref(), once).await };
    let task = tokio::spawn(order);
    let record = task.await.map_err(|_| Refusal::new(Cause::Internal, "the revocation was not finished"))??;
    created(&format!("/v1/revocations/{}", record.id), view(&state, record))
}

/// What a revocation would end
///
/// Nothing ends. The answer is of this moment: what is granted meanwhile would end too.
#[utoipa::path(
    post, path = "/v1/revocations/preview", operation_id = "previewRevocation", tag = REVOCATIONS,
    request_body = RevocationRequest,
    responses((status = 200, description = "What would end.", body = RevocationPreview)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::NotFound, Cause::UnknownService])))),
)]
pub(crate) async fn preview(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    body: JsonBytes,
) -> Result<Json<RevocationPreview>, Refusal> {
    let asked: RevocationRequest = body.parse()?;
    let (grants, first) = state.workflow.preview(&caller, &asked.what).await?;
    let shown = first.iter().filter(|record| record.grant.person != caller.person);
    let shown = shown.map(|record| record.grant.id.as_str()).collect();
    state.workflow.record_look_over(&caller, View::RevocationPreview, shown).await?;
    let grants = u64::try_from(grants).unwrap_or(u64::MAX);
    Ok(Json(RevocationPreview { grants, first: first.into_iter().map(brief).collect() }))
}

fn brief(record: GrantRecord) -> GrantBrief {
    let grant = record.grant;
    GrantBrief {
        id: grant.id,
        service: grant.service,
        person: grant.person,
        resources: grant.scope.resources().iter().cloned().collect(),
        expires_at: grant.expires,
    }
}

/// List revocations
///
/// Of grants, one or many, and freezes. Those one ordered; all for admins, auditors, revokers and freezers. Newest first.
#[utoipa::path(
    get, path = "/v1/revocations", operation_id = "listRevocations", tag = REVOCATIONS,
    params(RevocationsQuery),
    responses((status = 200, description = "One page.", body = Page<RevocationView>)),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<RevocationsQuery>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (workflow, asked) = (&state.workflow, ListAsked::from(query));
    let Some(listing) = asked.listing(&caller.person, workflow.sees_revocations(&caller))? else {
        return Ok(asked.page::<RevocationView>(&uri, Vec::new(), None));
    };
    let listing = RevocationListing { by: listing.person, before: listing.before, limit: listing.limit };
    let listed = workflow.store.revocations(&listing).await?;
    let shown = listed.items.iter().filter(|record| record.by != caller.person);
    workflow.record_look_over(&caller, View::Revocations, shown.map(|record| record.id.as_str()).collect()).await?;
    let items: Vec<_> = listed.items.into_iter().map(|record| view(&state, record)).collect();
    Ok(asked.page(&uri, items, listed.next))
}

/// Show a revocation
#[utoipa::path(
    get, path = "/v1/revocations/{id}", operation_id = "getRevocation", tag = REVOCATIONS,
    params(("id" = RevocationId, Path, description = "The revocation's id.")),
    responses((status = 200, description = "The revocation.", body = RevocationView, headers(("ETag" = String)))),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Tagged<RevocationView>, Refusal> {
    let record = state.workflow.visible_revocation(&caller, &parse(&id)?).await?;
    state.workflow.record_look_at(&caller, View::Revocation, &record.by, record.id.as_str()).await?;
    Ok(Tagged(view(&state, record)))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ArrivalQuery {
    /// How long to wait until every sidecar has answered; more than 20 seconds are 20 seconds.
    #[serde(default)]
    #[param(example = 0)]
    wait_ms: u64,
    /// `answered` of the answer before: wait no longer than until that changes.
    #[param(example = 12)]
    after: Option<u32>,
}

/// How far a revocation has arrived
///
/// Answers as soon as every sidecar has acknowledged it or stopped by itself, with `after` as soon as another one has
/// answered, or when the wait is over.
#[utoipa::path(
    get, path = "/v1/revocations/{id}/enforcement", operation_id = "getRevocationEnforcement", tag = REVOCATIONS,
    params(("id" = RevocationId, Path, description = "The revocation's id."), ArrivalQuery),
    responses((status = 200, description = "Who enforces it, and by when the silent ones stop.",
        body = RevocationEnforcement, headers(("ETag" = String)))),
)]
pub(crate) async fn show_enforcement(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    Asked(query): Asked<ArrivalQuery>,
) -> Result<Tagged<RevocationEnforcement>, Refusal> {
    let record = state.workflow.visible_revocation(&caller, &parse(&id)?).await?;
    let wait = Duration::from_millis(query.wait_ms.min(WAIT_MS_MAX));
    wait_reached(&state.hub, (&record.reach, record.at), query.after, wait).await;
    // An order may have been carried on, or settled, meanwhile.
    let record = state.workflow.visible_revocation(&caller, &record.id).await?;
    Ok(Tagged(enforcement(&state.hub, &record)))
}

fn parse(id: &str) -> Result<RevocationId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found())
}

fn view(state: &ApiState, record: RevocationRecord) -> RevocationView {
    let enforcement = enforcement(&state.hub, &record);
    RevocationView {
        id: record.id,
        what: record.selector,
        by: record.by,
        note: record.note,
        ordered_at: record.at,
        complete: !record.open,
        grants_ended: record.grants_ended,
        requests_denied: record.requests_denied,
        enforcement,
    }
}
