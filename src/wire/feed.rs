//! The feed: one full-duplex HTTP/2 request per sidecar, `POST /feed/v1`, JSON lines both ways.
//!
//! The sidecar speaks first (`subscribe`). The control plane answers with a snapshot that `snapshot_end` closes, then
//! with deltas in the order of their revisions. Every heartbeat answers one `ping` and comes after all lines up to
//! the revision it names, so a sidecar that has applied it is as current as `as_of`. Unknown members are ignored,
//! unknown kinds end the stream: both sides name the protocol version in the path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{GrantId, InstanceName, ServiceName, WallTime};

/// Path of the feed on the control plane's feed listener.
pub const PATH: &str = "/feed/v1";
/// Media type of both bodies.
pub const CONTENT_TYPE: &str = "application/jsonl";
/// Greatest length of one line, newline included.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What a sidecar says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromSidecar {
    Subscribe(Subscribe),
    /// Sent at least once a second; `n` rises by one. Answered by the heartbeat with the same `n`.
    Ping {
        n: u64,
        /// The sidecar's wall clock as it was sent, so that the control plane can show how far it is off.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        at: Option<WallTime>,
    },
    /// Everything up to `revision` is enforced.
    Ack {
        revision: u64,
        audit: AuditPosition,
    },
    /// The line of this revision was not accepted and is not enforced.
    Reject {
        revision: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        grant: Option<GrantId>,
        why: String,
    },
    /// Uses of a grant spent here so far under this log lineage (never decreases).
    Spent {
        grant: GrantId,
        spent: u32,
    },
    /// No use is left here: more is wanted.
    ShareWanted {
        grant: GrantId,
    },
    /// A key of this sidecar's own is to be certified for assertions. Answered by `assertion_certificate` or
    /// `assertion_refused`; asked again, the same key gets the same certificate.
    CertifyAssertionKey {
        /// The public key, base64url.
        x: String,
        /// Shows that the key is held (`bg-key-proof+jwt`).
        proof: String,
    },
    /// Answer to a recall: from now on at most `allotted` uses are spent here in all.
    ShareReturned {
        grant: GrantId,
        allotted: u32,
    },
}

/// The first line of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    pub service: ServiceName,
    pub instance: InstanceName,
    /// Version of the sidecar's program.
    pub version: String,
    /// SHA-256 of the service file, hex.
    pub service_digest: String,
    /// Epoch and last applied revision of an earlier stream; both absent on the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_revision: Option<u64>,
    /// Names the sidecar's audit folder for its whole life: shares belong to it, and a lost log forfeits them.
    pub lineage: String,
    /// Uses spent per grant, recovered from the log.
    #[serde(default)]
    pub spent: BTreeMap<GrantId, u32>,
    pub audit: AuditPosition,
}

/// Last durable line of a sidecar's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct AuditPosition {
    pub log_id: String,
    pub sequence: u64,
    /// SHA-256 of that line, hex.
    pub head: String,
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromControl {
    /// First line. A sidecar that held another epoch drops everything it holds.
    /// `resumed`: what follows are the changes after `last_revision`, not a snapshot.
    Welcome { epoch: String, resumed: bool },
    /// Grant keys, each certified by a pinned root (`bg-key+jwt`). Replaces the former set; the grants of a key that
    /// is gone end.
    Keys { revision: u64, keys: Vec<String> },
    /// A grant, as its token (`bg-grant+jwt`). With `identity_since`, what was proven of its person at or before that time
    /// proves nothing for it: their session or credential was reported to be no longer theirs alone.
    Put {
        revision: u64,
        token: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        identity_since: Option<WallTime>,
    },
    /// A grant that must not be used until it is put again: its person is to authenticate afresh.
    Suspended { revision: u64, token: String },
    /// The end of a grant.
    Tombstone { revision: u64, grant: GrantId, cause: EndCause },
    /// Overrides are stopped (or no longer): for this service or everywhere, already combined.
    Freeze { revision: u64, frozen: bool },
    /// From now on at most `allotted` uses of the grant may be spent under this sidecar's lineage in all.
    Share { revision: u64, grant: GrantId, allotted: u32 },
    /// Give back what is not spent above `keep`; answered by `share_returned`.
    ShareRecall { grant: GrantId, keep: u32 },
    /// The sidecar's assertion key, certified by a pinned root (`bg-key+jwt`, purpose `assertion`).
    AssertionCertificate { certificate: String },
    /// The key `x` is not certified now. `retry_after_s` is when it is worth asking again.
    AssertionRefused { x: String, why: String, retry_after_s: u32 },
    /// The snapshot is complete up to `revision`; what it did not name does not exist.
    SnapshotEnd { revision: u64 },
    /// Answers ping `n`. `server_time` was read after the ping arrived; `as_of` is when this replica last read the
    /// newest revision from the database.
    Heartbeat { n: u64, server_time: WallTime, as_of: WallTime, revision: u64 },
    /// The stream ends; come back without `epoch` and `last_revision`.
    Resync { why: String },
}

impl FromControl {
    /// The revision a line carries, where it carries one to be acknowledged.
    pub const fn revision(&self) -> Option<u64> {
        match self {
            Self::Keys { revision, .. }
            | Self::Put { revision, .. }
            | Self::Suspended { revision, .. }
            | Self::Tombstone { revision, .. }
            | Self::Freeze { revision, .. }
            | Self::Share { revision, .. }
            | Self::SnapshotEnd { revision } => Some(*revision),
            Self::Welcome { .. }
            | Self::ShareRecall { .. }
            | Self::AssertionCertificate { .. }
            | Self::AssertionRefused { .. }
            | Self::Heartbeat { .. }
            | Self::Resync { .. } => None,
        }
    }
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    Revoked,
    Expired,
    UsedUp,
}
