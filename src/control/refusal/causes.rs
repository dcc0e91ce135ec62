//! What other parts refuse for, as causes of the API: one exhaustive match each.

use super::Cause;
use crate::identity::{IdentityError, IdentityFault};
use crate::policy;

impl From<IdentityError> for Cause {
    fn from(error: IdentityError) -> Self {
        match error.fault() {
            IdentityFault::Expired => Self::IdentityExpired,
            IdentityFault::Unverifiable => Self::IdentityUnverifiable,
            IdentityFault::NotAHuman => Self::HumanRequired,
            IdentityFault::Invalid => Self::IdentityInvalid,
        }
    }
}

impl From<policy::Cause> for Cause {
    fn from(cause: policy::Cause) -> Self {
        use policy::Cause as P;
        match cause {
            P::UnknownReason => Self::UnknownReason,
            P::TicketMalformed => Self::TicketMalformed,
            P::UnknownService => Self::UnknownService,
            P::TicketForeign => Self::TicketForeign,
            P::ScopeSize => Self::ScopeSize,
            P::ActionNotServed => Self::ActionNotServed,
            P::ResourceNotServed => Self::ResourceNotServed,
            P::NoTierFits => Self::NoTierFits,
            P::ReasonNotInTier => Self::ReasonNotInTier,
            P::TierAmbiguous => Self::TierAmbiguous,
            P::DurationTooShort => Self::DurationTooShort,
            P::DurationTooLong => Self::DurationTooLong,
            P::TooFewUses => Self::TooFewUses,
            P::TooManyUses => Self::TooManyUses,
            P::BindingNotInTier => Self::BindingNotInTier,
            P::TooManyLive => Self::TooManyLive,
            P::CoolDown => Self::CoolDown,
            P::StepUp => Self::StepUp,
        }
    }
}
