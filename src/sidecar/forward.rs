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

use http::header::{CACHE_CONTROL, HOST, LINK};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::audit_log::IntentReceipt;
use super::body::{LastMove, RequestBody, ResponseBody, UpstreamBody, Watched};
use super::cut::{AnswerWatch, CutWatch};
use super::exchange::Exchange;
use super::grant_table::LiveGrant;
use super::shared::Shared;
use super::upstream::{Lease, Pool, UpstreamError};
use super::{forward_headers, intake};
use crate::audit::End;
use crate::decision::{Permit, RefusalCode};

/// A permit whose intent is durable: the only key to [`as_override`].
#[derive(Debug)]
pub struct Recorded {
    pub(super) permit: Permit,
    pub(super) receipt: IntentReceipt,
    pub(super) live: Arc<LiveGrant>,
}

/// Who asked, for the headers a proxy adds.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: SocketAddr,
}

/// Why no answer of the upstream can be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the upstream did not answer within {0:?}")]
    Timeout(Duration),
    /// The grant ended first. `sent`: the upstream may have the whole request.
    #[error("the grant ended while the upstream was asked")]
    Cut { code: RefusalCode, sent: bool },
}

/// Forwards ordinary traffic. With `path`, that is the path in canonical form; without, the target stays as it is.
///
/// # Errors
/// [`ForwardError`].
pub async fn ordinary(
    pool: &Rc<Pool>,
    request: Request<Incoming>,
    path: Option<&str>,
    client: Client,
) -> Result<Response<ResponseBody>, ForwardError> {
    let timeout = pool.config().response_timeout;
    let last_move = (!request.body().is_end_stream()).then(|| Rc::new(Cell::new(Instant::now())));
    let (mut parts, incoming) = request.into_parts();
    prepare(&mut parts, path, client);
    let body = RequestBody::new(incoming, last_move.clone(), None);
    let sending = pool.send(Request::from_parts(parts, body));
    let (response, lease) = match last_move {
        None => tokio::time::timeout(timeout, sending).await.map_err(|_| ForwardError::Timeout(timeout))??,
        Some(last_move) => within(timeout, &last_move, sending).await.ok_or(ForwardError::Timeout(timeout))??,
    };
    Ok(pass_back(response, lease, None))
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
    client: Client,
    request_id: &str,
) -> Result<Response<ResponseBody>, ForwardError> {
    let Recorded { permit, receipt, live } = recorded;
    let timeout = pool.config().response_timeout;
    let exchange = Rc::new(Exchange::new(receipt, shared.clock.clone()));
    let last_move = Rc::new(Cell::new(Instant::now()));
    let (mut parts, incoming) = request.into_parts();
    prepare(&mut parts, Some(path), client);
    forward_headers::add_permit_headers(&mut parts.headers, &permit, request_id);
    let body = RequestBody::new(incoming, Some(Rc::clone(&last_move)), Some(Rc::clone(&exchange)));
    let owned_pool = Rc::clone(pool);
    let mut sending = Box::pin(async move { owned_pool.send(Request::from_parts(parts, body)).await });
    let mut watch = CutWatch::new(Arc::clone(shared), live);
    let answer = tokio::select! {
        biased;
        code = watch.cut() => {
            let sent = exchange.request_is_complete();
            record_late_answer(sending, exchange, pool.config().outcome_wait, code);
            return Err(ForwardError::Cut { code, sent });
        }
        answer = within(timeout, &last_move, &mut sending) => answer,
    };
    match answer {
        None => {
            exchange.settle(End::UpstreamTimeout);
            Err(ForwardError::Timeout(timeout))
        }
        Some(Err(error)) => {
            exchange.settle(End::UpstreamFailed);
            Err(error.into())
        }
        Some(Ok((response, lease))) => {
            exchange.note_status(response.status().as_u16());
            let watch = AnswerWatch::new(watch, &exchange, lease.closer());
            let mut response = pass_back(response, lease, Some(Watched { exchange, watch }));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
            Ok(response)
        }
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

/// Makes the head that the upstream sees.
fn prepare(parts: &mut http::request::Parts, path: Option<&str>, client: Client) {
    set_host(parts);
    parts.uri = origin_form(&parts.uri, path);
    forward_headers::strip_hop_by_hop(&mut parts.headers);
    forward_headers::add_proxy_headers(&mut parts.headers, client.address, parts.version);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
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

fn pass_back(response: Response<Incoming>, lease: Lease, watched: Option<Watched>) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    forward_headers::strip_hop_by_hop(&mut parts.headers);
    intake::strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Response::from_parts(parts, ResponseBody::Upstream(UpstreamBody::new(incoming, lease, watched)))
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
