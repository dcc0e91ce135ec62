//! What somebody else thinks of it afterwards.

/// Where the review of a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReviewState {
    /// The grant has not ended, or none is asked for.
    None,
    /// Somebody else must look at it, by a deadline.
    Due,
    /// Nobody did in time. It can still be reviewed.
    Overdue,
    Reviewed,
}

impl ReviewState {
    pub const ALL: [Self; 4] = [Self::None, Self::Due, Self::Overdue, Self::Reviewed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Due => "due",
            Self::Overdue => "overdue",
            Self::Reviewed => "reviewed",
        }
    }
}

/// What a review comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Justified,
    Unjustified,
    /// It could not be told.
    Unclear,
}

impl Verdict {
    pub const ALL: [Self; 3] = [Self::Justified, Self::Unjustified, Self::Unclear];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::Unjustified => "unjustified",
            Self::Unclear => "unclear",
        }
    }
}
