//! One private key and where it is: in memory, read from a file, or in a token, where it signs and stays.

use super::error::KeysError;
use super::hsm::Token;
use crate::token::{PublicKey, SigningKey, Unsigned};

/// Signed once to see that a key works. It has no dots, so it is no document of ours.
const TRIAL: &[u8] = b"breakglass: does this key sign?";

/// See the module.
#[derive(Debug)]
pub(super) enum PrivateKey {
    Memory(Box<SigningKey>),
    Token { token: Token, label: String, public: PublicKey },
}

impl PrivateKey {
    pub(super) fn memory(key: SigningKey) -> Self {
        Self::Memory(Box::new(key))
    }

    /// A key of the token, once it is shown to sign: a wrong one is found at the start and not at 2:13.
    pub(super) async fn in_token(token: &Token, label: &str, public: PublicKey) -> Result<Self, KeysError> {
        let signature = token.sign(label, &public, TRIAL.to_vec()).await?;
        if !public.verifies(TRIAL, &signature) {
            return Err(KeysError::Unusable { place: token_place(token) });
        }
        Ok(Self::Token { token: token.clone(), label: label.to_owned(), public })
    }

    pub(super) fn public(&self) -> &PublicKey {
        match self {
            Self::Memory(key) => key.public(),
            Self::Token { public, .. } => public,
        }
    }

    pub(super) fn in_memory(&self) -> Option<&SigningKey> {
        match self {
            Self::Memory(key) => Some(key),
            Self::Token { .. } => None,
        }
    }

    /// The Ed25519 signature of `message`. It waits a bounded time for a token.
    pub(super) async fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeysError> {
        let signature = match self {
            Self::Memory(key) => key.sign(message)?,
            Self::Token { token, label, public } => token.sign(label, public, message.to_vec()).await?,
        };
        let place = || match self {
            Self::Memory(_) => "the folder of the keys".to_owned(),
            Self::Token { token, .. } => token_place(token),
        };
        if self.public().verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(KeysError::Unusable { place: place() })
        }
    }

    /// The document with its signature. It waits a bounded time for a token.
    pub(super) async fn sign(&self, document: Unsigned) -> Result<String, KeysError> {
        match self {
            Self::Memory(key) => Ok(document.signed_by(key)?),
            Self::Token { token, label, public } => {
                let signature = token.sign(label, public, document.input().to_vec()).await?;
                let place = || token_place(token);
                document.signed(&signature, public).map_err(|source| KeysError::Signature { place: place(), source })
            }
        }
    }
}

pub(super) fn token_place(token: &Token) -> String {
    format!("the token {}", token.name())
}
