//! The claims of a security event token (RFC 8417 §2.2), and why one is refused (RFC 8935 §2.4).

use std::time::Duration;

use serde_json::{Map, Value};

use super::TransmitterConfig;
use super::event::SecurityEvent;
use crate::domain::WallTime;
use crate::identity::claims::{is_aimed_at, numeric_date};
use crate::identity::error::IdentityError;

/// Greatest length of a `jti`.
const ID_BYTES_MAX: usize = 255;
/// Greatest number of events in one token: they are aspects of one thing that happened (RFC 8417 §2).
const EVENTS_MAX: usize = 8;

/// A genuine token, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventToken {
    /// `jti`: unique within its transmitter.
    pub id: String,
    /// `iat`.
    pub issued: WallTime,
    /// In the order of their types. At least one.
    pub events: Vec<SecurityEvent>,
}

impl EventToken {
    /// A token that is older is refused: whoever keeps ids for longer than this knows every one that comes again.
    pub const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);
}

/// Why a text is not an event that is believed. No message quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("the issuer is not the one configured for this transmitter")]
    UnknownIssuer,
    #[error("{0}")]
    Token(#[from] IdentityError),
    #[error("the claim {0} is missing or not of its kind")]
    Claim(&'static str),
    /// RFC 8417 §2.2: a security event tells of the past, so it can't expire; with `sub` it would look like a token.
    #[error("the claim {0} has no place in a security event token")]
    Foreign(&'static str),
    #[error("it was issued in the future, by the transmitter's clock and ours")]
    FromTheFuture,
    #[error("it was issued more than {} days ago", EventToken::AGE_MAX.as_secs() / 86_400)]
    TooOld,
    #[error("a subject is malformed")]
    Subject,
}

impl SetError {
    /// The error code of RFC 8935 §2.4.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "invalid_issuer",
            Self::Token(IdentityError::WrongAudience) => "invalid_audience",
            Self::Token(
                IdentityError::UnknownKey
                | IdentityError::KeyAwaited
                | IdentityError::Unverifiable
                | IdentityError::BadSignature
                | IdentityError::AlgorithmNotAllowed,
            ) => "invalid_key",
            Self::Token(_) | Self::Claim(_) | Self::Foreign(_) | Self::FromTheFuture | Self::TooOld | Self::Subject => {
                "invalid_request"
            }
        }
    }

    /// Whether it may hold once the transmitter's keys have been fetched again.
    pub const fn wants_keys(self) -> bool {
        matches!(self, Self::Token(IdentityError::UnknownKey | IdentityError::KeyAwaited | IdentityError::Unverifiable))
    }
}

/// Before a key is looked for: whose word it claims to be.
pub(super) fn is_by(claims: &Map<String, Value>, config: &TransmitterConfig) -> Result<(), SetError> {
    match claims.get("iss") {
        Some(Value::String(named)) if named == config.issuer.as_str() => Ok(()),
        Some(Value::String(_)) => Err(SetError::UnknownIssuer),
        None | Some(_) => Err(SetError::Claim("iss")),
    }
}

/// What genuine claims say, at `now`.
pub(super) fn read(
    claims: &Map<String, Value>,
    config: &TransmitterConfig,
    now: WallTime,
) -> Result<EventToken, SetError> {
    if let Some(name) = ["exp", "nbf", "sub"].into_iter().find(|name| claims.contains_key(*name)) {
        return Err(SetError::Foreign(name));
    }
    is_aimed_at(claims, &config.audience)?;
    let issued = issued(claims, config, now)?;
    let id = match claims.get("jti") {
        Some(Value::String(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => id.clone(),
        None | Some(_) => return Err(SetError::Claim("jti")),
    };
    let events = match claims.get("events") {
        Some(Value::Object(events)) if (1..=EVENTS_MAX).contains(&events.len()) => events,
        None | Some(_) => return Err(SetError::Claim("events")),
    };
    // RFC 8417 §2.2: when it happened, where that is not when it was told.
    let happened = numeric_date(claims, "toe")?.unwrap_or(issued);
    let subject = claims.get("sub_id");
    let events = events.iter().map(|(kind, event)| {
        let event = event.as_object().ok_or(SetError::Claim("events"))?;
        SecurityEvent::read(kind, event, subject, (happened.min(now), issued.min(now)))
    });
    Ok(EventToken { id, issued, events: events.collect::<Result<_, _>>()? })
}

fn issued(claims: &Map<String, Value>, config: &TransmitterConfig, now: WallTime) -> Result<WallTime, SetError> {
    let issued = numeric_date(claims, "iat")?.ok_or(SetError::Claim("iat"))?;
    if issued > now.plus(Duration::from_secs(config.clock_leeway_s)) {
        return Err(SetError::FromTheFuture);
    }
    if now.since(issued) > EventToken::AGE_MAX {
        return Err(SetError::TooOld);
    }
    Ok(issued)
}
