//! What each request does.

use std::sync::{MutexGuard, PoisonError};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::Shared;
use super::permit::{Override, Proven};
use super::problem::{Refused, problem};
use super::world::{Payment, PaymentState, World};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    amount: u64,
    contract: Option<String>,
}

/// What a body may name again. Nothing is named where there is no body.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    contract: Option<String>,
    payment: Option<String>,
}

impl Named {
    fn read(body: &[u8]) -> Result<Self, Refused> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|_| Refused::Body(StatusCode::BAD_REQUEST))
    }
}

pub(super) fn locked(api: &Shared) -> MutexGuard<'_, World> {
    api.world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The override, held to what the path names and to what the body names: an override for one contract must not carry a
/// body about another. Then, with an override or without, path and body must agree.
fn permitted<'p>(
    proven: &'p Proven,
    action: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Option<&'p Override>, Refused> {
    let by = proven.permit(path, action)?;
    if let Some(body) = body {
        proven.permit(body, action)?;
        if body != path {
            return Err(Refused::BodyDiffers);
        }
    }
    Ok(by)
}

pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn contract(
    State(api): State<Shared>,
    Path(contract): Path<String>,
    proven: Proven,
) -> Result<Json<Value>, Refused> {
    permitted(&proven, "contract.read", &contract, None)?;
    let document = json!({"contract": contract, "terms": locked(&api).contract(&contract)?});
    Ok(Json(document))
}

pub(super) async fn payment(
    State(api): State<Shared>,
    Path((contract, payment)): Path<(String, String)>,
    proven: Proven,
) -> Result<Json<Value>, Refused> {
    permitted(&proven, "payment.read", &contract, None)?;
    let found = locked(&api).payment(&contract, &payment)?.clone();
    Ok(Json(described(&contract, &payment, &found)))
}

pub(super) async fn release(
    State(api): State<Shared>,
    Path((contract, payment)): Path<(String, String)>,
    proven: Proven,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let by = settling(&proven, "payment.release", &contract, &payment, &body)?;
    let released = locked(&api).release(&contract, &payment, by)?;
    Ok(Json(described(&contract, &payment, &released)))
}

pub(super) async fn cancel(
    State(api): State<Shared>,
    Path((contract, payment)): Path<(String, String)>,
    proven: Proven,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let by = settling(&proven, "payment.cancel", &contract, &payment, &body)?;
    let cancelled = locked(&api).cancel(&contract, &payment, by)?;
    Ok(Json(described(&contract, &payment, &cancelled)))
}

fn settling<'p>(
    proven: &'p Proven,
    action: &str,
    contract: &str,
    payment: &str,
    body: &[u8],
) -> Result<Option<&'p Override>, Refused> {
    let named = Named::read(body)?;
    let by = permitted(proven, action, contract, named.contract.as_deref())?;
    if named.payment.is_some_and(|named| named != payment) { Err(Refused::BodyDiffers) } else { Ok(by) }
}

pub(super) async fn set_limit(
    State(api): State<Shared>,
    Path(contract): Path<String>,
    proven: Proven,
    body: Result<Json<Limit>, JsonRejection>,
) -> Result<Json<Value>, Refused> {
    let Json(limit) = body.map_err(|rejection| Refused::Body(rejection.status()))?;
    let by = permitted(&proven, "limit.set", &contract, limit.contract.as_deref())?;
    let amount = locked(&api).set_limit(&contract, limit.amount, by)?;
    Ok(Json(json!({"contract": contract, "limit": amount, "override": by})))
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
