//! Why the API says no: a closed set of causes, each with its status, its stable code and its way out.
//!
//! A refusal is a value. The one match below maps it; nothing else chooses a status.

use http::StatusCode;

use crate::error_chain::error_chain;
use crate::identity::IdentityError;
use crate::wire::problem::Problem;

/// The stable cause of a refusal. Its code is the problem's code and a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    IdentityMissing,
    IdentityInvalid,
    IdentityExpired,
    IdentityUnverifiable,
    HumanRequired,
    NotPermitted,
    NotFound,
    MethodNotAllowed,
    MediaType,
    MalformedRequest,
    BodyTooLarge,
    UnknownService,
    UnknownReason,
    TicketMalformed,
    ResourceMalformed,
    Wildcard,
    ActionMalformed,
    ScopeSize,
    ResourceNotServed,
    ActionNotServed,
    NoTierFits,
    TierAmbiguous,
    DurationTooShort,
    DurationTooLong,
    TooFewUses,
    TooManyUses,
    KeyMalformed,
    KeyReused,
    NoteTooLong,
    GrantEnded,
    Overloaded,
    TimedOut,
    StoreUnavailable,
    KeyUnavailable,
    Internal,
}

impl Cause {
    pub const ALL: &'static [Self] = &[
        Self::IdentityMissing,
        Self::IdentityInvalid,
        Self::IdentityExpired,
        Self::IdentityUnverifiable,
        Self::HumanRequired,
        Self::NotPermitted,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::MediaType,
        Self::MalformedRequest,
        Self::BodyTooLarge,
        Self::UnknownService,
        Self::UnknownReason,
        Self::TicketMalformed,
        Self::ResourceMalformed,
        Self::Wildcard,
        Self::ActionMalformed,
        Self::ScopeSize,
        Self::ResourceNotServed,
        Self::ActionNotServed,
        Self::NoTierFits,
        Self::TierAmbiguous,
        Self::DurationTooShort,
        Self::DurationTooLong,
        Self::TooFewUses,
        Self::TooManyUses,
        Self::KeyMalformed,
        Self::KeyReused,
        Self::NoteTooLong,
        Self::GrantEnded,
        Self::Overloaded,
        Self::TimedOut,
        Self::StoreUnavailable,
        Self::KeyUnavailable,
        Self::Internal,
    ];

    /// Status, code and title.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::IdentityMissing => (S::UNAUTHORIZED, "identity_missing", "An access token is needed"),
            Self::IdentityInvalid => (S::UNAUTHORIZED, "identity_invalid", "The access token is not accepted"),
            Self::IdentityExpired => (S::UNAUTHORIZED, "identity_expired", "The access token has expired"),
            Self::IdentityUnverifiable => {
                (S::SERVICE_UNAVAILABLE, "identity_unverifiable", "The identity provider was not reached yet")
            }
            Self::HumanRequired => (S::FORBIDDEN, "human_required", "Only a human can do this, in person"),
            Self::NotPermitted => (S::FORBIDDEN, "not_permitted", "This is not yours to do"),
            Self::NotFound => (S::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here"),
            Self::MediaType => (S::UNSUPPORTED_MEDIA_TYPE, "media_type", "The body must be JSON"),
            Self::MalformedRequest => (S::BAD_REQUEST, "malformed_request", "The request can't be understood"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
            Self::UnknownService => (S::UNPROCESSABLE_ENTITY, "unknown_service", "There is no such service"),
            Self::UnknownReason => (S::UNPROCESSABLE_ENTITY, "unknown_reason", "There is no such reason code"),
            Self::TicketMalformed => (S::UNPROCESSABLE_ENTITY, "ticket_malformed", "The ticket is not a reference"),
            Self::ResourceMalformed => (S::UNPROCESSABLE_ENTITY, "resource_malformed", "A resource is malformed"),
            Self::Wildcard => (S::UNPROCESSABLE_ENTITY, "wildcard", "A grant names exact resources and actions"),
            Self::ActionMalformed => (S::UNPROCESSABLE_ENTITY, "action_malformed", "An action is malformed"),
            Self::ScopeSize => (S::UNPROCESSABLE_ENTITY, "scope_size", "Too few or too many resources or actions"),
            Self::ResourceNotServed => {
                (S::UNPROCESSABLE_ENTITY, "resource_not_served", "The service has no such resources")
            }
            Self::ActionNotServed => (S::UNPROCESSABLE_ENTITY, "action_not_served", "The service has no such action"),
            Self::NoTierFits => (S::FORBIDDEN, "no_tier_fits", "The policy does not let you ask for this"),
            Self::TierAmbiguous => (S::CONFLICT, "tier_ambiguous", "Several tiers fit"),
            Self::DurationTooShort => (S::UNPROCESSABLE_ENTITY, "duration_too_short", "The duration is too short"),
            Self::DurationTooLong => (S::UNPROCESSABLE_ENTITY, "duration_too_long", "The duration is too long"),
            Self::TooFewUses => (S::UNPROCESSABLE_ENTITY, "too_few_uses", "A grant allows at least one use"),
            Self::TooManyUses => (S::UNPROCESSABLE_ENTITY, "too_many_uses", "Too many uses"),
            Self::KeyMalformed => (S::BAD_REQUEST, "idempotency_key_malformed", "The Idempotency-Key is malformed"),
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The Idempotency-Key came with another request")
            }
            Self::NoteTooLong => (S::UNPROCESSABLE_ENTITY, "note_too_long", "The note is too long"),
            Self::GrantEnded => (S::CONFLICT, "grant_ended", "The grant has ended already"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too much is going on"),
            Self::TimedOut => (S::SERVICE_UNAVAILABLE, "timed_out", "It took too long"),
            Self::StoreUnavailable => (S::SERVICE_UNAVAILABLE, "store_unavailable", "The database is not available"),
            Self::KeyUnavailable => {
                (S::SERVICE_UNAVAILABLE, "key_unavailable", "The key that signs grants can't be used")
            }
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
        }
    }

    pub const fn status(self) -> StatusCode {
        self.row().0
    }

    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// What to do next, where that is always the same.
    const fn hint(self) -> Option<&'static str> {
        match self {
            Self::IdentityMissing | Self::IdentityInvalid | Self::IdentityExpired => {
                Some("log in again and send the access token as Authorization: Bearer")
            }
            Self::HumanRequired => {
                Some("use an access token of your own, not one of a machine or on behalf of someone")
            }
            Self::UnknownService | Self::UnknownReason => {
                Some("GET /v1/services/{service}/options lists what there is")
            }
            Self::NoTierFits => Some("GET /v1/services/{service}/options lists what you may ask for"),
            Self::TierAmbiguous => Some("name one of them as tier"),
            Self::Wildcard => Some("name each resource, such as contract/C-1042"),
            Self::MediaType => Some("send Content-Type: application/json"),
            Self::KeyReused => Some("use a new key for a new request"),
            Self::IdentityUnverifiable
            | Self::Overloaded
            | Self::TimedOut
            | Self::StoreUnavailable
            | Self::KeyUnavailable => Some("try again in a moment"),
            Self::NotPermitted
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::MalformedRequest
            | Self::BodyTooLarge
            | Self::TicketMalformed
            | Self::ResourceMalformed
            | Self::ActionMalformed
            | Self::ScopeSize
            | Self::ResourceNotServed
            | Self::ActionNotServed
            | Self::DurationTooShort
            | Self::DurationTooLong
            | Self::TooFewUses
            | Self::TooManyUses
            | Self::KeyMalformed
            | Self::NoteTooLong
            | Self::GrantEnded
            | Self::Internal => None,
        }
    }
}

