//! The story of one grant, as its entries tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Personal, SignedTree};
use crate::domain::{GrantId, WallTime};

const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The whole story of one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct GrantReport {
    pub format: u32,
    pub grant: GrantId,
    pub made_at: WallTime,
    pub tree: SignedTree,
    /// What was granted.
    pub granted: GrantedTold,
    /// Absent where its entry is not in the ledger.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<RequestTold>,
    pub approvals: Vec<ApprovalTold>,
    /// Everything that happened to the request and the grant, in the order of the ledger.
    pub events: Vec<EventTold>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<EndTold>,
    pub usage: UsageTold,
    /// The first thousands of them; all are counted.
    pub overrides: Vec<OverrideTold>,
    /// Overrides that are not listed.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub overrides_left_out: u64,
    /// Requests that a sidecar refused to whoever had proven the grant.
    pub refusals: Vec<RefusalTold>,
    #[serde(skip_serializing_if = "is_zero", default)]
    pub refusals_left_out: u64,
    pub reviews: Vec<ReviewTold>,
    /// By when the review is due; absent: none is asked for, or the grant has not ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub review_due_at: Option<WallTime>,
    /// The newest close record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<AccountTold>,
    pub completeness: Completeness,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct GrantedTold {
    /// Index of the entry that says so. So everywhere.
    pub entry: u64,
    pub issued_at: WallTime,
    pub not_before_at: WallTime,
    pub expires_at: WallTime,
    #[cfg_attr(feature = "control", schema(example = "payments"))]
    pub service: String,
    #[cfg_attr(feature = "control", schema(example = "oncall"))]
    pub tier: String,
    pub person: Personal,
    pub ticket: Personal,
    #[cfg_attr(feature = "control", schema(example = "stuck_payment"))]
    pub reason: String,
    #[cfg_attr(feature = "control", schema(example = "payments.override"))]
    pub role: String,
    #[cfg_attr(feature = "control", schema(example = json!(["contract/C-1042"])))]
    pub resources: Vec<String>,
    #[cfg_attr(feature = "control", schema(example = json!(["payment.release"])))]
    pub actions: Vec<String>,
    #[cfg_attr(feature = "control", schema(example = "identity"))]
    pub binding: String,
    #[cfg_attr(feature = "control", schema(example = "https://issuer.example"))]
    pub idp: String,
    pub policy_revision: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub review_due_s: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RequestTold {
    pub entry: u64,
    pub at: WallTime,
    #[cfg_attr(feature = "control", schema(example = "e-0123456789ab"))]
    pub elevation: String,
    pub person: Personal,
    pub ticket: Personal,
    /// Whose the service was; absent where the policy named no team.
    #[cfg_attr(feature = "control", schema(example = "payments"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub team: Option<String>,
    /// The group or schedule by which the tier was open to the person.
    #[cfg_attr(feature = "control", schema(example = "group:payments-oncall"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admitted_by: Option<String>,
    #[cfg_attr(feature = "control", schema(example = "sre"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stood_in: Option<String>,
    pub duration_s: u64,
    #[cfg_attr(feature = "control", schema(example = json!(["contract/C-1042"])))]
    pub resources: Vec<String>,
    #[cfg_attr(feature = "control", schema(example = json!(["payment.release"])))]
    pub actions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u64>,
    /// How the person had authenticated.
    pub authentication: AuthenticationTold,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct AuthenticationTold {
    #[cfg_attr(feature = "control", schema(example = "phr"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    #[cfg_attr(feature = "control", schema(example = json!(["hwk"])))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_at: Option<WallTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ApprovalTold {
    pub entry: u64,
    pub at: WallTime,
    /// 1 for the first.
    pub number: u64,
    pub by: Personal,
    #[cfg_attr(feature = "control", schema(example = json!(["sre-leads"])))]
    pub groups: Vec<String>,
    /// What was taken off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_s: Option<u64>,
    #[cfg_attr(feature = "control", schema(example = json!(["payment.release"])))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u64>,
    pub authentication: AuthenticationTold,
}

/// One entry of the story, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct EventTold {
    pub entry: u64,
    pub at: WallTime,
    /// Of the entry.
    #[cfg_attr(feature = "control", schema(example = "grant_revoked"))]
    pub kind: String,
    #[serde(skip_serializing_if = "Personal::is_absent", default)]
    pub by: Personal,
    #[serde(skip_serializing_if = "Personal::is_absent", default)]
    pub note: Personal,
    /// What the entry says besides.
    #[cfg_attr(feature = "control", schema(example = "r-0123456789ab"))]
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct EndTold {
    pub entry: u64,
    pub at: WallTime,
    /// `expired`, `revoked`, `used_up`.
    #[cfg_attr(feature = "control", schema(example = "revoked"))]
    pub how: String,
    #[serde(skip_serializing_if = "Personal::is_absent", default)]
    pub by: Personal,
    #[serde(skip_serializing_if = "Personal::is_absent", default)]
    pub note: Personal,
    /// Where no human did it.
    #[cfg_attr(feature = "control", schema(example = "policy_applied"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    #[cfg_attr(feature = "control", schema(example = "r-0123456789ab"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revocation: Option<String>,
    /// How it arrived at the sidecars; absent where that was not measured, or not yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub enforcement: Option<EnforcedTold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct EnforcedTold {
    pub entry: u64,
    pub at: WallTime,
    /// Sidecars that acknowledged it.
    pub enforced: u64,
    /// Sidecars that had stopped by themselves.
    pub stopped: u64,
    pub rejected: u64,
    /// From the order to the last acknowledgement; absent: not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elapsed_ms: Option<u64>,
}

/// Requested against granted against used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct UsageTold {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_ms: Option<u64>,
    pub granted_ms: u64,
    /// From its beginning to its end; absent: it has not ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stood_ms: Option<u64>,
    /// From its beginning to its last override.
    pub used_ms: u64,
    /// From the request to when it could be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_to_access_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub granted_uses: Option<u64>,
    /// Overrides: durable intents.
    pub overrides: u64,
    pub refusals: u64,
    /// Every granted action and every other that was used, with its overrides.
    #[cfg_attr(feature = "control", schema(example = json!({"payment.release": 3})))]
    pub actions: BTreeMap<String, u64>,
    /// The same of resources.
    #[cfg_attr(feature = "control", schema(example = json!({"contract/C-1042": 3})))]
    pub resources: BTreeMap<String, u64>,
}

/// One override: its intent, and its outcome where that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct OverrideTold {
    /// Which of its grant, dense from 1.
    pub number: u64,
    /// Of the intent.
    pub entry: u64,
    /// By the sidecar's clock.
    pub at: WallTime,
    #[cfg_attr(feature = "control", schema(example = "s-1"))]
    pub instance: String,
    #[cfg_attr(feature = "control", schema(example = "contract/C-1042"))]
    pub resource: String,
    #[cfg_attr(feature = "control", schema(example = "payment.release"))]
    pub action: String,
    /// What the line itself says; absent where it was erased.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<AskedTold>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<OutcomeTold>,
}

/// The request, out of the sidecar's own line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct AskedTold {
    #[cfg_attr(feature = "control", schema(example = "0b6f9a0c-0000-4000-8000-000000000000"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    #[cfg_attr(feature = "control", schema(example = "POST"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    #[cfg_attr(feature = "control", schema(example = "/v1/contracts/C-1042/release"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[cfg_attr(feature = "control", schema(example = "192.0.2.7"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    #[cfg_attr(feature = "control", schema(example = "alice@example.test"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub person: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct OutcomeTold {
    pub entry: u64,
    pub at: WallTime,
    /// As the audit log says it: `completed`, `cut`, `unknown` …
    #[cfg_attr(feature = "control", schema(example = "completed"))]
    pub end: String,
    #[cfg_attr(feature = "control", schema(example = "revoked"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    #[cfg_attr(feature = "control", schema(example = 200))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<u64>,
    /// Bodies; absent where the line was erased.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<BodyTold>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response: Option<BodyTold>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct BodyTold {
    pub bytes: u64,
    #[cfg_attr(
        feature = "control",
        schema(example = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    )]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RefusalTold {
    pub entry: u64,
    /// By the sidecar's clock.
    pub at: WallTime,
    #[cfg_attr(feature = "control", schema(example = "s-1"))]
    pub instance: String,
    #[cfg_attr(feature = "control", schema(example = "grant_revoked"))]
    pub code: String,
    #[cfg_attr(feature = "control", schema(example = "contract/C-1042"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<String>,
    #[cfg_attr(feature = "control", schema(example = "payment.release"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<AskedTold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ReviewTold {
    pub entry: u64,
    pub at: WallTime,
    pub by: Personal,
    #[cfg_attr(feature = "control", schema(example = "justified"))]
    pub verdict: String,
    pub late: bool,
    pub findings: Personal,
}

