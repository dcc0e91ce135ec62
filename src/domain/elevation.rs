//! The elevation request: a human asks.

use std::time::Duration;

use super::grant::{crockford12, is_prefixed_id};
use super::text::text_type;
use super::{GrantId, Justification, Person, Role, Scope, ServiceName, WallTime};

text_type! {
    /// `e-` and twelve characters.
    ElevationId, "elevation id", max 14, "is 'e-' and 12 characters of Crockford base 32 in lower case", is_elevation_id,
    pattern "^e-[0-9a-hjkmnp-tv-z]{12}$", example "e-0123456789ab"
}

impl ElevationId {
    /// The id made from 60 of the given 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("e-{}", crockford12(bits)).into())
    }
}

fn is_elevation_id(text: &str) -> bool {
    is_prefixed_id("e-", text)
}

/// Where a request stands. The first form knows tiers without approvals, whose requests are approved as they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ElevationState {
    Approved,
}

/// One person's request for elevation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elevation {
    pub id: ElevationId,
    pub service: ServiceName,
    pub person: Person,
    pub role: Role,
    pub scope: Scope,
    pub justification: Justification,
    pub duration: Duration,
    pub requested: WallTime,
    pub state: ElevationState,
    pub grant: Option<GrantId>,
}
