//! Assertion keys as a JWK set (RFC 7517 §5, RFC 8037 §2), written by the sidecar and read by who verifies.
//!
//! Each key carries the certificate of its root as `bg_certificate`, so that whoever pins the root need not trust the
//! address the set was fetched from.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::certificate::{CertifiedAssertionKey, verify_assertion_certificate};
use crate::domain::WallTime;
use crate::token::keys::PublicKey;

/// Path of the set on the sidecar's upstream-facing address.
pub const PATH: &str = "/.well-known/jwks.json";
/// Media type of the set (RFC 7517 §8.5.2).
pub const CONTENT_TYPE: &str = "application/jwk-set+json";
/// For how long a reader may keep the set. A key is published at least this long before it signs.
pub const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(60);
/// Greatest size of a set that is read.
pub const SET_BYTES_MAX: usize = 64 * 1024;
/// Greatest number of keys in a set that is read.
const KEYS_MAX: usize = 64;

/// The document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

/// One key. Members that are not known are ignored, as RFC 7517 §4 asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    pub kty: String,
    pub crv: String,
    pub x: String,
    /// The RFC 7638 thumbprint.
    pub kid: String,
    #[serde(rename = "use")]
    pub usage: String,
    pub alg: String,
    /// When the certificate begins and ends, in seconds since the epoch.
    pub nbf: i64,
    pub exp: i64,
    /// `bg-key+jwt` with the purpose `assertion`.
    pub bg_certificate: String,
}

impl Jwk {
    pub fn of(certified: &CertifiedAssertionKey, certificate: &str) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: certified.key.to_string(),
            kid: certified.key.kid().to_owned(),
            usage: "sig".to_owned(),
            alg: "EdDSA".to_owned(),
            nbf: certified.not_before.unix_s(),
            exp: certified.not_after.unix_s(),
            bg_certificate: certificate.to_owned(),
        }
    }
}

/// Why a document is no set of assertion keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("the key set is larger than {SET_BYTES_MAX} bytes or holds more than {KEYS_MAX} keys")]
    TooLarge,
    #[error("the key set is not a JWK set of Ed25519 signing keys: {0}")]
    Malformed(String),
    #[error("a key's id is not its thumbprint")]
    KeyId,
}

/// A key that may sign assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    pub key: PublicKey,
    /// What a pinned root says of it; absent where no root is pinned.
    pub certified: Option<CertifiedAssertionKey>,
}

/// Keys that assertions are verified with, by key id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssertionKeys {
    keys: HashMap<String, KnownKey>,
}

impl AssertionKeys {
    /// Reads a JWK set. With `roots`, only keys with a valid certificate of one of them are taken, and others are left
    /// out; without, whatever the address served is believed.
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn read(document: &[u8], roots: &[PublicKey], now: WallTime) -> Result<Self, JwksError> {
        if document.len() > SET_BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        let set: JwkSet = serde_json::from_slice(document).map_err(|error| JwksError::Malformed(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(JwksError::TooLarge);
        }
        let mut keys = HashMap::with_capacity(set.keys.len());
        for jwk in &set.keys {
            if let Some(known) = known(jwk, roots, now)? {
                keys.insert(known.key.kid().to_owned(), known);
            }
        }
        Ok(Self { keys })
    }

    pub fn get(&self, kid: &str) -> Option<&KnownKey> {
        self.keys.get(kid)
    }

    /// Takes the keys of another set too.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn known(jwk: &Jwk, roots: &[PublicKey], now: WallTime) -> Result<Option<KnownKey>, JwksError> {
    if (jwk.kty.as_str(), jwk.crv.as_str(), jwk.usage.as_str(), jwk.alg.as_str()) != ("OKP", "Ed25519", "sig", "EdDSA")
    {
        return Err(JwksError::Malformed("a key is of another kind or use".to_owned()));
    }
    let key: PublicKey =
        jwk.x.parse().map_err(|error: crate::token::KeyError| JwksError::Malformed(error.to_string()))?;
    if key.kid() != jwk.kid {
        return Err(JwksError::KeyId);
    }
    if roots.is_empty() {
        return Ok(Some(KnownKey { key, certified: None }));
    }
    let certified = verify_assertion_certificate(&jwk.bg_certificate, roots, now).ok();
    let certified = certified.filter(|certified| certified.key == key);
    Ok(certified.map(|certified| KnownKey { key, certified: Some(certified) }))
}
