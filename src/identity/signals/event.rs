//! The events that are known, and when what they tell of happened.
//!
//! Sources: CAEP 1.0 §3, RISC 1.0 §2, OpenID Shared Signals Framework 1.0 §8.1.4 and §8.1.5.

use serde_json::{Map, Value};

use super::set::SetError;
use super::subject::{self, Subject};
use crate::domain::WallTime;
use crate::identity::claims::numeric_date;

const PREFIX: &str = "https://schemas.openid.net/secevent/";
/// Greatest length of an event's type.
const TYPE_BYTES_MAX: usize = 255;

/// What an event tells, as far as anything is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// CAEP `session-revoked`, RISC `sessions-revoked`.
    SessionRevoked,
    /// CAEP `credential-change` of the kinds `create` and `update`.
    CredentialChanged,
    /// CAEP `credential-change` of the kinds `revoke` and `delete`, or of one that is not known.
    CredentialEnded,
    /// CAEP `assurance-level-change` downwards.
    AssuranceLowered,
    /// RISC `account-credential-change-required`.
    CredentialChangeRequired,
    /// RISC `credential-compromise`.
    CredentialCompromised,
    /// RISC `account-disabled`.
    AccountDisabled,
    /// RISC `account-purged`.
    AccountPurged,
    /// The stream is well.
    Verification,
    StreamUpdated,
    /// Nothing is done about it.
    Other,
}

impl EventKind {
    pub const ALL: [Self; 11] = [
        Self::SessionRevoked,
        Self::CredentialChanged,
        Self::CredentialEnded,
        Self::AssuranceLowered,
        Self::CredentialChangeRequired,
        Self::CredentialCompromised,
        Self::AccountDisabled,
        Self::AccountPurged,
        Self::Verification,
        Self::StreamUpdated,
        Self::Other,
    ];

    /// A stable name, fit for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionRevoked => "session_revoked",
            Self::CredentialChanged => "credential_changed",
            Self::CredentialEnded => "credential_ended",
            Self::AssuranceLowered => "assurance_lowered",
            Self::CredentialChangeRequired => "credential_change_required",
            Self::CredentialCompromised => "credential_compromised",
            Self::AccountDisabled => "account_disabled",
            Self::AccountPurged => "account_purged",
            Self::Verification => "verification",
            Self::StreamUpdated => "stream_updated",
            Self::Other => "other",
        }
    }

    fn of(kind: &str, event: &Map<String, Value>) -> Self {
        let says = |name: &str, value: &str| event.get(name).and_then(Value::as_str) == Some(value);
        match kind.strip_prefix(PREFIX).unwrap_or_default() {
            "caep/event-type/session-revoked" | "risc/event-type/sessions-revoked" => Self::SessionRevoked,
            "caep/event-type/credential-change" if says("change_type", "create") || says("change_type", "update") => {
                Self::CredentialChanged
            }
            "caep/event-type/credential-change" => Self::CredentialEnded,
            "caep/event-type/assurance-level-change" if !says("change_direction", "increase") => Self::AssuranceLowered,
            "risc/event-type/account-credential-change-required" => Self::CredentialChangeRequired,
            "risc/event-type/credential-compromise" => Self::CredentialCompromised,
            "risc/event-type/account-disabled" => Self::AccountDisabled,
            "risc/event-type/account-purged" => Self::AccountPurged,
            // Under the names of the framework, of its drafts, and of RISC's own.
            "ssf/event-type/verification" | "sse/event-type/verification" | "risc/event-type/verification" => {
                Self::Verification
            }
            "ssf/event-type/stream-updated" | "sse/event-type/stream-updated" => Self::StreamUpdated,
            _ => Self::Other,
        }
    }

    /// Events about accounts are of the moment they were told: whoever authenticated between the two did so with an
    /// account that was on its way out. Events about sessions and credentials spare who authenticated after them.
    const fn counts_from_its_issue(self) -> bool {
        matches!(self, Self::AccountDisabled | Self::AccountPurged | Self::CredentialCompromised)
    }
}

/// What a transmitter says of its stream (SSF 1.0 §8.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStatus {
    Enabled,
    Paused,
    Disabled,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    pub kind: EventKind,
    /// Its type, as the token has it.
    pub uri: String,
    /// What was proven at or before this time no longer counts. Never in the future.
    pub since: WallTime,
    pub subject: Subject,
    /// Of a `stream-updated`.
    pub stream: Option<StreamStatus>,
}

impl SecurityEvent {
    /// `happened` and `issued` are the token's; an event may say its own time.
    pub(super) fn read(
        uri: &str,
        event: &Map<String, Value>,
        subject: Option<&Value>,
        (happened, issued): (WallTime, WallTime),
    ) -> Result<Self, SetError> {
        if uri.len() > TYPE_BYTES_MAX {
            return Err(SetError::Claim("events"));
        }
        let kind = EventKind::of(uri, event);
        let told = numeric_date(event, "event_timestamp")?.unwrap_or(happened);
        let since = if kind.counts_from_its_issue() { issued } else { told.min(issued) };
        // Before its first final version the framework put the subject into each event.
        let subject = subject.or_else(|| event.get("subject")).map(subject::read).transpose()?.unwrap_or_default();
        let stream = match event.get("status").and_then(Value::as_str) {
            Some("enabled") if kind == EventKind::StreamUpdated => Some(StreamStatus::Enabled),
            Some("paused") if kind == EventKind::StreamUpdated => Some(StreamStatus::Paused),
            Some("disabled") if kind == EventKind::StreamUpdated => Some(StreamStatus::Disabled),
            None | Some(_) => None,
        };
        Ok(Self { kind, uri: uri.to_owned(), since, subject, stream })
    }
}
