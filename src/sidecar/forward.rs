//! Step 7, forward: to the upstream and back, streaming both ways.
//!
//! Ordinary traffic needs nothing; an override needs a [`Recorded`] permit, which exists only once its intent is
//! durable. An override is never sent twice.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, LINK};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::assertion::Asserting;
use super::audit_log::IntentReceipt;
use super::body::{LastMove, RequestBody, ResponseBody, Source, UpstreamBody, Watched};
use super::capture::Capture;
use super::cut::{AnswerWatch, CutWatch, Under};
use super::exchange::Exchange;
use super::expectation::{self, Expectation};
use super::grant_table::LiveGrant;
use super::hints::{self, Hints, Relay};
use super::shared::Shared;
use super::upgrade::{self, Afterwards, Asked};
use super::upstream::{Lease, Pool, UpstreamError};
use super::{forward_headers, intake, tunnel};
use crate::audit::End;
use crate::config::upstream::{Informational, UpstreamConfig};
use crate::decision::{Permit, RefusalCode};

/// A permit whose intent is durable: the only key to [`as_override`].
#[derive(Debug)]
pub struct Recorded {
    pub(super) permit: Permit,
    pub(super) receipt: IntentReceipt,
    pub(super) live: Arc<LiveGrant>,
    pub(super) capture: Option<Capture>,
}

/// Who asked: for the headers a proxy adds, and for another protocol on the connection.
#[derive(Debug, Clone, Copy)]
pub struct Client<'p> {
    pub address: SocketAddr,
    /// What becomes of the connection the request came on.
    pub afterwards: &'p Afterwards,
    /// What can be said on it before an answer.
    pub hints: Option<&'p Hints>,
}

/// Why no answer of the upstream can be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the upstream did not answer within {0:?}")]
    Timeout(Duration),
    /// The upstream could not be told of the override in a way it can check. Nothing was sent.
    #[error("no assertion could be signed")]
    Unsigned,
    /// The grant ended first. `sent`: the upstream may have the whole request.
    #[error("the grant ended while the upstream was asked")]
    Cut { code: RefusalCode, sent: bool },
}

/// What a client is told of a cut.
pub const fn cut_detail(sent: bool) -> &'static str {
    if sent {
        "The grant ended while the upstream was at work. The request may have taken effect: check before repeating."
    } else {
        "The grant ended while the request was being sent."
    }
}

/// Forwards ordinary traffic. With `path`, that is the path in canonical form; without, the target stays as it is.
///
/// # Errors
/// [`ForwardError`].
pub async fn ordinary(
    pool: &Rc<Pool>,
    request: Request<Incoming>,
    path: Option<&str>,
    client: Client<'_>,
) -> Result<Response<ResponseBody>, ForwardError> {
    let timeout = pool.config().response_timeout;
    let last_move = (!request.body().is_end_stream()).then(|| Rc::new(Cell::new(Instant::now())));
    let (parts, incoming) = request.into_parts();
    let version = parts.version;
    let Prepared { parts, source, asked, expected, relay } = prepare(parts, incoming, path, client, &pool.config());
    let body = RequestBody::new(source, last_move.clone(), None);
    let mut request = Request::from_parts(parts, body);
    hints::listen(&mut request, expected.as_ref(), relay.as_ref().map(|relay| relay.source(None)));
    let sending = pool.send(request);
    let (response, mut lease) = match last_move {
        None => tokio::time::timeout(timeout, sending).await.map_err(|_| ForwardError::Timeout(timeout))??,
        Some(last_move) => within(timeout, &last_move, sending).await.ok_or(ForwardError::Timeout(timeout))??,
    };
    let response = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let limits = tunnel_limits(&pool.config());
        upgrade::switch(response, asked.as_ref(), client.afterwards, None, limits)?
    } else {
        let unasked = withhold(expected.as_ref(), &mut lease);
        closing(pass_back(response, lease, None, version), unasked)
    };
    settle(relay, None).await;
    Ok(response)
}

