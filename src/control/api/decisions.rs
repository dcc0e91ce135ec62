//! `/v1/elevations/{id}/…`: approve, deny, withdraw.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;

use super::ApiState;
use super::asked::Named;
use super::body::JsonBytes;
use super::caller::Caller;
use super::elevation_view::{view, waiting};
use super::etag::{IfMatch, Tag};
use super::once::once_key;
use super::words::{without_wildcard, words};
use crate::control::openapi::{ELEVATIONS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::reads::View;
use crate::domain::{ElevationId, Narrowing};
use crate::identity::Verified;
use crate::store::Operation;
use crate::wire::api::ElevationView;
use crate::wire::lifecycle::{ApproveRequest, DenyRequest, WithdrawRequest};

/// [`ApproveRequest`] before its words are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApproval {
    #[serde(default)]
    duration_s: Option<u64>,
    #[serde(default)]
    actions: Option<Vec<String>>,
    #[serde(default)]
    max_uses: Option<u32>,
}

impl TryFrom<RawApproval> for ApproveRequest {
    type Error = Refusal;

    fn try_from(raw: RawApproval) -> Result<Self, Refusal> {
        let actions = raw.actions.as_deref().map(|texts| {
            without_wildcard(texts)?;
            words(texts, Cause::ActionMalformed)
        });
        Ok(Self { duration_s: raw.duration_s, actions: actions.transpose()?, max_uses: raw.max_uses })
    }
}

fn narrowing(asked: &ApproveRequest) -> Result<Narrowing, Refusal> {
    let uses = |uses| NonZeroU32::new(uses).ok_or_else(|| Refusal::new(Cause::TooFewUses, "max_uses is at least 1"));
    Ok(Narrowing {
        duration: asked.duration_s.map(Duration::from_secs),
        actions: asked.actions.as_ref().map(|actions| actions.iter().cloned().collect()),
        max_uses: asked.max_uses.map(uses).transpose()?,
    })
}

/// Approve a request
///
/// For those who may approve in its tier, never for the person who asked. `If-Match` names the `ETag` of what was seen:
/// where the request, its approvals or the policy have changed since, nothing is approved. The approval that completes
/// the set makes the grant, whose time begins then. Each approval may narrow time, actions and uses; what all agree to is
/// granted.
#[utoipa::path(
    post, path = "/v1/elevations/{id}/approve", operation_id = "approveElevation", tag = ELEVATIONS,
    params(("id" = ElevationId, Path, description = "The request's id."),
        ("If-Match" = String, Header, description = "The ETag of what was seen.", example = "\"hhSdLBNKsb0bl9zFSHVrWg\""),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = ApproveRequest,
    responses((status = 200, description = "The request, and the grant where it is complete.", body = ElevationView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::OwnRequest, Cause::PreconditionRequired, Cause::PreconditionFailed,
        Cause::StateConflict, Cause::AlreadyApproved, Cause::PolicyChanged, Cause::Frozen, Cause::NarrowingWidens,
        Cause::NarrowingEmpty, Cause::Wildcard, Cause::ActionMalformed, Cause::DurationTooShort, Cause::TooFewUses,
        Cause::KeyMalformed, Cause::KeyReused, Cause::StepUp, Cause::RulesUnavailable, Cause::KeyUnavailable,
    ])))),
)]
pub(crate) async fn approve(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    seen: IfMatch,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Json<ElevationView>, Refusal> {
    let id = parse(&id)?;
    let asked: ApproveRequest = body.parse::<RawApproval>()?.try_into()?;
    let narrowing = narrowing(&asked)?;
    let once = once_key(&headers, Operation::Approve, id.as_str(), &asked)?;
    let (workflow, asking, named) = (state.workflow.clone(), caller.clone(), id.clone());
    // A task of its own: a caller who leaves can't leave a half-told commit behind.
    let task = tokio::spawn(async move {
        let check = |sight| {
            let view = waiting(sight);
            seen.check(&view)?;
            Tag::of(&view).map(|tag| tag.as_str().to_owned())
        };
        workflow.approve(&asking, &id, &narrowing, &check, once).await
    });
    let approved = task.await.map_err(|_| unfinished())?;
    if let Err(Refusal { current: Some(_), .. }) = &approved {
        // What it is now is shown to who may not have seen it yet.
        let owner = state.workflow.visible_elevation(&caller, &named).await?.elevation.person;
        state.workflow.record_look_at(&caller, View::Elevation, &owner, named.as_str()).await?;
    }
    shown(&state, &caller, &approved?).await
}

/// Deny a request
///
/// For those who may approve in its tier.
#[utoipa::path(
    post, path = "/v1/elevations/{id}/deny", operation_id = "denyElevation", tag = ELEVATIONS,
    params(("id" = ElevationId, Path, description = "The request's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = DenyRequest,
    responses((status = 200, description = "The denied request.", body = ElevationView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::OwnRequest, Cause::StateConflict, Cause::NoteMissing, Cause::NoteTooLong,
        Cause::KeyMalformed, Cause::KeyReused,
    ])))),
)]
pub(crate) async fn deny(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Json<ElevationView>, Refusal> {
    let (id, asked) = (parse(&id)?, body.parse::<DenyRequest>()?);
    let once = once_key(&headers, Operation::Deny, id.as_str(), &asked)?;
    let (workflow, asking) = (state.workflow.clone(), caller.clone());
    let task = tokio::spawn(async move { workflow.deny(&asking, &id, &asked.note, once).await });
    let id = task.await.map_err(|_| unfinished())??;
    shown(&state, &caller, &id).await
}

/// Take a request back
///
/// For the person who asked.
#[utoipa::path(
    post, path = "/v1/elevations/{id}/withdraw", operation_id = "withdrawElevation", tag = ELEVATIONS,
    params(("id" = ElevationId, Path, description = "The request's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = WithdrawRequest,
    responses((status = 200, description = "The withdrawn request.", body = ElevationView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::StateConflict, Cause::KeyMalformed, Cause::KeyReused,
    ])))),
)]
pub(crate) async fn withdraw(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Json<ElevationView>, Refusal> {
    let (id, asked) = (parse(&id)?, body.parse::<WithdrawRequest>()?);
    let once = once_key(&headers, Operation::Withdraw, id.as_str(), &asked)?;
    let (workflow, asking) = (state.workflow.clone(), caller.clone());
    let task = tokio::spawn(async move { workflow.withdraw(&asking, &id, once).await });
    let id = task.await.map_err(|_| unfinished())??;
    shown(&state, &caller, &id).await
}

async fn shown(state: &ApiState, caller: &Verified, id: &ElevationId) -> Result<Json<ElevationView>, Refusal> {
    let sight = state.workflow.sight(caller, id).await?;
    Ok(Json(view(state, sight).await?))
}

fn parse(id: &str) -> Result<ElevationId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found())
}

fn unfinished() -> Refusal {
    Refusal::new(Cause::Internal, "the call was not finished")
}
