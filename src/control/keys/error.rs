//! Why the keys cannot be used, in one sentence each, with the way out.

use std::path::PathBuf;

use super::Purpose;
use super::folder::FileError;
use super::hsm::HsmError;
use crate::token::mint::MintError;
use crate::token::{JwsError, KeyError, TokenError};

/// Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Hsm(#[from] HsmError),
    #[error("{} does not certify the key beside it", path.display())]
    Certificate { path: PathBuf, source: Option<TokenError> },
    #[error("{} has no certificate beside it", path.display())]
    NoCertificate { path: PathBuf },
    #[error(
        "the root key is not in {place}, but it was there before: put it back (a new one would be unknown to every sidecar)"
    )]
    RootMissing { place: String },
    #[error(
        "the root key in {place} is not one of {}, which every sidecar pins: put the right one back; docs/keys.md says how \
         a root is replaced on purpose", published.display()
    )]
    RootReplaced { place: String, published: PathBuf },
    #[error(
        "there is no {} key in {place}, and this control plane makes none (keys.create): run \
         `breakglass-control keys {verb}`",
        purpose.as_str()
    )]
    NotMade { purpose: Purpose, place: String, verb: &'static str },
    #[error(
        "the ledger's key is not in {place}, but checkpoints were signed with it before: put it back, with ledger-keys.pub \
         (a new one would be unknown to everybody who verifies)"
    )]
    LedgerKeyMissing { place: String },
    #[error(
        "{} does not name the key that signed the ledger's checkpoints so far ({known}): put the right one back; \
         docs/ledger.md says how it is replaced on purpose", published.display()
    )]
    LedgerKeyReplaced { published: PathBuf, known: String },
    #[error("the key {kid} signs the ledger's checkpoints: make its successor first, with `keys rotate --ledger`")]
    LedgerKeyInUse { kid: String },
    #[error("there are keys already: {place}")]
    MadeBefore { place: String },
    #[error("there is no grant key {kid}; `breakglass-control keys list` shows those there are")]
    Unknown { kid: String },
    #[error("no grant key is in force for as long as the grant; `breakglass-control keys rotate` makes one")]
    NoneInForce,
    #[error("a key could not be made")]
    Make(#[from] KeyError),
    #[error("a document could not be signed")]
    Sign(#[from] MintError),
    #[error("the signature that {place} made does not hold")]
    Signature { place: String, source: JwsError },
    #[error("the key in {place} does not sign")]
    Unusable { place: String },
}

impl KeysError {
    /// Whether the same call may succeed later, with nothing done here.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Hsm(_) | Self::Signature { .. } | Self::Unusable { .. } | Self::NoneInForce => true,
            Self::File(_)
            | Self::Certificate { .. }
            | Self::NoCertificate { .. }
            | Self::RootMissing { .. }
            | Self::RootReplaced { .. }
            | Self::NotMade { .. }
            | Self::LedgerKeyMissing { .. }
            | Self::LedgerKeyReplaced { .. }
            | Self::LedgerKeyInUse { .. }
            | Self::MadeBefore { .. }
            | Self::Unknown { .. }
            | Self::Make(_)
            | Self::Sign(_) => false,
        }
    }
}
