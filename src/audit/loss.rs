//! The record of a loss that an operator accepted: who, why, what was lost.
//!
//! Whoever reads the log later (an auditor, a ledger) learns here that it is not whole before this line: `known` is the
//! last place that had been durable, `found` the last line that was still there.

use serde::{Deserialize, Serialize};

use super::chain::{LineHash, Position};
use super::content::Content;
use super::cuts::Cuts;
use super::document::Body;
use crate::domain::WallTime;

/// Greatest length of the operator's name in a line, in bytes.
pub const BY_BYTES_MAX: usize = 255;
/// Greatest length of the operator's reason in a line, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
const FINDINGS_MAX: usize = 16;
const FINDING_BYTES_MAX: usize = 400;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedLoss {
    /// As the operator said.
    pub by: String,
    pub reason: String,
    pub accepted_at: WallTime,
    /// Names the damage among all damages.
    pub digest: LineHash,
    /// The last place known to have been durable; `None` where that itself was lost.
    pub known: Option<Position>,
    /// The last line that was still there; `None` where there was none.
    pub found: Option<Position>,
    /// What was found, one sentence each.
    pub findings: Vec<String>,
}

/// What the line carries under `loss`.
#[derive(Serialize)]
pub(super) struct LossFacts {
    loss: AcceptedLoss,
}

pub(super) fn loss_line<'a>(loss: &AcceptedLoss, at: WallTime, cuts: &mut Cuts) -> Content<'a> {
    let findings = cuts.list("findings", &loss.findings, FINDINGS_MAX, FINDING_BYTES_MAX);
    let loss = AcceptedLoss {
        by: cuts.text("by", &loss.by, BY_BYTES_MAX).into_owned(),
        reason: cuts.text("reason", &loss.reason, REASON_BYTES_MAX).into_owned(),
        findings: findings.into_iter().map(std::borrow::Cow::into_owned).collect(),
        ..loss.clone()
    };
    Content::of_a_loss(at, Body::Loss(Box::new(LossFacts { loss })))
}
