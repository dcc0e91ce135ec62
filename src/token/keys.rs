//! Ed25519 keys and the ring of grant keys a sidecar holds.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::domain::WallTime;
use crate::secret::Secret;

/// Why a key could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key pair could not be generated")]
    Generate,
    #[error("this is not an Ed25519 private key in PKCS #8 DER")]
    Private,
    #[error("a public key is 32 bytes in base64url without padding")]
    Public,
}

/// A private key. Its `Debug` shows the key id only.
pub struct SigningKey {
    pkcs8: Secret<Vec<u8>>,
    encoding: EncodingKey,
    public: PublicKey,
}

impl SigningKey {
    /// # Errors
    /// When the system's randomness fails.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
        Self::from_pkcs8_der(document.as_ref())
    }

    /// # Errors
    /// When `der` is not an Ed25519 private key in PKCS #8 (RFC 8410 §7).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Private)?;
        let x = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Private)?;
        Ok(Self {
            pkcs8: Secret::new(der.to_vec()),
            encoding: EncodingKey::from_ed_der(der),
            public: PublicKey::from_bytes(x),
        })
    }

    /// PKCS #8 DER, to be kept with mode 0600.
    pub fn pkcs8_der(&self) -> &Secret<Vec<u8>> {
        &self.pkcs8
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The Ed25519 signature of `message` (RFC 8032 §5.1.6).
    ///
    /// # Errors
    /// When the system's cryptography is unusable.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.pkcs8.expose()).map_err(|_| KeyError::Private)?;
        Ok(pair.sign(message).as_ref().to_vec())
    }

    pub(super) fn encoding_key(&self) -> &EncodingKey {
        &self.encoding
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid).finish_non_exhaustive()
    }
}

/// A public key with its thumbprint.
#[derive(Clone)]
pub struct PublicKey {
    x: [u8; 32],
    kid: String,
    decoding: DecodingKey,
}

impl PublicKey {
    pub fn from_bytes(x: [u8; 32]) -> Self {
        let text = URL_SAFE_NO_PAD.encode(x);
        // RFC 7638 §3.2 with the members RFC 8037 §2 requires, in lexicographic order.
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{text}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
        Self { x, kid, decoding: DecodingKey::from_ed_der(&x) }
    }

    /// The key id: the RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.x
    }

    /// Whether `signature` is this key's of `message` (RFC 8032 §5.1.7).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let verified =
            jsonwebtoken::crypto::verify(&signature, message, &self.decoding, jsonwebtoken::Algorithm::EdDSA);
        verified.unwrap_or(false)
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl std::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Public)?;
        Ok(Self::from_bytes(bytes.try_into().map_err(|_| KeyError::Public)?))
    }
}

/// 32 bytes in base64url without padding: the `x` of a JWK.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.x))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.x == other.x
    }
}

impl Eq for PublicKey {}

/// A grant key and the span in which a root says it may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    pub key: PublicKey,
    pub not_before: WallTime,
    pub not_after: WallTime,
}

/// The grant keys in force, by key id. Only [`super::verify_key_certificate`] makes what goes in.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: HashMap<String, CertifiedKey>,
}

impl KeyRing {
    pub fn new(keys: impl IntoIterator<Item = CertifiedKey>) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.key.kid().to_owned(), key)).collect() }
    }

    pub fn get(&self, kid: &str) -> Option<&CertifiedKey> {
        self.keys.get(kid)
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
