//! Erasing what is personal, and reading what is kept, as the API says it.

use serde::{Deserialize, Serialize};

use crate::domain::{Erasable, ErasureId, ErasureReason, ObstacleKind, Person, WallTime};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ErasureRequest {
    pub what: Erasable,
    pub reason: ErasureReason,
}

/// What would be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ErasurePreview {
    /// Values that lie beside entries of the ledger.
    #[cfg_attr(feature = "control", schema(example = 41))]
    pub values: u64,
    /// Requests and grants.
    #[cfg_attr(feature = "control", schema(example = 6))]
    pub records: u64,
    /// While there are any, nothing is erased.
    pub obstacles: Vec<ErasureObstacle>,
}

/// Something that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ErasureObstacle {
    pub kind: ObstacleKind,
    /// Its id, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "control", schema(example = "g-0123456789ab"))]
    pub id: Option<String>,
}

/// An erasure. Whose it is, it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ErasureView {
    pub id: ErasureId,
    pub reason: ErasureReason,
    /// What stands for the person from now on; absent where it is by age.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub called: Option<Person>,
    /// What is older than this is erased; absent where it is of a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before_at: Option<WallTime>,
    /// Absent: the configuration asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<Person>,
    pub ordered_at: WallTime,
    /// Whether everything is erased. A large one is carried on by itself.
    pub complete: bool,
    #[cfg_attr(feature = "control", schema(example = 41))]
    pub values: u64,
    #[cfg_attr(feature = "control", schema(example = 6))]
    pub records: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub done_at: Option<WallTime>,
}

/// Which entries' values are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PersonalValuesRequest {
    /// Indices of entries that are about the grant; at most 500.
    #[cfg_attr(feature = "control", schema(max_items = 500, example = json!([7, 8, 12])))]
    pub entries: Vec<u64>,
}

/// What lies beside the entries, where it was not erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PersonalValues {
    pub values: Vec<PersonalValueView>,
}

/// A personal value with the salt of its commitment: SHA-256 of both is what stands in the entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct PersonalValueView {
    #[cfg_attr(feature = "control", schema(example = 7))]
    pub entry: u64,
    #[cfg_attr(feature = "control", schema(example = "ticket"))]
    pub field: String,
    #[cfg_attr(feature = "control", schema(example = "INC-2041"))]
    pub value: String,
    /// 32 bytes, hexadecimal.
    #[cfg_attr(
        feature = "control",
        schema(
            pattern = "^[0-9a-f]{64}$",
            example = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        )
    )]
    pub salt: String,
}
