//! Requests to one origin, with bodies that flow both ways: what a proxy needs. Like the client's calls, none is ever sent
//! twice, and none follows a redirect.
//!
//! There is no limit on how long a body may flow: whoever drops the answer ends it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::connect::{self, Cleartext, Origin, broken};
use super::error::{HttpError, Step};
use super::limits::{IDLE_MS_MAX, Limits};
use super::sender::Sender;
use super::tls::ClientTls;

/// Greatest number of HTTP/1 connections that are kept while nothing is asked.
const KEPT_MAX: usize = 8;

/// How long a kept connection may take until it can carry the next request; a new one is made then.
const READY_MS_MAX: u64 = 100;

/// See the module. Clones share their connections.
#[derive(Debug)]
pub struct Relay<B> {
    base: Uri,
    origin: Origin,
    tls: Option<ClientTls>,
    limits: Limits,
    kept: Arc<Kept<B>>,
}

impl<B> Relay<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// `base`: scheme, host and port. Without `tls` only http is possible, and only to this machine. Of the limits the
    /// two of connecting and of the answer's head hold.
    ///
    /// # Errors
    /// When it is no address that can be called.
    pub fn new(base: &Uri, tls: Option<ClientTls>, limits: Limits) -> Result<Self, HttpError> {
        let origin = Origin::of(base)?;
        Ok(Self { base: base.clone(), origin, tls, limits, kept: Arc::default() })
    }

    /// The absolute address of `target` (origin-form) at this origin.
    ///
    /// # Errors
    /// When they make none together.
    pub fn address(&self, target: &Uri) -> Result<Uri, HttpError> {
        let mut parts = self.base.clone().into_parts();
        let path = target.path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).map_err(|_| HttpError::Url("its target is no path"))
    }

    /// Sends once, over a kept connection or a new one. The URI is absolute, from [`Relay::address`].
    ///
    /// # Errors
    /// [`HttpError`]; where [`HttpError::is_before_sending`], nothing has left.
    pub async fn send(&self, request: Request<B>) -> Result<Response<RelayBody<B>>, HttpError> {
        let mut request = request;
        for _ in 0..=KEPT_MAX {
            let Some(mut sender) = self.kept.take() else { break };
            // The body of the request before may flow still, though its answer has come.
            let ready = tokio::time::timeout(Duration::from_millis(READY_MS_MAX), sender.is_ready()).await;
            if ready != Ok(true) {
                continue;
            }
            match self.head(sender.send(request)).await? {
                Ok(response) => return Ok(self.pass(response, sender)),
                Err(failed) => match failed.unsent {
                    Some(unsent) => request = *unsent,
                    None => return Err(broken(&self.origin, failed.error)),
                },
            }
        }
        let mut sender = connect::within_connect_time(
            &self.limits,
            connect::to(&self.origin, self.tls.as_ref(), Cleartext::LoopbackOnly),
        )
        .await?;
        self.kept.share(&sender);
        let response = self.head(sender.send(request)).await?;
        Ok(self.pass(response.map_err(|failed| broken(&self.origin, failed.error))?, sender))
    }

    async fn head<T>(&self, answer: impl Future<Output = T>) -> Result<T, HttpError> {
        tokio::time::timeout(self.limits.response(), answer)
            .await
            .map_err(|_| HttpError::TimedOut { step: Step::Response, ms: self.limits.response_ms_max })
    }

    fn pass(&self, response: Response<Incoming>, sender: Sender<B>) -> Response<RelayBody<B>> {
        let kept = Arc::clone(&self.kept);
        response.map(|incoming| RelayBody { incoming, lease: Some((sender, kept)) })
    }
}

impl<B> Clone for Relay<B> {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            origin: self.origin.clone(),
            tls: self.tls.clone(),
            limits: self.limits,
            kept: Arc::clone(&self.kept),
        }
    }
}

/// Connections that nothing is asked on at the moment, and the one of HTTP/2, which takes any number of requests.
#[derive(Debug)]
struct Kept<B>(Mutex<Idle<B>>);

#[derive(Debug)]
struct Idle<B> {
    shared: Option<Sender<B>>,
    single: Vec<(Sender<B>, Instant)>,
}

impl<B> Default for Kept<B> {
    fn default() -> Self {
        Self(Mutex::new(Idle { shared: None, single: Vec::new() }))
    }
}

impl<B> Kept<B> {
    fn take(&self) -> Option<Sender<B>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.shared.take_if(|sender| sender.is_closed());
        if let Some(sender) = idle.shared.as_ref().and_then(Sender::shared) {
            return Some(sender);
        }
        // An old one may be closed at this very moment, with the request on its way.
        let fresh = |since: Instant| since.elapsed() < Duration::from_millis(IDLE_MS_MAX);
        idle.single.retain(|(sender, since)| !sender.is_closed() && fresh(*since));
        idle.single.pop().map(|(sender, _)| sender)
    }

    fn share(&self, sender: &Sender<B>) {
        if let Some(shared) = sender.shared() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).shared = Some(shared);
        }
    }

    fn keep(&self, sender: Sender<B>) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(sender, Sender::Http1(_)) && !sender.is_closed() && idle.single.len() < KEPT_MAX {
            idle.single.push((sender, Instant::now()));
        }
    }
}

/// An answer's body as it comes. Once it was read to its end, the next request may use its connection.
#[derive(Debug)]
pub struct RelayBody<B> {
    incoming: Incoming,
    lease: Option<(Sender<B>, Arc<Kept<B>>)>,
}

impl<B> RelayBody<B> {
    fn give_back(&mut self) {
        if let Some((sender, kept)) = self.lease.take() {
            kept.keep(sender);
        }
    }
}

/// Where the whole answer has come already, nobody reads its body to the end.
impl<B> Drop for RelayBody<B> {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.give_back();
        }
    }
}

impl<B: Unpin> Body for RelayBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if frame.is_none() || (frame.as_ref().is_some_and(Result::is_ok) && self.incoming.is_end_stream()) {
            self.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
