//! The keys of the ledger's checkpoints. The newest signs, and its predecessor beside it for as long as its private half is
//! here, so that who knows only one of them can verify.
//!
//! `ledger-keys.pub` lists the public keys, the newest last; the database knows which of them have signed. Must never: make
//! a key where one has signed before, or sign with one that the list does not name.

use super::Purpose;
use super::error::KeysError;
use super::operate::{KeyState, Listed};
use super::places::Places;
use super::private_key::PrivateKey;
use crate::config::keys::KeysConfig;
use crate::token::PublicKey;

/// Keys that sign at once: the newest, and the one before.
const SIGNERS_MAX: usize = 2;

/// See the module.
#[derive(Debug)]
pub struct LedgerKeys {
    places: Places,
    /// The newest last.
    published: Vec<PublicKey>,
    signers: Vec<PrivateKey>,
}

impl LedgerKeys {
    /// Reads the keys. `recorded` is the one that signed last, as the database knows it; where there is none, and it may, it
    /// makes the first.
    ///
    /// # Errors
    /// [`KeysError`], when the key is missing, was replaced, or does not sign.
    pub async fn open(config: &KeysConfig, recorded: Option<&PublicKey>) -> Result<Self, KeysError> {
        let places = Places::open(config, config.create)?;
        let published = match (places.folder.ledger_keys()?, recorded) {
            (Some(published), _) => published,
            (None, Some(known)) => return Err(KeysError::LedgerKeyMissing { place: places.ledger_place(known.kid()) }),
            (None, None) if config.create => vec![places.make_ledger_key(Vec::new()).await?],
            (None, None) => {
                let place = places.ledger_place("*");
                return Err(KeysError::NotMade { purpose: Purpose::Ledger, place, verb: "rotate --ledger" });
            }
        };
        if let Some(known) = recorded.filter(|known| !published.contains(known)) {
            let (published, known) = (places.folder.ledger_keys_path(), known.to_string());
            return Err(KeysError::LedgerKeyReplaced { published, known });
        }
        let signers = signers(&places, &published).await?;
        Ok(Self { places, published, signers })
    }

    /// The key that signs, and those that did, the newest last.
    pub fn published(&self) -> &[PublicKey] {
        &self.published
    }

    /// The keys that sign now, the newest last.
    pub fn signing(&self) -> impl Iterator<Item = &PublicKey> {
        self.signers.iter().map(PrivateKey::public)
    }

    /// The signatures of `message`, each with its key, the newest last.
    ///
    /// # Errors
    /// [`KeysError`], also where only one of them could be made.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<(PublicKey, Vec<u8>)>, KeysError> {
        let mut signatures = Vec::with_capacity(self.signers.len());
        for signer in &self.signers {
            signatures.push((signer.public().clone(), signer.sign_bytes(message).await?));
        }
        Ok(signatures)
    }

    /// Whether the folder's list, or the files of the keys that sign, are others than when this was read.
    pub fn is_outdated(&self) -> bool {
        let Ok(Some(published)) = self.places.folder.ledger_keys() else { return false };
        let is_gone = |signer: &PrivateKey| {
            signer.in_memory().is_some_and(|key| !self.places.folder.ledger_path(key.public().kid()).exists())
        };
        published != self.published || self.signers.iter().rev().skip(1).any(is_gone)
    }
}

async fn signers(places: &Places, published: &[PublicKey]) -> Result<Vec<PrivateKey>, KeysError> {
    let mut signers = Vec::new();
    for (age, public) in published.iter().rev().take(SIGNERS_MAX).enumerate() {
        match places.ledger_key(public).await? {
            Some(key) => signers.push(key),
            None if age == 0 => return Err(KeysError::LedgerKeyMissing { place: places.ledger_place(public.kid()) }),
            None => {}
        }
    }
    signers.reverse();
    if signers.is_empty() {
        return Err(KeysError::LedgerKeyMissing { place: places.folder.ledger_keys_path().display().to_string() });
    }
    Ok(signers)
}

/// Makes the next key of the ledger, or the first. Control planes that run take it in within a second.
///
/// # Errors
/// [`KeysError`].
pub async fn rotate(config: &KeysConfig) -> Result<PublicKey, KeysError> {
    let places = Places::open(config, config.create)?;
    let published = places.folder.ledger_keys()?.unwrap_or_default();
    places.make_ledger_key(published).await
}

/// Removes the private half of a key of the ledger that another follows. False where `kid` is none of the ledger's.
pub(super) fn retire(places: &Places, kid: &str) -> Result<bool, KeysError> {
    let published = places.folder.ledger_keys()?.unwrap_or_default();
    if published.iter().all(|key| key.kid() != kid) {
        return Ok(false);
    }
    if published.last().is_some_and(|newest| newest.kid() == kid) {
        return Err(KeysError::LedgerKeyInUse { kid: kid.to_owned() });
    }
    places.folder.remove_ledger_key(kid)?;
    Ok(true)
}

pub(super) async fn list(places: &Places) -> Result<Vec<Listed>, KeysError> {
    let published = places.folder.ledger_keys()?.unwrap_or_default();
    let mut listed = Vec::with_capacity(published.len());
    for (age, public) in published.iter().rev().enumerate() {
        let state = match places.ledger_key(public).await {
            Ok(Some(_)) if age == 0 => KeyState::Signs,
            Ok(Some(_)) => KeyState::Holds,
            Ok(None) => KeyState::NoPrivateHalf,
            Err(error) => KeyState::Unusable(crate::error_chain::error_chain(&error)),
        };
        let (kid, place) = (public.kid().to_owned(), places.ledger_place(public.kid()));
        listed.push(Listed { purpose: Purpose::Ledger, kid, place, validity: None, state });
    }
    listed.reverse();
    Ok(listed)
}
