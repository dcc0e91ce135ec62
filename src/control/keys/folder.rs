//! The folder of the keys: which files are whose, who may read them, and how they are written.
//!
//! `grant-root.pk8` and `grant-root.pub`, then `grant-key-KID.jwt` (the certificate) and `grant-key-KID.pk8` for each grant
//! key; `ledger-key-KID.pk8` for each key of the ledger, and `ledger-keys.pub`. A private half that is in a token has no
//! `.pk8`. Must never: use a file that others can read, or leave half a file.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::token::{KeyError, PublicKey, SigningKey};
use crate::whole_file;

const ROOT_FILE: &str = "grant-root.pk8";
/// The public root keys, one a line: what sidecars pin.
const ROOTS_FILE: &str = "grant-root.pub";
const GRANT_PREFIX: &str = "grant-key-";
/// The public keys of the ledger, one a line, the newest last.
const LEDGER_FILE: &str = "ledger-keys.pub";
const LEDGER_PREFIX: &str = "ledger-key-";
/// Greatest size of a key or certificate file.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Why a file of the folder, or one beside it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} {what}", path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
    #[error("{} may be read by others (mode {mode:03o}); make it 0{wanted:o} if nobody has read it", path.display())]
    Mode { path: PathBuf, mode: u32, wanted: u32 },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    Size { path: PathBuf },
    #[error("{} is not a private key of ours", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{} does not hold public keys, one a line", path.display())]
    Roots { path: PathBuf, source: KeyError },
}

