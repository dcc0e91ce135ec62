//! The witness over HTTP/1.1.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::state::{Answer, StateError, Witness};
use crate::drain::{self, Drain};
use crate::error_chain::error_chain;
use crate::ledger::witness::{NotCosigned, SUBMISSION_BYTES_MAX};

/// Connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 256;
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
const BODY_TIME_MAX: Duration = Duration::from_secs(15);
/// How long what was begun may take to end.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// A pause after accept fails, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The media type of a size (c2sp.org/tlog-witness).
const SIZE_TYPE: &str = "text/x.tlog.size";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

type Reply = Response<Full<Bytes>>;

/// Serves until `stop` is over, and answers what was begun by then.
///
/// # Errors
/// None that ends it: what a connection brings ends that connection.
pub async fn serve(listener: TcpListener, witness: Arc<Witness>, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (end, ending) = drain::channel();
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (witness, ending) = (Arc::clone(&witness), ending.clone());
                    tokio::spawn(async move {
                        connection(stream, witness, ending).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    // What was begun is answered: a log whose checkpoint is remembered here is to have the cosignature.
    end.begin();
    let everything = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _left = timeout(END_TIME_MAX, places.acquire_many(everything)).await;
}

async fn connection(stream: TcpStream, witness: Arc<Witness>, ending: Drain) {
    let service = service_fn(move |request| {
        let witness = Arc::clone(&witness);
        async move { Ok::<_, Infallible>(answer(request, witness).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut serving = pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A client that breaks off has what it wanted.
        _ended = serving.as_mut() => return,
        () = ending.begun() => serving.as_mut().graceful_shutdown(),
    }
    let _ended = serving.await;
}

async fn answer(request: Request<Incoming>, witness: Arc<Witness>) -> Reply {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "add-checkpoint") => add(request.into_body(), witness).await,
        (&Method::GET, path) if path.ends_with("/checkpoint") => {
            let digest = path.trim_end_matches("/checkpoint").to_owned();
            let newest = on_disk(move || witness.newest(&digest)).await;
            match newest {
                Ok(Some(note)) => reply(StatusCode::OK, TEXT_TYPE, note),
                Ok(None) => reply(StatusCode::NOT_FOUND, TEXT_TYPE, "nothing of this log was cosigned\n".to_owned()),
                Err(reply) => reply,
            }
        }
        (_, "add-checkpoint") => reply(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "POST it\n".to_owned()),
        _ => reply(StatusCode::NOT_FOUND, TEXT_TYPE, "there is nothing here\n".to_owned()),
    }
}

async fn add(body: Incoming, witness: Arc<Witness>) -> Reply {
    let malformed = || refused(NotCosigned::Malformed);
    let Ok(Ok(body)) = timeout(BODY_TIME_MAX, Limited::new(body, SUBMISSION_BYTES_MAX).collect()).await else {
        return malformed();
    };
    let bytes = body.to_bytes();
    let Some(submission) = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()) else {
        return malformed();
    };
    match on_disk(move || witness.add(&submission)).await {
        Ok(Answer::Cosigned(line)) => reply(StatusCode::OK, TEXT_TYPE, line),
        Ok(Answer::Refused(why)) => refused(why),
        Err(reply) => reply,
    }
}

fn refused(why: NotCosigned) -> Reply {
    tracing::info!(%why, "not cosigned");
    let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match why {
        NotCosigned::OtherSize { size } => reply(status, SIZE_TYPE, format!("{size}\n")),
        other => reply(status, TEXT_TYPE, format!("{other}\n")),
    }
}

/// What is remembered lies on a disk, which must not hold up other connections.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, StateError> + Send + 'static) -> Result<T, Reply> {
    let failed = |why: String| {
        tracing::error!(error = why, "the witness can't go on");
        reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT_TYPE, "the witness can't cosign now\n".to_owned())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error_chain(&error))),
        Err(error) => Err(failed(io::Error::other(error).to_string())),
    }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Reply {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
