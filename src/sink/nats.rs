//! NATS JetStream: each record is published with its name (`Nats-Msg-Id`), by which its stream drops repeats, and counts as
//! taken once the stream has acknowledged it.
//!
//! All records of a batch are published before the first acknowledgement is waited for. A server without a stream for the
//! subject answers that nobody listens, which is an error: nothing is ever published into the void.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::nats_wire::{self, Acknowledgement, Said};
use super::{Record, Sender, SinkError, Taken, client_tls, client_tls_anew, credential};
use crate::config::sinks::{NatsLogin, NatsOutlet};
use crate::hex::hex;
use crate::http::{Limits, byte_stream};

/// See the module.
#[derive(Debug)]
pub struct Nats {
    config: NatsOutlet,
    client_name: String,
    limits: Limits,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<Box<dyn ByteStream>>,
    /// Where acknowledgements come, without their number.
    inbox: String,
    next: u64,
    payload_max: u64,
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> ByteStream for T {}

/// `CONNECT`.
#[derive(Serialize)]
struct Hello<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    headers: bool,
    no_responders: bool,
    protocol: u8,
    name: &'a str,
    lang: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
}

impl Nats {
    pub(super) fn new(config: &NatsOutlet, sender: &Sender, timeout: Duration) -> Result<Self, SinkError> {
        if let Some(tls) = &config.tls {
            client_tls(tls)?;
        }
        let connect_ms_max = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let client_name = format!("{} {}", sender.program, sender.instance);
        let limits = Limits { connect_ms_max, ..Limits::DEFAULT };
        Ok(Self { config: config.clone(), client_name, limits, connection: None })
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Taken, SinkError> {
        // Whatever goes wrong, or is given up: the next attempt is on a connection of its own.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        self.connection = Some(connection.publish(&self.config.subject, records).await?);
        Ok(Taken::default())
    }

    async fn connect(&self) -> Result<Connection, SinkError> {
        let address = &self.config.address;
        let tcp = byte_stream::open(&address.host, address.port, self.config.tls.is_some(), &self.limits).await?;
        // The server speaks first, in the clear; TLS begins after its first line.
        let mut tcp = BufReader::with_capacity(1, tcp);
        let info = nats_wire::read_info(&mut tcp).await?;
        if !info.headers {
            return Err(SinkError::Refused("it does not take headers, which JetStream needs".to_owned()));
        }
        let stream = BufReader::new(self.secure(tcp.into_inner()).await?);
        let inbox = format!("_INBOX.{}", random_word());
        let mut connection = Connection { stream, inbox, next: 0, payload_max: info.max_payload };
        connection.greet(&self.hello().await?).await?;
        Ok(connection)
    }

    async fn secure(&self, tcp: TcpStream) -> Result<Box<dyn ByteStream>, SinkError> {
        let Some(tls) = &self.config.tls else { return Ok(Box::new(tcp)) };
        let tls = client_tls_anew(tls).await?;
        Ok(Box::new(byte_stream::secure(tcp, &tls, &self.config.server_name, &self.limits).await?))
    }

    async fn hello(&self) -> Result<crate::secret::Secret<String>, SinkError> {
        let (token, login) = match &self.config.login {
            NatsLogin::None => (None, None),
            NatsLogin::Token(file) => (Some(credential(file).await?), None),
            NatsLogin::Password { user, file } => (None, Some((user, credential(file).await?))),
        };
        let hello = Hello {
            verbose: false,
            pedantic: false,
            tls_required: self.config.tls.is_some(),
            headers: true,
            no_responders: true,
            protocol: 1,
            name: &self.client_name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            auth_token: token.as_ref().map(|token| token.expose().as_str()),
            user: login.as_ref().map(|(user, _)| user.as_str()),
            pass: login.as_ref().map(|(_, password)| password.expose().as_str()),
        };
        serde_json::to_string(&hello).map(crate::secret::Secret::new).map_err(|_| SinkError::Protocol)
    }
}

impl Connection {
    async fn greet(&mut self, hello: &crate::secret::Secret<String>) -> Result<(), SinkError> {
        let text = format!("CONNECT {}\r\nSUB {}.* 1\r\nPING\r\n", hello.expose(), self.inbox);
        self.write(text.as_bytes()).await?;
        loop {
            match nats_wire::read(&mut self.stream).await? {
                Said::Pong => return Ok(()),
                Said::Ping => self.write(b"PONG\r\n").await?,
                Said::Error(text) => return Err(SinkError::Refused(text)),
                Said::Ok | Said::Info | Said::Message { .. } => {}
            }
        }
    }

    async fn publish(mut self, subject: &str, records: &[Record]) -> Result<Self, SinkError> {
        let mut out = Vec::new();
        let mut awaited = HashSet::new();
        for record in records {
            if self.payload_max > 0 && record.text.len() as u64 > self.payload_max.saturating_sub(512) {
                return Err(SinkError::Refused(format!("its max_payload of {} bytes is too small", self.payload_max)));
            }
            self.next = self.next.wrapping_add(1);
            let reply = format!("{}.{}", self.inbox, self.next);
            nats_wire::publish(&mut out, subject, &reply, &record.uid, &record.text);
            awaited.insert(reply);
        }
        self.write(&out).await?;
        while !awaited.is_empty() {
            match nats_wire::read(&mut self.stream).await? {
                Said::Ping => self.write(b"PONG\r\n").await?,
                Said::Error(text) => return Err(SinkError::Refused(text)),
                Said::Message { subject, status, payload } => {
                    if awaited.remove(&subject) {
                        acknowledged(status, &payload)?;
                    }
                }
                Said::Pong | Said::Ok | Said::Info => {}
            }
        }
        Ok(self)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.stream.write_all(bytes).await.map_err(SinkError::Broken)?;
        self.stream.flush().await.map_err(SinkError::Broken)
    }
}

fn acknowledged(status: Option<u16>, payload: &[u8]) -> Result<(), SinkError> {
    if status == Some(503) {
        return Err(SinkError::Refused("no stream takes the subject".to_owned()));
    }
    let Acknowledgement { stream, error } = serde_json::from_slice(payload).map_err(|_| SinkError::Protocol)?;
    match (error, stream) {
        (Some(error), _) => Err(SinkError::Refused(error.description)),
        (None, Some(_)) => Ok(()),
        (None, None) => Err(SinkError::Protocol),
    }
}

fn random_word() -> String {
    let mut bytes = [0_u8; 12];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    hex(&bytes)
}
