//! Listeners of the API and of the admin port: TLS, protocols, limits on connections, an orderly end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus::IntGauge;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::api::caller::Peer;
use super::api::possession::ClientCertificates;
use crate::http::{ClientAuthority, crypto_provider};

/// Connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// From the first byte of a request's head to its last, and between requests of one HTTP/1 connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
// Twice what `intake` takes, which says why it takes no more. What is larger still is refused without a word.
const HEAD_BYTES_MAX: usize = 80 * 1024;
const HEADER_LIST_BYTES_MAX: u32 = 80 * 1024;
const STREAMS_MAX: u32 = 128;
/// HTTP/2 pings find a peer that is gone (RFC 9113 §6.7).
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long requests under way may take at the end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// A pause after accept fails, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why TLS could not be set up from files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    #[error("{} can't be read as PEM", path.display())]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("{} and {} do not belong together", certificate.display(), key.display())]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

pub(super) type CertifiedKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let pem = |source| TlsFilesError::Pem { path: path.to_owned(), source };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(pem)?.collect();
    let chain = read.map_err(pem)?;
    if chain.is_empty() { Err(TlsFilesError::Empty { path: path.to_owned() }) } else { Ok(chain) }
}

pub(super) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsFilesError> {
    let chain = certificates(certificate)?;
    let pem = |source| TlsFilesError::Pem { path: key.to_owned(), source };
    Ok((chain, PrivateKeyDer::from_pem_file(key).map_err(pem)?))
}

/// TLS 1.3 and 1.2 with `h2` and `http/1.1`. With `clients`, a certificate is asked for, and nobody needs one.
pub(super) fn tls_config(
    certificate: &Path,
    key: &Path,
    clients: Option<&ClientAuthority>,
) -> Result<Arc<rustls::ServerConfig>, TlsFilesError> {
    let (chain, private) = certified_key(certificate, key)?;
    let pair = |source| TlsFilesError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let builder = rustls::ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.asking()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What one listener serves.
pub(super) struct Port {
    pub(super) listener: TcpListener,
    /// Absent: in the clear.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) router: Router,
    pub(super) connections: Option<IntGauge>,
}

impl Port {
    /// Serves until `stop` turns true, then lets requests under way end.
    pub(super) async fn serve(self, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let graceful = GracefulShutdown::new();
        let acceptor = self.tls.map(TlsAcceptor::from);
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&self.listener, &permits) => accepted,
            };
            let Some((socket, peer, permit)) = accepted else { continue };
            let served = Served { router: self.router.clone(), peer: Peer(peer.ip()), certificates: None };
            let (acceptor, watcher) = (acceptor.clone(), graceful.watcher());
            let counted = self.connections.clone().map(Counted::new);
            tokio::spawn(async move {
                let _held = (permit, counted);
                match acceptor {
                    None => http1_connection(socket, served, watcher).await,
                    Some(acceptor) => tls_connection(acceptor, socket, served, watcher).await,
                }
            });
        }
        drop(self.listener);
        if timeout(DRAIN_TIME_MAX, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections were cut off at shutdown");
        }
    }
}

/// A gauge that is one higher while this lives.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, peer)) => Some((socket, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn tls_connection(acceptor: TlsAcceptor, socket: TcpStream, mut served: Served, watcher: Watcher) {
    let handshake = async {
        socket.set_nodelay(true)?;
        timeout(HANDSHAKE_TIME_MAX, acceptor.accept(socket)).await.map_err(io::Error::from)?
    };
    let shaken = handshake.await;
    if let Ok(stream) = &shaken {
        served.certificates = stream.get_ref().1.peer_certificates().map(|chain| ClientCertificates(chain.into()));
    }
    match shaken {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            http2_connection(stream, served, watcher).await;
        }
        Ok(stream) => http1_connection(stream, served, watcher).await,
        Err(error) => tracing::debug!(%error, "a handshake failed"),
    }
}

async fn http1_connection<I>(io: I, served: Served, watcher: Watcher)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), served.service());
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn http2_connection<I>(io: I, served: Served, watcher: Watcher)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (asked, asking) = (Arc::new(AtomicBool::new(false)), served.service());
    let noted = Arc::clone(&asked);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| {
                noted.store(true, Ordering::Relaxed);
                asking.call(request)
            }),
        );
    let result = tokio::select! {
        result = watcher.watch(connection) => result,
        () = silence(&asked) => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Resolves when nothing was asked in the time for a head. hyper waits for an HTTP/2 preface for ever, and its pings
/// begin only after it: without this, silent strangers could hold every permit.
async fn silence(asked: &AtomicBool) {
    sleep(HEAD_TIME_MAX).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// What one connection is served.
struct Served {
    router: Router,
    peer: Peer,
    certificates: Option<ClientCertificates>,
}

impl Served {
    /// Each request with its peer on it, and what the connection shows.
    fn service(
        self,
    ) -> impl hyper::service::Service<
        http::Request<Incoming>,
        Response = http::Response<axum::body::Body>,
        Error = Infallible,
        Future: Send,
    > + Send {
        TowerToHyperService::new(self.router.map_request(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(self.peer);
            if let Some(certificates) = &self.certificates {
                request.extensions_mut().insert(certificates.clone());
            }
            request
        }))
    }
}
