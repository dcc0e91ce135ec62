//! Why the policy does not allow a request: a closed set of causes, each with its stable code. Which status a cause has
//! is the API's affair.

use std::time::Duration;

use crate::config::policy::StepUp;

/// The stable cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    UnknownReason,
    TicketMalformed,
    UnknownService,
    TicketForeign,
    ScopeSize,
    ActionNotServed,
    ResourceNotServed,
    NoTierFits,
    ReasonNotInTier,
    TierAmbiguous,
    DurationTooShort,
    DurationTooLong,
    TooFewUses,
    TooManyUses,
    BindingNotInTier,
    TooManyLive,
    CoolDown,
    StepUp,
}

impl Cause {
    pub const ALL: &'static [Self] = &[
        Self::UnknownReason,
        Self::TicketMalformed,
        Self::UnknownService,
        Self::TicketForeign,
        Self::ScopeSize,
        Self::ActionNotServed,
        Self::ResourceNotServed,
        Self::NoTierFits,
        Self::ReasonNotInTier,
        Self::TierAmbiguous,
        Self::DurationTooShort,
        Self::DurationTooLong,
        Self::TooFewUses,
        Self::TooManyUses,
        Self::BindingNotInTier,
        Self::TooManyLive,
        Self::CoolDown,
        Self::StepUp,
    ];

    /// The code of the problem document that the API answers with.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownReason => "unknown_reason",
            Self::TicketMalformed => "ticket_malformed",
            Self::UnknownService => "unknown_service",
            Self::TicketForeign => "ticket_foreign",
            Self::ScopeSize => "scope_size",
            Self::ActionNotServed => "action_not_served",
            Self::ResourceNotServed => "resource_not_served",
            Self::NoTierFits => "no_tier_fits",
            Self::ReasonNotInTier => "reason_not_in_tier",
            Self::TierAmbiguous => "tier_ambiguous",
            Self::DurationTooShort => "duration_too_short",
            Self::DurationTooLong => "duration_too_long",
            Self::TooFewUses => "too_few_uses",
            Self::TooManyUses => "too_many_uses",
            Self::BindingNotInTier => "binding_not_in_tier",
            Self::TooManyLive => "too_many_live",
            Self::CoolDown => "cool_down",
            Self::StepUp => "insufficient_user_authentication",
        }
    }
}

/// A cause, and what was wrong with this very request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub cause: Cause,
    pub detail: String,
    /// What the authentication must be, where that is the cause.
    pub step_up: Option<StepUp>,
    /// After what time the same request would pass, where that is the cause.
    pub retry_after: Option<Duration>,
}

impl Refused {
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), step_up: None, retry_after: None }
    }
}
