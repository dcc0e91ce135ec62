//! What the API says of approvals and reviews, and what approvers and reviewers say to it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Action, GrantId, Issuer, Person, ReasonCode, Resource, ReviewState, ServiceName, Verdict, WallTime,
};
use crate::wire::api::GrantState;

/// Another human agrees to what their `If-Match` names. What is absent is agreed to as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// For less time than was asked for.
    #[cfg_attr(feature = "control", schema(minimum = 1, example = 600))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_s: Option<u64>,
    /// For these of the actions only.
    #[cfg_attr(feature = "control", schema(min_items = 1, max_items = 32))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actions: Option<Vec<Action>>,
    /// For fewer uses.
    #[cfg_attr(feature = "control", schema(minimum = 1, example = 1))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
}

/// Somebody who could approve says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DenyRequest {
    /// Why, for the person who asked and for the record.
    #[cfg_attr(
        feature = "control",
        schema(min_length = 1, max_length = 500, example = "the limit can wait until nine")
    )]
    pub note: String,
}

/// The person who asked takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema), schema(examples(json!({}))))]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {}

/// The person whose grant it is binds what their call proves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema), schema(examples(json!({}))))]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {}

/// Somebody else has looked at what was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReviewRequest {
    pub verdict: Verdict,
    /// What was found, for the record.
    #[cfg_attr(
        feature = "control",
        schema(min_length = 1, max_length = 2000, example = "one release, as the ticket says")
    )]
    pub findings: String,
}

/// How the person had authenticated when they asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct AuthenticationView {
    pub issuer: Issuer,
    /// Authentication context class (OpenID Connect Core 1.0 §2).
    #[cfg_attr(feature = "control", schema(example = "phishing-resistant"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acr: Option<String>,
    /// Authentication methods (RFC 8176).
    #[cfg_attr(feature = "control", schema(example = json!(["hwk", "pin"])))]
    #[serde(default)]
    pub amr: Vec<String>,
    /// When they last proved who they are; unknown where the issuer does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_at: Option<WallTime>,
}

/// What a request waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct WantedApprovals {
    /// How many persons must approve in all.
    #[cfg_attr(feature = "control", schema(example = 2))]
    pub count: u32,
    /// Each of them a member of one of these.
    #[cfg_attr(feature = "control", schema(example = json!(["payments-leads", "risk"])))]
    pub groups: BTreeSet<String>,
    /// Whether each group must be stood for by a person of its own.
    pub every_group: bool,
    /// The policy revision that demands it: the one in force.
    #[cfg_attr(feature = "control", schema(example = 3))]
    pub policy_revision: u64,
}

/// One person's approval, with what they took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ApprovalView {
    pub by: Person,
    pub issuer: Issuer,
    /// The groups that count.
    #[cfg_attr(feature = "control", schema(example = json!(["payments-leads"])))]
    pub groups: BTreeSet<String>,
    pub approved_at: WallTime,
    #[cfg_attr(feature = "control", schema(example = 600))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actions: Option<BTreeSet<Action>>,
    #[cfg_attr(feature = "control", schema(example = 1))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
}

/// What would be granted now: the request, less what its approvers took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct BoundsView {
    #[cfg_attr(feature = "control", schema(example = 600))]
    pub duration_s: u64,
    pub actions: BTreeSet<Action>,
    #[cfg_attr(feature = "control", schema(example = 1))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
}

/// What the person did under earlier grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PastView {
    /// How many they had.
    #[cfg_attr(feature = "control", schema(example = 7))]
    pub grants: u64,
    /// The last few, newest first.
    pub last: Vec<PastGrant>,
}

/// One earlier grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PastGrant {
    pub id: GrantId,
    pub state: GrantState,
    pub service: ServiceName,
    pub resources: BTreeSet<Resource>,
    pub actions: BTreeSet<Action>,
    pub reason: ReasonCode,
    pub issued_at: WallTime,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<WallTime>,
    #[cfg_attr(feature = "control", schema(example = 3))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
    /// Uses reported spent so far.
    #[cfg_attr(feature = "control", schema(example = 1))]
    pub spent: u32,
    pub review: ReviewState,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
}

/// Where the review of a grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ReviewView {
    pub state: ReviewState,
    /// By when it is due; known once the grant has ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due_at: Option<WallTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reviewed_at: Option<WallTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reviewed_by: Option<Person>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
    #[cfg_attr(feature = "control", schema(example = "one release, as the ticket says"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub findings: Option<String>,
}
