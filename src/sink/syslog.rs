//! Syslog over TLS (RFC 5424, RFC 5425).
//!
//! The protocol has no acknowledgement. A record counts as taken once the connection has accepted all of its bytes and was not
//! closed; what was sent within the last [`DOUBT`] is kept, and given again when the connection breaks. The kernel gives a
//! connection up whose peer confirms nothing for [`SILENCE_MAX`], which is shorter: so a line is lost only where the receiver
//! dies with it unread and this process dies before it could give it again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::syslog_message::Header;
use super::{Record, Sender, SinkError, Taken, client_tls, client_tls_anew};
use crate::clock::Clock;
use crate::config::sinks::SyslogOutlet;
use crate::domain::BootTime;
use crate::http::{HttpError, Limits, byte_stream};

/// How long a peer may confirm nothing (RFC 5482).
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long what was sent is kept.
const DOUBT: Duration = Duration::from_secs(15);
/// Greatest size of what is kept; the oldest goes first.
const DOUBT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Syslog {
    config: SyslogOutlet,
    header: Header,
    limits: Limits,
    clock: Clock,
    connection: Option<TlsStream<TcpStream>>,
    doubt: Doubt,
}

impl Syslog {
    pub(super) fn new(
        config: &SyslogOutlet,
        sender: &Sender,
        clock: &Clock,
        timeout: Duration,
    ) -> Result<Self, SinkError> {
        client_tls(&config.tls)?;
        let header = Header {
            facility: config.facility,
            hostname: sender.instance.clone(),
            app_name: config.app_name.clone(),
            process_id: std::process::id(),
            structured_data_id: config.structured_data_id.clone(),
        };
        let limits = Limits { connect_ms_max: millis(timeout), ..Limits::DEFAULT };
        let (config, clock) = (config.clone(), clock.clone());
        Ok(Self { config, header, limits, clock, connection: None, doubt: Doubt::default() })
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Taken, SinkError> {
        let mut frames = Vec::new();
        for record in records {
            self.header.frame(record, &mut frames);
        }
        let frames = Bytes::from(frames);
        // Whatever goes wrong, or is given up, in the middle of a frame: the next attempt is on a connection of its own.
        let kept = self.connection.take_if(is_alive);
        let (mut connection, again) = match kept {
            Some(connection) => (connection, Vec::new()),
            None => {
                self.connection = None;
                (self.connect().await?, self.doubt.held())
            }
        };
        for frames in again.iter().chain([&frames]) {
            connection.write_all(frames).await.map_err(SinkError::Broken)?;
        }
        connection.flush().await.map_err(SinkError::Broken)?;
        if !is_alive(&mut connection) {
            return Err(SinkError::Closed);
        }
        let now = self.clock.boot();
        self.doubt.renew(now, again);
        self.doubt.push(now, frames);
        self.connection = Some(connection);
        Ok(Taken::default())
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, SinkError> {
        let tls = client_tls_anew(&self.config.tls).await?;
        let address = &self.config.address;
        let stream = byte_stream::open(&address.host, address.port, true, &self.limits).await?;
        give_up_when_silent(&stream).map_err(SinkError::Broken)?;
        let secured = byte_stream::secure(stream, &tls, &self.config.server_name, &self.limits).await;
        secured.map_err(|error: HttpError| SinkError::Connection(error))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn give_up_when_silent(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE_MAX))
}

/// A receiver says nothing: anything to read is the end, or none of our business. TLS 1.3 sends tickets, which are none.
fn is_alive(connection: &mut TlsStream<TcpStream>) -> bool {
    let mut byte = [0_u8; 64];
    let read = std::pin::pin!(connection.read(&mut byte));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match Future::poll(read, &mut context) {
        std::task::Poll::Pending => true,
        std::task::Poll::Ready(Ok(read)) => read > 0,
        std::task::Poll::Ready(Err(_)) => false,
    }
}

/// What was sent a short while ago.
#[derive(Debug, Default)]
struct Doubt {
    sent: VecDeque<(BootTime, Bytes)>,
    bytes: usize,
}

impl Doubt {
    fn held(&self) -> Vec<Bytes> {
        self.sent.iter().map(|(_, frames)| frames.clone()).collect()
    }

    /// All of it was sent again just now.
    fn renew(&mut self, now: BootTime, again: Vec<Bytes>) {
        if !again.is_empty() {
            self.sent.iter_mut().for_each(|(at, _)| *at = now);
        }
    }

    fn push(&mut self, now: BootTime, frames: Bytes) {
        self.bytes = self.bytes.saturating_add(frames.len());
        self.sent.push_back((now, frames));
        while let Some((at, oldest)) = self.sent.front()
            && (now.since(*at) > DOUBT || self.bytes > DOUBT_BYTES_MAX)
        {
            self.bytes = self.bytes.saturating_sub(oldest.len());
            self.sent.pop_front();
        }
    }
}

fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_lately_is_kept_and_no_more() {
        let at = |s| BootTime::from_duration(Duration::from_secs(s));
        let mut doubt = Doubt::default();
        doubt.push(at(0), Bytes::from_static(b"a"));
        doubt.push(at(10), Bytes::from_static(b"b"));
        assert_eq!(doubt.held(), [&b"a"[..], b"b"]);
        doubt.push(at(16), Bytes::from_static(b"c"));
        assert_eq!(doubt.held(), [&b"b"[..], b"c"]);
        doubt.renew(at(20), doubt.held());
        doubt.push(at(30), Bytes::from_static(b"d"));
        assert_eq!(doubt.held(), [&b"b"[..], b"c", b"d"]);
        doubt.push(at(31), Bytes::from(vec![0; DOUBT_BYTES_MAX]));
        assert_eq!(doubt.held().len(), 1);
    }
}
