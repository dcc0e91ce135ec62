//! Connections and their end: as many at once as there are places, HTTP/1.1 on each, and all of them cut when the grant
//! ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::body::RequestBody;
use super::door::{Door, Listener};
use super::pass::{Stopped, Way};
use super::presented::Presented;
use super::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_MS_MAX, HEADERS_MAX};
use crate::http::{Relay, RelayBody};
use crate::wire::problem;

/// Pause after a connection that could not be taken, such as for want of descriptors.
const PAUSE_MS: u64 = 100;

/// What happened to one request, for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub method: Method,
    /// Without the secret and the query.
    pub path: String,
    pub status: u16,
    /// What the proxy itself said.
    pub own: Option<&'static str>,
    /// Why, in full, where it is known.
    pub why: Option<String>,
    /// It was refused, perhaps because the grant has ended.
    pub doubtful: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Proxy {
    listener: Listener,
    way: Arc<Way>,
    events: mpsc::Sender<Event>,
}

impl Proxy {
    pub fn new(door: Door, presented: Presented, relay: Relay<RequestBody>, events: mpsc::Sender<Event>) -> Self {
        Self { listener: door.listener, way: Arc::new(Way { entrance: door.entrance, presented, relay }), events }
    }

    /// Serves until `end`; then every connection is cut, whatever flows on it.
    pub async fn serve<T>(self, end: impl Future<Output = T>) -> T {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                ended = &mut end => return ended,
                Some(_) = connections.join_next() => {}
                accepted = self.accept(&places) => accepted.start(&mut connections, &self),
            }
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> Accepted {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return Accepted::Nothing };
        let accepted = match &self.listener {
            #[cfg(unix)]
            Listener::Socket(listener) => listener.accept().await.map(|(stream, _)| Accepted::Socket(stream, place)),
            Listener::Loopback(listener) => {
                listener.accept().await.map(|(stream, _)| Accepted::Loopback(stream, place))
            }
        };
        match accepted {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                Accepted::Nothing
            }
        }
    }
}

enum Accepted {
    #[cfg(unix)]
    Socket(tokio::net::UnixStream, OwnedSemaphorePermit),
    Loopback(tokio::net::TcpStream, OwnedSemaphorePermit),
    Nothing,
}

impl Accepted {
    fn start(self, connections: &mut JoinSet<()>, proxy: &Proxy) {
        let (way, events) = (Arc::clone(&proxy.way), proxy.events.clone());
        match self {
            #[cfg(unix)]
            Self::Socket(stream, place) => _ = connections.spawn(connection(stream, way, events, place)),
            Self::Loopback(stream, place) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, way, events, place));
            }
            Self::Nothing => {}
        }
    }
}

async fn connection<S>(stream: S, way: Arc<Way>, events: mpsc::Sender<Event>, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service_fn(|request| answer(&way, &events, request)))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

type AnswerBody = Either<RelayBody<RequestBody>, Full<Bytes>>;

async fn answer(
    way: &Way,
    events: &mpsc::Sender<Event>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let method = request.method().clone();
    let path = way.entrance.shown(request.uri());
    let passed = way.pass(request).await;
    let event = match &passed {
        Ok(answer) => {
            let status = answer.status();
            let doubtful = is_refusal(status, answer.headers());
            Event { method, path, status: status.as_u16(), own: None, why: None, doubtful }
        }
        Err(Stopped { rejection, why }) => {
            let (status, own) = (rejection.status().as_u16(), Some(rejection.code()));
            Event { method, path, status, own, why: why.clone(), doubtful: false }
        }
    };
    // Nobody waits for the terminal.
    let _ = events.try_send(event);
    Ok(match passed {
        Ok(answer) => answer.map(Either::Left),
        Err(stopped) => stopped.rejection.response::<Full<Bytes>>().map(Either::Right),
    })
}

fn is_refusal(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_problem =
        |value: &http::HeaderValue| value.to_str().is_ok_and(|text| text.starts_with(problem::CONTENT_TYPE));
    matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
        && headers.get(CONTENT_TYPE).is_some_and(is_problem)
}
