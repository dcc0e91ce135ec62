//! Reports from the ledger as the API tells them: the story of one grant, and a period in numbers.
//!
//! Every number and word of a report comes from entries of the ledger and the personal values beside them; `docs/reports.md`
//! says of each what it means and how it is checked.

mod incident;
mod period;

use serde::{Deserialize, Serialize};

use crate::domain::WallTime;

pub use incident::*;
pub use period::*;

/// Version of the shapes below.
pub const FORMAT: u32 = 1;

/// How a report is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    #[default]
    Json,
    Html,
    Csv,
}

impl ReportFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Csv => "csv",
        }
    }
}

/// How one grant is asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct GrantReportQuery {
    /// How it is told. Absent: as JSON.
    pub format: Option<ReportFormat>,
}

/// Which period is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct PeriodReportQuery {
    /// It begins then.
    #[cfg_attr(feature = "control", param(example = 1_795_300_000_000_i64))]
    pub since_at: WallTime,
    /// It ends before that.
    #[cfg_attr(feature = "control", param(example = 1_795_400_000_000_i64))]
    pub before_at: WallTime,
    /// How it is told. Absent: as JSON.
    pub format: Option<ReportFormat>,
}

/// A value that names a human or that a human typed. Neither member: the entry has no such value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Personal {
    #[cfg_attr(feature = "control", schema(example = "alice@example.test"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The entry commits to a value that is no longer kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
}

impl Personal {
    pub const fn is_absent(&self) -> bool {
        self.value.is_none() && !self.erased
    }
}

/// The Merkle tree over the first `size` entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct TreeAt {
    pub size: u64,
    /// RFC 6962 root hash, base64.
    #[cfg_attr(feature = "control", schema(example = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="))]
    pub root: String,
    /// That the signed tree begins with this one: a consistency proof (RFC 6962 §2.1.2), hashes in base64. Left out where
    /// it is the signed tree itself, or is empty.
    #[cfg_attr(feature = "control", schema(example = json!([])))]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub consistency: Vec<String>,
}

/// The signed tree that a report was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct SignedTree {
    #[cfg_attr(feature = "control", schema(example = "breakglass.example/ledger"))]
    pub origin: String,
    pub size: u64,
    /// RFC 6962 root hash, base64.
    #[cfg_attr(feature = "control", schema(example = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="))]
    pub root: String,
    /// The checkpoint as it was signed (C2SP signed-note).
    #[cfg_attr(feature = "control", schema(example = "breakglass.example/ledger\n"))]
    pub checkpoint: String,
}
