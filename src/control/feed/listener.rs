//! The feed's own port: mutual TLS, HTTP/2 only, and limits on connections, handshakes, headers and idleness.
//!
//! It must never answer anyone without a client certificate of the configured authority: what is said in the clear or
//! unproven ends in the handshake.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::door;
use super::assertion_keys::{AssertionKeys, Desk};
use super::audit::AuditIntake;
use super::delivery::Room;
use super::endpoint::Endpoint;
use super::exchange::{keep_exchanging, persist};
use super::freshness::keep_reading;
use super::hub::{FeedCounts, Hub};
use super::limits::FeedLimits;
use super::peer::{PeerError, service_of};
use super::service::ServiceFeeds;
use super::shares::Shares;
use super::source::FeedStore;

/// The certificates (`bg-key+jwt`) of the grant keys that sidecars may trust now. Called often: it answers from memory.
pub type KeysProvider = Arc<dyn Fn() -> Arc<Vec<String>> + Send + Sync>;

/// The keys that the feed tells of and certifies.
#[derive(Clone)]
pub struct FeedKeys {
    pub grants: KeysProvider,
    pub assertions: AssertionKeys,
}

impl std::fmt::Debug for FeedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedKeys").field("assertions", &self.assertions).finish_non_exhaustive()
    }
}

/// Requests at once on one connection. A sidecar needs one; the others leave room to be told what is wrong.
const REQUESTS_PER_CONNECTION_MAX: u32 = 8;
/// What a sidecar may send ahead of our reading, per stream.
const WINDOW_BYTES: u32 = 128 * 1024;
/// What hyper may hold per stream beyond what the peer's window takes.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// HTTP/2 pings find a dead peer that still has a connection (RFC 9113 §6.7).
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A pause after accept fails, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the feed's certificate or key cannot be used")]
    Certificate(#[from] rustls::Error),
    #[error("the feed's client authority cannot be used")]
    ClientAuthority(#[from] VerifierBuilderError),
}

/// Why the feed could not begin.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the sidecars known before could not be read")]
    Restore(#[from] crate::store::StoreError),
}

/// TLS 1.3 and 1.2, `h2` alone, and a client certificate of `client_roots` demanded.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_roots: RootCertStore,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(client_roots), Arc::clone(&provider)).build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Every stream proves its certificate anew, and nothing is kept for one that may come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Serves the feed until `shutdown` is over, then ends every stream in order within `drain_max`.
///
/// `tls` is what [`tls_config`] made. Runs the reader of the newest revision and writes down what is heard of sidecars.
pub async fn serve<S: FeedStore>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    hub: Arc<Hub>,
    store: Arc<S>,
    keys: FeedKeys,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), FeedError> {
    hub.restore(store.as_ref()).await?;
    if store.is_shared() {
        // So long this one may call itself fresh before its first report.
        hub.reported(hub.clock().now());
    }
    let (readings, newest) = watch::channel(None);
    let (admissions, door) = door(hub.limits().admissions_waiting_max);
    let room = Arc::new(Room {
        shares: Shares::new(Arc::clone(&store), Arc::clone(&hub)),
        desk: Desk::new(keys.assertions, hub.clock().clone()),
        hub: Arc::clone(&hub),
        store: Arc::clone(&store),
        keys: keys.grants,
        feeds: ServiceFeeds::default(),
        admissions,
        readings: newest,
        audit: AuditIntake::new(hub.limits()),
    });
    let (stop, stopping) = watch::channel(false);
    let port = Port {
        connections: Arc::new(Semaphore::new(hub.limits().connections_max)),
        handshakes: Arc::new(Semaphore::new(hub.limits().handshakes_max)),
        acceptor: TlsAcceptor::from(tls),
        room: Arc::clone(&room),
        stopping,
    };
    let (mut connections, mut tasks) = (JoinSet::new(), JoinSet::new());
    tasks.spawn(keep_reading(Arc::clone(&store), Arc::clone(&hub), readings));
    tasks.spawn(keep_exchanging(Arc::clone(&room)));
    tasks.spawn(door.keep(Arc::clone(&room)));
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => {}
        never = port.accept(&listener, &mut connections) => match never {},
        _ = tasks.join_next() => tracing::error!("a part of the feed ended by itself"),
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(hub.limits().drain_max, drained).await.is_err() {
        tracing::warn!("feeds were cut off at shutdown");
    }
    connections.shutdown().await;
    tasks.shutdown().await;
    persist(&room).await;
    Ok(())
}

