//! Our own signed documents: grant tokens, upstream assertions, and the certificates of the keys that sign them.
//!
//! All are compact JWS (RFC 7515 §7.1) with `alg: EdDSA` (RFC 8037), a `typ` of their own (RFC 8725 §3.11) and a `kid`
//! that is the key's thumbprint (RFC 7638). A header may hold nothing else: no `jwk`, `jku`, `x5u`, `crit` can even
//! be said. [`dpop`] proofs are the exception: they carry the key that they prove. Tokens of identity providers are not
//! read here but in `identity`.

pub mod assertion;
pub mod claims;
pub mod dpop;
mod jws;
pub mod keys;
pub mod mint;
pub mod verify;

pub use assertion::{AssertionClaims, AssertionError, mint_assertion, verify_assertion};
pub use jws::{JwsError, TOKEN_BYTES_MAX, Unsigned};
pub use keys::{CertifiedKey, KeyError, KeyRing, PublicKey, SigningKey};
pub use mint::{certify_key, mint_grant, unsigned_grant, unsigned_key_certificate};
pub use verify::{TokenError, key_id, verify_grant, verify_key_certificate};

/// `typ` of a grant token.
pub const GRANT_TYPE: &str = "bg-grant+jwt";
/// `typ` of a key certificate.
pub const KEY_TYPE: &str = "bg-key+jwt";
/// `typ` of an upstream assertion.
pub const ASSERTION_TYPE: &str = "bg-assertion+jwt";
/// `typ` of the proof that a key is held, by which its certificate is asked for.
pub const PROOF_TYPE: &str = "bg-key-proof+jwt";
