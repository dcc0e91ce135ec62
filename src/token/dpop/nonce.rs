//! Nonces that need no memory: a time and its HMAC (RFC 9449 §8).
//!
//! Who holds the same secret accepts the same nonces: the cores of a sidecar, or replicas of a control plane. A nonce is
//! good for a while and may be used by many proofs; that a proof is used once is for its `jti`.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a nonce is accepted.
pub const NONCE_AGE_MAX: Duration = Duration::from_secs(120);

const PURPOSE: &[u8] = b"break-glass dpop nonce\0";
const TIME_BYTES: usize = 8;

/// Makes and knows nonces. Its `Debug` shows nothing.
pub struct Nonces(hmac::Key);

impl Nonces {
    /// With a secret of 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A nonce for now. `now` counts from a fixed point of whoever keeps the secret.
    pub fn issue(&self, now: Duration) -> String {
        let time = now.as_secs().to_be_bytes();
        URL_SAFE_NO_PAD.encode([&time, self.tag(&time).as_ref()].concat())
    }

    /// Whether `nonce` is one of ours and at most [`NONCE_AGE_MAX`] old.
    pub fn accepts(&self, nonce: &str, now: Duration) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else { return false };
        let Some((time, tag)) = bytes.split_first_chunk::<TIME_BYTES>() else { return false };
        let is_ours = hmac::verify(&self.0, &message(time), tag).is_ok();
        let issued = u64::from_be_bytes(*time);
        let age = now.as_secs().checked_sub(issued);
        is_ours && age.is_some_and(|age| age <= NONCE_AGE_MAX.as_secs())
    }

    fn tag(&self, time: &[u8; TIME_BYTES]) -> hmac::Tag {
        hmac::sign(&self.0, &message(time))
    }
}

fn message(time: &[u8; TIME_BYTES]) -> Vec<u8> {
    [PURPOSE, time].concat()
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}
