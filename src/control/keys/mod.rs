//! The private keys: a root that certifies, and grant keys that sign, each in a file of its own.
//!
//! All are made here on first start, with mode 0600 in a folder of mode 0700. Must never: use a file that others can
//! read, replace a root that went missing (every sidecar pins it), or show a key.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::domain::{Grant, WallTime};
use crate::secret::Secret;
use crate::store::NewKey;
use crate::token::assertion::certificate::{CertifiedAssertionKey, certify_assertion_key};
use crate::token::mint::MintError;
use crate::token::{CertifiedKey, KeyError, SigningKey, TokenError, certify_key, mint_grant, verify_key_certificate};

const ROOT_FILE: &str = "grant-root.pk8";
/// The public root keys, one a line: what sidecars pin.
const ROOTS_FILE: &str = "grant-root.pub";
const GRANT_PREFIX: &str = "grant-key-";
/// Greatest size of a key or certificate file.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Why the keys cannot be used. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{} {what}", path.display())]
    File { path: PathBuf, what: &'static str, source: io::Error },
    #[error("{} may be read by others (mode {mode:03o}); make it 0{wanted:o} if nobody has read it", path.display())]
    Mode { path: PathBuf, mode: u32, wanted: u32 },
    #[error("{} is not a private key of ours", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{} does not certify the key beside it", path.display())]
    Certificate { path: PathBuf, source: Option<TokenError> },
    #[error(
        "{} is missing, but grant keys are there: put the root key back (a new one would be unknown to every sidecar)",
        path.display()
    )]
    RootMissing { path: PathBuf },
    #[error("a key could not be made")]
    Make(#[from] KeyError),
    #[error("a key could not be certified")]
    Certify(#[from] MintError),
    #[error("no grant key is in force")]
    NoneInForce,
}

#[derive(Debug)]
struct GrantKey {
    key: SigningKey,
    certificate: String,
    certified: CertifiedKey,
}

/// The keys of this control plane.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
    validity: Duration,
    root: SigningKey,
    grants: RwLock<Vec<Arc<GrantKey>>>,
}

impl Keys {
    /// Reads the keys in `folder`, making the folder and the root on first start.
    ///
    /// # Errors
    /// [`KeysError`], when a file is unreadable, open to others, or not what its name says.
    pub fn open(folder: &Path, validity: Duration, now: WallTime) -> Result<Self, KeysError> {
        make_folder(folder)?;
        let names = grant_key_names(folder)?;
        let root = open_root(&folder.join(ROOT_FILE), names.is_empty())?;
        publish(&folder.join(ROOTS_FILE), &format!("{}\n", root.public()))?;
        let mut grants = Vec::new();
        for name in names {
            if let Some(key) = open_grant_key(folder, &name, &root, now)? {
                grants.push(Arc::new(key));
            }
        }
        grants.sort_by_key(|grant| grant.certified.not_before);
        Ok(Self { folder: folder.to_owned(), validity, root, grants: RwLock::new(grants) })
    }

    /// Makes a new grant key when less than a third is left of the one that signs, and answers whether it did.
    ///
    /// # Errors
    /// [`KeysError`]; the keys there were go on signing.
    pub fn renew(&self, now: WallTime) -> Result<bool, KeysError> {
        let until = now.plus(self.validity / 3);
        if self.signing(now).is_ok_and(|current| current.certified.not_after > until) {
            return Ok(false);
        }
        let key = SigningKey::generate()?;
        let (not_before, not_after) = (WallTime::from_unix_s(now.unix_s()), now.plus(self.validity));
        let certificate = certify_key(key.public(), not_before, not_after, &self.root)?;
        let certified = CertifiedKey {
            key: key.public().clone(),
            not_before,
            not_after: WallTime::from_unix_s(not_after.unix_s()),
        };
        // The certificate first: a key file without one would be a mistake, the other way round is harmless.
        let stem = format!("{GRANT_PREFIX}{}", key.public().kid());
        write_private(&self.folder.join(format!("{stem}.jwt")), certificate.as_bytes())?;
        write_private(&self.folder.join(format!("{stem}.pk8")), key.pkcs8_der().expose())?;
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.push(Arc::new(GrantKey { key, certificate, certified }));
        Ok(true)
    }

