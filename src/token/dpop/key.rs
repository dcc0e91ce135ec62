//! A private key and the proofs it makes. The command line holds one; so do tests.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use super::jwk::thumbprint;
use super::url::ProofUrl;
use super::{DPOP_TYPE, token_hash};
use crate::domain::{KeyThumbprint, WallTime};
use crate::secret::Secret;

/// Signature algorithms of proofs: asymmetric ones alone, from a fixed list (RFC 9449 §4.3 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofAlgorithm {
    ES256,
    EdDSA,
    PS256,
    RS256,
}

impl ProofAlgorithm {
    pub const ALL: [Self; 4] = [Self::ES256, Self::EdDSA, Self::PS256, Self::RS256];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::PS256 => "PS256",
            Self::RS256 => "RS256",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether a key of this kind and curve can carry the algorithm (RFC 7518 §6, RFC 8037 §2).
    pub(super) fn fits(self, kty: Option<&str>, crv: Option<&str>) -> bool {
        match self {
            Self::ES256 => (kty, crv) == (Some("EC"), Some("P-256")),
            Self::EdDSA => (kty, crv) == (Some("OKP"), Some("Ed25519")),
            Self::PS256 | Self::RS256 => kty == Some("RSA"),
        }
    }

    pub(super) const fn for_jsonwebtoken(self) -> Algorithm {
        match self {
            Self::ES256 => Algorithm::ES256,
            Self::EdDSA => Algorithm::EdDSA,
            Self::PS256 => Algorithm::PS256,
            Self::RS256 => Algorithm::RS256,
        }
    }
}

/// Why no key or no proof was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    #[error("a key pair could not be generated")]
    Generate,
    #[error("this is not a P-256 or Ed25519 private key in PKCS #8 DER")]
    Key,
    #[error("the proof could not be signed")]
    Sign,
}

/// What one proof is to say.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    pub method: &'a str,
    pub url: &'a ProofUrl,
    /// The token that the proof accompanies.
    pub token: Option<&'a str>,
    /// What the server last said in its nonce header.
    pub nonce: Option<&'a str>,
    pub now: WallTime,
}

/// A private key that proves its possession. Its `Debug` shows the thumbprint only.
pub struct ProofKey {
    pkcs8: Secret<Vec<u8>>,
    encoding: EncodingKey,
    algorithm: ProofAlgorithm,
    jwk: Map<String, Value>,
    thumbprint: KeyThumbprint,
}

impl ProofKey {
    /// A new key for ES256: what the most servers and hardware know.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn generate() -> Result<Self, MakeError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| MakeError::Generate)?;
        let document = pair.to_pkcs8v1().map_err(|_| MakeError::Generate)?;
        Self::from_pkcs8_der(document.as_ref())
    }

    /// A key that was kept: P-256 or Ed25519.
    ///
    /// # Errors
    /// When `der` is neither, in PKCS #8.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, MakeError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Self::p256(der, pair.public_key().as_ref());
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| MakeError::Key)?;
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key())});
        Self::of(der, EncodingKey::from_ed_der(der), ProofAlgorithm::EdDSA, jwk)
    }

    fn p256(der: &[u8], point: &[u8]) -> Result<Self, MakeError> {
        let coordinates = point.strip_prefix(&[4]).filter(|rest| rest.len() == 64).ok_or(MakeError::Key)?;
        let (x, y) = coordinates.split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        Self::of(der, EncodingKey::from_ec_der(der), ProofAlgorithm::ES256, jwk)
    }

    fn of(der: &[u8], encoding: EncodingKey, algorithm: ProofAlgorithm, jwk: Value) -> Result<Self, MakeError> {
        let Value::Object(jwk) = jwk else { return Err(MakeError::Key) };
        let thumbprint = thumbprint(&jwk).map_err(|_| MakeError::Key)?;
        Ok(Self { pkcs8: Secret::new(der.to_vec()), encoding, algorithm, jwk, thumbprint })
    }

    /// PKCS #8 DER, to be kept with mode 0600.
    pub fn pkcs8_der(&self) -> &Secret<Vec<u8>> {
        &self.pkcs8
    }

    /// `jkt` of what is bound to this key.
    pub fn thumbprint(&self) -> &KeyThumbprint {
        &self.thumbprint
    }

    /// A proof for one request, with a `jti` that no other has.
    ///
    /// # Errors
    /// When the system's randomness or cryptography fails.
    pub fn prove(&self, making: &Making<'_>) -> Result<String, MakeError> {
        let mut jti = [0; 16];
        aws_lc_rs::rand::fill(&mut jti).map_err(|_| MakeError::Sign)?;
        let header = json!({"typ": DPOP_TYPE, "alg": self.algorithm.as_str(), "jwk": self.jwk});
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(jti),
            "htm": making.method,
            "htu": making.url.as_str(),
            "iat": making.now.unix_s(),
        });
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(making.token.map(|token| ("ath".to_owned(), token_hash(token).into())));
            claims.extend(making.nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
        }
        self.sign(&header, &claims)
    }

    /// Signs whatever header and claims are given.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> Result<String, MakeError> {
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &self.encoding, self.algorithm.for_jsonwebtoken())
            .map_err(|_| MakeError::Sign)?;
        Ok(format!("{input}.{signature}"))
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}
