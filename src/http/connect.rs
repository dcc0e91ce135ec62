//! From a host and a port to bytes on a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use hyper::body::Body;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::{HttpError, Step};
use super::limits::Limits;
use super::sender::Sender;
use super::tls::{ClientTls, settled_on_h2};

/// Whom the client may speak to without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleartext {
    /// Only this machine.
    LoopbackOnly,
    /// Anyone: for networks that protect what they carry by themselves.
    Anywhere,
}

/// Scheme, host and port of a URL: what a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// Without the brackets of an IPv6 literal.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Result<Self, HttpError> {
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Url("it must begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or(HttpError::Url("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(HttpError::Url("it must not carry a user or a password"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(HttpError::Url("it names no host"));
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host: host.to_ascii_lowercase(), port })
    }

    pub(super) fn server_name(&self) -> Result<ServerName<'static>, HttpError> {
        ServerName::try_from(self.host.clone()).map_err(|_| HttpError::Url("its host is no valid name"))
    }
}

/// A connection to `origin` that requests can be sent over; over TLS where it is https.
pub(super) async fn to<B>(
    origin: &Origin,
    tls: Option<&ClientTls>,
    cleartext: Cleartext,
) -> Result<Sender<B>, HttpError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let made = if origin.secure {
        let tls = tls.ok_or_else(|| HttpError::NoTls { host: origin.host.clone() })?;
        let tcp = tcp(&origin.host, origin.port, None).await?;
        let stream = self::tls(tcp, tls.any(), origin.server_name()?).await?;
        if settled_on_h2(&stream) { Sender::http2(stream).await } else { Sender::http1(stream).await }
    } else {
        Sender::http1(tcp(&origin.host, origin.port, Some(cleartext)).await?).await
    };
    made.map_err(|source| broken(origin, source))
}

/// An exchange that came to no end.
pub(super) fn broken(origin: &Origin, source: hyper::Error) -> HttpError {
    HttpError::Exchange { host: origin.host.clone(), source }
}

/// A TCP connection to the first address that takes one.
pub(super) async fn tcp(host: &str, port: u16, cleartext: Option<Cleartext>) -> Result<TcpStream, HttpError> {
    let addresses = resolve(host, port).await?;
    if cleartext == Some(Cleartext::LoopbackOnly) && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(HttpError::CleartextRefused { host: host.to_owned() });
    }
    first_of(addresses, host).await
}

/// The same, beginning with any of them: behind one name may be several servers of which each will do, and one that hangs
/// must not be the first every time.
pub(super) async fn tcp_to_any(host: &str, port: u16) -> Result<TcpStream, HttpError> {
    let mut addresses = resolve(host, port).await?;
    let count = addresses.len().max(1);
    addresses.rotate_left(below(count));
    first_of(addresses, host).await
}

/// Any number below `count`; 0 where the system has no randomness.
fn below(count: usize) -> usize {
    let mut bytes = [0_u8; 4];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(0) % count
}

async fn first_of(addresses: Vec<SocketAddr>, host: &str) -> Result<TcpStream, HttpError> {
    let mut failed = HttpError::Resolve { host: host.to_owned(), source: std::io::ErrorKind::NotFound.into() };
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it small requests wait for the peer's acknowledgement; losing it only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => failed = HttpError::Connect { address, source },
        }
    }
    Err(failed)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(|source| HttpError::Resolve { host: host.to_owned(), source })
}

/// TLS over `stream`, with a peer that must be `name`.
pub(super) async fn tls(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<TlsStream<TcpStream>, HttpError> {
    let host = name.to_str().into_owned();
    TlsConnector::from(config).connect(name, stream).await.map_err(|source| HttpError::Tls { host, source })
}

/// `work` within the time a connection may take. Boxed: it is rare, and larger than all else that a call awaits.
pub(super) async fn within_connect_time<T>(
    limits: &Limits,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    tokio::time::timeout(limits.connect(), Box::pin(work))
        .await
        .unwrap_or(Err(HttpError::TimedOut { step: Step::Connect, ms: limits.connect_ms_max }))
}