    /// The certificates of all grant keys that have not ended.
    pub fn certificates(&self, now: WallTime) -> Vec<String> {
        self.in_force(now).into_iter().map(|grant| grant.certificate.clone()).collect()
    }

    /// The same keys as the ledger names them.
    pub fn known(&self, now: WallTime) -> Vec<NewKey> {
        let known = |grant: Arc<GrantKey>| NewKey {
            kid: grant.key.public().kid().to_owned(),
            root_kid: self.root.public().kid().to_owned(),
            certificate: grant.certificate.clone(),
        };
        self.in_force(now).into_iter().map(known).collect()
    }

    /// The public root keys, as a sidecar pins them.
    pub fn roots(&self) -> Vec<String> {
        vec![self.root.public().to_string()]
    }

    /// The grant as a token, signed by the newest key in force.
    ///
    /// # Errors
    /// When no key is in force or signing fails.
    pub fn mint(&self, grant: &Grant, issuer: &str) -> Result<Secret<String>, KeysError> {
        Ok(mint_grant(grant, issuer, &self.signing(grant.issued)?.key)?)
    }

    /// Lets the root vouch for a sidecar's assertion key; the certificate and the root's key id.
    ///
    /// # Errors
    /// When the root cannot sign.
    pub fn certify_assertion(&self, subject: &CertifiedAssertionKey) -> Result<(String, String), MintError> {
        Ok((certify_assertion_key(subject, &self.root)?, self.root.public().kid().to_owned()))
    }

    fn signing(&self, now: WallTime) -> Result<Arc<GrantKey>, KeysError> {
        let begun = |grant: &Arc<GrantKey>| grant.certified.not_before <= now;
        self.in_force(now).into_iter().rfind(begun).ok_or(KeysError::NoneInForce)
    }

    fn in_force(&self, now: WallTime) -> Vec<Arc<GrantKey>> {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.iter().filter(|grant| grant.certified.not_after > now).cloned().collect()
    }
}

fn file_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |source| KeysError::File { path, what, source }
}

fn make_folder(folder: &Path) -> Result<(), KeysError> {
    if !folder.exists() {
        DirBuilder::new().mode(0o700).create(folder).map_err(file_error(folder, "can't be made"))?;
    }
    check_mode(folder, 0o700)
}

fn check_mode(path: &Path, wanted: u32) -> Result<(), KeysError> {
    let metadata = std::fs::metadata(path).map_err(file_error(path, "can't be read"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Mode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// The stems of the grant keys in the folder.
fn grant_key_names(folder: &Path) -> Result<Vec<String>, KeysError> {
    let unreadable = || file_error(folder, "can't be listed");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable())? {
        let name = entry.map_err(unreadable())?.file_name();
        if let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".pk8"))
            && stem.starts_with(GRANT_PREFIX)
        {
            names.push(stem.to_owned());
        }
    }
    Ok(names)
}

fn open_root(path: &Path, may_make: bool) -> Result<SigningKey, KeysError> {
    if path.exists() {
        return read_key(path);
    }
    if !may_make {
        return Err(KeysError::RootMissing { path: path.to_owned() });
    }
    let root = SigningKey::generate()?;
    write_private(path, root.pkcs8_der().expose())?;
    Ok(root)
}

/// Writes what everybody may know. It is replaced as a whole, and only where it differs.
fn publish(path: &Path, text: &str) -> Result<(), KeysError> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let fresh = path.with_extension("pub.new");
    std::fs::write(&fresh, text).map_err(file_error(&fresh, "can't be written"))?;
    std::fs::rename(&fresh, path).map_err(file_error(path, "can't be replaced"))
}

/// A grant key with its certificate; `None` when its time is over.
fn open_grant_key(folder: &Path, stem: &str, root: &SigningKey, now: WallTime) -> Result<Option<GrantKey>, KeysError> {
    let path = folder.join(format!("{stem}.jwt"));
    let unfit = |source| KeysError::Certificate { path: path.clone(), source };
    let certificate = String::from_utf8(read_private(&path)?).map_err(|_| unfit(None))?;
    let certified = match verify_key_certificate(&certificate, std::slice::from_ref(root.public()), now) {
        Ok(certified) => certified,
        Err(TokenError::OutsideKeyValidity) => return Ok(None),
        Err(error) => return Err(unfit(Some(error))),
    };
    let key = read_key(&folder.join(format!("{stem}.pk8")))?;
    if *key.public() != certified.key {
        return Err(unfit(None));
    }
    Ok(Some(GrantKey { key, certificate, certified }))
}

