//! What there is to record, as the sidecar knows it. [`super::encode`] makes a line of it.
//!
//! INVARIANT: an [`Intent`] is made from a [`Permit`] only, so that no line claims an override that was not decided.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::captured::Captured;
use super::chain::{Link, Position};
use super::kind::LineKind;
use super::line::PastIntent;
use super::loss::AcceptedLoss;
use crate::decision::{Mode, Permit, RefusalCode};
use crate::domain::{
    Action, Authentication, Grant, GrantId, InstanceName, Issuer, Person, Resource, ServiceName, WallTime,
};

/// Whose log it is.
#[derive(Debug, Clone)]
pub struct LogIdentity {
    pub service: ServiceName,
    pub instance: InstanceName,
    /// The program's version.
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1_0,
    Http1_1,
    Http2,
}

impl Protocol {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1_0 => "HTTP/1.0",
            Self::Http1_1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Keyed digests of query values: who has the key can tell which are the same.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueryDigests {
    /// Which key it was, as 16 hexadecimal digits.
    pub key: String,
    #[serde(rename = "whole")]
    pub is_whole: bool,
    pub values: Vec<QueryDigest>,
}

/// HMAC-SHA-256 over name, zero byte and value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueryDigest {
    /// As it stands in the configuration.
    pub name: String,
    pub hmac_sha256: String,
}

/// One request, as it may be recorded: no query value, no header, no body.
#[derive(Debug, Clone)]
pub struct RequestFacts {
    pub request_id: String,
    /// The request's trace (W3C Trace Context), as 32 hexadecimal digits.
    pub trace_id: Option<String>,
    pub at: WallTime,
    /// As sent; long ones are cut in the line.
    pub method: String,
    /// The canonical path, or the raw one escaped; without a query.
    pub path: String,
    /// The names of the query's parameters, never their values.
    pub query_names: Vec<String>,
    /// What the values of some of them can be compared by.
    pub query_digests: Option<QueryDigests>,
    pub protocol: Protocol,
    pub client: SocketAddr,
    pub host: Option<String>,
    pub resource: Option<Resource>,
    pub action: Option<Action>,
    pub mode: Mode,
}

/// An override that is about to be forwarded.
#[derive(Debug, Clone)]
pub struct Intent {
    pub(super) request: RequestFacts,
    pub(super) grant: Arc<Grant>,
    pub(super) resource: Resource,
    pub(super) action: Action,
    /// Which of its grant's in this log, from 1.
    pub(super) number: Option<u64>,
}

impl Intent {
    pub fn new(request: RequestFacts, permit: &Permit) -> Self {
        Self {
            number: None,
            request,
            grant: Arc::clone(permit.grant()),
            resource: permit.resource().clone(),
            action: permit.action().clone(),
        }
    }

    /// As the log's writer counts it.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { number: Some(number), ..self }
    }

    pub fn request(&self) -> &RequestFacts {
        &self.request
    }

    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }
}

/// How an override ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The upstream's answer was passed on whole.
    Completed,
    /// The client went away.
    ClientAborted,
    /// The upstream could not be reached or broke off.
    UpstreamFailed,
    UpstreamTimeout,
    /// Another protocol was spoken, and the client ended it in order.
    ClientClosed,
    /// Another protocol was spoken, and the upstream ended it in order.
    UpstreamClosed,
    /// Another protocol was spoken, and neither side said anything for too long.
    Idle,
    /// The sidecar was told to end, and its drain had reached its limit.
    Stopped,
    /// The grant ended, or its promises could no longer be kept, while bytes were in flight.
    Cut(RefusalCode),
    /// Refused after the intent was durable: nothing reached the upstream.
    NotForwarded(RefusalCode),
    /// Whether it took effect is not known.
    Unknown,
    /// The sidecar gave up on the request without saying how it ended.
    Aborted,
}

impl End {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientAborted => "client_aborted",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::ClientClosed => "client_closed",
            Self::UpstreamClosed => "upstream_closed",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Cut(_) => "cut",
            Self::NotForwarded(_) => Self::NOT_FORWARDED,
            Self::Unknown => "unknown",
            Self::Aborted => "aborted",
        }
    }

    pub(super) const NOT_FORWARDED: &'static str = "not_forwarded";

    pub const fn cause(self) -> Option<RefusalCode> {
        match self {
            Self::Cut(code) | Self::NotForwarded(code) => Some(code),
            Self::Completed
            | Self::ClientAborted
            | Self::UpstreamFailed
            | Self::UpstreamTimeout
            | Self::ClientClosed
            | Self::UpstreamClosed
            | Self::Idle
            | Self::Stopped
            | Self::Unknown
            | Self::Aborted => None,
        }
    }
}

