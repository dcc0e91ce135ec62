//! Reading a line back: its link, and as much of its facts as recovery and verification need.
//!
//! The facts under `unmapped.break_glass` are the ones that count; what OCSF says beside is covered by the chain. Only
//! `metadata.uid` is compared, so that a line with another log id contradicts itself.

use std::net::IpAddr;

use serde::Deserialize;

use super::chain::{LineHash, Link, LogId, Position};
use super::kind::LineKind;
use super::loss::AcceptedLoss;
use crate::domain::{Action, Authentication, GrantId, Issuer, Person, Resource, WallTime};

/// The version of the facts this module writes and reads.
pub const FORMAT: u32 = 1;

/// Why a line is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("is not a record of the audit log")]
    Malformed(#[source] serde_json::Error),
    #[error("has format {0}, which this version does not know")]
    Format(u32),
    #[error("contradicts itself: metadata.uid is not its log id and sequence")]
    Contradiction,
    #[error("is an {kind} without its {missing}")]
    Incomplete { kind: &'static str, missing: &'static str },
    #[error("has a number of 2^53 or more")]
    Number,
    #[error("has a code that is no word of small letters, digits and _")]
    Word,
}

/// A line's place and facts.
#[derive(Debug, Clone)]
pub struct ParsedLine {
    pub link: Link,
    pub body: LineBody,
}

/// What the kinds say, as far as it is needed.
#[derive(Debug, Clone)]
pub enum LineBody {
    LogStarted {
        previous: Option<Position>,
        /// The process found the log before it damaged, and nobody had accepted that.
        previous_damaged: bool,
    },
    Intent(Box<PastIntent>),
    /// Of the intent at this place; `forwarded` unless its end is `not_forwarded`.
    Outcome {
        log_id: LogId,
        seq: u64,
        forwarded: bool,
    },
    UnknownOutcome {
        log_id: LogId,
        seq: u64,
    },
    Refusal,
    Observed,
    RefusalSummary {
        records: u64,
    },
    LossAccepted(Box<AcceptedLoss>),
    LogEnded,
}

/// An intent as its line tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastIntent {
    pub at: WallTime,
    pub log_id: LogId,
    pub seq: u64,
    pub request_id: String,
    pub method: String,
    pub client: Option<IpAddr>,
    pub resource: Resource,
    pub action: Action,
    pub grant: GrantId,
    pub expires: WallTime,
    pub person: Person,
    pub idp: Option<Issuer>,
    pub authentication: Authentication,
}

impl ParsedLine {
    /// # Errors
    /// When the bytes are no JSON, lack our facts, or are of a format or kind that is not known.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let document: Document = serde_json::from_slice(line).map_err(LineError::Malformed)?;
        let facts = document.unmapped.break_glass;
        if facts.format != FORMAT {
            return Err(LineError::Format(facts.format));
        }
        let link = Link { log_id: facts.log_id, seq: facts.seq, prev: facts.prev };
        if document.metadata.uid != link.uid().to_string() {
            return Err(LineError::Contradiction);
        }
        let client = document.src_endpoint.and_then(|endpoint| endpoint.ip);
        let body = facts.into_body(document.time, client)?;
        Ok(Self { link, body })
    }
}

#[derive(Deserialize)]
struct Document {
    time: WallTime,
    src_endpoint: Option<SrcEndpoint>,
    metadata: Metadata,
    unmapped: Unmapped,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

#[derive(Deserialize)]
struct SrcEndpoint {
    ip: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Unmapped {
    break_glass: Facts,
}

#[derive(Deserialize)]
struct Facts {
    format: u32,
    kind: LineKind,
    log_id: LogId,
    seq: u64,
    prev: LineHash,
    previous: Option<Position>,
    #[serde(default)]
    previous_damaged: bool,
    request_id: Option<String>,
    method: Option<String>,
    person: Option<Person>,
    idp: Option<Issuer>,
    #[serde(default)]
    authentication: AuthenticationFacts,
    resource: Option<Resource>,
    action: Option<Action>,
    grant: Option<GrantFacts>,
    end: Option<String>,
    intent: Option<IntentRef>,
    counts: Option<Vec<Count>>,
    loss: Option<Box<AcceptedLoss>>,
}

#[derive(Default, Deserialize)]
struct AuthenticationFacts {
    acr: Option<String>,
    #[serde(default)]
    amr: Vec<String>,
    auth_time: Option<WallTime>,
}

impl From<AuthenticationFacts> for Authentication {
    fn from(facts: AuthenticationFacts) -> Self {
        Self { acr: facts.acr, amr: facts.amr, auth_time: facts.auth_time }
    }
}

#[derive(Deserialize)]
struct GrantFacts {
    id: GrantId,
    expires: Option<WallTime>,
}

#[derive(Deserialize)]
struct IntentRef {
    log_id: LogId,
    seq: u64,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

impl Facts {
    fn into_body(self, at: WallTime, client: Option<IpAddr>) -> Result<LineBody, LineError> {
        Ok(match self.kind {
            LineKind::LogStarted => {
                LineBody::LogStarted { previous: self.previous, previous_damaged: self.previous_damaged }
            }
            LineKind::Intent => LineBody::Intent(Box::new(self.into_intent(at, client)?)),
            LineKind::Outcome => self.into_outcome()?,
            LineKind::UnknownOutcome => {
                let IntentRef { log_id, seq } = need("unknown_outcome", "intent", self.intent)?;
                LineBody::UnknownOutcome { log_id, seq }
            }
            LineKind::Refusal => LineBody::Refusal,
            LineKind::Observed => LineBody::Observed,
            LineKind::RefusalSummary => {
                let counts = need("refusal_summary", "counts", self.counts)?;
                LineBody::RefusalSummary { records: counts.iter().fold(0, |sum, c| c.count.saturating_add(sum)) }
            }
            LineKind::LossAccepted => LineBody::LossAccepted(need("loss_accepted", "loss", self.loss)?),
            LineKind::LogEnded => LineBody::LogEnded,
        })
    }

    fn into_intent(self, at: WallTime, client: Option<IpAddr>) -> Result<PastIntent, LineError> {
        let grant = need("intent", "grant", self.grant)?;
        Ok(PastIntent {
            at,
            log_id: self.log_id,
            seq: self.seq,
            request_id: need("intent", "request_id", self.request_id)?,
            method: need("intent", "method", self.method)?,
            client,
            resource: need("intent", "resource", self.resource)?,
            action: need("intent", "action", self.action)?,
            expires: need("intent", "grant.expires", grant.expires)?,
            grant: grant.id,
            person: need("intent", "person", self.person)?,
            idp: self.idp,
            authentication: self.authentication.into(),
        })
    }

    fn into_outcome(self) -> Result<LineBody, LineError> {
        let IntentRef { log_id, seq } = need("outcome", "intent", self.intent)?;
        let end = need("outcome", "end", self.end)?;
        Ok(LineBody::Outcome { log_id, seq, forwarded: end != super::End::NOT_FORWARDED })
    }
}

fn need<T>(kind: &'static str, missing: &'static str, value: Option<T>) -> Result<T, LineError> {
    value.ok_or(LineError::Incomplete { kind, missing })
}
