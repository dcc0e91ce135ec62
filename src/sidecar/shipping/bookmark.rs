//! How far the ledger has the log, kept beside the segments, so that a start need not ask and search.
//!
//! Only what the control plane has acknowledged is written here. It is never synced: an older bookmark, a torn one or none
//! costs a question and some lines that are sent twice. INVARIANT: it is never ahead of what was acknowledged.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::{LineHash, Position};

const FILE: &str = "shipped";
const FILE_NEW: &str = "shipped.new";
const FORMAT: u32 = 1;

/// The last line that is in the ledger, and where the next one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookmark {
    pub(super) position: Position,
    /// Number of the segment.
    pub(super) segment: u64,
    pub(super) offset: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    bookmark: Bookmark,
    check: LineHash,
}

impl Bookmark {
    /// The one that was left, if it is whole.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
        (stored.format == FORMAT && stored.check == stored.bookmark.sum()).then_some(stored.bookmark)
    }

    /// Left in place of the one before, whole or not at all.
    pub(super) fn leave(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(&Stored { format: FORMAT, bookmark: *self, check: self.sum() })?;
        let new = folder.join(FILE_NEW);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        std::fs::rename(new, folder.join(FILE))
    }

    fn sum(&self) -> LineHash {
        LineHash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::LogId;

    #[test]
    fn what_is_torn_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Bookmark::read(folder.path()), None);
        let position = Position { log_id: LogId::from_bytes([7; 16]), sequence: 9, head: LineHash::of(b"x") };
        let bookmark = Bookmark { position, segment: 3, offset: 4711 };
        bookmark.leave(folder.path()).unwrap();
        assert_eq!(Bookmark::read(folder.path()), Some(bookmark));
        let whole = std::fs::read(folder.path().join(FILE)).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(folder.path().join(FILE), &whole[..cut]).unwrap();
            assert_eq!(Bookmark::read(folder.path()), None, "{cut} bytes of it");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(folder.path().join(FILE), &altered).unwrap();
            assert_ne!(Bookmark::read(folder.path()).map(|b| b == bookmark), Some(false), "byte {at}");
        }
    }
}
