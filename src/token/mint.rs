//! Signing. Only the control plane (and tests) do this.

use serde::{Deserialize, Serialize};

use super::claims::GrantClaims;
use super::keys::{CertifiedKey, PublicKey, SigningKey};
use super::{GRANT_TYPE, KEY_TYPE, jws};
use crate::domain::{Grant, WallTime};
use crate::secret::Secret;

/// Signing failed: the key or the system's cryptography is unusable.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct MintError(#[from] jsonwebtoken::errors::Error);

/// The claims of a key certificate: a root says that a key may sign grants for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyClaims {
    /// The key, base64url.
    pub(super) x: String,
    pub(super) purpose: KeyPurpose,
    pub(super) nbf: i64,
    pub(super) exp: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyPurpose {
    Grant,
}

/// The grant as a signed JWT.
///
/// # Errors
/// When the key cannot sign.
pub fn mint_grant(grant: &Grant, issuer: &str, key: &SigningKey) -> Result<Secret<String>, MintError> {
    Ok(Secret::new(jws::sign(GRANT_TYPE, &GrantClaims::of(grant, issuer), key)?))
}

/// A certificate by which `root` lets `key` sign grants from `not_before` until `not_after`.
///
/// # Errors
/// When the root cannot sign.
pub fn certify_key(
    key: &PublicKey,
    not_before: WallTime,
    not_after: WallTime,
    root: &SigningKey,
) -> Result<String, MintError> {
    let claims =
        KeyClaims { x: key.to_string(), purpose: KeyPurpose::Grant, nbf: not_before.unix_s(), exp: not_after.unix_s() };
    Ok(jws::sign(KEY_TYPE, &claims, root)?)
}

impl TryFrom<KeyClaims> for CertifiedKey {
    type Error = super::KeyError;

    fn try_from(claims: KeyClaims) -> Result<Self, Self::Error> {
        let KeyPurpose::Grant = claims.purpose;
        Ok(Self {
            key: claims.x.parse()?,
            not_before: WallTime::from_unix_s(claims.nbf),
            not_after: WallTime::from_unix_s(claims.exp),
        })
    }
}
