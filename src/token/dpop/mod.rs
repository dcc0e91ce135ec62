//! DPoP proofs (RFC 9449): that whoever sends a request holds a key, made ([`ProofKey`]) and verified ([`verify_proof`]).
//!
//! A proof is for one method and one URL ([`ProofUrl`]), says when it was made, carries the SHA-256 of the token it
//! accompanies (`ath`), and is used once. Verifying it here is pure: whether its nonce is one of ours is asked of
//! [`Nonces`], and whether its `jti` was seen before is for whoever keeps that memory. What a verified proof proves is
//! only the possession of the key of its thumbprint; what that key is good for is decided elsewhere.
//!
//! A proof brings its own key, so nothing in it is believed because it is signed. No error quotes a proof.
//!
//! Sources: RFC 9449 §4, RFC 7638, RFC 8037, RFC 8725.

mod jwk;
mod key;
mod nonce;
#[cfg(test)]
mod tests;
mod url;
mod verify;

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use jwk::{JwkError, thumbprint};
pub use key::{MakeError, Making, ProofAlgorithm, ProofKey};
pub use nonce::{NONCE_AGE_MAX, Nonces};
pub use url::{ProofUrl, UrlError};
pub use verify::{Expected, Proof, ProofError, verify_proof};

use crate::domain::CertificateThumbprint;

/// `typ` of a proof.
pub const DPOP_TYPE: &str = "dpop+jwt";
/// Greatest length of a proof.
pub const PROOF_BYTES_MAX: usize = 4 * 1024;
/// Greatest length of `jti` and `nonce`.
pub const ID_BYTES_MAX: usize = 256;
/// How long ago a proof may have been made. Its freshness rests on the nonce: this bounds what a clock may be off by.
pub const AGE_MAX: Duration = Duration::from_secs(120);
/// How far the clock of who made a proof may run ahead.
pub const LEAD_MAX: Duration = Duration::from_secs(30);
/// What is accepted, as an `algs` parameter of a challenge says it (RFC 9449 §7.1).
pub const ALGORITHMS: &str = "ES256 EdDSA PS256 RS256";

/// `ath`: base64url of the SHA-256 of a token.
pub fn token_hash(token: &str) -> String {
    sha256_base64url(token.as_bytes())
}

/// `x5t#S256` of a certificate in DER (RFC 8705 §3.1).
pub fn certificate_thumbprint(der: &[u8]) -> Option<CertificateThumbprint> {
    sha256_base64url(der).parse().ok()
}

fn sha256_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}
