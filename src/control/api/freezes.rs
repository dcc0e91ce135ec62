//! `/v1/freezes`: stop a service, or everything, and lift that again.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;

use super::ApiState;
use super::asked::{Asked, Named};
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::Tagged;
use super::grants::WAIT_MS_MAX;
use crate::control::arrival::wait_reached;
use crate::control::openapi::{FREEZES, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::ServiceName;
use crate::identity::Verified;
use crate::store::{FreezeOutcome, FreezeRecord, Reach};
use crate::wire::api::Page;
use crate::wire::revocations::{FreezeLiftedView, FreezeRequest, FreezeView};

/// List the freezes that stand
///
/// To everyone: whose service is stopped may know. By whom and why is for those who may freeze or see everything.
#[utoipa::path(
    get, path = "/v1/freezes", operation_id = "listFreezes", tag = FREEZES,
    responses((status = 200, description = "All of them.", body = Page<FreezeView>, headers(("ETag" = String)))),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(caller): Caller,
) -> Result<Tagged<Page<FreezeView>>, Refusal> {
    let freezes = state.workflow.store.freezes().await?;
    let whole = state.workflow.sees_revocations(&caller);
    let items = freezes.into_iter().map(|freeze| view(freeze, whole)).collect();
    Ok(Tagged(Page { items, next: None }))
}

/// Freeze everything
///
/// For admins, revokers and freezers. Every override is refused and cut, and nothing is granted, at any service, until an
/// admin lifts it.
#[utoipa::path(
    put, path = "/v1/freezes", operation_id = "freezeEverything", tag = FREEZES,
    request_body = FreezeRequest,
    responses((status = 201, description = "It is frozen now.", body = FreezeView),
        (status = 200, description = "It was frozen before: that freeze.", body = FreezeView)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::NoteMissing, Cause::NoteTooLong])))),
)]
pub(crate) async fn freeze_all(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    put(&state, caller, None, &body).await
}

/// Freeze a service
///
/// For admins, revokers and freezers. Every override of the service is refused and cut, and nothing is granted for it,
/// until an admin lifts it.
#[utoipa::path(
    put, path = "/v1/freezes/{service}", operation_id = "freezeService", tag = FREEZES,
    params(("service" = ServiceName, Path, description = "The service's name.")),
    request_body = FreezeRequest,
    responses((status = 201, description = "It is frozen now.", body = FreezeView),
        (status = 200, description = "It was frozen before: that freeze.", body = FreezeView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::UnknownService, Cause::NoteMissing, Cause::NoteTooLong,
    ])))),
)]
pub(crate) async fn freeze(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(service): Named,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    put(&state, caller, Some(parse(&service)?), &body).await
}

async fn put(
    state: &ApiState,
    caller: Verified,
    service: Option<ServiceName>,
    body: &JsonBytes,
) -> Result<Response, Refusal> {
    let asked: FreezeRequest = body.parse()?;
    let workflow = state.workflow.clone();
    let task = tokio::spawn(async move { workflow.freeze(&caller, service.as_ref(), &asked.note).await });
    let outcome = task.await.map_err(|_| Refusal::new(Cause::Internal, "the freeze was not finished"))??;
    let (status, freeze) = match outcome {
        FreezeOutcome::Frozen(freeze) => (StatusCode::CREATED, freeze),
        FreezeOutcome::Stands(freeze) => (StatusCode::OK, freeze),
    };
    Ok((status, Json(view(freeze, true))).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiftQuery {
    /// How long to wait until every sidecar has answered; more than 20 seconds are 20 seconds.
    #[serde(default)]
    #[param(example = 0)]
    wait_ms: u64,
}

/// Lift the freeze of everything
///
/// For admins. Services that are frozen on their own stay frozen.
#[utoipa::path(
    delete, path = "/v1/freezes", operation_id = "liftEverything", tag = FREEZES,
    params(LiftQuery),
    responses((status = 200, description = "It is lifted.", body = FreezeLiftedView)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::NotFound])))),
)]
pub(crate) async fn lift_all(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<LiftQuery>,
) -> Result<Json<FreezeLiftedView>, Refusal> {
    delete(&state, caller, None, &query).await
}

/// Lift the freeze of a service
///
/// For admins. A freeze of everything stays.
#[utoipa::path(
    delete, path = "/v1/freezes/{service}", operation_id = "liftService", tag = FREEZES,
    params(("service" = ServiceName, Path, description = "The service's name."), LiftQuery),
    responses((status = 200, description = "It is lifted.", body = FreezeLiftedView)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn lift(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(service): Named,
    Asked(query): Asked<LiftQuery>,
) -> Result<Json<FreezeLiftedView>, Refusal> {
    let service = service.parse().map_err(|_| Refusal::not_found())?;
    delete(&state, caller, Some(service), &query).await
}

async fn delete(
    state: &ApiState,
    caller: Verified,
    service: Option<ServiceName>,
    query: &LiftQuery,
) -> Result<Json<FreezeLiftedView>, Refusal> {
    let (workflow, named) = (state.workflow.clone(), service.clone());
    let task = tokio::spawn(async move { workflow.lift(&caller, named.as_ref()).await });
    let lifted = task.await.map_err(|_| Refusal::new(Cause::Internal, "the lifting was not finished"))??;
    let reach = [Reach { service: service.clone(), revision: lifted.revision }];
    let wait = Duration::from_millis(query.wait_ms.min(WAIT_MS_MAX));
    let enforcement = wait_reached(&state.hub, (&reach, lifted.at), None, wait).await;
    Ok(Json(FreezeLiftedView { service, lifted_at: lifted.at, enforcement }))
}

fn parse(service: &str) -> Result<ServiceName, Refusal> {
    service.parse().map_err(|error| Refusal::new(Cause::UnknownService, format!("{error}")))
}

fn view(freeze: FreezeRecord, whole: bool) -> FreezeView {
    FreezeView {
        service: freeze.service,
        frozen_at: freeze.at,
        by: freeze.by.filter(|_| whole),
        note: freeze.note.filter(|_| whole),
        revocation: freeze.revocation,
    }
}
