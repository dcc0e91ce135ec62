//! Paths, the limits on requests, and what every answer carries.

use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use utoipa_axum::routes;

use super::api::answer::Refused;
use super::api::caller::Told;
use super::api::etag::if_none_match;
use super::api::possession::{DPOP, DPOP_NONCE};
use super::api::{
    ApiState, claims, decisions, elevations, erasures, freezes, grants, options, policy, proposals, reports, reviews,
    revocations, sign_in,
};
use super::intake::take_in;
use super::ledger::serve as serve_ledger;
use super::openapi::{Calls, serve};
use super::refusal::{Cause, Refusal};
use super::scim::{about, groups, users};
use super::signals::push;
use crate::telemetry::request_context::{RequestContext, attributed};

/// Requests at once; more are turned away at once.
const REQUESTS_MAX: usize = 512;
/// From a request's head to its answer's head, its body's arrival and a wait for enforcement included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Every call, one line a path. A handler says its path, method and answers in its `#[utoipa::path]`.
pub(crate) fn calls() -> Calls {
    Calls::new()
        .add(routes!(elevations::create, elevations::list))
        .add(routes!(elevations::show))
        .add(routes!(decisions::approve))
        .add(routes!(decisions::deny))
        .add(routes!(decisions::withdraw))
        .add(routes!(grants::list))
        .add(routes!(grants::show))
        .add(routes!(grants::token))
        .add(routes!(grants::revoke))
        .add(routes!(grants::enforcement))
        .add(routes!(claims::claim))
        .add(routes!(reviews::review))
        .add(routes!(reports::grant))
        .add(routes!(reports::period))
        .add(routes!(policy::show, policy::apply))
        .add(routes!(policy::preview))
        .add(routes!(policy::revisions))
        .add(routes!(proposals::list))
        .add(routes!(proposals::show))
        .add(routes!(proposals::confirm))
        .add(routes!(proposals::withdraw))
        .add(routes!(revocations::create, revocations::list))
        .add(routes!(revocations::preview))
        .add(routes!(revocations::show))
        .add(routes!(revocations::show_enforcement))
        .add(routes!(freezes::list, freezes::freeze_all, freezes::lift_all))
        .add(routes!(freezes::freeze, freezes::lift))
        .add(routes!(erasures::create))
        .add(routes!(erasures::preview))
        .add(routes!(erasures::show))
        .add(routes!(erasures::personal_values))
        .add(routes!(push::push))
        .add(routes!(users::create, users::list))
        .add(routes!(users::show, users::replace, users::patch_user, users::delete))
        .add(routes!(groups::create, groups::list))
        .add(routes!(groups::show, groups::replace, groups::patch_group, groups::delete))
        .add(routes!(about::config))
        .add(routes!(about::resource_types))
        .add(routes!(about::schemas))
        .add(routes!(options::options))
        .add(routes!(options::sidecars))
        .add(routes!(options::keys))
        .add(routes!(sign_in::terms))
        .add(routes!(sign_in::whoami))
        .add(routes!(serve::openapi))
}

pub(super) fn router(state: ApiState) -> Router {
    let limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(limited))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
        .layer(TimeoutLayer::new(REQUEST_TIME_MAX));
    let ledger_limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(limited))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
        .layer(TimeoutLayer::new(REQUEST_TIME_MAX));
    calls()
        .into_router()
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(nothing_here)
        .layer(limits)
        .layer(middleware::from_fn(if_none_match))
        .layer(middleware::from_fn(take_in))
        // Resources of a format of others, which are no calls of this API.
        .merge(serve_ledger::router().layer(ledger_limits))
        .layer(middleware::from_fn_with_state(state.clone(), finish))
        .with_state(state)
}

async fn nothing_here() -> Refusal {
    Refusal::new(Cause::NotFound, "no call has this path")
}

/// The router adds `Allow`. That is all there is to say to OPTIONS: no page of another origin calls this API.
async fn method_not_allowed(method: Method) -> Result<StatusCode, Refusal> {
    if method == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::new(Cause::MethodNotAllowed, "this path has other methods: see Allow"))
}

async fn limited(error: BoxError) -> Refusal {
    if error.is::<tower::timeout::error::Elapsed>() {
        return Refusal::new(Cause::TimedOut, format!("{} seconds were over", REQUEST_TIME_MAX.as_secs()));
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        return Refusal::new(Cause::Overloaded, format!("{REQUESTS_MAX} requests are under way"));
    }
    Refusal::new(Cause::Internal, "the request was not finished")
}

/// Counts the answer, and forbids keeping it where it does not say that it is public: it may name people, and one of
/// them holds a token.
async fn finish(
    State(state): State<ApiState>,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let context = RequestContext::of(request.headers());
    let has_proof = request.headers().contains_key(DPOP);
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let mut response = attributed(context, next.run(request)).await.into_response();
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(standing) = told.0.get() {
        standing.tell(headers);
    }
    if has_proof && let Ok(nonce) = HeaderValue::try_from(state.possession.nonce(state.workflow.clock.wall())) {
        headers.insert(DPOP_NONCE, nonce);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let metrics = &state.workflow.metrics;
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    metrics.requests.with_label_values(&[route, method, response.status().as_str()]).inc();
    metrics.request_seconds.with_label_values(&[route]).observe(started.elapsed().as_secs_f64());
    if let Some(Refused(cause)) = response.extensions().get() {
        metrics.refusals.with_label_values(&[cause.code()]).inc();
    }
    response
}

/// INVARIANT: a closed set; a method made up by a caller is "other".
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
