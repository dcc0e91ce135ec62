//! Why a token proves nothing. No message quotes the token.

use crate::domain::Issuer;
use crate::http::TlsError;

/// Greatest length of an access token.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a text is not an access token that proves who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IdentityError {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the token is not a signed JWT: {0}")]
    Malformed(&'static str),
    #[error("the token's header has a member that is refused: {0}")]
    ForbiddenHeader(&'static str),
    #[error("the token is not an access token")]
    WrongType,
    #[error("the token's algorithm is not one the issuer is configured for")]
    AlgorithmNotAllowed,
    #[error("the token's issuer is not configured")]
    UnknownIssuer,
    /// The issuer's keys have never been reached: nothing can be said of any token of it.
    #[error("the issuer's keys have not been reached yet")]
    Unverifiable,
    /// Nothing can be said of the token until the issuer has been asked for the key; that has been set going.
    #[error("the key that signed the token is not known here yet; the issuer is being asked for it")]
    KeyAwaited,
    #[error("the issuer has no such key")]
    UnknownKey,
    #[error("the token's signature does not hold")]
    BadSignature,
    /// Said of genuine tokens only.
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is for another audience")]
    WrongAudience,
    /// OpenID Connect Core 1.0 §2, `azp`.
    #[error("the token was given to a client whose tokens are not taken here")]
    WrongParty,
    /// RFC 8693 §4.1: someone acts for someone else.
    #[error("the token is delegated")]
    Delegated,
    #[error("the token is a machine's")]
    Machine,
    /// RFC 7800: the token works only with a proof that does not come with it.
    #[error("the token is bound to a key, and no proof of it is taken here")]
    SenderConstrained,
    #[error("the token's claim {0} is missing or not of its kind")]
    Claim(&'static str),
}

impl IdentityError {
    pub const fn fault(self) -> IdentityFault {
        match self {
            Self::Expired => IdentityFault::Expired,
            Self::Unverifiable | Self::KeyAwaited => IdentityFault::Unverifiable,
            Self::Delegated | Self::Machine => IdentityFault::NotAHuman,
            Self::TooLarge
            | Self::Malformed(_)
            | Self::ForbiddenHeader(_)
            | Self::WrongType
            | Self::AlgorithmNotAllowed
            | Self::UnknownIssuer
            | Self::UnknownKey
            | Self::BadSignature
            | Self::NotYetValid
            | Self::WrongAudience
            | Self::WrongParty
            | Self::SenderConstrained
            | Self::Claim(_) => IdentityFault::Invalid,
        }
    }

    /// A stable name, fit for a metric's label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::ForbiddenHeader(_) => "forbidden_header",
            Self::WrongType => "wrong_type",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Unverifiable => "unverifiable",
            Self::KeyAwaited => "key_awaited",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::WrongParty => "wrong_party",
            Self::Delegated => "delegated",
            Self::Machine => "machine",
            Self::SenderConstrained => "sender_constrained",
            Self::Claim(_) => "claim",
        }
    }
}

/// What a caller is told of an [`IdentityError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityFault {
    /// A genuine token, past its end.
    Expired,
    /// Nothing can be said of it yet.
    Unverifiable,
    /// A machine's, or of somebody who acts for somebody else.
    NotAHuman,
    Invalid,
}

/// Why a verifier cannot be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the issuer {0} is configured twice")]
    Duplicate(Issuer),
    #[error("the issuer {0} is not an http or https URL without query and fragment")]
    Url(Issuer),
    #[error("the issuer {0} has no algorithm configured")]
    NoAlgorithm(Issuer),
    #[error("the authorities for the issuer {issuer} cannot be used")]
    Ca { issuer: Issuer, source: TlsError },
}
