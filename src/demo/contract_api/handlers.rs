//! What each request does.

use std::sync::{MutexGuard, PoisonError};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::Shared;
use super::permit::{Override, PermitError};
use super::problem::{Refused, problem};
use super::world::{Payment, PaymentState, World};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    amount: u64,
}

pub(super) fn locked(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The override of this request, if it comes under one and the one is for this.
pub(super) fn permitted(headers: &HeaderMap, contract: &str, action: &str) -> Result<Option<Override>, PermitError> {
    let found = Override::from_headers(headers)?;
    if let Some(found) = &found {
        found.must_be_for(contract, action)?;
    }
    Ok(found)
}

pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn contract(
    State(world): State<Shared>,
    Path(contract): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    permitted(&headers, &contract, "contract.read")?;
    let document = json!({"contract": contract, "terms": locked(&world).contract(&contract)?});
    Ok(Json(document))
}

pub(super) async fn payment(
    State(world): State<Shared>,
    Path((contract, payment)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    permitted(&headers, &contract, "payment.read")?;
    let found = locked(&world).payment(&contract, &payment)?.clone();
    Ok(Json(described(&contract, &payment, &found)))
}

pub(super) async fn release(
    State(world): State<Shared>,
    Path((contract, payment)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let by = permitted(&headers, &contract, "payment.release")?;
    let released = locked(&world).release(&contract, &payment, by.as_ref())?;
    Ok(Json(described(&contract, &payment, &released)))
}

pub(super) async fn cancel(
    State(world): State<Shared>,
    Path((contract, payment)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let by = permitted(&headers, &contract, "payment.cancel")?;
    let cancelled = locked(&world).cancel(&contract, &payment, by.as_ref())?;
    Ok(Json(described(&contract, &payment, &cancelled)))
}

pub(super) async fn set_limit(
    State(world): State<Shared>,
    Path(contract): Path<String>,
    headers: HeaderMap,
    body: Result<Json<Limit>, JsonRejection>,
) -> Result<Json<Value>, Refused> {
    let by = permitted(&headers, &contract, "limit.set")?;
    let Json(Limit { amount }) = body.map_err(|rejection| Refused::Body(rejection.status()))?;
    let limit = locked(&world).set_limit(&contract, amount, by.as_ref())?;
    Ok(Json(json!({"contract": contract, "limit": limit, "override": by})))
}

pub(super) async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "no_such_address", "there is nothing at this address")
}

pub(super) async fn method_not_allowed() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "method", "this method is not for this address")
}

fn described(contract: &str, id: &str, payment: &Payment) -> Value {
    let mut document = json!(payment);
    document.as_object_mut().into_iter().for_each(|members| {
        members.insert("contract".to_owned(), contract.into());
        members.insert("payment".to_owned(), id.into());
        members.insert("released".to_owned(), (payment.state == PaymentState::Released).into());
    });
    document
}
