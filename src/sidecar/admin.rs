//! The admin port, loopback by default: `/metrics`, `/livez`, `/readyz`, `/grants`, and the local freeze
//! (`PUT /freeze`, `DELETE /freeze`), what is logged (`/log`). In the clear, one worker, never on a request's path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::audit_log::Readiness;
use super::grant_table::LiveGrant;
use super::metrics::SidecarMetrics;
use super::shared::Shared;
use crate::decision::{Assertion, Feed, Freeze, GrantStanding};
use crate::domain::{Action, GrantId, Person, Resource, Role, WallTime};
use crate::drain::Drain;
use crate::telemetry::metric::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;
use crate::telemetry::{host, log};

const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Serves the admin port to the very end: while this sidecar drains it says so. Only where a successor has the port too
/// is it left to that one.
pub async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, metrics: Arc<SidecarMetrics>, drain: Drain) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin port could not be used");
            return;
        }
    };
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = handed_over(&shared, &drain) => return,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned()) else { continue };
        let (shared, metrics, drain) = (Arc::clone(&shared), Arc::clone(&metrics), drain.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (shared, metrics, drain) = (Arc::clone(&shared), Arc::clone(&metrics), drain.clone());
                async move { Ok::<_, Infallible>(answer(&shared, &metrics, request, address, &drain).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
            drop(place);
        });
    }
}

/// Resolves once a successor has the sockets.
pub(super) async fn handed_over(shared: &Shared, drain: &Drain) {
    drain.begun().await;
    if !shared.ending.is_handed_over() {
        std::future::pending::<()>().await;
    }
}

async fn answer(
    shared: &Shared,
    metrics: &SidecarMetrics,
    request: Request<Incoming>,
    address: SocketAddr,
    drain: &Drain,
) -> Response<Full<Bytes>> {
    if !host::is_allowed(request.method(), request.headers(), address) {
        let why = Bytes::from_static(b"ask by address\n");
        return respond(StatusCode::MISDIRECTED_REQUEST, "text/plain", why);
    }
    if request.uri().path() == "/log" {
        return log(request).await;
    }
    answer_at_once(shared, metrics, &request, drain.has_begun())
}

/// A body that is too large or breaks off is none.
async fn log(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let reading = Limited::new(body, log::admin::BODY_BYTES_MAX).collect();
    let read = tokio::time::timeout(HEAD_TIMEOUT, reading).await;
    let body = read.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    log::admin::answer(&parts.method, &parts.headers, parts.uri.query(), body.as_deref()).map(Full::new)
}

fn answer_at_once(
    shared: &Shared,
    metrics: &SidecarMetrics,
    request: &Request<Incoming>,
    draining: bool,
) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => match metrics.text() {
            Ok(text) => respond(StatusCode::OK, CONTENT_TYPE_OF_METRICS, text.into()),
            Err(error) => {
                tracing::error!(%error, "metrics could not be written");
                respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new())
            }
        },
        ("/livez", &Method::GET) => respond(StatusCode::OK, "text/plain", Bytes::from_static(b"alive\n")),
        ("/readyz", &Method::GET) => readyz(shared, draining),
        ("/grants", &Method::GET) => json(&grants(shared)),
        // A page in an operator's browser must not lift a freeze.
        ("/freeze", _) if request.headers().contains_key(ORIGIN) => {
            respond(StatusCode::FORBIDDEN, "text/plain", Bytes::new())
        }
        ("/freeze", &Method::PUT) => freeze(shared, true, draining),
        ("/freeze", &Method::DELETE) => freeze(shared, false, draining),
        ("/metrics" | "/livez" | "/readyz" | "/grants", _) => not_allowed("GET"),
        ("/freeze", _) => not_allowed("PUT, DELETE"),
        _ => respond(
            StatusCode::NOT_FOUND,
            "text/plain",
            Bytes::from_static(b"/metrics /livez /readyz /grants /freeze /log\n"),
        ),
    }
}

