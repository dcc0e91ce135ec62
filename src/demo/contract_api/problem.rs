//! The API's own problem documents (RFC 9457); they are not the sidecar's.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::permit::PermitError;
use super::world::Refusal;

pub(super) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    document(status, code, detail, None)
}

/// `rule` names what locked it.
fn document(status: StatusCode, code: &str, detail: &str, rule: Option<&str>) -> Response {
    let mut document = json!({
        "type": format!("https://contracts.example/problems/{code}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    if let (Some(members), Some(rule)) = (document.as_object_mut(), rule) {
        members.insert("rule".to_owned(), Value::from(rule));
    }
    (status, [(CONTENT_TYPE, "application/problem+json")], Json(document)).into_response()
}

/// Any reason to refuse, each with its own answer.
#[derive(Debug)]
pub(super) enum Refused {
    Rule(Refusal),
    Permit(PermitError),
    /// The body is not what it should be.
    Body(StatusCode),
    /// Path and body name different things.
    BodyDiffers,
    /// The query is not what it should be.
    Query,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Rule(refusal)
    }
}

impl From<PermitError> for Refused {
    fn from(error: PermitError) -> Self {
        Self::Permit(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Rule(refusal) => refused(refusal),
            Self::Permit(error) => not_permitted(error),
            Self::Body(status) => {
                problem(status, "body", "the body is not a JSON object with the members this address takes")
            }
            Self::BodyDiffers => problem(
                StatusCode::CONFLICT,
                "body_mismatch",
                "the body names another contract or payment than the path",
            ),
            Self::Query => {
                let detail = "name a contract; bytes is at most 17179869184 and pause_ms at most 60000";
                problem(StatusCode::BAD_REQUEST, "query", detail)
            }
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    let detail = refusal.to_string();
    match refusal {
        Refusal::NoContract => problem(StatusCode::NOT_FOUND, "no_contract", &detail),
        Refusal::NoPayment => problem(StatusCode::NOT_FOUND, "no_payment", &detail),
        Refusal::Locked(rule) => document(StatusCode::LOCKED, "locked", &detail, Some(rule.as_str())),
        Refusal::AlreadyReleased => problem(StatusCode::CONFLICT, "already_released", &detail),
        Refusal::Cancelled => problem(StatusCode::CONFLICT, "cancelled", &detail),
    }
}

fn not_permitted(error: PermitError) -> Response {
    let detail = error.to_string();
    match error {
        PermitError::Incomplete(_) => problem(StatusCode::BAD_REQUEST, "override_incomplete", &detail),
        PermitError::Differs(_) | PermitError::Unproven(_) => {
            problem(StatusCode::FORBIDDEN, "override_unproven", &detail)
        }
        PermitError::KeysUnavailable => {
            let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable", &detail);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            answer
        }
        PermitError::OtherResource | PermitError::OtherAction => {
            problem(StatusCode::CONFLICT, "override_mismatch", &detail)
        }
    }
}
