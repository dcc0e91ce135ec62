//! A period in numbers, as its entries tell it.

use serde::{Deserialize, Serialize};

use super::{SignedTree, TreeAt};
use crate::domain::WallTime;

/// A period in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PeriodReport {
    pub format: u32,
    pub since_at: WallTime,
    pub before_at: WallTime,
    pub made_at: WallTime,
    /// The tree before the period's first entry.
    pub begin: TreeAt,
    /// The tree after its last.
    pub end: TreeAt,
    /// The signed tree that both are beginnings of.
    pub tree: SignedTree,
    /// Entries of the period.
    pub entries: u64,
    pub whole: Totals,
    /// What was refused, most often first.
    pub refusals: Vec<RefusalCount>,
    pub teams: Vec<Row>,
    pub persons: Vec<Row>,
    pub reasons: Vec<Row>,
    pub services: Vec<Row>,
    pub resources: Vec<Row>,
}

/// What was refused for one cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RefusalCount {
    /// `policy` (of requests, by the control plane), `sidecar` (of overrides, each with an entry of its own) or
    /// `sidecar_summary` (of overrides, told as a number alone).
    #[cfg_attr(feature = "control", schema(example = "sidecar"))]
    pub by: String,
    #[cfg_attr(feature = "control", schema(example = "grant_expired"))]
    pub code: String,
    pub count: u64,
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// What `name` says.
    #[default]
    Named,
    /// Those whose name was erased.
    Erased,
    /// What has no name in the entries: no team, no proven person.
    None,
    /// All that stand in no row of their own.
    Others,
}

/// One team, person, reason, service or resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Row {
    pub kind: RowKind,
    #[cfg_attr(feature = "control", schema(example = "payments"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    pub totals: Totals,
}

/// What happened within the period.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Totals {
    pub requests: u64,
    /// Asked for and not allowed by the policy.
    pub requests_refused: u64,
    pub approvals: u64,
    pub denied: u64,
    pub withdrawn: u64,
    pub lapsed: u64,
    pub grants: u64,
    /// From the request to when the grant could be used, of grants that became usable.
    pub time_to_access: Spread,
    pub expired: u64,
    pub revoked: u64,
    pub used_up: u64,
    /// Grants whose account was closed: the times and uses that follow are theirs.
    pub accounts: u64,
    /// Accounts with something missing or not reconciled.
    pub accounts_incomplete: u64,
    /// Closed without a single override.
    pub unused: u64,
    pub granted_ms: u64,
    /// From beginning to end.
    pub stood_ms: u64,
    /// From beginning to last override.
    pub used_ms: u64,
    /// Uses that were allowed and uses that were spent, of grants with a limit.
    pub uses_granted: u64,
    pub uses_spent: u64,
    pub overrides: u64,
    /// Outcomes that were `completed`.
    pub completed: u64,
    /// All other outcomes.
    pub not_completed: u64,
    /// By sidecars, each with an entry of its own.
    pub refusals: u64,
    /// By sidecars beyond their budget: told in summaries, as numbers alone. Of whose grant and which resource is not known.
    pub refusals_summarised: u64,
    pub revocations: u64,
    /// From the order to the last acknowledgement.
    pub revocation_latency: Spread,
    /// Grants that ended and whose review is asked for.
    pub reviews_due: u64,
    pub reviews_done: u64,
    /// Of those done, after their time.
    pub reviews_late: u64,
    pub reviews_overdue: u64,
    pub justified: u64,
    pub unjustified: u64,
    pub unclear: u64,
}

/// Spans of time, as a whole. Median and 90th percentile are at most 1.6 % too high.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Spread {
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
}
