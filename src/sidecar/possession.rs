//! What a request's DPoP proof proves (RFC 9449), in `Break-Glass-DPoP`: the API may use `DPoP` itself.
//!
//! A proof is for one method and one URL below the configured public origin, names the grant token it came with, and
//! carries a nonce of this process. The secret of the nonces is made with the process and shared by its cores: it
//! outlives a reload, and with it goes the memory of used proofs, so that no proof outlives that memory.
//!
//! INVARIANT: whatever is said of a proof here is said without a look at any grant, except whether it was used before;
//! and that is asked only of proofs by the very key a grant is bound to, so that a stranger fills no memory.

use super::intake::{NamedGrant, Taken};
use super::replay::{Memory, Seen};
use crate::decision::Proof as Fact;
use crate::domain::{BootTime, Confirmation, Grant, Moment};
use crate::token::dpop::{Expected, Nonces, Proof, ProofError, ProofUrl, verify_proof};

/// What a sidecar keeps for proofs. One for all cores.
#[derive(Debug)]
pub struct Possession {
    nonces: Nonces,
    memory: Memory,
}

/// What came of a request's proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    Invalid(ProofError),
    NonceWanted,
    Unverifiable,
    Replayed,
    Key(Proof),
}

impl Shown {
    /// The same as a fact for the decision.
    pub fn fact(&self) -> Fact<'_> {
        match self {
            Self::Nothing => Fact::Absent,
            Self::Invalid(_) => Fact::Invalid,
            Self::NonceWanted => Fact::NonceWanted,
            Self::Unverifiable => Fact::Unverifiable,
            Self::Replayed => Fact::Replayed,
            Self::Key(proof) => Fact::Proven(&proof.thumbprint),
        }
    }
}

impl Possession {
    /// # Errors
    /// When the system's randomness fails.
    pub fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret)?;
        Ok(Self { nonces: Nonces::new(&secret), memory: Memory::default() })
    }

    /// A nonce for the next proof.
    pub fn nonce(&self, now: BootTime) -> String {
        self.nonces.issue(now.as_duration())
    }

    /// Verifies the proof of a request for `path`, which is canonical. `origin`: where this service is reached.
    pub fn look_at(&self, taken: &Taken, method: &str, path: &str, origin: Option<&ProofUrl>, now: Moment) -> Shown {
        let Some(proof) = &taken.proof else { return Shown::Nothing };
        let Some(origin) = origin.filter(|_| !self.memory.is_full(now.boot)) else { return Shown::Unverifiable };
        let Ok(url) = origin.with_path(path) else { return Shown::Invalid(ProofError::OtherUrl) };
        let token = match &taken.grant {
            Some(NamedGrant::Token(token)) => Some(token.expose().as_str()),
            Some(NamedGrant::Id(_)) | None => None,
        };
        let proof = match verify_proof(proof.expose(), &Expected { method, url: &url, token, now: now.wall }) {
            Ok(proof) => proof,
            Err(error) => return Shown::Invalid(error),
        };
        let is_fresh = |nonce: &str| self.nonces.accepts(nonce, now.boot.as_duration());
        if proof.nonce.as_deref().is_some_and(is_fresh) { Shown::Key(proof) } else { Shown::NonceWanted }
    }

    /// Uses the proof up, where it is by the key that `grant` is bound to.
    pub fn use_up(&self, shown: Shown, grant: &Grant, now: BootTime) -> Shown {
        let Shown::Key(proof) = shown else { return shown };
        if !matches!(&grant.confirmation, Some(Confirmation::Key(bound)) if *bound == proof.thumbprint) {
            return Shown::Key(proof);
        }
        match self.memory.note(&proof.thumbprint, &proof.jti, now) {
            Seen::First => Shown::Key(proof),
            Seen::Before => Shown::Replayed,
            Seen::Full => Shown::Unverifiable,
        }
    }
}