fn readyz(shared: &Shared, draining: bool) -> Response<Full<Bytes>> {
    let mut response = json(&Readyz::of(shared, draining));
    if draining {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn freeze(shared: &Shared, frozen: bool, draining: bool) -> Response<Full<Bytes>> {
    shared.standing.set_frozen_by_hand(frozen);
    tracing::warn!(frozen, "overrides at this sidecar by the admin port");
    json(&Readyz::of(shared, draining))
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn json<T: Serialize>(value: &T) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(value) {
        Ok(mut text) => {
            text.push(b'\n');
            respond(StatusCode::OK, "application/json", text.into())
        }
        Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new()),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `/readyz` is 200 whenever ordinary traffic can flow: an orchestrator must not take the API away because overrides
/// lack something. What they lack stands here. While this sidecar drains, it is 503.
#[derive(Debug, Serialize)]
struct Readyz {
    ready: bool,
    draining: bool,
    overrides: bool,
    lacking: Vec<&'static str>,
    feed_connected: bool,
    feed_revision: u64,
    feed_age_ms: Option<u128>,
    /// The last reload, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<ReloadLine>,
    /// The last hand-over that failed, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    handover: Option<HandoverLine>,
}

/// `error`: why the last reading of the files was not taken; the one before stays in force.
#[derive(Debug, Serialize)]
struct ReloadLine {
    at: WallTime,
    error: Option<String>,
}

/// Why the successor does not serve and this process still does.
#[derive(Debug, Serialize)]
struct HandoverLine {
    at: WallTime,
    error: String,
}

impl Readyz {
    fn of(shared: &Shared, draining: bool) -> Self {
        let feed = shared.standing.feed();
        let age = match feed {
            Feed::AsOf(as_of) => Some(shared.clock.boot().since(as_of)),
            Feed::NeverSynced | Feed::ClockUnsettled => None,
        };
        let setup = shared.glance();
        let stale = age.is_some_and(|age| age > setup.policy.ceiling.staleness_max);
        let no_keys = setup.verifier.health().iter().all(|issuer| issuer.keys.is_none());
        let audit = match shared.audit.readiness() {
            Readiness::Ready => None,
            Readiness::Unavailable(cause) => Some(cause.as_str()),
        };
        let lacking = [
            (feed == Feed::NeverSynced).then_some("feed_not_synced"),
            (feed == Feed::ClockUnsettled).then_some("clock_unsettled"),
            stale.then_some("feed_stale"),
            no_keys.then_some("identity_keys"),
            (shared.standing.freeze() != Freeze::None).then_some("frozen"),
            (shared.assertions.fact() == Assertion::Unavailable).then_some("assertion_key"),
            audit.map(|cause| match cause {
                "full" => "audit_full",
                "slow" => "audit_slow",
                "opening" => "audit_opening",
                "damaged" => "audit_damaged",
                "spool" => "audit_spool",
                "ledger" => "audit_ledger",
                _ => "audit_failed",
            }),
        ];
        let lacking: Vec<_> = lacking.into_iter().flatten().collect();
        Self {
            ready: !draining,
            draining,
            overrides: lacking.is_empty() && !draining,
            lacking,
            feed_connected: shared.standing.is_connected(),
            feed_revision: shared.standing.revision(),
            feed_age_ms: age.map(|age| age.as_millis()),
            reload: shared.reloads.last().map(|last| ReloadLine { at: last.at, error: last.error }),
            handover: shared.handovers.last_failed().map(|last| HandoverLine { at: last.at, error: last.error }),
        }
    }
}

/// A grant without its token.
#[derive(Debug, Serialize)]
struct GrantLine {
    id: GrantId,
    person: Person,
    role: Role,
    resources: Vec<Resource>,
    actions: Vec<Action>,
    standing: &'static str,
    expires_at: WallTime,
    max_uses: Option<u32>,
    spent_here: u32,
}

fn grants(shared: &Shared) -> Vec<GrantLine> {
    let now = shared.clock.now();
    let line = |live: Arc<LiveGrant>| {
        let grant = live.grant();
        let standing = match live.standing() {
            GrantStanding::Revoked => "revoked",
            GrantStanding::UsedUp => "used_up",
            GrantStanding::Suspended => "suspended",
            GrantStanding::Live if live.deadline_at(&shared.standing, now).has_passed(now) => "expired",
            GrantStanding::Live => "live",
        };
        GrantLine {
            id: grant.id.clone(),
            person: grant.person.clone(),
            role: grant.role.clone(),
            resources: grant.scope.resources().iter().cloned().collect(),
            actions: grant.scope.actions().iter().cloned().collect(),
            standing,
            expires_at: grant.expires,
            max_uses: grant.max_uses.map(std::num::NonZero::get),
            spent_here: live.spent(),
        }
    };
    shared.grants.all().into_iter().map(line).collect()
}
