//! One connection: HTTP/1.1 behind the framing guard, or HTTP/2, as TLS agreed (ALPN, RFC 7301).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::counters::ClientProtocol;
use super::departure::{self, Activity};
use super::framing::{FramingGuard, HeadNotes};
use super::hints::Hints;
use super::journey::{self, Worker};
use super::upgrade::Afterwards;
use crate::config::sidecar::ListenConfig;
use crate::drain::Drain;

/// The connection a request came on.
#[derive(Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Of HTTP/1 connections.
    pub notes: Option<HeadNotes>,
    /// Of HTTP/1 connections.
    pub hints: Option<Hints>,
    pub afterwards: Afterwards,
    /// The client's certificates, leaf first, whose key the handshake has proven; empty where none was shown.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Peer {
    /// Notes that hyper will hand the connection over, where it will.
    pub(super) fn note_hand_over(&self, request: &mut Request<Incoming>) {
        if self.notes.is_some()
            && let Some(handed_over) = request.extensions_mut().remove::<OnUpgrade>()
        {
            self.afterwards.expect_close(handed_over);
        }
    }
}

/// Runs futures on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves one connection until it ends, or until the drain is over.
pub async fn serve(
    worker: Rc<Worker>,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    limits: &ListenConfig,
    drain: Drain,
) {
    let result = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        worker.counters.count_protocol(ClientProtocol::Http2);
        serve_http2(worker, stream, address, limits, drain).await
    } else {
        worker.counters.count_protocol(ClientProtocol::Http1);
        serve_http1(worker, stream, address, limits, drain).await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}

fn certificates(stream: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default()
}

async fn serve_http1(
    worker: Rc<Worker>,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    limits: &ListenConfig,
    drain: Drain,
) -> Result<(), hyper::Error> {
    let certificates = certificates(&stream);
    let (guard, notes) = FramingGuard::new(stream, limits.head_bytes_max);
    let hints = Some(guard.hints());
    let peer = Rc::new(Peer { address, notes: Some(notes), hints, afterwards: Afterwards::default(), certificates });
    let (serving, counters) = (Rc::clone(&peer), Arc::clone(&worker.counters));
    let activity = Activity::new();
    let asking = Rc::clone(&activity);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max.max(8192))
        .auto_date_header(false)
        .half_close(true)
        .serve_connection(
            TokioIo::new(guard),
            service_fn(move |request| {
                let (worker, peer, activity) = (Rc::clone(&worker), Rc::clone(&serving), Rc::clone(&asking));
                async move {
                    let in_flight = activity.begin();
                    let response = journey::serve(&worker, &peer, request).await;
                    Ok::<_, Infallible>(activity.answer_http1(response, in_flight))
                }
            }),
        );
    let connection = connection.with_upgrades();
    tokio::select! {
        biased;
        result = departure::http1(connection, |connection| connection.graceful_shutdown(), &activity, &drain) => result?,
        () = poll_fn(|cx| peer.afterwards.poll_over(cx)) => return Ok(()),
    }
    let _counted = peer.afterwards.is_tunnel().then(|| counters.count_tunnel());
    peer.afterwards.carry_out::<TlsStream<TcpStream>>().await;
    Ok(())
}

async fn serve_http2(
    worker: Rc<Worker>,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    limits: &ListenConfig,
    drain: Drain,
) -> Result<(), hyper::Error> {
    let (afterwards, certificates) = (Afterwards::default(), certificates(&stream));
    let peer = Rc::new(Peer { address, notes: None, hints: None, afterwards, certificates });
    let activity = Activity::new();
    let asking = Rc::clone(&activity);
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.head_timeout)
        .auto_date_header(false)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let in_flight = asking.begin();
                let (worker, peer) = (Rc::clone(&worker), Rc::clone(&peer));
                async move {
                    let response = journey::serve(&worker, &peer, request).await;
                    Ok::<_, Infallible>(Activity::answer_http2(response, in_flight))
                }
            }),
        );
    tokio::select! {
        result = departure::http2(connection, |connection| connection.graceful_shutdown(), &activity, &drain) => result,
        () = silence(&activity, limits.head_timeout) => Ok(()),
    }
}

/// Resolves when nothing was asked within `limit`. hyper waits for an HTTP/2 preface for ever, and its pings begin only
/// after it: without this, silent strangers could hold every place among the connections.
async fn silence(activity: &Activity, limit: Duration) {
    tokio::time::sleep(limit).await;
    if activity.was_asked() {
        std::future::pending::<()>().await;
    }
}
