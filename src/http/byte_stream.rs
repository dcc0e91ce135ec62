//! A connection for a protocol that is not HTTP: syslog and NATS. The same rules as for HTTP: within a time, over TLS to a
//! peer with a name, in the clear to this machine alone.

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::connect::{self, Cleartext};
use super::error::HttpError;
use super::limits::Limits;
use super::tls::ClientTls;

/// A TCP connection whose bytes stay as they are: to this machine alone, unless [`secure`] is called next.
///
/// # Errors
/// [`HttpError`].
pub async fn open(host: &str, port: u16, will_be_secure: bool, limits: &Limits) -> Result<TcpStream, HttpError> {
    let cleartext = (!will_be_secure).then_some(Cleartext::LoopbackOnly);
    connect::within_connect_time(limits, connect::tcp(host, port, cleartext)).await
}

/// TLS over it, with a peer that must be `name`; no protocol is negotiated.
///
/// # Errors
/// [`HttpError`].
pub async fn secure(
    stream: TcpStream,
    tls: &ClientTls,
    name: &str,
    limits: &Limits,
) -> Result<TlsStream<TcpStream>, HttpError> {
    let name = ServerName::try_from(name.to_owned()).map_err(|_| HttpError::Url("its host is no valid name"))?;
    connect::within_connect_time(limits, connect::tls(stream, tls.without_alpn(), name)).await
}
