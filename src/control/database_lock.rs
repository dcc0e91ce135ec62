//! One process a SQLite file: wake-ups and acknowledgements live in its memory. Replicas share a PostgreSQL instead.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::start::StartError;

/// Held for as long as the file may be open; ends with the process.
#[derive(Debug)]
pub struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock beside `database`, making the folder when there is none.
    ///
    /// # Errors
    /// When the folder is not usable, or another process has the lock.
    pub fn take(database: &Path) -> Result<Self, StartError> {
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let unusable = |source| StartError::Folder { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let path = database.with_extension("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StartError::InUse { path: database.to_owned() })?;
        Ok(Self { _file: file })
    }
}
