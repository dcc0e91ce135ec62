//! A compact JWS taken apart, strictly, before anything in it is believed (RFC 7515 §5.2, RFC 8725 §3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::error::{IdentityError, TOKEN_BYTES_MAX};
use super::issuer::Algorithm;
use crate::wire::strict_json::parse_object;

/// Greatest length of a key id.
const KID_BYTES_MAX: usize = 512;

/// Header members that would let a token bring its own key, its own rules or another shape of payload. All others mean
/// nothing to us and are passed over, as RFC 7515 §4 says.
const FORBIDDEN: [&str; 11] = ["jwk", "jku", "x5u", "x5c", "crit", "zip", "b64", "enc", "epk", "cty", "url"];

/// What a `typ` of an access token is (RFC 9068 §2.1).
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];
/// What older issuers write, or nothing.
const PLAIN: &str = "JWT";
/// What the `typ` of a security event token is (RFC 8417 §2.3). INVARIANT: these and those of access tokens share nothing,
/// and here a type is demanded, so that neither kind of token is ever taken for the other.
const EVENT_TYPES: [&str; 2] = ["secevent+jwt", "application/secevent+jwt"];

/// A token whose signature has not been checked yet.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// Whether the header says what this is. Of an access token, `at+jwt`: what no ID token, logout token or security event
    /// does (RFC 8725 §3.11).
    pub(super) is_typed: bool,
    /// Not to be believed before [`Unverified::is_signed_by`].
    pub(super) claims: Map<String, Value>,
    signing_input: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// An access token.
    pub(super) fn parse(token: &'a str) -> Result<Self, IdentityError> {
        Self::parse_as(token, Kind::Access)
    }

    /// A security event token: it says that it is one.
    pub(super) fn parse_event(token: &'a str) -> Result<Self, IdentityError> {
        Self::parse_as(token, Kind::Event)
    }

    fn parse_as(token: &'a str, kind: Kind) -> Result<Self, IdentityError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(IdentityError::TooLarge);
        }
        let (signing_input, header, payload, signature) = split(token)?;
        let header = object(header, "its header is not an unambiguous JSON object")?;
        let is_typed = kind.checked_type(&header)?;
        let (algorithm, kid) = checked_header(&header)?;
        // Decoded here only to refuse other spellings of the same bytes.
        decoded(signature, "its signature is not base64url")?;
        let claims = object(payload, "its payload is not an unambiguous JSON object")?;
        Ok(Self { algorithm, kid, is_typed, claims, signing_input, signature })
    }

    pub(super) fn is_signed_by(&self, key: &DecodingKey) -> bool {
        let algorithm = self.algorithm.for_jsonwebtoken();
        jsonwebtoken::crypto::verify(self.signature, self.signing_input.as_bytes(), key, algorithm).unwrap_or(false)
    }
}

/// Signing input, header, payload and signature of exactly three parts.
fn split(token: &str) -> Result<(&str, &str, &str, &str), IdentityError> {
    let not_compact = IdentityError::Malformed("it is not three parts joined by dots");
    let (signing_input, signature) = token.rsplit_once('.').ok_or(not_compact)?;
    let (header, payload) = signing_input.split_once('.').ok_or(not_compact)?;
    if header.is_empty() || payload.is_empty() || payload.contains('.') {
        return Err(not_compact);
    }
    Ok((signing_input, header, payload, signature))
}

fn decoded(part: &str, otherwise: &'static str) -> Result<Vec<u8>, IdentityError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| IdentityError::Malformed(otherwise))
}

fn object(part: &str, otherwise: &'static str) -> Result<Map<String, Value>, IdentityError> {
    parse_object(&decoded(part, otherwise)?).map_err(|_| IdentityError::Malformed(otherwise))
}

/// What a token has to be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Access,
    Event,
}

impl Kind {
    /// Whether the header says that the token is of this kind; one that says it is something else is refused. An access
    /// token may leave it unsaid, an event may not.
    fn checked_type(self, header: &Map<String, Value>) -> Result<bool, IdentityError> {
        if let Some(name) = FORBIDDEN.into_iter().find(|name| header.contains_key(*name)) {
            return Err(IdentityError::ForbiddenHeader(name));
        }
        // Media types are compared without regard to case (RFC 7515 §4.1.9).
        let is_one_of = |typ: &str, known: &[&str]| known.iter().any(|known| known.eq_ignore_ascii_case(typ));
        match (self, header.get("typ")) {
            (Self::Access, None) => Ok(false),
            (Self::Access, Some(Value::String(typ))) if is_one_of(typ, &TYPES) => Ok(true),
            (Self::Access, Some(Value::String(typ))) if is_one_of(typ, &[PLAIN]) => Ok(false),
            (Self::Event, Some(Value::String(typ))) if is_one_of(typ, &EVENT_TYPES) => Ok(true),
            (Self::Access | Self::Event, _) => Err(IdentityError::WrongType),
        }
    }
}

fn checked_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), IdentityError> {
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => name.parse().map_err(|_| IdentityError::AlgorithmNotAllowed)?,
        _ => return Err(IdentityError::Malformed("its header names no algorithm")),
    };
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.clone()),
        Some(_) => return Err(IdentityError::Malformed("its key id is no text or too long")),
    };
    Ok((algorithm, kid))
}
