//! The checks of RFC 9449 §4.3, in its order, but for those that need a memory.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::jwk::{JwkError, PublicJwk};
use super::key::ProofAlgorithm;
use super::url::ProofUrl;
use super::{AGE_MAX, DPOP_TYPE, ID_BYTES_MAX, LEAD_MAX, PROOF_BYTES_MAX, token_hash};
use crate::domain::{KeyThumbprint, WallTime};
use crate::wire::strict_json::parse_object;

/// What the request that carries a proof is.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub method: &'a str,
    pub url: &'a ProofUrl,
    /// The token that came with it. A proof must name it, and with `None` may name none.
    pub token: Option<&'a str>,
    pub now: WallTime,
}

/// What a proof proves: that its sender holds this key, if it was not seen before and its nonce is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub thumbprint: KeyThumbprint,
    pub jti: String,
    pub nonce: Option<String>,
    pub issued: WallTime,
}

/// Why a text proves nothing. It is never quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the proof is longer than {PROOF_BYTES_MAX} bytes")]
    TooLong,
    #[error("the proof is not three base64url parts joined by dots, of which two are unambiguous JSON objects")]
    NotCompact,
    #[error("the proof's header has a member that is refused, or lacks one: it has exactly typ, alg and jwk")]
    Header,
    #[error("the proof's typ is not {DPOP_TYPE}")]
    OtherType,
    #[error("the proof's algorithm is not one of {}", super::ALGORITHMS)]
    Algorithm,
    #[error("the proof's key is refused: {0}")]
    Key(#[from] JwkError),
    #[error("the proof's signature does not hold")]
    Signature,
    #[error("the proof's claim {0} is missing or not of its kind")]
    Claim(&'static str),
    #[error("the proof is for another method")]
    OtherMethod,
    #[error("the proof is for another URL")]
    OtherUrl,
    #[error("the proof was made more than {} s ago, or has expired", AGE_MAX.as_secs())]
    TooOld,
    #[error("the proof was made in the future: check your clock")]
    Future,
    #[error("the proof is for another token, or names none")]
    OtherToken,
}

/// Verifies `proof` for one request.
///
/// # Errors
/// [`ProofError`], the first check that failed.
pub fn verify_proof(proof: &str, expected: &Expected<'_>) -> Result<Proof, ProofError> {
    let parts = Parts::parse(proof)?;
    let algorithm = checked_header(&parts.header)?;
    let jwk = parts.header.get("jwk").and_then(Value::as_object).ok_or(ProofError::Header)?;
    let key = PublicJwk::of(jwk, algorithm)?;
    let holds = jsonwebtoken::crypto::verify(
        parts.signature,
        parts.signing_input.as_bytes(),
        &key.decoding,
        algorithm.for_jsonwebtoken(),
    );
    if !holds.unwrap_or(false) {
        return Err(ProofError::Signature);
    }
    let claims = &parts.claims;
    is_for_request(claims, expected)?;
    let issued = is_in_time(claims, expected.now)?;
    is_for_token(claims, expected.token)?;
    let jti = text(claims, "jti")?.filter(|jti| !jti.is_empty()).ok_or(ProofError::Claim("jti"))?;
    let nonce = text(claims, "nonce")?;
    if jti.len() > ID_BYTES_MAX {
        return Err(ProofError::Claim("jti"));
    }
    if nonce.is_some_and(|nonce| nonce.len() > ID_BYTES_MAX) {
        return Err(ProofError::Claim("nonce"));
    }
    Ok(Proof { thumbprint: key.thumbprint, jti: jti.to_owned(), nonce: nonce.map(str::to_owned), issued })
}

struct Parts<'a> {
    header: Map<String, Value>,
    /// Not to be believed before the signature is checked.
    claims: Map<String, Value>,
    signing_input: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn parse(proof: &'a str) -> Result<Self, ProofError> {
        if proof.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLong);
        }
        let (signing_input, signature) = proof.rsplit_once('.').ok_or(ProofError::NotCompact)?;
        let (header, claims) = signing_input.split_once('.').ok_or(ProofError::NotCompact)?;
        // Decoded only to refuse other spellings of the same bytes.
        decoded(signature)?;
        Ok(Self { header: object(header)?, claims: object(claims)?, signing_input, signature })
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, ProofError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| ProofError::NotCompact)
}

fn object(part: &str) -> Result<Map<String, Value>, ProofError> {
    parse_object(&decoded(part)?).map_err(|_| ProofError::NotCompact)
}

/// INVARIANT: a header holds nothing but its type, its algorithm and its key. What else there is to be said there
/// (`jku`, `x5u`, `crit`, `b64` …) would let a proof bring rules of its own.
fn checked_header(header: &Map<String, Value>) -> Result<ProofAlgorithm, ProofError> {
    if header.keys().any(|name| !matches!(name.as_str(), "typ" | "alg" | "jwk")) {
        return Err(ProofError::Header);
    }
    match header.get("typ") {
        Some(Value::String(typ)) if typ == DPOP_TYPE => {}
        Some(_) | None => return Err(ProofError::OtherType),
    }
    header.get("alg").and_then(Value::as_str).and_then(ProofAlgorithm::named).ok_or(ProofError::Algorithm)
}

fn is_for_request(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), ProofError> {
    if text(claims, "htm")?.ok_or(ProofError::Claim("htm"))? != expected.method {
        return Err(ProofError::OtherMethod);
    }
    let url: Result<ProofUrl, _> = text(claims, "htu")?.ok_or(ProofError::Claim("htu"))?.parse();
    if url.is_ok_and(|url| url == *expected.url) { Ok(()) } else { Err(ProofError::OtherUrl) }
}

/// When it was made. `exp` and `nbf` are not asked for, but hold where they are (RFC 7519 §4.1.4, §4.1.5).
fn is_in_time(claims: &Map<String, Value>, now: WallTime) -> Result<WallTime, ProofError> {
    let issued = time(claims, "iat")?.ok_or(ProofError::Claim("iat"))?;
    let latest = now.plus(LEAD_MAX);
    if issued > latest || time(claims, "nbf")?.is_some_and(|begin| begin > latest) {
        return Err(ProofError::Future);
    }
    if issued < now.minus(AGE_MAX) || time(claims, "exp")?.is_some_and(|end| end <= now) {
        return Err(ProofError::TooOld);
    }
    Ok(issued)
}

fn is_for_token(claims: &Map<String, Value>, token: Option<&str>) -> Result<(), ProofError> {
    let named = text(claims, "ath")?;
    if named == token.map(token_hash).as_deref() { Ok(()) } else { Err(ProofError::OtherToken) }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<Option<&'c str>, ProofError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(ProofError::Claim(name)),
    }
}

/// A time in whole seconds (RFC 7519 §2).
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<WallTime>, ProofError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().map(|s| Some(WallTime::from_unix_s(s))).ok_or(ProofError::Claim(name)),
    }
}
