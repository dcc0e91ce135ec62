//! One HTTP/2 connection that its caller owns: for a request whose body and answer both flow for hours.

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::task::AbortHandle;

use super::connect;
use super::error::HttpError;
use super::limits::{HEADER_LIST_BYTES_MAX, Limits, STREAM_PING_INTERVAL_MS, STREAM_PING_MS_MAX};
use super::tls::{ClientTls, settled_on_h2};

/// Where to connect and who must answer there, pinned apart from each other: an address may be a balancer's, the name
/// is the peer's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H2Endpoint {
    /// A name or an IP address without brackets.
    pub host: String,
    pub port: u16,
    /// The name the peer's certificate must carry.
    pub server_name: ServerName<'static>,
}

/// An HTTP/2 connection. Dropping it cuts it, and with it all that flows over it.
#[derive(Debug)]
pub struct H2Connection<B> {
    /// Requests need an absolute URI (`https://<server name>/…`) and a User-Agent of their own.
    pub sender: SendRequest<B>,
    driver: AbortHandle,
}

impl<B> Drop for H2Connection<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects with TLS (mutual, when `tls` has a client certificate) and HTTP/2. Dead peers are noticed within ten
/// seconds by HTTP/2 pings.
///
/// # Errors
/// [`HttpError`], which says which step failed.
pub async fn connect_h2<B>(
    endpoint: &H2Endpoint,
    tls: &ClientTls,
    limits: &Limits,
) -> Result<H2Connection<B>, HttpError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connect::within_connect_time(limits, async {
        let tcp = connect::tcp_to_any(&endpoint.host, endpoint.port).await?;
        let stream = connect::tls(tcp, tls.h2_only(), endpoint.server_name.clone()).await?;
        if !settled_on_h2(&stream) {
            return Err(HttpError::Protocol { host: endpoint.host.clone(), wanted: "HTTP/2" });
        }
        let (sender, connection) = stream_builder()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| HttpError::Exchange { host: endpoint.host.clone(), source })?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a stream connection ended");
            }
        });
        Ok(H2Connection { sender, driver: driver.abort_handle() })
    })
    .await
}

fn stream_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(Duration::from_millis(STREAM_PING_INTERVAL_MS))
        .keep_alive_timeout(Duration::from_millis(STREAM_PING_MS_MAX))
        .keep_alive_while_idle(true);
    builder
}
