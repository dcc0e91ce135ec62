//! The public key a proof brings along (RFC 7517), and its thumbprint (RFC 7638).
//!
//! INVARIANT: a key with any private member is refused, and so is a symmetric one: whoever sends either has lost it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::key::ProofAlgorithm;
use super::sha256_base64url;
use crate::domain::KeyThumbprint;

/// Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Shortest and longest RSA modulus, in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// Longest RSA exponent: a greater one only makes verifying dear.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// Why a JSON object is no public key that may prove possession.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    #[error("it holds a private or symmetric key")]
    Private,
    #[error("it is of no kind that is accepted, or does not fit the algorithm")]
    Kind,
    #[error("a member is missing or not canonical base64url of the right length")]
    Member,
}

/// A public key with its thumbprint.
#[derive(Debug)]
pub(super) struct PublicJwk {
    pub(super) thumbprint: KeyThumbprint,
    pub(super) decoding: DecodingKey,
}

impl PublicJwk {
    pub(super) fn of(jwk: &Map<String, Value>, algorithm: ProofAlgorithm) -> Result<Self, JwkError> {
        let material = material(jwk, algorithm)?;
        Ok(Self { thumbprint: material.thumbprint()?, decoding: material.decoding() })
    }
}

/// The RFC 7638 thumbprint of a public key, as `jkt` has it.
///
/// # Errors
/// [`JwkError`].
pub fn thumbprint(jwk: &Map<String, Value>) -> Result<KeyThumbprint, JwkError> {
    let fitting = |algorithm: &ProofAlgorithm| algorithm.fits(text(jwk, "kty"), text(jwk, "crv"));
    let algorithm = ProofAlgorithm::ALL.into_iter().find(fitting).ok_or(JwkError::Kind)?;
    material(jwk, algorithm)?.thumbprint()
}

/// What makes a key of its kind.
enum Material {
    Ec { x: Vec<u8>, y: Vec<u8> },
    Okp { x: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl Material {
    /// The required members alone, in lexicographic order, without white space (RFC 7638 §3.2).
    fn thumbprint(&self) -> Result<KeyThumbprint, JwkError> {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let json = match self {
            Self::Ec { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, b64(x), b64(y)),
            Self::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64(x)),
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n)),
        };
        sha256_base64url(json.as_bytes()).parse().map_err(|_| JwkError::Member)
    }

    /// That a point lies on its curve is checked when it verifies.
    fn decoding(&self) -> DecodingKey {
        match self {
            // Uncompressed (SEC 1 §2.3.3).
            Self::Ec { x, y } => DecodingKey::from_ec_der(&[&[4], x.as_slice(), y].concat()),
            Self::Okp { x } => DecodingKey::from_ed_der(x),
            Self::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
        }
    }
}

fn material(jwk: &Map<String, Value>, algorithm: ProofAlgorithm) -> Result<Material, JwkError> {
    let kind = text(jwk, "kty");
    if kind == Some("oct") || PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err(JwkError::Private);
    }
    if !algorithm.fits(kind, text(jwk, "crv")) {
        return Err(JwkError::Kind);
    }
    match algorithm {
        ProofAlgorithm::ES256 => Ok(Material::Ec { x: exactly_32(jwk, "x")?, y: exactly_32(jwk, "y")? }),
        ProofAlgorithm::EdDSA => Ok(Material::Okp { x: exactly_32(jwk, "x")? }),
        ProofAlgorithm::PS256 | ProofAlgorithm::RS256 => {
            let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
            let fits = RSA_BYTES.contains(&n.len()) && e.len() <= RSA_EXPONENT_BYTES_MAX;
            if fits { Ok(Material::Rsa { n, e }) } else { Err(JwkError::Member) }
        }
    }
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j str> {
    jwk.get(name).and_then(Value::as_str)
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkError> {
    text(jwk, name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(JwkError::Member)
}

fn exactly_32(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkError> {
    bytes(jwk, name).and_then(|bytes| if bytes.len() == 32 { Ok(bytes) } else { Err(JwkError::Member) })
}

/// A positive number without leading zeros: each has one spelling, so each key has one thumbprint (RFC 7518 §2).
fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkError> {
    let bytes = bytes(jwk, name)?;
    if bytes.first().is_some_and(|first| *first != 0) { Ok(bytes) } else { Err(JwkError::Member) }
}
