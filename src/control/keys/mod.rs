//! The private keys, separate ones per purpose: a root that certifies, grant keys that sign, and keys for the ledger's
//! checkpoints ([`ledger`]). Each is a file of its own or
//! in a hardware module.
//!
//! Which grant key signs is a matter of the clock alone: the newest that has begun and outlives the grant. A key begins a
//! while after it was made, so all replicas and all sidecars have it before its first grant. The root is online: it certifies
//! grant keys, and the keys by which sidecars sign assertions (`docs/keys.md` says why). Must never: use a file that others
//! can read, replace a root that went missing (every sidecar pins it), show a key, or make one where that is not allowed.

mod error;
mod folder;
mod hsm;
pub mod ledger;
pub mod operate;
mod places;
mod private_key;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

pub use error::KeysError;
pub use folder::FileError;
pub(in crate::control) use folder::{is_there, read_private, write_private};
pub use hsm::HsmError;
use places::{GrantKey, Places, Read};
use private_key::PrivateKey;

use crate::config::keys::KeysConfig;
use crate::domain::{Grant, WallTime};
use crate::secret::Secret;
use crate::store::NewKey;
use crate::token::assertion::certificate::{CertifiedAssertionKey, unsigned_assertion_certificate};
use crate::token::{PublicKey, unsigned_grant};

/// How long after a grant key could not be made it is tried again.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What a key is for. Each purpose has keys of its own, and no key is ever taken for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Certifies grant keys and sidecars' assertion keys; sidecars and contract APIs pin it.
    Root,
    /// Signs grants.
    Grant,
    /// Signs the ledger's checkpoints.
    Ledger,
}

impl Purpose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Grant => "grant",
            Self::Ledger => "ledger",
        }
    }
}

/// Who makes grant keys, and when they begin and end.
#[derive(Debug, Clone, Copy)]
struct Making {
    create: bool,
    activation_delay: Duration,
    validity: Duration,
}

/// The keys of this control plane.
#[derive(Debug)]
pub struct Keys {
    places: Places,
    making: Making,
    root: PrivateKey,
    /// The root and its forerunners.
    roots: Vec<PublicKey>,
    /// In the order in which they begin.
    grants: RwLock<Vec<Arc<GrantKey>>>,
    changed: AtomicBool,
    /// Until then no grant key is made, for the last attempt failed.
    rests_until: Mutex<Option<WallTime>>,
}

impl Keys {
    /// Reads the keys. Where it may, it makes folder and root on first start; the first grant key is made by
    /// [`Keys::renew`].
    ///
    /// # Errors
    /// [`KeysError`], when a key is missing, out of reach, open to others, or not what its name says.
    pub async fn open(config: &KeysConfig, validity: Duration, now: WallTime) -> Result<Self, KeysError> {
        let keys = Self::load(config, validity, now).await?;
        if !config.create && keys.signing(now, now).is_err() {
            let place = keys.places.grant_place("*");
            return Err(KeysError::NotMade { purpose: Purpose::Grant, place, verb: "rotate" });
        }
        Ok(keys)
    }

    /// The same, where no grant key need be in force.
    async fn load(config: &KeysConfig, validity: Duration, now: WallTime) -> Result<Self, KeysError> {
        let places = Places::open(config, config.create)?;
        let root = open_root(&places, config.create).await?;
        let mut roots = vec![root.public().clone()];
        roots.extend(config.former_roots.iter().filter(|former| *former != root.public()).cloned());
        if config.create {
            places.folder.publish(&roots)?;
        }
        let making = Making { create: config.create, activation_delay: config.activation_delay, validity };
        let keys = Self {
            places,
            making,
            root,
            roots,
            grants: RwLock::default(),
            changed: AtomicBool::new(true),
            rests_until: Mutex::default(),
        };
        keys.reload(now).await?;
        Ok(keys)
    }