/// Forwards an override, and watches it until its last byte.
///
/// # Errors
/// [`ForwardError`]; the outcome is recorded whatever happens.
pub async fn as_override(
    shared: &Arc<Shared>,
    pool: &Rc<Pool>,
    recorded: Recorded,
    request: Request<Incoming>,
    path: &str,
    client: Client<'_>,
    request_id: &str,
) -> Result<Response<ResponseBody>, ForwardError> {
    let Recorded { permit, receipt, live, capture } = recorded;
    let timeout = pool.config().response_timeout;
    let under = Under { shared: Arc::clone(shared), live };
    let exchange = Rc::new(Exchange::new(receipt, under.clone(), capture));
    let last_move = Rc::new(Cell::new(Instant::now()));
    let (parts, incoming) = request.into_parts();
    let version = parts.version;
    let prepared = prepare(parts, incoming, Some(path), client, &pool.config());
    let Prepared { mut parts, source, asked, expected, relay } = prepared;
    let Some(assertion) = assertion(&exchange, &permit, request_id, &parts, shared) else {
        exchange.settle(End::NotForwarded(RefusalCode::AssertionUnavailable));
        return Err(ForwardError::Unsigned);
    };
    forward_headers::add_permit_headers(&mut parts.headers, &permit, request_id, assertion);
    let body = RequestBody::new(source, Some(Rc::clone(&last_move)), Some(Rc::clone(&exchange)));
    let mut request = Request::from_parts(parts, body);
    hints::listen(&mut request, expected.as_ref(), relay.as_ref().map(|relay| relay.source(Some(under.clone()))));
    let owned_pool = Rc::clone(pool);
    let mut sending = Box::pin(async move { owned_pool.send(request).await });
    let mut watch = CutWatch::new(under.clone());
    let answer = tokio::select! {
        biased;
        code = watch.cut() => {
            let sent = exchange.request_is_complete();
            exchange.note_cut(code);
            record_late_answer(sending, exchange, pool.config().outcome_wait, code);
            return Err(ForwardError::Cut { code, sent });
        }
        answer = within(timeout, &last_move, &mut sending) => answer,
    };
    let passed = match answer {
        None => {
            exchange.settle(End::UpstreamTimeout);
            Err(ForwardError::Timeout(timeout))
        }
        Some(Err(error)) => {
            exchange.settle(End::UpstreamFailed);
            Err(error.into())
        }
        Some(Ok((response, _))) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            exchange.note_answer(&response);
            let watched = Watched {
                watch: AnswerWatch::new(watch, &exchange, None, client.afterwards.clone()),
                exchange: Rc::clone(&exchange),
            };
            let limits = tunnel_limits(&pool.config());
            let switched = upgrade::switch(response, asked.as_ref(), client.afterwards, Some(watched), limits);
            switched.map_err(|error| {
                exchange.settle(End::UpstreamFailed);
                error.into()
            })
        }
        Some(Ok((response, mut lease))) => {
            exchange.note_answer(&response);
            let unasked = withhold(expected.as_ref(), &mut lease);
            let watch = AnswerWatch::new(watch, &exchange, lease.closer(), client.afterwards.clone());
            let mut response = pass_back(response, lease, Some(Watched { exchange, watch }), version);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
            Ok(closing(response, unasked))
        }
    };
    // By now the watch of the answer acts by itself.
    if passed.is_ok() {
        settle(relay, Some(&under)).await;
    }
    passed
}

/// What tells the upstream of the override, counted; `None` where nothing can be signed.
fn assertion(
    exchange: &Exchange,
    permit: &Permit,
    request_id: &str,
    parts: &http::request::Parts,
    shared: &Shared,
) -> Option<HeaderValue> {
    let record = exchange.record()?;
    let about = Asserting { request_id, record: &record, method: &parts.method, target: &parts.uri };
    let asserted = shared.assertions.assert(permit, about)?;
    exchange.note_assertion(asserted.number);
    asserted.header
}

/// What the upstream said before its answer goes before it.
async fn settle(relay: Option<Relay>, under: Option<&Under>) {
    if let Some(relay) = relay {
        relay.settle(under).await;
    }
}

/// After a cut, an answer to a request that was complete is still awaited, only to be recorded.
fn record_late_answer<F>(sending: F, exchange: Rc<Exchange>, wait: Duration, code: RefusalCode)
where
    F: Future<Output = Result<(Response<Incoming>, Lease), UpstreamError>> + 'static,
{
    if !exchange.request_is_complete() {
        exchange.settle(End::Cut(code));
        return;
    }
    exchange.decide(End::Cut(code));
    tokio::task::spawn_local(async move {
        if let Ok(Ok((response, _))) = tokio::time::timeout(wait, sending).await {
            exchange.note_status(response.status().as_u16());
        }
        exchange.settle(End::Cut(code));
    });
}

