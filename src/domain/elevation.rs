//! The elevation request: a human asks, and others agree.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::grant::{crockford12, is_prefixed_id};
use super::text::text_type;
use super::{
    Authentication, Binding, Confirmation, GrantId, Issuer, Justification, Narrowing, Person, Role, Scope, ServiceName,
    WallTime,
};

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

/// Where a request stands. All but the first are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ElevationState {
    /// It waits for approvals, until its deadline.
    Requested,
    /// There is a grant.
    Approved,
    /// Somebody who could have approved it said no.
    Denied,
    /// Its own person took it back.
    Withdrawn,
    /// Nobody answered in time.
    Lapsed,
}

impl ElevationState {
    pub const ALL: [Self; 5] = [Self::Requested, Self::Approved, Self::Denied, Self::Withdrawn, Self::Lapsed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

/// One person's request for elevation, on the terms that the policy gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elevation {
    pub id: ElevationId,
    pub service: ServiceName,
    pub person: Person,
    /// The issuer that authenticated the person.
    pub idp: Issuer,
    /// How the person had authenticated when they asked.
    pub authentication: Authentication,
    pub role: Role,
    pub scope: Scope,
    pub justification: Justification,
    pub binding: Binding,
    /// What was proven with the request, where its binding is to a key or a certificate.
    pub confirmation: Option<Confirmation>,
    /// From the approval on.
    pub duration: Duration,
    /// `None`: any number of uses until the end.
    pub max_uses: Option<NonZeroU32>,
    pub staleness_max: Duration,
    /// The revision that let it through.
    pub policy_revision: u64,
    pub requested: WallTime,
    pub state: ElevationState,
    pub grant: Option<GrantId>,
}

impl Elevation {
    /// Whether the request brought what its binding is proven by.
    pub const fn is_bound(&self) -> bool {
        !self.binding.needs_confirmation() || self.confirmation.is_some()
    }
}

/// Another human agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub person: Person,
    /// The issuer that authenticated them.
    pub idp: Issuer,
    /// Of the groups that may approve, those they were in.
    pub groups: BTreeSet<String>,
    pub narrowing: Narrowing,
    pub at: WallTime,
}
