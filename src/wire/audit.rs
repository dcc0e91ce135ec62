//! Lines of a sidecar's audit log on their way to the ledger: `POST /feed/v1/audit` on the feed's listener.
//!
//! The body is JSON lines. The first is a [`Shipment`]: who ships, and what is settled. What follows are lines of the log,
//! byte for byte and in order, each following the one before; none at all is the question how far the ledger has come. A 200 answers with an [`Arrival`]:
//! everything up to that place is committed. Lines that are there already are taken again without a word, so a batch
//! whose answer was lost is sent once more. All else is a problem document:
//!
//! | what is wrong | status | code |
//! |---|---|---|
//! | the batch is no such thing, or a line of it does not follow the one before | 400 | `audit_batch` |
//! | the lines are another service's, or another instance's log | 403 | `audit_foreign` |
//! | the line before the first is not there; `current` in the problem is the last that is, or null | 409 | `audit_gap` |
//! | it is larger than [`BATCH_BYTES_MAX`] | 413 | `audit_too_large` |
//! | more batches come than are taken, or the database is slow | 503 with `Retry-After` | `audit_busy` |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feed::AuditPosition;
use crate::domain::{GrantId, InstanceName};

/// Path on the control plane's feed listener.
pub const PATH: &str = "/feed/v1/audit";
/// Greatest length of a body.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Most lines of one batch.
pub const BATCH_LINES_MAX: usize = 1000;

/// The first line of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub instance: InstanceName,
    /// Names the audit folder.
    pub lineage: String,
    /// What stands between the ledger's last line and the first of these is gone here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost: Option<LossCause>,
    /// What the sidecar has done with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled: Option<Settled>,
    /// How many assertions it has signed under grants, where that is more than was told before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed: Option<Signed>,
}

/// Grants of one shipment whose numbers are told.
pub const SIGNED_MAX: usize = 512;

/// Numbers of the sidecar's own counter, which is not made of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The log that is written while they are counted.
    pub log_id: String,
    /// The last number under each grant.
    pub numbers: BTreeMap<GrantId, u64>,
}

/// Why lines can't be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// They are not in the folder any more.
    Missing,
    /// They are damaged: an operator had to accept that.
    Damaged,
}

impl LossCause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
        }
    }
}

/// Everything that was recorded under grants that had ended by this revision of the feed is in this batch or before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    pub epoch: String,
    pub revision: u64,
}

/// The answer: the last line that is committed, absent where none of this sidecar is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub position: Option<AuditPosition>,
}