fn read_key(path: &Path) -> Result<SigningKey, KeysError> {
    let der = read_private(path)?;
    SigningKey::from_pkcs8_der(&der).map_err(|source| KeysError::Key { path: path.to_owned(), source })
}

fn read_private(path: &Path) -> Result<Vec<u8>, KeysError> {
    check_mode(path, 0o600)?;
    let metadata = std::fs::metadata(path).map_err(file_error(path, "can't be read"))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(KeysError::Key { path: path.to_owned(), source: KeyError::Private });
    }
    std::fs::read(path).map_err(file_error(path, "can't be read"))
}

/// Whole or not at all: written beside, made durable, then renamed.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(file_error(path, "can't be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);
    const VALIDITY: Duration = Duration::from_secs(90 * 86_400);

    fn days(count: u64) -> WallTime {
        NOW.plus(Duration::from_secs(count * 86_400))
    }

    #[test]
    fn keys_outlive_a_restart_and_overlap_when_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let keys = Keys::open(&path, VALIDITY, NOW).unwrap();
        assert!(keys.certificates(NOW).is_empty());
        assert!(keys.renew(NOW).unwrap());
        assert!(!keys.renew(days(59)).unwrap());
        assert!(keys.renew(days(60)).unwrap(), "a third is left");
        let both = keys.certificates(days(61));
        assert_eq!(both.len(), 2);
        let again = Keys::open(&path, VALIDITY, days(61)).unwrap();
        assert_eq!((again.roots(), again.certificates(days(61))), (keys.roots(), both.clone()));
        assert_eq!(again.certificates(days(90)), both[1..], "the first has ended");
        assert_eq!(Keys::open(&path, VALIDITY, days(95)).unwrap().certificates(days(95)), both[1..]);
        for file in std::fs::read_dir(&path).unwrap().map(Result::unwrap) {
            let mode = file.metadata().unwrap().permissions().mode();
            assert!(mode & 0o777 == 0o600 || file.file_name() == ROOTS_FILE, "{:?} {mode:o}", file.file_name());
        }
        let pinned = std::fs::read_to_string(path.join(ROOTS_FILE)).unwrap();
        assert_eq!(pinned.lines().collect::<Vec<_>>(), again.roots());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        Keys::open(&path, VALIDITY, NOW).unwrap();
        std::fs::set_permissions(path.join(ROOT_FILE), std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Keys::open(&path, VALIDITY, NOW).unwrap_err();
        assert!(error.to_string().contains("may be read by others (mode 640)"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Keys::open(&path, VALIDITY, NOW).unwrap_err();
        assert!(matches!(error, KeysError::Mode { mode: 0o755, wanted: 0o700, .. }), "{error}");
    }

    #[test]
    fn garbage_and_a_missing_root_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        Keys::open(&path, VALIDITY, NOW).unwrap().renew(NOW).unwrap();
        let root = path.join(ROOT_FILE);
        let bytes = std::fs::read(&root).unwrap();
        for garbage in [&b""[..], b"garbage", &[0; 20_000], &bytes[..40]] {
            std::fs::write(&root, garbage).unwrap();
            let error = Keys::open(&path, VALIDITY, NOW).unwrap_err();
            assert!(matches!(error, KeysError::Key { .. }), "{error}");
        }
        std::fs::remove_file(&root).unwrap();
        let error = Keys::open(&path, VALIDITY, NOW).unwrap_err();
        assert!(matches!(error, KeysError::RootMissing { .. }), "{error}");
        write_private(&root, SigningKey::generate().unwrap().pkcs8_der().expose()).unwrap();
        let error = Keys::open(&path, VALIDITY, NOW).unwrap_err();
        assert!(matches!(error, KeysError::Certificate { .. }), "another root did not certify it: {error}");
    }
}