impl From<IdentityError> for Cause {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Expired => Self::IdentityExpired,
            IdentityError::Unverifiable => Self::IdentityUnverifiable,
            IdentityError::Delegated | IdentityError::Machine => Self::HumanRequired,
            IdentityError::TooLarge
            | IdentityError::Malformed(_)
            | IdentityError::ForbiddenHeader(_)
            | IdentityError::WrongType
            | IdentityError::AlgorithmNotAllowed
            | IdentityError::UnknownIssuer
            | IdentityError::UnknownKey
            | IdentityError::BadSignature
            | IdentityError::NotYetValid
            | IdentityError::WrongAudience
            | IdentityError::SenderConstrained
            | IdentityError::Claim(_) => Self::IdentityInvalid,
        }
    }
}

/// A cause and what was wrong with this very request. The detail never quotes a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub cause: Cause,
    pub detail: String,
}

impl Refusal {
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    /// The one answer for what does not exist and for what is someone else's.
    pub fn not_found() -> Self {
        Self::new(Cause::NotFound, "it does not exist, or it is not yours to see")
    }

    pub fn problem(&self) -> Problem {
        let (status, code, title) = self.cause.row();
        let problem = Problem::new(status.as_u16(), code, title, self.detail.as_str());
        match self.cause.hint() {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        }
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        tracing::error!(error = %error_chain(&error), "the database failed");
        Self::new(Cause::StoreUnavailable, "nothing was changed")
    }
}

impl From<super::keys::KeysError> for Refusal {
    fn from(error: super::keys::KeysError) -> Self {
        tracing::error!(error = %error_chain(&error), "a grant could not be signed");
        let cause = if error.is_passing() { Cause::KeyUnavailable } else { Cause::Internal };
        Self::new(cause, "nothing was changed")
    }
}
