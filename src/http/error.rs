//! Which step of an outbound call failed. No message quotes a body, a header or a query.

use std::fmt;
use std::net::SocketAddr;

use super::client::Answer;

/// A step of a call that has a time limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Resolving, connecting and the TLS handshake.
    Connect,
    /// From the request to the head of the answer.
    Response,
    /// The whole call.
    Total,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Response => "waiting for the answer",
            Self::Total => "the whole call",
        })
    }
}

/// Why an outbound call gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the address is not a URL this client can call: {0}")]
    Url(&'static str),
    #[error("{host} is not this machine, and http would carry everything in the clear: use https")]
    CleartextRefused { host: String },
    #[error("https needs root certificates, and none are configured for {host}")]
    NoTls { host: String },
    #[error("the name {host} could not be resolved")]
    Resolve { host: String, source: std::io::Error },
    #[error("no connection to {address}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("the TLS handshake with {host} failed")]
    Tls { host: String, source: std::io::Error },
    #[error("{host} does not speak {wanted}")]
    Protocol { host: String, wanted: &'static str },
    #[error("{step} took longer than {ms} ms")]
    TimedOut { step: Step, ms: u64 },
    #[error("the exchange with {host} broke off")]
    Exchange { host: String, source: hyper::Error },
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the answer has status {}", .0.status.as_u16())]
    Status(Box<Answer>),
    /// The reason is left out: serde's messages quote what they met.
    #[error("the answer is not the JSON that was expected (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("the request could not be written as JSON")]
    RequestJson,
    #[error("a request header has a byte that headers cannot carry")]
    RequestHeader,
}

impl HttpError {
    /// True when the peer certainly has not seen the request.
    pub const fn is_before_sending(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::CleartextRefused { .. }
            | Self::NoTls { .. }
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Protocol { .. }
            | Self::RequestJson
            | Self::RequestHeader
            | Self::TimedOut { step: Step::Connect, .. } => true,
            Self::TimedOut { step: Step::Response | Step::Total, .. }
            | Self::Exchange { .. }
            | Self::TooLarge { .. }
            | Self::Status(_)
            | Self::Json { .. } => false,
        }
    }

    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }
}