/// What became of an override. Digests are of the bodies' bytes as they passed; `None` where none was taken.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub at: WallTime,
    /// The upstream's status.
    pub status: Option<u16>,
    /// Which assertion under its grant in this log told the upstream of it.
    pub assertion: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub request_sha256: Option<[u8; 32]>,
    pub response_sha256: Option<[u8; 32]>,
    pub duration: Duration,
    pub end: End,
    /// Where members of the bodies are to be kept.
    pub captured: Option<Box<Captured>>,
}

impl Outcome {
    /// An outcome of which nothing is known but its end.
    pub fn bare(at: WallTime, end: End) -> Self {
        Self {
            at,
            status: None,
            assertion: None,
            request_bytes: 0,
            response_bytes: 0,
            request_sha256: None,
            response_sha256: None,
            duration: Duration::ZERO,
            end,
            captured: None,
        }
    }
}

/// Who has proven to be asking.
#[derive(Debug, Clone)]
pub struct Asker {
    pub person: Person,
    pub idp: Issuer,
    /// As the grant has it, or, without one, as the token says that proved the person.
    pub authentication: Authentication,
    /// The grant that was named, where it is proven to be theirs.
    pub grant: Option<GrantId>,
}

impl Asker {
    pub fn holder_of(grant: &Grant) -> Self {
        Self {
            person: grant.person.clone(),
            idp: grant.idp.clone(),
            authentication: grant.authentication.clone(),
            grant: Some(grant.id.clone()),
        }
    }

    pub fn is_holder(&self) -> bool {
        self.grant.is_some()
    }
}

/// A request with the header that was refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub request: RequestFacts,
    pub code: RefusalCode,
    pub asker: Option<Asker>,
}

/// What would have been decided, in observe mode.
#[derive(Debug, Clone)]
pub struct Observed {
    pub request: RequestFacts,
    /// [`crate::decision::Decision::code`].
    pub decision: &'static str,
    pub asker: Option<Asker>,
}

/// The first line of a log.
#[derive(Debug, Clone)]
pub struct LogStart {
    pub at: WallTime,
    /// The last line of the log before, in the same folder.
    pub previous: Option<Position>,
    /// Bytes of an unfinished last line that were cut off the log before.
    pub torn_bytes: u64,
    /// Intents of earlier logs without an outcome; an `unknown_outcome` for each follows.
    pub orphans: u64,
    /// The logs before this one do not verify.
    pub previous_damaged: bool,
}

/// The last line of a log that was closed in order.
#[derive(Debug, Clone, Copy)]
pub struct LogEnd {
    pub at: WallTime,
    /// Intents whose outcome had not come.
    pub open_intents: u64,
}

/// One count within a [`Summary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    Refusal(RefusalCode),
    /// By decision code.
    Observed(&'static str),
}

/// Records that were left out, counted.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub from: Option<WallTime>,
    pub until: Option<WallTime>,
    pub counts: BTreeMap<Counted, u64>,
}

/// One line to be.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    LogStarted(&'a LogStart),
    Intent(&'a Intent),
    /// `link` is the place of the intent.
    Outcome {
        intent: &'a Intent,
        link: &'a Link,
        outcome: &'a Outcome,
    },
    Refusal(&'a Refusal),
    Observed(&'a Observed),
    RefusalSummary(&'a Summary),
    UnknownOutcome {
        intent: &'a PastIntent,
        at: WallTime,
    },
    LossAccepted {
        loss: &'a AcceptedLoss,
        at: WallTime,
    },
    LogEnded(&'a LogEnd),
}

impl Event<'_> {
    /// The `kind` of the line.
    pub const fn kind(&self) -> LineKind {
        match self {
            Self::LogStarted(_) => LineKind::LogStarted,
            Self::Intent(_) => LineKind::Intent,
            Self::Outcome { .. } => LineKind::Outcome,
            Self::Refusal(_) => LineKind::Refusal,
            Self::Observed(_) => LineKind::Observed,
            Self::RefusalSummary(_) => LineKind::RefusalSummary,
            Self::UnknownOutcome { .. } => LineKind::UnknownOutcome,
            Self::LossAccepted { .. } => LineKind::LossAccepted,
            Self::LogEnded(_) => LineKind::LogEnded,
        }
    }
}