    /// Takes in what was put into the folder since, and lets go of what was removed from it. What can't be used is left
    /// out, and what there was stays.
    ///
    /// # Errors
    /// [`KeysError`], of the first that can't be used.
    pub async fn reload(&self, now: WallTime) -> Result<(), KeysError> {
        // A folder that is empty because it is not mounted would end every grant.
        check_published(&self.places, self.root.public())?;
        let known = self.all();
        let (mut keys, mut failure) = (Vec::new(), None);
        for (kid, halves) in self.places.grant_keys()? {
            let same = |key: &&Arc<GrantKey>| {
                key.kid() == kid && halves.certificate && halves.private == key.private.in_memory().is_some()
            };
            if let Some(same) = known.iter().find(same) {
                keys.push(Arc::clone(same));
                continue;
            }
            match self.places.grant_key(&kid, halves, &self.roots, now).await {
                Ok(Read::Whole(key)) => keys.push(Arc::new(key)),
                Ok(Read::Ended(_) | Read::NoPrivateHalf(_)) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.replace(&known, keys, now);
        failure.map_or(Ok(()), Err)
    }

    /// Makes a new grant key when one is due and may be made here.
    ///
    /// # Errors
    /// [`KeysError`]; the keys there were go on signing.
    pub async fn renew(&self, now: WallTime) -> Result<(), KeysError> {
        if !self.making.create || !self.is_renewal_due(now) || self.rests(now) {
            return Ok(());
        }
        let made = self.make_grant_key(self.successor_begins(now)).await;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) =
            made.is_err().then(|| now.plus(REST_AFTER_FAILURE));
        made.map(drop)
    }

    /// A clock that was set back meanwhile makes nobody wait longer.
    fn rests(&self, now: WallTime) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until && until <= now.plus(REST_AFTER_FAILURE))
    }

    /// Whether less than a third is left of the last of the keys.
    pub fn is_renewal_due(&self, now: WallTime) -> bool {
        self.last_end(now).is_none_or(|end| end <= now.plus(self.making.validity / 3))
    }

    /// When the last grant key ends; `None` when none is in force.
    pub fn last_end(&self, now: WallTime) -> Option<WallTime> {
        self.in_force(now).iter().map(|grant| grant.certified.not_after).max()
    }

    /// Whether the set of grant keys differs from what it was when this was last asked.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// The certificates of all grant keys that have not ended.
    pub fn certificates(&self, now: WallTime) -> Vec<String> {
        self.in_force(now).into_iter().map(|grant| grant.certificate.clone()).collect()
    }

    /// The same keys as the ledger names them.
    pub fn known(&self, now: WallTime) -> Vec<NewKey> {
        let known = |grant: Arc<GrantKey>| NewKey {
            kid: grant.kid().to_owned(),
            root_kid: self.root.public().kid().to_owned(),
            certificate: grant.certificate.clone(),
        };
        self.in_force(now).into_iter().map(known).collect()
    }

    /// The public root keys, as a sidecar pins them.
    pub fn roots(&self) -> Vec<String> {
        self.roots.iter().map(ToString::to_string).collect()
    }

    /// The grant as a token, signed by the newest key in force.
    ///
    /// # Errors
    /// When no key is in force or signing fails.
    pub async fn mint(&self, grant: &Grant, issuer: &str) -> Result<Secret<String>, KeysError> {
        let key = self.signing(grant.issued, grant.expires)?;
        let document = unsigned_grant(grant, issuer, key.private.public())?;
        Ok(Secret::new(key.private.sign(document).await?))
    }

    /// Lets the root vouch for a sidecar's assertion key; the certificate and the root's key id.
    ///
    /// # Errors
    /// When the root cannot sign.
    pub async fn certify_assertion(&self, subject: &CertifiedAssertionKey) -> Result<(String, String), KeysError> {
        let root = self.root.public();
        let certificate = self.root.sign(unsigned_assertion_certificate(subject, root)?).await?;
        Ok((certificate, root.kid().to_owned()))
    }

    /// A successor begins when everybody has it; with nothing that signs until then, at once.
    fn successor_begins(&self, now: WallTime) -> WallTime {
        let begins = now.plus(self.making.activation_delay);
        if self.signing(now, begins).is_ok() { begins } else { now }
    }

    async fn make_grant_key(&self, begins: WallTime) -> Result<Arc<GrantKey>, KeysError> {
        let begins = self.first_free_second(begins);
        let ends = begins.plus(self.making.validity);
        let key = Arc::new(self.places.make_grant_key(&self.root, begins, ends).await?);
        let known = self.all();
        let keys = known.iter().chain([&key]).cloned().collect();
        self.replace(&known, keys, begins);
        Ok(key)
    }

    /// From `begins` on, the first second in which no other key begins: of two that begin together, their ids would decide
    /// which signs.
    fn first_free_second(&self, begins: WallTime) -> WallTime {
        let taken: BTreeSet<_> = self.all().iter().map(|grant| grant.certified.not_before.unix_s()).collect();
        let mut free = begins;
        while taken.contains(&free.unix_s()) {
            free = free.plus(Duration::from_secs(1));
        }
        free
    }

    /// The key that signs a grant from `now` until `until`. INVARIANT: every replica that holds the same keys finds the same.
    fn signing(&self, now: WallTime, until: WallTime) -> Result<Arc<GrantKey>, KeysError> {
        let fits = |grant: &Arc<GrantKey>| grant.certified.not_before <= now && grant.certified.not_after >= until;
        self.in_force(now).into_iter().rfind(fits).ok_or(KeysError::NoneInForce)
    }

    fn in_force(&self, now: WallTime) -> Vec<Arc<GrantKey>> {
        self.all().into_iter().filter(|grant| grant.certified.not_after > now).collect()
    }

    fn all(&self) -> Vec<Arc<GrantKey>> {
        self.grants.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, known: &[Arc<GrantKey>], mut keys: Vec<Arc<GrantKey>>, now: WallTime) {
        keys.sort_by(|a, b| (a.certified.not_before, a.kid()).cmp(&(b.certified.not_before, b.kid())));
        let lacks = |keys: &[Arc<GrantKey>], kid: &str| keys.iter().all(|key| key.kid() != kid);
        let (mut added, mut removed) = (keys.clone(), known.to_vec());
        added.retain(|key| lacks(known, key.kid()));
        removed.retain(|key| lacks(&keys, key.kid()));
        if added.is_empty() && removed.is_empty() {
            return;
        }
        for key in added {
            let (begins, until) = (key.certified.not_before.rfc3339(), key.certified.not_after.rfc3339());
            tracing::info!(kid = key.kid(), begins, until, "a grant key was taken in");
        }
        for key in removed.iter().filter(|key| key.certified.not_after > now) {
            tracing::warn!(kid = key.kid(), "a grant key was removed: the grants it signed end");
        }
        *self.grants.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// The root; a new one only where there never was one.
async fn open_root(places: &Places, may_make: bool) -> Result<PrivateKey, KeysError> {
    let place = places.root_place();
    let published = places.folder.roots()?.is_some();
    let was_there = published || !places.grant_keys()?.is_empty();
    match places.root().await? {
        Some(root) => {
            if published || !may_make {
                check_published(places, root.public())?;
            }
            Ok(root)
        }
        None if was_there => Err(KeysError::RootMissing { place }),
        None if may_make => places.make_root().await,
        None => Err(KeysError::NotMade { purpose: Purpose::Root, place, verb: "init" }),
    }
}

/// INVARIANT: only what was published is used, for that is what sidecars pin.
fn check_published(places: &Places, root: &PublicKey) -> Result<(), KeysError> {
    match places.folder.roots()? {
        Some(roots) if roots.contains(root) => Ok(()),
        Some(_) => Err(KeysError::RootReplaced { place: places.root_place(), published: places.folder.roots_path() }),
        None => Err(KeysError::NotMade {
            purpose: Purpose::Root,
            place: places.folder.roots_path().display().to_string(),
            verb: "init",
        }),
    }
}

#[cfg(test)]
mod tests;
