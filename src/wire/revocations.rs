//! Revocations of every size, freezes, and how far each has arrived at the sidecars.

use serde::{Deserialize, Serialize};

use super::api::Enforcement;
use crate::domain::{GrantId, Person, Resource, RevocationId, Selector, ServiceName, WallTime};

/// Somebody orders that grants end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// What is to end. A freeze is put at `/v1/freezes` instead.
    #[cfg_attr(feature = "control", schema(example = json!({ "kind": "person", "person": "alice@example.test" })))]
    pub what: Selector,
    /// Why, for the record; at most 500 characters. Needed for anything but one's own grants.
    #[cfg_attr(feature = "control", schema(max_length = 500, example = "left the company"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What a revocation would end at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RevocationPreview {
    /// How many grants.
    #[cfg_attr(feature = "control", schema(example = 3))]
    pub grants: u64,
    /// The first of them.
    #[cfg_attr(feature = "control", schema(max_items = 50))]
    pub first: Vec<GrantBrief>,
}

/// A grant in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct GrantBrief {
    pub id: GrantId,
    pub service: ServiceName,
    pub person: Person,
    pub resources: Vec<Resource>,
    pub expires_at: WallTime,
}

/// A revocation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RevocationView {
    pub id: RevocationId,
    #[cfg_attr(feature = "control", schema(example = json!({ "kind": "person", "person": "alice@example.test" })))]
    pub what: Selector,
    pub by: Person,
    #[cfg_attr(feature = "control", schema(example = "left the company"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    pub ordered_at: WallTime,
    /// False while grants remain to be ended: a large revocation is carried out in steps.
    pub complete: bool,
    #[cfg_attr(feature = "control", schema(example = 3))]
    pub grants_ended: u64,
    /// Requests of the person that waited for an answer.
    #[cfg_attr(feature = "control", schema(example = 0))]
    pub requests_denied: u64,
    pub enforcement: RevocationEnforcement,
}

/// How far a revocation has arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RevocationEnforcement {
    /// No answer is awaited any more: all grants are ended, and every sidecar has answered or stopped by itself.
    pub settled: bool,
    /// Sidecars that it concerns: connected, or heard of so recently that they may still be acting.
    #[cfg_attr(feature = "control", schema(example = 14))]
    pub sidecars: u32,
    /// Of these, how many have acknowledged it.
    #[cfg_attr(feature = "control", schema(example = 14))]
    pub enforced: u32,
    /// Of these, how many have answered: acknowledged or refused. Pass it as `after` to wait for the next answer.
    #[cfg_attr(feature = "control", schema(example = 14))]
    pub answered: u32,
    /// From the order to the last acknowledgement, once all have answered; absent where that is not known.
    #[cfg_attr(feature = "control", schema(example = 38))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elapsed_ms: Option<u64>,
    /// By service.
    pub services: Vec<ServiceEnforcement>,
    /// What was written down once no answer was awaited any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recorded: Option<RecordedEnforcement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServiceEnforcement {
    pub service: ServiceName,
    pub enforcement: Enforcement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RecordedEnforcement {
    pub at: WallTime,
    #[cfg_attr(feature = "control", schema(example = 13))]
    pub enforced: u32,
    /// Sidecars that stayed silent until they had stopped by themselves.
    #[cfg_attr(feature = "control", schema(example = 1))]
    pub stopped: u32,
    #[cfg_attr(feature = "control", schema(example = 0))]
    pub rejected: u32,
    /// From the order to the last acknowledgement; absent where that is not known.
    #[cfg_attr(feature = "control", schema(example = 38))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elapsed_ms: Option<u64>,
}

/// Somebody stops a service, or everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Why, for the record; 1 to 500 characters.
    #[cfg_attr(
        feature = "control",
        schema(min_length = 1, max_length = 500, example = "the ledger disagrees with the bank")
    )]
    pub note: String,
}

/// A standing freeze: no override and no new grant until it is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct FreezeView {
    /// Absent: everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<ServiceName>,
    /// Absent where it was not kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frozen_at: Option<WallTime>,
    /// For those who may freeze or see everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<Person>,
    /// As `by`.
    #[cfg_attr(feature = "control", schema(example = "the ledger disagrees with the bank"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Under which its arrival at the sidecars is measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revocation: Option<RevocationId>,
}

/// A freeze that was lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct FreezeLiftedView {
    /// Absent: everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<ServiceName>,
    pub lifted_at: WallTime,
    pub enforcement: RevocationEnforcement,
}
