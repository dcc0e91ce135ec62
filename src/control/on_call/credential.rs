//! Secrets of schedules: one line in a file of the credentials folder, readable by its owner alone.
//!
//! They are read anew for each fetch, so that a rotated one is used without a restart. No message shows one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use crate::config::schedule::CredentialName;
use crate::secret::Secret;

/// Greatest size of a credential.
const BYTES_MAX: u64 = 8 * 1024;

/// Why a credential can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("\"{name}\" is named, and the control plane's file sets no credentials folder aside")]
    NoFolder { name: String },
    #[error("{} can't be read", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} may be read by others (mode {mode:03o}); make it 0600 if nobody has read it", path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{} is not one line of text of at most {BYTES_MAX} bytes", path.display())]
    NotOneLine { path: PathBuf },
}

/// Where `name` is.
///
/// # Errors
/// When there is no folder.
pub(super) fn locate(folder: Option<&Path>, name: &CredentialName) -> Result<PathBuf, CredentialError> {
    let folder = folder.ok_or_else(|| CredentialError::NoFolder { name: name.as_str().to_owned() })?;
    Ok(folder.join(name.as_str()))
}

/// The secret that the file `name` holds.
///
/// # Errors
/// [`CredentialError`].
pub(super) async fn read(folder: Option<&Path>, name: &CredentialName) -> Result<Secret<String>, CredentialError> {
    read_credential(&locate(folder, name)?).await
}

/// The secret that a file holds.
///
/// # Errors
/// [`CredentialError`].
pub(in crate::control) async fn read_credential(path: &Path) -> Result<Secret<String>, CredentialError> {
    let path = path.to_owned();
    let unreadable = |source| CredentialError::File { path: path.clone(), source };
    let file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
    // Of the very file that was opened: a name can be turned elsewhere meanwhile.
    let mode = file.metadata().await.map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CredentialError::Mode { path, mode });
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).await.map_err(unreadable)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    let is_line = !secret.is_empty() && secret.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if !is_line || text.len() as u64 > BYTES_MAX {
        return Err(CredentialError::NotOneLine { path });
    }
    Ok(Secret::new(secret.to_owned()))
}
