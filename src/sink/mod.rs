//! Handing the audit trail on: to files, stdout, syslog, OTLP and NATS JetStream. Both planes use it, each with a source of
//! its own.
//!
//! A sink is given records in order and says when it has them; whoever gives them keeps the place and gives them again after
//! a failure, so each arrives at least once. `uid` is the same each time: receivers drop repeats by it. A sink keeps nothing
//! that its source may forget before it was told, and waits for nobody without a limit.
//!
//! Must never: change what a record says, or log its content.

pub mod delivery;
mod file;
mod nats;
mod nats_wire;
mod otlp;
mod record;
mod report;
mod stdout;
mod syslog;
mod syslog_message;

use std::path::PathBuf;
use std::time::Duration;

pub use record::{Record, Severity};
pub use report::Report;

use crate::clock::Clock;
use crate::config::sinks::{OutletConfig, PeerTls, SinkConfig};
use crate::http::{ClientIdentity, ClientTls, HttpError, TlsError, TlsRoots};
use file::Files;
use nats::Nats;
use otlp::Otlp;
use stdout::Stdout;
use syslog::Syslog;

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The program: `breakglass-sidecar` or `breakglass-control`.
    pub program: &'static str,
    /// Which one of them.
    pub instance: String,
}

/// Why a sink did not take what it was given. All of it is given again.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("cannot write {}", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write to stdout")]
    Stdout(#[source] std::io::Error),
    #[error("the TLS files can't be used")]
    Tls(#[from] TlsError),
    #[error("cannot read {}", .path.display())]
    Credential {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Connection(#[from] HttpError),
    #[error("the connection broke off")]
    Broken(#[source] std::io::Error),
    #[error("the receiver closed the connection")]
    Closed,
    #[error("it took longer than {0:?}")]
    TimedOut(Duration),
    #[error("the receiver answered {status}")]
    Status {
        status: u16,
        /// When it is worth coming back, where that was said.
        retry_after: Option<Duration>,
    },
    #[error("the receiver refused {0} records, and all of them are required")]
    Rejected(u64),
    #[error("the receiver said: {0}")]
    Refused(String),
    #[error("the receiver said what is not understood")]
    Protocol,
    #[error("a thread ended out of order")]
    Thread,
}

impl SinkError {
    /// When the receiver asked to be tried again.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What became of records that were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Records that the receiver read and will not have: giving them again is of no use.
    pub rejected: u64,
}

/// One sink, at work.
#[derive(Debug)]
pub enum Outlet {
    File(Files),
    Stdout(Stdout),
    Syslog(Box<Syslog>),
    Otlp(Box<Otlp>),
    Nats(Box<Nats>),
}

impl Outlet {
    /// Reads the files that `config` names. `must_take`: what a receiver rejects is given again, for ever. Blocks on the disk.
    ///
    /// # Errors
    /// [`SinkError`], where a file can't be used.
    pub fn new(config: &SinkConfig, sender: &Sender, clock: &Clock, must_take: bool) -> Result<Self, SinkError> {
        let timeout = config.timeout;
        Ok(match &config.outlet {
            OutletConfig::File(file) => Self::File(Files::new(file.clone(), clock.clone())),
            OutletConfig::Stdout => Self::Stdout(Stdout::default()),
            OutletConfig::Syslog(syslog) => Self::Syslog(Box::new(Syslog::new(syslog, sender, clock, timeout)?)),
            OutletConfig::Otlp(otlp) => Self::Otlp(Box::new(Otlp::new(otlp, sender, clock, timeout, must_take)?)),
            OutletConfig::Nats(nats) => Self::Nats(Box::new(Nats::new(nats, sender, timeout)?)),
        })
    }

    /// Hands over all records, in order. When it returns without an error, the sink has them.
    ///
    /// # Errors
    /// [`SinkError`]: none, some or all of them arrived, and all must be given again.
    pub async fn send(&mut self, records: &[Record]) -> Result<Taken, SinkError> {
        match self {
            Self::File(files) => files.send(records).await,
            Self::Stdout(stdout) => stdout.send(records).await,
            Self::Syslog(syslog) => syslog.send(records).await,
            Self::Otlp(otlp) => otlp.send(records).await,
            Self::Nats(nats) => nats.send(records).await,
        }
    }
}

/// Reads what a peer is known by. Blocks on the disk.
fn client_tls(tls: &PeerTls) -> Result<ClientTls, TlsError> {
    let roots = TlsRoots::from_pem_files([&tls.ca])?;
    let own =
        tls.own.as_ref().map(|(certificate, key)| ClientIdentity::from_pem_files(certificate, key)).transpose()?;
    ClientTls::new(roots, own)
}

/// [`client_tls`] off the runtime.
async fn client_tls_anew(tls: &PeerTls) -> Result<ClientTls, SinkError> {
    let tls = tls.clone();
    Ok(tokio::task::spawn_blocking(move || client_tls(&tls)).await.map_err(|_| SinkError::Thread)??)
}

/// A secret of one line in a file of its own.
async fn credential(path: &std::path::Path) -> Result<crate::secret::Secret<String>, SinkError> {
    let unreadable = |source| SinkError::Credential { path: path.to_owned(), source };
    let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
    Ok(crate::secret::Secret::new(text.trim().to_owned()))
}
