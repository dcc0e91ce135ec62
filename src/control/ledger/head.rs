//! The newest checkpoint that this process signed, in a file of its own: a database that was put back by hand knows less than
//! this, and must not be signed on.
//!
//! The file holds the signed note itself.

use std::path::PathBuf;

use crate::control::keys::{FileError, is_there, read_private, write_private};
use crate::ledger::checkpoint::{CheckpointError, SignedCheckpoint};

/// Why it is not known what was signed last.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is no checkpoint: it is not known what was signed last", path.display())]
    Checkpoint { path: PathBuf, source: CheckpointError },
    #[error("{} is no text: it is not known what was signed last", path.display())]
    Text { path: PathBuf },
}

/// See the module. Without a place nothing is remembered.
#[derive(Debug, Clone)]
pub(super) struct Head(Option<PathBuf>);

impl Head {
    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    /// `None`: nothing was signed yet, or nothing is remembered.
    pub(super) fn read(&self) -> Result<Option<SignedCheckpoint>, HeadError> {
        let Some(path) = &self.0 else { return Ok(None) };
        if !is_there(path)? {
            return Ok(None);
        }
        let text = String::from_utf8(read_private(path)?).map_err(|_| HeadError::Text { path: path.clone() })?;
        let read = SignedCheckpoint::read(&text);
        read.map(Some).map_err(|source| HeadError::Checkpoint { path: path.clone(), source })
    }

    /// Whole or not at all.
    pub(super) fn write(&self, note: &str) -> Result<(), HeadError> {
        Ok(self.0.as_ref().map_or(Ok(()), |path| write_private(path, note.as_bytes()))?)
    }

    /// For people.
    pub(super) fn place(&self) -> String {
        self.0.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}
