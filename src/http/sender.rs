//! One connection that requests can be sent over, whichever version of HTTP it speaks.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::limits::{HEAD_BYTES_MAX, HEADER_LIST_BYTES_MAX, HEADERS_MAX};

type Body = Full<Bytes>;

/// What is sent, apart from how.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Absolute.
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A failure, and whether the request certainly never left.
pub(super) struct Failed {
    pub(super) unsent: bool,
    pub(super) error: hyper::Error,
}

impl From<TrySendError<Request<Body>>> for Failed {
    fn from(mut failed: TrySendError<Request<Body>>) -> Self {
        Self { unsent: failed.take_message().is_some(), error: failed.into_error() }
    }
}

#[derive(Debug)]
pub(super) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    pub(super) async fn http1<T>(io: T) -> hyper::Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        drive(connection);
        Ok(Self::Http1(sender))
    }

    pub(super) async fn http2<T>(io: T) -> hyper::Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_header_list_size(HEADER_LIST_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        drive(connection);
        Ok(Self::Http2(sender))
    }

    pub(super) async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, Failed> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await.map_err(|error| Failed { unsent: true, error })?;
                Ok(sender.try_send_request(call.for_http1()).await?)
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(|error| Failed { unsent: true, error })?;
                Ok(sender.try_send_request(call.for_http2()).await?)
            }
        }
    }

    /// A second handle, where the connection can carry several calls at once.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

impl Call {
    /// Origin-form and a Host header (RFC 9112 §3.2.1).
    fn for_http1(&self) -> Request<Body> {
        let path = self.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut request = self.request(Uri::from(path), Version::HTTP_11);
        let host = self.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
        request
    }

    /// The whole URI: HTTP/2 makes its pseudo-headers of it (RFC 9113 §8.3.1).
    fn for_http2(&self) -> Request<Body> {
        self.request(self.uri.clone(), Version::HTTP_2)
    }

    fn request(&self, uri: Uri, version: Version) -> Request<Body> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        request
    }
}

/// Runs a connection until both sides are done with it. It ends by itself once its sender is dropped.
fn drive<C>(connection: C)
where
    C: Future<Output = hyper::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an outbound connection ended");
        }
    });
}
