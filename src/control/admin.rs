//! The admin port: `/metrics`, `/livez`, `/readyz`. In the clear, on the loopback unless configured otherwise.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::time::timeout;

use super::api::ApiState;
use super::metrics;

/// A database that does not answer within this is not ready.
const READ_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) fn router(state: ApiState) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readiness))
        .with_state(Arc::new(state))
}

async fn exposition(State(state): State<Arc<ApiState>>) -> Response {
    let metrics = &state.workflow.metrics;
    metrics.observe_feed(&state.hub, |service| state.digest(service));
    let newest = *state.workflow.store.subscribe().borrow();
    metrics.newest_revision.set(i64::try_from(newest).unwrap_or(i64::MAX));
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
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
}

#[derive(Debug, Serialize)]
struct IssuerState {
    issuer: String,
    keys: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

async fn readiness(State(state): State<Arc<ApiState>>) -> Response {
    let read = timeout(READ_TIME_MAX, state.workflow.store.newest_revision()).await;
    let ready = matches!(read, Ok(Ok(_)));
    let issuers = state.verifier.health().into_iter().map(|health| IssuerState {
        issuer: health.issuer.to_string(),
        keys: health.keys,
        failure: health.failure,
    });
    let database = if ready { "readable" } else { "not readable" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, database, issuers: issuers.collect() })).into_response()
}
