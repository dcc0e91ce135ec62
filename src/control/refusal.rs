//! Why the API says no: a closed set of causes, each with its status, its stable code and its way out.
//!
//! A refusal is a value. The one match below maps it; nothing else chooses a status.

use http::StatusCode;

mod causes;
mod told;

pub use told::{Current, Refusal};

/// The stable cause of a refusal. Its code is the problem's code and a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    IdentityMissing,
    IdentityInvalid,
    IdentityExpired,
    IdentityUnverifiable,
    HumanRequired,
    DpopProofInvalid,
    UseDpopNonce,
    CertificateUntrusted,
    ProofMissing,
    NotPermitted,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    MediaType,
    MalformedRequest,
    BodyTooLarge,
    UriTooLong,
    HeadersTooLarge,
    PreconditionRequired,
    PreconditionFailed,
    RateLimited,
    UnknownService,
    UnknownReason,
    TicketMalformed,
    TicketForeign,
    ResourceMalformed,
    Wildcard,
    ActionMalformed,
    ScopeSize,
    ResourceNotServed,
    ActionNotServed,
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
    KeyMalformed,
    KeyReused,
    NoteTooLong,
    GrantEnded,
    GrantBound,
    GrantUnbound,
    OwnRequest,
    AlreadyApproved,
    StateConflict,
    Frozen,
    PolicyChanged,
    PolicyInvalid,
    ProposalDecided,
    ProposalsTooMany,
    SecondAdministrator,
    NarrowingWidens,
    NarrowingEmpty,
    NoteMissing,
    PeriodInvalid,
    ErasureObstructed,
    RulesUnavailable,
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
        Self::DpopProofInvalid,
        Self::UseDpopNonce,
        Self::CertificateUntrusted,
        Self::ProofMissing,
        Self::NotPermitted,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::MediaType,
        Self::MalformedRequest,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::PreconditionRequired,
        Self::PreconditionFailed,
        Self::RateLimited,
        Self::UnknownService,
        Self::UnknownReason,
        Self::TicketMalformed,
        Self::TicketForeign,
        Self::ResourceMalformed,
        Self::Wildcard,
        Self::ActionMalformed,
        Self::ScopeSize,
        Self::ResourceNotServed,
        Self::ActionNotServed,
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
        Self::KeyMalformed,
        Self::KeyReused,
        Self::NoteTooLong,
        Self::GrantEnded,
        Self::GrantBound,
        Self::GrantUnbound,
        Self::OwnRequest,
        Self::AlreadyApproved,
        Self::StateConflict,
        Self::Frozen,
        Self::PolicyChanged,
        Self::PolicyInvalid,
        Self::ProposalDecided,
        Self::ProposalsTooMany,
        Self::SecondAdministrator,
        Self::NarrowingWidens,
        Self::NarrowingEmpty,
        Self::NoteMissing,
        Self::PeriodInvalid,
        Self::ErasureObstructed,
        Self::RulesUnavailable,
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
            Self::DpopProofInvalid => (S::UNAUTHORIZED, "dpop_proof_invalid", "The DPoP proof does not hold"),
            Self::UseDpopNonce => (S::UNAUTHORIZED, "use_dpop_nonce", "The DPoP proof needs a nonce of this API"),
            Self::CertificateUntrusted => {
                (S::UNAUTHORIZED, "certificate_untrusted", "The client certificate is not accepted")
            }
            Self::ProofMissing => (S::BAD_REQUEST, "binding_proof_missing", "Nothing came that could be bound"),
            Self::NotPermitted => (S::FORBIDDEN, "not_permitted", "This is not yours to do"),
            Self::NotFound => (S::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here"),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not_acceptable", "No answer is of a type you accept"),
            Self::MediaType => (S::UNSUPPORTED_MEDIA_TYPE, "media_type", "The body must be JSON"),
            Self::MalformedRequest => (S::BAD_REQUEST, "malformed_request", "The request can't be understood"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
            Self::UriTooLong => (S::URI_TOO_LONG, "uri_too_long", "The address is too long"),
            Self::HeadersTooLarge => {
                (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The header fields are too large")
            }
            Self::PreconditionRequired => {
                (S::PRECONDITION_REQUIRED, "precondition_required", "Say which state you have seen")
            }
            Self::PreconditionFailed => {
                (S::PRECONDITION_FAILED, "precondition_failed", "It has changed since you looked")
            }
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
            Self::UnknownService => (S::UNPROCESSABLE_ENTITY, "unknown_service", "There is no such service"),
            Self::UnknownReason => (S::UNPROCESSABLE_ENTITY, "unknown_reason", "There is no such reason code"),
            Self::TicketMalformed => (S::UNPROCESSABLE_ENTITY, "ticket_malformed", "The ticket is not a reference"),
            Self::TicketForeign => (S::UNPROCESSABLE_ENTITY, "ticket_foreign", "The ticket is of another tracker"),
            Self::ResourceMalformed => (S::UNPROCESSABLE_ENTITY, "resource_malformed", "A resource is malformed"),
            Self::Wildcard => (S::UNPROCESSABLE_ENTITY, "wildcard", "A grant names exact resources and actions"),
            Self::ActionMalformed => (S::UNPROCESSABLE_ENTITY, "action_malformed", "An action is malformed"),
            Self::ScopeSize => (S::UNPROCESSABLE_ENTITY, "scope_size", "Too few or too many resources or actions"),
            Self::ResourceNotServed => {
                (S::UNPROCESSABLE_ENTITY, "resource_not_served", "The service has no such resources")
            }
            Self::ActionNotServed => (S::UNPROCESSABLE_ENTITY, "action_not_served", "The service has no such action"),
            Self::NoTierFits => (S::FORBIDDEN, "no_tier_fits", "The policy does not let you ask for this"),
            Self::ReasonNotInTier => (S::FORBIDDEN, "reason_not_in_tier", "The policy gives this for other reasons"),
            Self::TierAmbiguous => (S::CONFLICT, "tier_ambiguous", "Several tiers fit"),
            Self::DurationTooShort => (S::UNPROCESSABLE_ENTITY, "duration_too_short", "The duration is too short"),
            Self::DurationTooLong => (S::UNPROCESSABLE_ENTITY, "duration_too_long", "The duration is too long"),
            Self::TooFewUses => (S::UNPROCESSABLE_ENTITY, "too_few_uses", "A grant allows at least one use"),
            Self::TooManyUses => (S::UNPROCESSABLE_ENTITY, "too_many_uses", "Too many uses"),
            Self::BindingNotInTier => {
                (S::UNPROCESSABLE_ENTITY, "binding_not_in_tier", "The policy does not accept this binding")
            }
            Self::TooManyLive => (S::CONFLICT, "too_many_live", "You have enough live grants of this kind"),
            Self::CoolDown => (S::TOO_MANY_REQUESTS, "cool_down", "It is too soon after your last grant"),
            Self::StepUp => {
                (S::UNAUTHORIZED, "insufficient_user_authentication", "A stronger or fresher login is needed")
            }
            Self::KeyMalformed => (S::BAD_REQUEST, "idempotency_key_malformed", "The Idempotency-Key is malformed"),
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The Idempotency-Key came with another request")
            }
            Self::NoteTooLong => (S::UNPROCESSABLE_ENTITY, "note_too_long", "The note is too long"),
            Self::GrantBound => (S::CONFLICT, "grant_bound", "The grant takes no other key"),
            Self::GrantUnbound => (S::CONFLICT, "grant_unbound", "Nothing is bound to the grant yet"),
            Self::GrantEnded => (S::CONFLICT, "grant_ended", "The grant has ended already"),
            Self::OwnRequest => (S::FORBIDDEN, "own_request", "This is your own"),
            Self::AlreadyApproved => (S::CONFLICT, "already_approved", "You have approved this"),
            Self::StateConflict => (S::CONFLICT, "state_conflict", "It stands otherwise by now"),
            Self::Frozen => (S::CONFLICT, "frozen", "Overrides are frozen"),
            Self::PolicyInvalid => (S::UNPROCESSABLE_ENTITY, "policy_invalid", "The policy has mistakes"),
            Self::ProposalDecided => (S::CONFLICT, "proposal_decided", "The proposal is no longer open"),
            Self::ProposalsTooMany => (S::CONFLICT, "proposals_too_many", "Too many proposals are open"),
            Self::SecondAdministrator => {
                (S::FORBIDDEN, "second_administrator", "Another administrator must confirm this")
            }
            Self::PolicyChanged => (S::CONFLICT, "policy_changed", "The policy has changed"),
            Self::NarrowingWidens => {
                (S::UNPROCESSABLE_ENTITY, "narrowing_widens", "An approver can narrow, never widen")
            }
            Self::NarrowingEmpty => {
                (S::UNPROCESSABLE_ENTITY, "narrowing_empty", "Nothing would be left of the request")
            }
            Self::NoteMissing => (S::UNPROCESSABLE_ENTITY, "note_missing", "Say why"),
            Self::PeriodInvalid => (S::UNPROCESSABLE_ENTITY, "period_invalid", "The period can't be reported on"),
            Self::ErasureObstructed => (S::CONFLICT, "erasure_obstructed", "Something of theirs is not over"),
            Self::RulesUnavailable => (S::SERVICE_UNAVAILABLE, "rules_unavailable", "The policy can't be read here"),
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

    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The cause with this code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.code() == code)
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
            Self::DpopProofInvalid => {
                Some("make a new proof for this call and this access token, by a clock that is right")
            }
            Self::UseDpopNonce => Some("make a new proof with the nonce of DPoP-Nonce, and send the request again"),
            Self::CertificateUntrusted => Some("use one that has not expired, of an authority that is trusted here"),
            Self::GrantUnbound => Some("bind your key to it first: breakglass claim ID"),
            Self::UnknownService | Self::UnknownReason => {
                Some("GET /v1/services/{service}/options lists what there is")
            }
            Self::StepUp => Some("log in again as the challenge says, and send the new access token"),
            Self::TooManyLive => Some("end one of them first: breakglass grants --mine"),
            Self::CoolDown => Some("wait for as long as Retry-After says, or ask a colleague"),
            Self::ReasonNotInTier => Some("name another reason, or another tier"),
            Self::NoTierFits => Some("GET /v1/services/{service}/options lists what you may ask for"),
            Self::TierAmbiguous => Some("name one of them as tier"),
            Self::Wildcard => Some("name each resource, such as contract/C-1042"),
            Self::Frozen => Some("breakglass freezes shows what is frozen; an admin lifts it"),
            Self::MediaType => Some("send Content-Type: application/json"),
            Self::NotAcceptable => Some("send Accept: application/json"),
            Self::PreconditionRequired => Some("read it, and send its ETag as If-Match"),
            Self::PreconditionFailed => Some("look at what it is now, and send the new ETag if it is still right"),
            Self::RateLimited => Some("wait for as long as Retry-After says"),
            Self::KeyReused => Some("use a new key for a new request"),
            Self::IdentityUnverifiable
            | Self::Overloaded
            | Self::TimedOut
            | Self::StoreUnavailable
            | Self::KeyUnavailable
            | Self::RulesUnavailable => Some("try again in a moment"),
            Self::AlreadyApproved => Some("wait for the others: one person counts once"),
            Self::PolicyInvalid => Some("breakglass policy check names every mistake"),
            Self::ProposalsTooMany => Some("confirm or withdraw some: breakglass policy proposals"),
            Self::PolicyChanged => Some("ask anew: breakglass request"),
            Self::ErasureObstructed => Some("end it, or wait until it has ended: breakglass erase --dry-run lists it"),
            Self::NarrowingEmpty => Some("agree on the same actions, or deny the request"),
            Self::NotPermitted
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::MalformedRequest
            | Self::BodyTooLarge
            | Self::UriTooLong
            | Self::HeadersTooLarge
            | Self::TicketMalformed
            | Self::TicketForeign
            | Self::ResourceMalformed
            | Self::ActionMalformed
            | Self::ScopeSize
            | Self::ResourceNotServed
            | Self::ActionNotServed
            | Self::DurationTooShort
            | Self::DurationTooLong
            | Self::TooFewUses
            | Self::TooManyUses
            | Self::BindingNotInTier
            | Self::KeyMalformed
            | Self::NoteTooLong
            | Self::GrantEnded
            | Self::GrantBound
            | Self::ProofMissing
            | Self::OwnRequest
            | Self::StateConflict
            | Self::NarrowingWidens
            | Self::NoteMissing
            | Self::PeriodInvalid
            | Self::ProposalDecided
            | Self::SecondAdministrator
            | Self::Internal => None,
        }
    }
}