/// Waits for `answer` for as long as the request's body moves, and `timeout` longer.
async fn within<T>(timeout: Duration, last_move: &LastMove, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let until = last_move.get() + timeout;
        match tokio::time::timeout_at(until, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if last_move.get() + timeout > until => {}
            Err(_) => return None,
        }
    }
}

/// A request as the upstream sees it, and what the client waits for besides its answer.
struct Prepared {
    parts: http::request::Parts,
    source: Source,
    asked: Option<Asked>,
    expected: Option<Expectation>,
    relay: Option<Relay>,
}

fn prepare(
    mut parts: http::request::Parts,
    incoming: Incoming,
    path: Option<&str>,
    client: Client<'_>,
    config: &UpstreamConfig,
) -> Prepared {
    let asked = upgrade::asked(&parts, incoming.is_end_stream(), &config.upgrade_protocols);
    let waits = expectation::waits(&parts.headers, parts.version, &incoming);
    let hints_pass = config.informational == Informational::Pass && parts.version == Version::HTTP_11;
    let relay = client.hints.filter(|_| hints_pass).map(Hints::open);
    set_host(&mut parts);
    parts.uri = origin_form(&parts.uri, path);
    forward_headers::strip_hop_by_hop(&mut parts.headers);
    forward_headers::add_proxy_headers(&mut parts.headers, client.address, parts.version);
    if let Some(asked) = &asked {
        asked.add_to(&mut parts.headers);
    }
    if parts.version == Version::HTTP_10 {
        // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1), and we speak 1.1 to the upstream.
        parts.headers.remove(EXPECT);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let (source, expected) = if waits {
        let (expected, awaited) = expectation::park(incoming, config.continue_wait);
        (Source::Awaited(awaited), Some(expected))
    } else {
        (Source::Flowing(incoming), None)
    };
    Prepared { parts, source, asked, expected, relay }
}

/// True when the final answer came before the client was asked for its body. It will not be asked any more, so neither
/// connection can be used again.
fn withhold(expected: Option<&Expectation>, lease: &mut Lease) -> bool {
    let unasked = expected.is_some_and(Expectation::withhold);
    if unasked {
        lease.spoil();
    }
    unasked
}

/// Tells the client that nothing more is read on its connection.
fn closing(mut response: Response<ResponseBody>, closing: bool) -> Response<ResponseBody> {
    if closing {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn tunnel_limits(config: &UpstreamConfig) -> tunnel::Limits {
    tunnel::Limits { idle: config.tunnel_idle_timeout }
}

/// One Host: the authority's where the target has one (RFC 9112 §3.2.2, RFC 9113 §8.3.1), or else the first. HTTP/2 lets
/// through several, and an upstream might take any of them.
fn set_host(parts: &mut http::request::Parts) {
    let authority = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = authority.or_else(|| parts.headers.get(HOST).cloned()) {
        parts.headers.insert(HOST, host);
    }
}

/// Path and query alone (RFC 9112 §3.2.1), with the path in canonical form where it is given.
fn origin_form(uri: &Uri, path: Option<&str>) -> Uri {
    let given = uri.path_and_query();
    let target = match (path, given) {
        (Some(path), Some(given)) if path != given.path() => {
            let text = given.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            PathAndQuery::try_from(text).ok()
        }
        (_, given) => given.cloned(),
    };
    target.map_or_else(Uri::default, Uri::from)
}

/// The answer as the client sees it, which asked in HTTP `version`.
fn pass_back(
    response: Response<Incoming>,
    lease: Lease,
    watched: Option<Watched>,
    version: Version,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    forward_headers::strip_hop_by_hop(&mut parts.headers);
    intake::strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let body = UpstreamBody::new(incoming, lease, watched);
    if parts.status == StatusCode::NOT_MODIFIED && version != Version::HTTP_2 {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if let Some(length) = length {
            return Response::from_parts(parts, ResponseBody::Described(length));
        }
    }
    Response::from_parts(parts, ResponseBody::Upstream(body))
}

/// True for an answer by which the API's own rules lock the way.
pub fn is_locked(response: &Response<ResponseBody>) -> bool {
    matches!(response.status(), StatusCode::LOCKED | StatusCode::FORBIDDEN)
}

/// Adds the way to the request form (RFC 8288).
pub fn add_link(response: &mut Response<ResponseBody>, link: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("<{link}>; rel=\"break-glass\"")) {
        response.headers_mut().append(LINK, value);
    }
}
