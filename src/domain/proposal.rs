//! A change of the policy that waits for a second administrator.

use super::grant::{crockford12, is_prefixed_id};
use super::text::text_type;

text_type! {
    /// `p-` and twelve characters.
    ProposalId, "proposal id", max 14, "is 'p-' and 12 characters of Crockford base 32 in lower case", is_proposal_id,
    pattern "^p-[0-9a-hjkmnp-tv-z]{12}$", example "p-0123456789ab"
}

impl ProposalId {
    /// The id made from 60 of the given 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("p-{}", crockford12(bits)).into())
    }
}

fn is_proposal_id(text: &str) -> bool {
    is_prefixed_id("p-", text)
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// It waits for a second administrator.
    Open,
    /// It became a revision.
    Applied,
    /// An administrator took it back.
    Withdrawn,
}

impl ProposalState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Applied => "applied",
            Self::Withdrawn => "withdrawn",
        }
    }
}