struct Port<S> {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    acceptor: TlsAcceptor,
    room: Arc<Room<S>>,
    stopping: watch::Receiver<bool>,
}

impl<S: FeedStore> Port<S> {
    async fn accept(&self, listener: &TcpListener, connections: &mut JoinSet<()>) -> Infallible {
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            match listener.accept().await {
                Ok((socket, _)) => {
                    connections.spawn(self.connection(socket, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// One connection from handshake to end.
    fn connection(&self, socket: TcpStream, permit: OwnedSemaphorePermit) -> impl Future<Output = ()> + use<S> {
        let (acceptor, handshakes) = (self.acceptor.clone(), Arc::clone(&self.handshakes));
        let (room, stopping) = (Arc::clone(&self.room), self.stopping.clone());
        async move {
            let _permit = permit;
            let tls = match handshake(&acceptor, &handshakes, room.hub.limits(), socket).await {
                Ok(tls) => tls,
                Err(error) => {
                    FeedCounts::add(&room.hub.counts().handshakes_failed, 1);
                    tracing::info!(%error, "a handshake on the feed failed");
                    return;
                }
            };
            let peer = peer_of(&tls);
            let (streams, cut) = (watch::Sender::new(0), watch::Sender::new(false));
            let endpoint = Arc::new(Endpoint { room, peer, stopping, streams, cut });
            run(tls, endpoint).await;
        }
    }
}

/// TLS, when it is this connection's turn.
async fn handshake(
    acceptor: &TlsAcceptor,
    handshakes: &Semaphore,
    limits: &FeedLimits,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    socket.set_nodelay(true)?;
    let _turn = timeout(limits.handshake_turn_wait_max, handshakes.acquire()).await?.map_err(io::Error::other)?;
    let tls = timeout(limits.handshake_wait_max, acceptor.accept(socket)).await??;
    match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => Ok(tls),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "the client does not offer h2")),
    }
}

fn peer_of(tls: &TlsStream<TcpStream>) -> Result<crate::domain::ServiceName, PeerError> {
    let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or(PeerError::Certificate)?;
    service_of(certificate)
}

/// Serves requests until the peer leaves, takes nothing, idles, or we stop.
async fn run<S: FeedStore>(tls: TlsStream<TcpStream>, endpoint: Arc<Endpoint<S>>) {
    let limits = endpoint.room.hub.limits().clone();
    let (mut cut, streams) = (endpoint.cut.subscribe(), endpoint.streams.subscribe());
    let mut stopping = endpoint.stopping.clone();
    let service = service_fn(move |request| Arc::clone(&endpoint).answer(request));
    let connection = builder(&limits).serve_connection(TokioIo::new(tls), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = cut.wait_for(|cut| *cut) => return,
        _ = stopping.wait_for(|stop| *stop) => None,
        () = idle(streams, limits.idle_max) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = sleep(limits.drain_max) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a feed's connection broke");
    }
}

fn builder(limits: &FeedLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * REQUESTS_PER_CONNECTION_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(limits.header_bytes_max)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// Returns once there has been no stream for `idle_max`.
async fn idle(mut streams: watch::Receiver<usize>, idle_max: Duration) {
    loop {
        if streams.wait_for(|n| *n == 0).await.is_err() {
            return;
        }
        match timeout(idle_max, streams.wait_for(|n| *n > 0)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
