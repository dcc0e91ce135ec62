//! Signing. Only the control plane (and tests) do this.
//!
//! Each document can be had [`Unsigned`], for a key that is elsewhere.

use serde::{Deserialize, Serialize};

use super::claims::GrantClaims;
use super::jws::Unsigned;
use super::keys::{CertifiedKey, PublicKey, SigningKey};
use super::{GRANT_TYPE, KEY_TYPE};
use crate::domain::{Grant, WallTime};
use crate::secret::Secret;

/// Signing failed: the key or the system's cryptography is unusable.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("the token's claims can't be written")]
    Claims(#[from] serde_json::Error),
    #[error("the token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

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
    Ok(Secret::new(unsigned_grant(grant, issuer, key.public())?.signed_by(key)?))
}

/// The grant as a JWT that `key` is to sign.
///
/// # Errors
/// When the claims can't be written.
pub fn unsigned_grant(grant: &Grant, issuer: &str, key: &PublicKey) -> Result<Unsigned, MintError> {
    Ok(Unsigned::new(GRANT_TYPE, &GrantClaims::of(grant, issuer), key)?)
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
    let subject = CertifiedKey { key: key.clone(), not_before, not_after };
    unsigned_key_certificate(&subject, root.public())?.signed_by(root)
}

/// The certificate of a grant key that `root` is to sign. Times are cut to whole seconds.
///
/// # Errors
/// When the claims can't be written.
pub fn unsigned_key_certificate(subject: &CertifiedKey, root: &PublicKey) -> Result<Unsigned, MintError> {
    let claims = KeyClaims {
        x: subject.key.to_string(),
        purpose: KeyPurpose::Grant,
        nbf: subject.not_before.unix_s(),
        exp: subject.not_after.unix_s(),
    };
    Ok(Unsigned::new(KEY_TYPE, &claims, root)?)
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
