//! What an operator does with keys: make the first, see them, make the next, remove one.
//!
//! Beside a running control plane or without one: what serves takes in by itself what it finds in the folder. Each verb may
//! make keys, whatever `create` says, for an operator asked for it. Must never: show a private key.

use std::time::Duration;

use super::error::KeysError;
use super::places::{Places, Read};
use super::{Keys, Purpose, check_published, ledger};
use crate::config::keys::KeysConfig;
use crate::domain::WallTime;
use crate::token::CertifiedKey;

/// What `init` and `rotate` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The public roots, as they are pinned.
    pub roots: Vec<String>,
    pub kid: String,
    /// Where its private half is.
    pub place: String,
    pub begins: WallTime,
    pub ends: WallTime,
}

/// One key, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub purpose: Purpose,
    pub kid: String,
    pub place: String,
    /// When it begins and ends; a root, and a key that is not certified, have no time.
    pub validity: Option<(WallTime, WallTime)>,
    pub state: KeyState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// The root.
    Certifies,
    /// New grants are signed by it.
    Signs,
    /// Its time has not begun.
    Waits,
    /// Another signs; what it signed holds.
    Holds,
    Ended,
    /// Its private half is not here: it neither signs nor is believed.
    NoPrivateHalf,
    /// It is in the token, but no root certified it.
    NotCertified,
    Unusable(String),
}

impl std::fmt::Display for KeyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certifies => f.write_str("certifies"),
            Self::Signs => f.write_str("signs"),
            Self::Waits => f.write_str("waits"),
            Self::Holds => f.write_str("holds"),
            Self::Ended => f.write_str("ended"),
            Self::NoPrivateHalf => f.write_str("without its private half"),
            Self::NotCertified => f.write_str("not certified"),
            Self::Unusable(why) => write!(f, "unusable: {why}"),
        }
    }
}

/// Makes the root and the ledger's key, where there is none, and the first grant key, which signs at once.
///
/// # Errors
/// [`KeysError`]; [`KeysError::MadeBefore`] where there is a grant key.
pub async fn init(config: &KeysConfig, validity: Duration, now: WallTime) -> Result<Made, KeysError> {
    let config = KeysConfig { create: true, ..config.clone() };
    if let Some((kid, _)) = Places::open(&config, true)?.grant_keys()?.pop_first() {
        let place = format!("{} holds the grant key {kid}", config.folder.display());
        return Err(KeysError::MadeBefore { place });
    }
    let keys = Keys::load(&config, validity, now).await?;
    if keys.places.folder.ledger_keys()?.is_none() {
        keys.places.make_ledger_key(Vec::new()).await?;
    }
    make(&keys, now).await
}

/// Makes and certifies the next grant key. It begins after the activation delay, or at once.
///
/// # Errors
/// [`KeysError`].
pub async fn rotate(config: &KeysConfig, validity: Duration, at_once: bool, now: WallTime) -> Result<Made, KeysError> {
    // Not as `init`: without a root there is nothing to follow.
    let keys = Keys::load(&KeysConfig { create: false, ..config.clone() }, validity, now).await?;
    let begins = if at_once { now } else { keys.successor_begins(now) };
    make(&keys, begins).await
}

async fn make(keys: &Keys, begins: WallTime) -> Result<Made, KeysError> {
    let key = keys.make_grant_key(begins).await?;
    let (kid, place) = (key.kid().to_owned(), keys.places.grant_place(key.kid()));
    Ok(Made { roots: keys.roots(), kid, place, begins: key.certified.not_before, ends: key.certified.not_after })
}

/// Every key there is. One that can't be used is told with its cause.
///
/// # Errors
/// When root or folder can't be used.
pub async fn list(config: &KeysConfig, now: WallTime) -> Result<Vec<Listed>, KeysError> {
    let places = Places::open(config, false)?;
    let Some(root) = places.root().await? else {
        return Err(KeysError::NotMade { purpose: Purpose::Root, place: places.root_place(), verb: "init" });
    };
    check_published(&places, root.public())?;
    let roots: Vec<_> = [root.public()].into_iter().chain(&config.former_roots).cloned().collect();
    let (kid, place) = (root.public().kid().to_owned(), places.root_place());
    let mut listed = vec![Listed { purpose: Purpose::Root, kid, place, validity: None, state: KeyState::Certifies }];
    for (kid, halves) in places.grant_keys()? {
        let read = places.grant_key(&kid, halves, &roots, now).await;
        listed.push(grant_key(&places, kid, halves.private, read, now));
    }
    listed.sort_by(|a, b| (a.validity, &a.kid).cmp(&(b.validity, &b.kid)));
    if let Some(newest) = listed.iter_mut().rfind(|key| key.state == KeyState::Holds) {
        newest.state = KeyState::Signs;
    }
    for key in places.grant_keys_in_token().await? {
        if listed.iter().all(|known| known.kid != key.kid()) {
            let (kid, place) = (key.kid().to_owned(), places.grant_place(key.kid()));
            let state = KeyState::NotCertified;
            listed.push(Listed { purpose: Purpose::Grant, kid, place, validity: None, state });
        }
    }
    listed.extend(ledger::list(&places).await?);
    Ok(listed)
}

fn grant_key(places: &Places, kid: String, is_file: bool, read: Result<Read, KeysError>, now: WallTime) -> Listed {
    let span = |certified: &CertifiedKey| Some((certified.not_before, certified.not_after));
    let (validity, state) = match &read {
        Ok(Read::Whole(key)) if key.certified.not_before > now => (span(&key.certified), KeyState::Waits),
        Ok(Read::Whole(key)) => (span(&key.certified), KeyState::Holds),
        Ok(Read::Ended(certified)) => (span(certified), KeyState::Ended),
        Ok(Read::NoPrivateHalf(certified)) => (span(certified), KeyState::NoPrivateHalf),
        Err(error) => (None, KeyState::Unusable(crate::error_chain::error_chain(error))),
    };
    let file = || places.folder.private_path(&kid).display().to_string();
    let place = if is_file { file() } else { places.grant_place(&kid) };
    Listed { purpose: Purpose::Grant, kid, place, validity, state }
}

/// Removes a grant key wherever it is: the grants it signed end at every sidecar as soon as each replica has noticed.
///
/// # Errors
/// [`KeysError`]; [`KeysError::Unknown`] where there is no such key.
pub async fn retire(config: &KeysConfig, kid: &str) -> Result<(), KeysError> {
    let places = Places::open(config, false)?;
    if ledger::retire(&places, kid)? {
        return Ok(());
    }
    let in_folder = places.grant_keys()?.contains_key(kid);
    if !in_folder && places.grant_keys_in_token().await?.iter().all(|key| key.kid() != kid) {
        return Err(KeysError::Unknown { kid: kid.to_owned() });
    }
    places.remove_grant_key(kid).await
}