/// A `grant_closed` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct AccountTold {
    pub entry: u64,
    pub at: WallTime,
    pub overrides: u64,
    #[cfg_attr(feature = "control", schema(example = json!({"completed": 3})))]
    pub ends: BTreeMap<String, u64>,
    /// Intents without an outcome.
    pub open: u64,
    pub refusals: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spent: Option<u64>,
    /// Sidecars that may have recorded something and had not shipped it.
    #[cfg_attr(feature = "control", schema(example = json!([])))]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing: Vec<String>,
    /// Outcomes that name the assertion which told the upstream. Absent: the entry is of a version that did not count them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub assertions: Option<u64>,
    /// Assertions that were signed, by the sidecars' own counters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed: Option<u64>,
    /// Which numbers do not agree: `intents`, `assertions`, `uses`.
    #[cfg_attr(feature = "control", schema(example = json!([])))]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub differences: Vec<String>,
    pub reconciled: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amends: Option<u64>,
}

/// Whether these are all overrides of the grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Completeness {
    pub complete: bool,
    /// Intents in the ledger.
    pub intents: u64,
    /// Outcomes in the ledger.
    pub outcomes: u64,
    /// Numbers between 1 and the greatest that no intent has, the first few.
    #[cfg_attr(feature = "control", schema(example = json!([])))]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing_numbers: Vec<u64>,
    /// In a sentence.
    #[cfg_attr(feature = "control", schema(example = "These are all 3 overrides of this grant."))]
    pub statement: String,
}
