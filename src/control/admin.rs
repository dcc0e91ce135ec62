//! The admin port: `/metrics`, `/livez`, `/readyz`, `/log`. In the clear, on the loopback unless configured otherwise.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::time::timeout;

use super::api::ApiState;
use super::on_call::Freshness;
use crate::domain::WallTime;
use crate::telemetry::metric::CONTENT_TYPE;
use crate::telemetry::{host, log};

/// A database that does not answer within this is not ready.
const READ_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) fn router(state: ApiState, listening: SocketAddr) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readiness))
        .route("/log", any(log))
        .layer(middleware::from_fn_with_state(listening, host_is_ours))
        .with_state(Arc::new(state))
}

async fn host_is_ours(State(listening): State<SocketAddr>, request: Request, next: Next) -> Response {
    if host::is_allowed(request.method(), request.headers(), listening) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "ask by address\n").into_response()
    }
}

/// A body that is too large, too late or breaks off is none.
async fn log(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let read = timeout(READ_TIME_MAX, axum::body::to_bytes(body, log::admin::BODY_BYTES_MAX)).await;
    let body = read.ok().and_then(Result::ok);
    log::admin::answer(&parts.method, &parts.headers, parts.uri.query(), body.as_deref()).map(axum::body::Body::from)
}

async fn exposition(State(state): State<Arc<ApiState>>) -> Response {
    let metrics = &state.workflow.metrics;
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Ready is who can read the database. What else is amiss is in the body.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    database: &'static str,
    issuers: Vec<IssuerState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<ScheduleState>,
}

#[derive(Debug, Serialize)]
struct IssuerState {
    issuer: String,
    keys: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection: Option<IntrospectionState>,
}

/// Whether the issuer says if tokens still stand. Where it does not, nothing ends for that.
#[derive(Debug, Serialize)]
struct IntrospectionState {
    answered_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// A schedule that is not current refuses nobody by itself: its fallback group may stand in.
#[derive(Debug, Serialize)]
struct ScheduleState {
    schedule: String,
    state: Freshness,
    as_of: Option<String>,
    fallback: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

async fn readiness(State(state): State<Arc<ApiState>>) -> Response {
    let read = timeout(READ_TIME_MAX, state.workflow.store.newest_revision()).await;
    let ready = matches!(read, Ok(Ok(_)));
    let rechecks = state.rechecks.health();
    let issuers = state.verifier.health().into_iter().map(|health| IssuerState {
        introspection: rechecks.iter().find(|asked| asked.issuer == health.issuer).map(|asked| IntrospectionState {
            answered_at: asked.answered.map(WallTime::rfc3339),
            failure: asked.failure.clone(),
        }),
        issuer: health.issuer.to_string(),
        keys: health.keys,
        failure: health.failure,
    });
    let schedules = state.workflow.on_call.health(state.workflow.clock.now()).into_iter().map(|health| ScheduleState {
        schedule: health.name,
        state: health.freshness,
        as_of: health.as_of.map(WallTime::rfc3339),
        fallback: health.has_fallback,
        failure: health.failure,
    });
    let database = if ready { "readable" } else { "not readable" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, database, issuers: issuers.collect(), schedules: schedules.collect() }))
        .into_response()
}
