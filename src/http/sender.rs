//! One connection that requests can be sent over, whichever version of HTTP it speaks.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::limits::{HEAD_BYTES_MAX, HEADER_LIST_BYTES_MAX, HEADERS_MAX};

/// What is sent, apart from how.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Absolute.
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A failure, with the request where it certainly never left.
pub(super) struct Failed<B> {
    pub(super) unsent: Option<Box<Request<B>>>,
    pub(super) error: hyper::Error,
}

impl<B> Failed<B> {
    /// `uri`: as it was asked for.
    fn of(mut failed: TrySendError<Request<B>>, uri: Uri) -> Self {
        let unsent = failed.take_message().map(|mut request| {
            *request.uri_mut() = uri;
            Box::new(request)
        });
        Self { unsent, error: failed.into_error() }
    }

    fn unsent(request: Request<B>, error: hyper::Error) -> Self {
        Self { unsent: Some(Box::new(request)), error }
    }
}

#[derive(Debug)]
pub(super) enum Sender<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

impl<B> Sender<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
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

    /// Waits until a request can be sent; false, where none can any more.
    #[cfg(feature = "cli")]
    pub(super) async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// `request` has an absolute URI.
    pub(super) async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, Failed<B>> {
        let uri = request.uri().clone();
        match self {
            Self::Http1(sender) => match sender.ready().await {
                Err(error) => Err(Failed::unsent(request, error)),
                Ok(()) => sender.try_send_request(for_http1(request)).await.map_err(|failed| Failed::of(failed, uri)),
            },
            Self::Http2(sender) => match sender.ready().await {
                Err(error) => Err(Failed::unsent(request, error)),
                Ok(()) => sender.try_send_request(for_http2(request)).await.map_err(|failed| Failed::of(failed, uri)),
            },
        }
    }
}

impl<B> Sender<B> {
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
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        request
    }
}

/// Origin-form and a Host header (RFC 9112 §3.2.1).
fn for_http1<B>(mut request: Request<B>) -> Request<B> {
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = authority {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    request
}

/// The whole URI: HTTP/2 makes its pseudo-headers of it (RFC 9113 §8.3.1).
fn for_http2<B>(mut request: Request<B>) -> Request<B> {
    *request.version_mut() = Version::HTTP_2;
    request
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