/// Which files a grant key has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Halves {
    pub(super) certificate: bool,
    pub(super) private: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder, which is made where it is missing and may be made.
    pub(super) fn open(path: &Path, may_make: bool) -> Result<Self, FileError> {
        if may_make && !is_there(path)? {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(io_error(path, "can't be made"))?;
        }
        check_mode(path, 0o700)?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn root_path(&self) -> PathBuf {
        self.0.join(ROOT_FILE)
    }

    pub(super) fn roots_path(&self) -> PathBuf {
        self.0.join(ROOTS_FILE)
    }

    pub(super) fn certificate_path(&self, kid: &str) -> PathBuf {
        self.0.join(format!("{GRANT_PREFIX}{kid}.jwt"))
    }

    pub(super) fn private_path(&self, kid: &str) -> PathBuf {
        self.0.join(format!("{GRANT_PREFIX}{kid}.pk8"))
    }

    /// The root, where it is a file here.
    pub(super) fn root(&self) -> Result<Option<SigningKey>, FileError> {
        let path = self.root_path();
        if is_there(&path)? { read_key(&path).map(Some) } else { Ok(None) }
    }

    /// The public roots as they were published; `None` before.
    pub(super) fn roots(&self) -> Result<Option<Vec<PublicKey>>, FileError> {
        published(self.roots_path())
    }

    /// Writes what everybody may know. It is replaced as a whole, and only where it differs.
    pub(super) fn publish(&self, roots: &[PublicKey]) -> Result<(), FileError> {
        Self::publish_at(self.roots_path(), roots)
    }

    pub(super) fn ledger_keys_path(&self) -> PathBuf {
        self.0.join(LEDGER_FILE)
    }

    pub(super) fn ledger_path(&self, kid: &str) -> PathBuf {
        self.0.join(format!("{LEDGER_PREFIX}{kid}.pk8"))
    }

    /// The public keys of the ledger as they were published, the newest last; `None` before.
    pub(super) fn ledger_keys(&self) -> Result<Option<Vec<PublicKey>>, FileError> {
        published(self.ledger_keys_path())
    }

    /// A key of the ledger, where it is a file here.
    pub(super) fn ledger_key(&self, kid: &str) -> Result<Option<SigningKey>, FileError> {
        let path = self.ledger_path(kid);
        if is_there(&path)? { read_key(&path).map(Some) } else { Ok(None) }
    }

    /// The private half first: what is published can sign.
    pub(super) fn write_ledger_key(&self, keys: &[PublicKey], private: Option<&SigningKey>) -> Result<(), FileError> {
        if let Some(key) = private {
            write_private(&self.ledger_path(key.public().kid()), key.pkcs8_der().expose())?;
        }
        Self::publish_at(self.ledger_keys_path(), keys)
    }

    pub(super) fn remove_ledger_key(&self, kid: &str) -> Result<(), FileError> {
        let path = self.ledger_path(kid);
        std::fs::remove_file(&path).map_err(io_error(&path, "can't be removed"))?;
        let synced = std::fs::File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.map_err(io_error(&self.0, "can't be written to disk"))
    }

    fn publish_at(path: PathBuf, roots: &[PublicKey]) -> Result<(), FileError> {
        let text: String = roots.iter().map(|root| format!("{root}\n")).collect();
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        whole_file::replace(&path, text.as_bytes(), 0o644).map_err(io_error(&path, "can't be written"))
    }

    /// The grant keys that are here, by key id.
    pub(super) fn grant_keys(&self) -> Result<BTreeMap<String, Halves>, FileError> {
        let unreadable = || io_error(&self.0, "can't be listed");
        let mut keys: BTreeMap<String, Halves> = BTreeMap::new();
        for entry in std::fs::read_dir(&self.0).map_err(unreadable())? {
            let name = entry.map_err(unreadable())?.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(GRANT_PREFIX));
            match name.and_then(|name| name.rsplit_once('.')) {
                Some((kid, "jwt")) => keys.entry(kid.to_owned()).or_default().certificate = true,
                Some((kid, "pk8")) => keys.entry(kid.to_owned()).or_default().private = true,
                Some(_) | None => {}
            }
        }
        Ok(keys)
    }

    pub(super) fn grant_key(&self, kid: &str) -> Result<SigningKey, FileError> {
        read_key(&self.private_path(kid))
    }

    pub(super) fn write_root(&self, root: &SigningKey) -> Result<(), FileError> {
        write_private(&self.root_path(), root.pkcs8_der().expose())
    }

    /// The certificate first: a private half without one would be a mistake, the other way round is harmless.
    pub(super) fn write_grant_key(
        &self,
        kid: &str,
        certificate: &str,
        private: Option<&SigningKey>,
    ) -> Result<(), FileError> {
        write_private(&self.certificate_path(kid), certificate.as_bytes())?;
        private.map_or(Ok(()), |key| write_private(&self.private_path(kid), key.pkcs8_der().expose()))
    }

    /// The private half first, for the same cause.
    pub(super) fn remove_grant_key(&self, kid: &str) -> Result<(), FileError> {
        for path in [self.private_path(kid), self.certificate_path(kid)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&path, "can't be removed")(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let synced = std::fs::File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.map_err(io_error(&self.0, "can't be written to disk"))
    }
}

fn published(path: PathBuf) -> Result<Option<Vec<PublicKey>>, FileError> {
    if !is_there(&path)? {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(io_error(&path, "can't be read"))?;
    let keys = text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim().parse());
    keys.collect::<Result<_, _>>().map(Some).map_err(|source| FileError::Roots { path, source })
}

fn io_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { path, what, source }
}

fn check_mode(path: &Path, wanted: u32) -> Result<(), FileError> {
    let metadata = std::fs::metadata(path).map_err(io_error(path, "can't be read"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn read_key(path: &Path) -> Result<SigningKey, FileError> {
    let der = read_private(path)?;
    SigningKey::from_pkcs8_der(&der).map_err(|source| FileError::Key { path: path.to_owned(), source })
}

/// The bytes of a file that nobody else may read.
pub(in crate::control) fn read_private(path: &Path) -> Result<Vec<u8>, FileError> {
    check_mode(path, 0o600)?;
    let metadata = std::fs::metadata(path).map_err(io_error(path, "can't be read"))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(FileError::Size { path: path.to_owned() });
    }
    std::fs::read(path).map_err(io_error(path, "can't be read"))
}

/// Whole or not at all, and durable when it returns.
pub(in crate::control) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    whole_file::replace(path, bytes, 0o600).map_err(io_error(path, "can't be written"))
}

/// What can't be looked at is not taken for missing.
pub(in crate::control) fn is_there(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(io_error(path, "can't be looked at"))
}
