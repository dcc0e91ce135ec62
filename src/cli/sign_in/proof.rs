//! The values that tie an authorization response to the request it answers: PKCE (RFC 7636), state and nonce.

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::SignInError;

/// Fresh for each sign-in; none of it is kept.
pub(super) struct Proof {
    /// RFC 7636 §4.1: leaves only in the exchange of the code.
    pub(super) verifier: String,
    pub(super) state: String,
    pub(super) nonce: String,
}

impl Proof {
    pub(super) fn new() -> Result<Self, SignInError> {
        Ok(Self { verifier: random()?, state: random()?, nonce: random()? })
    }

    /// RFC 7636 §4.2, by SHA-256.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.as_bytes()))
    }

    pub(super) fn is_state(&self, state: &str) -> bool {
        constant_time::verify_slices_are_equal(self.state.as_bytes(), state.as_bytes()).is_ok()
    }
}

/// 256 random bits in 43 characters.
pub(in crate::cli) fn random() -> Result<String, SignInError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| SignInError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let proof = Proof { verifier, state: "s".to_owned(), nonce: String::new() };
        assert_eq!(proof.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "RFC 7636 appendix B");
        assert!(proof.is_state("s") && !proof.is_state("S") && !proof.is_state(""));
    }
}
