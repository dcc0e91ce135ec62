//! Compact JWS with one algorithm and three header members, strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use super::keys::{PublicKey, SigningKey};

/// Greatest length of a token of ours.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Why a text is not one of our signed documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token is not three base64url parts joined by dots")]
    NotCompact,
    #[error("the token's header is not exactly typ, alg EdDSA and kid")]
    Header,
    #[error("the token is of another type")]
    OtherType,
    #[error("the token's signature does not hold")]
    Signature,
}

/// INVARIANT: duplicate or further members fail to parse, so nothing in a header can name a key or a rule of its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: EdDsa,
    kid: String,
}

#[derive(Serialize, Deserialize)]
enum EdDsa {
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A token whose signature has not been checked yet.
pub(super) struct Unverified<'a> {
    pub(super) kid: String,
    signing_input: &'a str,
    signature: &'a str,
    payload: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str, typ: &str) -> Result<Self, JwsError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::NotCompact)?;
        if payload.contains('.') {
            return Err(JwsError::NotCompact);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| JwsError::NotCompact)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| JwsError::Header)?;
        if header.typ != typ {
            return Err(JwsError::OtherType);
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| JwsError::NotCompact)?;
        Ok(Self { kid: header.kid, signing_input, signature, payload })
    }

    /// What it says, whoever signed it.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, once `key` is shown to have signed it.
    pub(super) fn verified_by(self, key: &PublicKey) -> Result<Vec<u8>, JwsError> {
        let holds = jsonwebtoken::crypto::verify(
            self.signature,
            self.signing_input.as_bytes(),
            key.decoding_key(),
            Algorithm::EdDSA,
        );
        match holds {
            Ok(true) => Ok(self.payload),
            Ok(false) | Err(_) => Err(JwsError::Signature),
        }
    }
}

/// Signs `claims` as a compact JWS.
pub(super) fn sign<T: Serialize>(
    typ: &str,
    claims: &T,
    key: &SigningKey,
) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = jsonwebtoken::Header::new(Algorithm::EdDSA);
    header.typ = Some(typ.to_owned());
    header.kid = Some(key.public().kid().to_owned());
    jsonwebtoken::encode(&header, claims, key.encoding_key())
}
