//! One record as a sink is given it: an OCSF event as a line of JSON, and the few facts that envelopes repeat.

use bytes::Bytes;
use serde::Deserialize;

use crate::domain::WallTime;

/// How grave an event is (OCSF `severity_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    const fn of(severity_id: u64) -> Self {
        match severity_id {
            2 => Self::Low,
            3 => Self::Medium,
            4 => Self::High,
            5 | 6 => Self::Critical,
            _ => Self::Informational,
        }
    }

    /// RFC 5424 §6.2.1.
    pub const fn syslog(self) -> u8 {
        match self {
            Self::Informational => 6,
            Self::Low => 5,
            Self::Medium => 4,
            Self::High => 3,
            Self::Critical => 2,
        }
    }

    /// Number and text of OpenTelemetry's log data model.
    pub const fn otlp(self) -> (u8, &'static str) {
        match self {
            Self::Informational => (9, "INFO"),
            Self::Low => (10, "INFO2"),
            Self::Medium => (13, "WARN"),
            Self::High => (17, "ERROR"),
            Self::Critical => (21, "FATAL"),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Without a newline.
    pub text: Bytes,
    /// The same each time the record is given: its name among all records.
    pub uid: String,
    /// What happened, in our words.
    pub kind: String,
    pub severity: Severity,
    pub at: WallTime,
}

impl Record {
    /// `None` for what is no OCSF event of ours.
    pub fn of(text: Bytes) -> Option<Self> {
        let Event { time, severity_id, metadata } = serde_json::from_slice(&text).ok()?;
        let severity = Severity::of(severity_id);
        Some(Self { uid: metadata.uid, kind: metadata.event_code, severity, at: time, text })
    }
}

#[derive(Deserialize)]
struct Event {
    time: WallTime,
    severity_id: u64,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
    event_code: String,
}
