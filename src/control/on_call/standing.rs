//! Whether somebody is on call, and by what.

use serde::Serialize;

use crate::domain::WallTime;

/// How it stands with one person and one schedule. Only the first two let anybody in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "on_call", rename_all = "snake_case")]
pub enum Standing {
    /// The schedule says so.
    Yes {
        /// The schedule.
        via: String,
        /// When the source was asked.
        as_of: WallTime,
        /// When the turn ends, where the source says so.
        until: Option<WallTime>,
    },
    /// The schedule is not known, and they are of the group that stands in meanwhile: to be said, and recorded.
    Fallback {
        /// The schedule.
        via: String,
        group: String,
        /// When the schedule was last known, if ever.
        as_of: Option<WallTime>,
    },
    /// The schedule says no.
    No { as_of: WallTime },
    /// The schedule is not known, and they are of no group that stands in.
    Unknown { fallback_group: Option<String>, as_of: Option<WallTime> },
}

impl Standing {
    pub const fn is_on_call(&self) -> bool {
        match self {
            Self::Yes { .. } | Self::Fallback { .. } => true,
            Self::No { .. } | Self::Unknown { .. } => false,
        }
    }
}

/// How one person stands with one schedule of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduleStanding {
    pub schedule: String,
    #[serde(flatten)]
    pub standing: Standing,
}
