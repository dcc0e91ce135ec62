//! How the demonstration's servers listen: on TCP, with TLS or without, or on a Unix socket.
//!
//! Connections are counted, heads must arrive in time, and the end waits for answers under way, each within a limit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::http::crypto_provider;

/// Greatest number of connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// How long the head of a request may take.
const HEAD_MS_MAX: u64 = 10_000;
/// How long a TLS handshake may take.
const HANDSHAKE_MS_MAX: u64 = 5_000;
/// How long answers under way may take once the end was asked for.
const DRAIN_MS_MAX: u64 = 2_000;
/// After an accept failed (out of file descriptors, mostly).
const ACCEPT_PAUSE_MS: u64 = 50;

/// Where a server of the demonstration listens.
#[derive(Clone)]
pub enum Transport {
    Plain,
    Tls(TlsAcceptor),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("{0} cannot be read as PEM")]
    Pem(String, #[source] rustls::pki_types::pem::Error),
    #[error("certificate and key do not fit")]
    Tls(#[from] rustls::Error),
}

/// TLS with a certificate chain and its key from PEM files.
///
/// # Errors
/// [`TransportError`].
pub fn tls_transport(certificate: &Path, key: &Path) -> Result<Transport, TransportError> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |error| TransportError::Pem(path, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Transport::Tls(TlsAcceptor::from(Arc::new(config))))
}

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener, Transport),
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener, Transport::Plain)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Listener {
    async fn accept(&self) -> std::io::Result<(Box<dyn Io>, Transport)> {
        match self {
            Self::Tcp(listener, transport) => {
                let (stream, _) = listener.accept().await?;
                // Without it small answers wait for the peer's acknowledgement; losing it only costs time.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), transport.clone()))
            }
            Self::Unix(listener) => Ok((Box::new(listener.accept().await?.0), Transport::Plain)),
        }
    }
}

/// Serves `router` until `shutdown` completes, then finishes what is under way.
pub async fn serve(listener: Listener, router: Router, shutdown: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    let accepting = async {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((stream, transport)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let serving = connection(stream, transport, router.clone(), graceful.watcher());
            connections.spawn(async move {
                serving.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop(listener);
    // What is not done by then is cut when `connections` is dropped.
    let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), graceful.shutdown()).await;
}

async fn connection(stream: Box<dyn Io>, transport: Transport, router: Router, watcher: Watcher) {
    let stream: Box<dyn Io> = match transport {
        Transport::Plain => stream,
        Transport::Tls(acceptor) => {
            let handshake = tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), acceptor.accept(stream));
            match handshake.await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HEAD_MS_MAX));
    builder.http2().timer(TokioTimer::new());
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!(error, "a connection to the demonstration ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::http::{Client, ClientTls, HttpError, Limits, TlsRoots};

    fn tls() -> (TlsAcceptor, ClientTls) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let trusted = ClientTls::new(TlsRoots::from_certificates([certificate]).unwrap(), None).unwrap();
        (TlsAcceptor::from(Arc::new(config)), trusted)
    }

    #[tokio::test]
    async fn tls_is_served_and_an_answer_under_way_outlives_the_end() {
        let (acceptor, trusted) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
        let (begun, mut begins) = tokio::sync::mpsc::channel::<()>(1);
        let (go_on, going_on) = tokio::sync::watch::channel(false);
        let router = Router::new().route(
            "/",
            get(async move || {
                begun.send(()).await.unwrap();
                going_on.clone().wait_for(|go_on| *go_on).await.unwrap();
                "done"
            }),
        );
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let listener = Listener::Tcp(listener, Transport::Tls(acceptor));
        let serving = tokio::spawn(serve(listener, router, async { drop(stopped.await) }));
        let calling = async || {
            let client = Client::new(Some(trusted.clone()), Limits::DEFAULT);
            client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await
        };

        let (answer, ()) = tokio::join!(calling(), async {
            begins.recv().await.unwrap();
            stop.send(()).unwrap();
            go_on.send(true).unwrap();
        });
        assert_eq!(answer.unwrap().body, "done");
        serving.await.unwrap();
        assert!(matches!(calling().await, Err(HttpError::Connect { .. })), "nobody listens any more");
    }
}
