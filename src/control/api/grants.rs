//! `/v1/grants`: list, show, fetch the token, revoke, wait until it is enforced.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use serde::Deserialize;

use super::ApiState;
use super::asked::{Asked, Named};
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::Tagged;
use super::once::once_key;
use super::paging::ListAsked;
use crate::control::openapi::{GRANTS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::reads::View;
use crate::domain::GrantId;
use crate::store::{GrantRecord, Operation, Review};
use crate::wire::api::{Enforcement, GrantState, GrantTokenView, GrantView, Page, RevokeRequest};
use crate::wire::lifecycle::ReviewView;
use crate::wire::query::GrantsQuery;

/// Longest wait for enforcement; within the limit on a request's time.
pub(super) const WAIT_MS_MAX: u64 = 20_000;

/// List grants
///
/// One's own; everybody's for admins and auditors; with `review` what one may review, too. Newest first.
#[utoipa::path(
    get, path = "/v1/grants", operation_id = "listGrants", tag = GRANTS,
    params(GrantsQuery),
    responses((status = 200, description = "One page.", body = Page<GrantView>)),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<GrantsQuery>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (workflow, asked) = (&state.workflow, ListAsked::from(query));
    // Who asks for reviews asks for what they may review, too.
    let sees_all = asked.review.is_some() || workflow.sees_all(&caller);
    let Some(listing) = asked.listing(&caller.person, sees_all)? else {
        return Ok(asked.page::<GrantView>(&uri, Vec::new(), None));
    };
    let fits = |record: &GrantRecord| workflow.sees_grant(&caller, record);
    let listed = asked.read(listing, |listing| async move { workflow.store.grants(&listing).await }, fits).await?;
    if asked.is_beyond(&caller.person, sees_all) {
        let others = listed.items.iter().map(|record| &record.grant).filter(|one| one.person != caller.person);
        let shown = others.map(|grant| grant.id.as_str()).collect();
        workflow.record_look(&caller, asked.look(View::Grants, shown)).await?;
    }
    let items: Vec<_> = listed.items.into_iter().map(|record| view(&state, record)).collect();
    Ok(asked.page(&uri, items, listed.next))
}

/// Show a grant
#[utoipa::path(
    get, path = "/v1/grants/{id}", operation_id = "getGrant", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id.")),
    responses((status = 200, description = "The grant.", body = GrantView, headers(("ETag" = String)))),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Tagged<GrantView>, Refusal> {
    let record = state.workflow.visible_grant(&caller, &parse(&id)?).await?;
    state.workflow.record_look_at(&caller, View::Grant, &record.grant.person, record.grant.id.as_str()).await?;
    Ok(Tagged(view(&state, record)))
}

/// Fetch the grant token
///
/// To the requester only: not to an admin, not to an auditor.
#[utoipa::path(
    get, path = "/v1/grants/{id}/token", operation_id = "getGrantToken", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id.")),
    responses((status = 200, description = "The token.", body = GrantTokenView)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::GrantUnbound])))),
)]
pub(crate) async fn token(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Json<GrantTokenView>, Refusal> {
    let record = state.workflow.visible_grant(&caller, &parse(&id)?).await?;
    if record.grant.person != caller.person {
        return Err(Refusal::new(Cause::NotPermitted, "only the requester may fetch a grant's token"));
    }
    let unbound = || Refusal::new(Cause::GrantUnbound, "there is no token before a key or a certificate is bound");
    let token = state.workflow.store.grant_token(&record.grant.id).await?.ok_or_else(unbound)?;
    Ok(Json(GrantTokenView { grant: record.grant.id, token: token.into_exposed() }))
}

/// End a grant early
///
/// One's own; any for admins and revokers. The answer does not wait for the sidecars: ask for the enforcement.
#[utoipa::path(
    post, path = "/v1/grants/{id}/revoke", operation_id = "revokeGrant", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = RevokeRequest,
    responses((status = 200, description = "The ended grant.", body = GrantView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::NoteMissing, Cause::NoteTooLong, Cause::GrantEnded, Cause::KeyMalformed, Cause::KeyReused,
    ])))),
)]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Json<GrantView>, Refusal> {
    let (id, asked) = (parse(&id)?, body.parse::<RevokeRequest>()?);
    let once = once_key(&headers, Operation::Revoke, id.as_str(), &asked)?;
    let workflow = state.workflow.clone();
    let task = tokio::spawn(async move { workflow.revoke(&caller, &id, asked.note.as_deref(), once).await });
    let record = task.await.map_err(|_| Refusal::new(Cause::Internal, "the revocation was not finished"))??;
    Ok(Json(view(&state, record)))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EnforcementQuery {
    /// How long to wait until every sidecar has answered; more than 20 seconds are 20 seconds.
    #[serde(default)]
    #[param(example = 0)]
    wait_ms: u64,
}

/// How far a grant's last change has arrived
///
/// Answers as soon as every sidecar has acknowledged the change, or the wait is over.
#[utoipa::path(
    get, path = "/v1/grants/{id}/enforcement", operation_id = "getEnforcement", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id."), EnforcementQuery),
    responses((status = 200, description = "Who enforces it, and by when the silent ones stop.", body = Enforcement,
        headers(("ETag" = String)))),
)]
pub(crate) async fn enforcement(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    Asked(query): Asked<EnforcementQuery>,
) -> Result<Tagged<Enforcement>, Refusal> {
    let record = state.workflow.visible_grant(&caller, &parse(&id)?).await?;
    let wait = Duration::from_millis(query.wait_ms.min(WAIT_MS_MAX));
    let (service, changed) = (&record.grant.service, record.changed);
    Ok(Tagged(state.hub.wait_enforced(service, record.revision, changed, wait).await))
}

pub(super) fn parse(id: &str) -> Result<GrantId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found())
}

pub(super) fn view(state: &ApiState, record: GrantRecord) -> GrantView {
    let enforcement = state.hub.enforcement(&record.grant.service, record.revision, record.changed);
    let (grant, ended) = (record.grant, record.ended);
    GrantView {
        id: grant.id,
        elevation: record.elevation,
        tier: record.tier,
        state: record.state,
        service: grant.service,
        person: grant.person,
        role: grant.role,
        resources: grant.scope.resources().iter().cloned().collect(),
        actions: grant.scope.actions().iter().cloned().collect(),
        reason: grant.justification.reason,
        ticket: grant.justification.ticket,
        binding: grant.binding,
        confirmation: grant.confirmation,
        issued_at: grant.issued,
        expires_at: grant.expires,
        max_uses: grant.max_uses.map(std::num::NonZeroU32::get),
        spent: record.spent,
        policy_revision: grant.policy_revision,
        suspended_at: record.suspended.filter(|_| record.state == GrantState::Active),
        revision: record.revision,
        ended_at: ended.as_ref().map(|end| end.at),
        ended_by: ended.as_ref().and_then(|end| end.by.clone()),
        revocation: ended.as_ref().and_then(|end| end.revocation.clone()),
        end_note: ended.and_then(|end| end.note),
        review: review_view(record.review),
        enforcement,
    }
}

fn review_view(review: Review) -> ReviewView {
    let done = review.done;
    ReviewView {
        state: review.state,
        due_at: review.by,
        reviewed_at: done.as_ref().map(|done| done.at),
        reviewed_by: done.as_ref().map(|done| done.person.clone()),
        verdict: done.as_ref().map(|done| done.verdict),
        findings: done.map(|done| done.findings),
    }
}
