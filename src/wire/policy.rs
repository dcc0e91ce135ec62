//! What the API says of the policy and its change.

use serde::{Deserialize, Serialize};

use crate::domain::{GrantId, Person, ProposalId, ProposalState, ServiceName, WallTime};

/// A policy with its service files, to be looked at or to become the next revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    /// The text of the policy file (TOML).
    #[cfg_attr(feature = "control", schema(example = "[organisation]\nlifetime_max_s = 3600\n"))]
    pub policy: String,
    /// The text of each service file (TOML).
    #[cfg_attr(feature = "control", schema(max_items = 500, example = json!(["name = \"payments-demo\"\n"])))]
    pub services: Vec<String>,
    /// Why, for the record; at most 500 characters.
    #[cfg_attr(feature = "control", schema(max_length = 500))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What a policy would come to as the next revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PolicyPreview {
    /// All of them, with their places. Where there are any it can't be applied, and nothing else is said.
    pub mistakes: Vec<String>,
    /// Live grants that it no longer allows: they would end.
    pub ends: Vec<EndedByPolicy>,
    /// Whether another administrator would have to confirm it.
    pub second_administrator: bool,
}

/// A grant that a policy no longer allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct EndedByPolicy {
    pub grant: GrantId,
    pub service: ServiceName,
    pub person: Person,
    #[cfg_attr(feature = "control", schema(example = "the tier no longer covers payment.release"))]
    pub why: String,
}

/// A policy revision as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PolicyView {
    #[cfg_attr(feature = "control", schema(example = 3))]
    pub revision: u64,
    pub applied_at: WallTime,
    /// Absent: the first start applied the files that it found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub applied_by: Option<Person>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmed_by: Option<Person>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// SHA-256 of the policy file's text, hex.
    pub digest: String,
    /// The policy file's text.
    pub policy: String,
    pub services: Vec<ServiceFileView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServiceFileView {
    pub name: String,
    /// SHA-256 of the text, hex.
    pub digest: String,
    pub text: String,
}

/// What a change of the policy came to: a revision, or a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PolicyChanged {
    /// The new revision; absent where it waits for a second administrator.
    #[cfg_attr(feature = "control", schema(example = 4))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<u64>,
    /// What waits for a second administrator.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proposal: Option<ProposalId>,
    /// Grants that ended with it.
    pub ended: Vec<EndedByPolicy>,
}

/// A change that waits, or waited, for a second administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ProposalView {
    pub id: ProposalId,
    pub state: ProposalState,
    /// The revision that it would follow.
    #[cfg_attr(feature = "control", schema(example = 3))]
    pub base: u64,
    pub proposed_at: WallTime,
    pub proposed_by: Person,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_at: Option<WallTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_by: Option<Person>,
    pub digest: String,
    pub policy: String,
    pub services: Vec<ServiceFileView>,
}
