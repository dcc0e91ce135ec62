//! The time-boxed authority itself.

use std::num::NonZeroU32;
use std::time::Duration;

use super::text::text_type;
use super::{Confirmation, Issuer, Justification, Person, Role, Scope, ServiceName, WallTime};

/// Lower-case Crockford base 32 without `i`, `l`, `o`, `u`: short enough to type, hard to misread.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

text_type! {
    /// `g-` and twelve characters. It is no secret: the binding proves the person.
    GrantId, "grant id", max 14, "is 'g-' and 12 characters of Crockford base 32 in lower case", is_grant_id,
    pattern "^g-[0-9a-hjkmnp-tv-z]{12}$", example "g-0123456789ab"
}

impl GrantId {
    /// The id made from 60 of the given 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("g-{}", crockford12(bits)).into())
    }
}

/// Twelve characters for the lowest 60 bits.
pub(super) fn crockford12(bits: u64) -> String {
    (0..12)
        .rev()
        .map(|i| {
            let index = usize::try_from((bits >> (i * 5)) & 31).unwrap_or(0);
            char::from(ID_ALPHABET.get(index).copied().unwrap_or(b'0'))
        })
        .collect()
}

pub(super) fn is_prefixed_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|b| ID_ALPHABET.contains(&b)))
}

fn is_grant_id(text: &str) -> bool {
    is_prefixed_id("g-", text)
}

/// How the caller proves that a grant is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// An access token of the person, for this service's audience.
    Identity,
    /// A client certificate (RFC 8705).
    Mtls,
    /// A proof of possession (RFC 9449).
    Dpop,
    /// The grant token alone.
    Bearer,
}

impl Binding {
    pub const ALL: [Self; 4] = [Self::Identity, Self::Mtls, Self::Dpop, Self::Bearer];

    /// Whether a key or a certificate must be bound before a grant can be used.
    pub const fn needs_confirmation(self) -> bool {
        match self {
            Self::Mtls | Self::Dpop => true,
            Self::Identity | Self::Bearer => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Mtls => "mtls",
            Self::Dpop => "dpop",
            Self::Bearer => "bearer",
        }
    }
}

/// Who issued a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    ControlPlane,
}

/// How the person had authenticated when the grant was requested (OpenID Connect Core 1.0 §2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    pub acr: Option<String>,
    pub amr: Vec<String>,
    pub auth_time: Option<WallTime>,
}

/// One person's authority over exact resources and actions, until a fixed time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    pub service: ServiceName,
    pub person: Person,
    /// The issuer that authenticated the person.
    pub idp: Issuer,
    pub authentication: Authentication,
    pub role: Role,
    pub scope: Scope,
    pub binding: Binding,
    /// What `mtls` and `dpop` are proven by; `None` for the others, and while nothing has been bound yet.
    pub confirmation: Option<Confirmation>,
    pub justification: Justification,
    pub issued: WallTime,
    pub not_before: WallTime,
    pub expires: WallTime,
    /// `None`: any number of uses until the end.
    pub max_uses: Option<NonZeroU32>,
    /// How old the feed may be when this grant is used.
    pub staleness_max: Duration,
    pub policy_revision: u64,
    pub approvals: Vec<Person>,
    pub origin: Origin,
}

impl Grant {
    /// Whether it has what its binding is proven by, and nothing else: only such a grant can be signed and used.
    pub fn is_bound(&self) -> bool {
        match &self.confirmation {
            Some(confirmation) => confirmation.binding() == self.binding,
            None => !self.binding.needs_confirmation(),
        }
    }

    pub fn lifetime(&self) -> Duration {
        self.expires.since(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        let id = GrantId::from_random(u64::MAX);
        assert_eq!(id.as_str(), "g-zzzzzzzzzzzz");
        assert_eq!(id.as_str().parse::<GrantId>().unwrap(), id);
        assert!("g-0123456789ai".parse::<GrantId>().is_err(), "i is not in the alphabet");
    }
}
