//! What is configured of an issuer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::{Audience, Issuer};

/// Signature algorithms a token may have (RFC 7518 §3.1, RFC 8037 §3.1). There is no HMAC and no `none` to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    pub(super) const fn for_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// The name is none of [`Algorithm::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature algorithm is one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Names are case-sensitive. `Ed25519` is what RFC 9864 calls the one curve of EdDSA that is known here.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        if name == "Ed25519" {
            return Ok(Self::EdDSA);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name).ok_or(UnknownAlgorithm)
    }
}

/// The claims by which issuers name the client that a token was given to: RFC 9068 and OpenID Connect Core 1.0 §2, and then
/// Entra ID's first version and Okta.
pub(super) const PARTY_CLAIMS: [&str; 4] = ["client_id", "azp", "appid", "cid"];

/// An issuer whose access tokens are accepted, and how its claims name people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Compared byte for byte.
    pub issuer: Issuer,
    /// Who we are to this issuer: `aud` must contain it.
    pub audience: Audience,
    /// The clients whose tokens are taken, by what the issuer calls them; empty: any. See `PARTY_CLAIMS`.
    pub authorised_parties: BTreeSet<String>,
    /// Whether a token is taken whose header does not say `at+jwt` (RFC 9068 §4 would refuse it; many issuers make no other).
    pub plain_jwt: bool,
    /// The claim that names the person, by name or JSON pointer: stable, and never given to someone else.
    pub person_claim: String,
    /// Put before the claim, so that two issuers' people cannot be mistaken for each other.
    pub person_prefix: String,
    /// Whether `A` and `a` in the claim are one person: four-eyes rules compare persons byte for byte.
    pub person_lowercase: bool,
    /// The claim that lists groups: a name, or a JSON pointer (RFC 6901) such as `/realm_access/roles`; empty: none does.
    pub groups_claim: String,
    /// A claim that lists roles, by name or pointer. They stand among the groups as `role:NAME`.
    pub roles_claim: Option<String>,
    /// Put before each group and role, so that an issuer cannot name the groups of another.
    pub groups_prefix: String,
    /// What separates groups (or roles) that are listed in one text; absent: a text is one group.
    pub groups_separator: Option<String>,
    /// At the control plane the groups are those that provisioning clients keep there, whatever the token says.
    pub groups_by_scim: bool,
    pub algorithms: BTreeSet<Algorithm>,
    /// How far the issuer's clock may run ahead of ours, in seconds. It holds for `nbf` and `iat`, never for `exp`.
    pub clock_leeway_s: u64,
    /// A PEM file with the authorities to trust for this issuer, instead of those of the client.
    pub ca: Option<PathBuf>,
}

impl IssuerConfig {
    pub const CLOCK_LEEWAY_S_DEFAULT: u64 = 5;
    /// A leeway beyond this hides a broken clock.
    pub const CLOCK_LEEWAY_S_MAX: u64 = 60;

    /// The claim of a person that is an address.
    pub const EMAIL: &str = "email";

    /// The defaults: the person is `sub`, the groups are `groups`, and RSA-PKCS#1 only as RS256.
    pub fn new(issuer: Issuer, audience: Audience) -> Self {
        Self {
            issuer,
            audience,
            authorised_parties: BTreeSet::new(),
            plain_jwt: true,
            person_claim: "sub".to_owned(),
            person_prefix: String::new(),
            person_lowercase: false,
            groups_claim: "groups".to_owned(),
            roles_claim: None,
            groups_prefix: String::new(),
            groups_separator: None,
            groups_by_scim: false,
            algorithms: [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA].into(),
            clock_leeway_s: Self::CLOCK_LEEWAY_S_DEFAULT,
            ca: None,
        }
    }

    /// The same for who asks for no more than the person: groups are neither read nor remembered.
    #[must_use]
    pub fn without_groups(self) -> Self {
        Self { groups_claim: String::new(), roles_claim: None, ..self }
    }
}
