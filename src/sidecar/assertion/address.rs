//! The upstream-facing address: the key set, and nothing else. In the clear, never on a request's path.
//!
//! What is served is public. Who fetches it over more than a loopback or a Unix socket should hold each key to its
//! certificate, since nothing else says that it came from here.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::Assertions;
use crate::config::assertion::UpstreamFacing;
use crate::sidecar::listener;
use crate::token::assertion::jwks;
use crate::unix_socket;

const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a connection stands, whatever it does.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// After an accept failed (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket that is bound, or was passed by a predecessor. It must not block.
#[derive(Debug)]
pub enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Bound {
    /// # Errors
    /// When the address can't be bound.
    pub fn bind(wanted: &UpstreamFacing) -> io::Result<Self> {
        match wanted {
            UpstreamFacing::Tcp(address) => listener::bind(*address).map(Self::Tcp),
            UpstreamFacing::Unix(path) => {
                let listener = unix_socket::bind(path)?;
                // What is served is public, and the API often runs as a user of its own.
                std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// When it can't be duplicated.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket has no address or no name.
    pub fn address(&self) -> io::Result<UpstreamFacing> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(UpstreamFacing::Tcp),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok(UpstreamFacing::Unix(path.to_owned()))
            }
        }
    }
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Listener {
    fn new(bound: Bound) -> io::Result<Self> {
        match bound {
            Bound::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Self::Tcp),
            Bound::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Serves the key set until `stop` resolves.
pub async fn serve(bound: Bound, assertions: Arc<Assertions>, stop: impl Future<Output = ()>) {
    let listener = match Listener::new(bound) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the upstream-facing address could not be used");
            return;
        }
    };
    tokio::select! {
        never = accept(&listener, &assertions) => match never {},
        () = stop => {}
    }
}

async fn accept(listener: &Listener, assertions: &Arc<Assertions>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the upstream-facing address could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // One too many is closed at once: the API asks again.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let assertions = Arc::clone(assertions);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECTION_TIME_MAX, connection(stream, assertions)).await;
            drop(place);
        });
    }
}

async fn connection(stream: Box<dyn Io>, assertions: Arc<Assertions>) {
    let service = service_fn(move |request| {
        let response = answer(&assertions, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a connection to the upstream-facing address ended");
    }
}

fn answer<B>(assertions: &Assertions, request: &Request<B>) -> Response<Full<Bytes>> {
    let mut response = match (request.uri().path(), request.method()) {
        (jwks::PATH, &Method::GET | &Method::HEAD) => key_set(assertions),
        (jwks::PATH, _) => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        _ => plain(StatusCode::NOT_FOUND),
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An empty set must not be kept: its first key may come a moment later, and signs at once.
fn key_set(assertions: &Assertions) -> Response<Full<Bytes>> {
    let set = assertions.jwk_set();
    let Ok(body) = serde_json::to_vec(&set) else { return plain(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = plain(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(jwks::CONTENT_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if !set.keys.is_empty() {
        let kept = HeaderValue::try_from(format!("public, max-age={}", jwks::MAX_AGE.as_secs()));
        headers.insert(CACHE_CONTROL, kept.unwrap_or(HeaderValue::from_static("no-store")));
    }
    *response.body_mut() = Full::new(body.into());
    response
}
