//! How far the ledger has the log, kept beside the segments, so that a start need not ask and search.
//!
//! Only what the control plane has acknowledged is written here. It is never synced: an older bookmark, a torn one or none
//! costs a question and some lines that are sent twice. INVARIANT: it is never ahead of what was acknowledged.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::LineHash;
use crate::sidecar::audit_log::follow::Bookmark;

const FILE: &str = "shipped";
const FILE_NEW: &str = "shipped.new";
/// One of format 1 is none: then the control plane is asked.
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    bookmark: Bookmark,
    check: LineHash,
}

/// The one that was left, if it is whole.
pub(super) fn read(folder: &Path) -> Option<Bookmark> {
    let stored: Stored = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
    (stored.format == FORMAT && stored.check == sum(&stored.bookmark)).then_some(stored.bookmark)
}

/// Left in place of the one before, whole or not at all.
pub(super) fn leave(bookmark: &Bookmark, folder: &Path) -> io::Result<()> {
    let stored = Stored { format: FORMAT, bookmark: bookmark.clone(), check: sum(bookmark) };
    let new = folder.join(FILE_NEW);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(&stored)?)?;
    std::fs::rename(new, folder.join(FILE))
}

fn sum(bookmark: &Bookmark) -> LineHash {
    LineHash::of(&serde_json::to_vec(bookmark).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{LogId, Position};

    #[test]
    fn what_is_torn_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        let position = Position { log_id: LogId::from_bytes([7; 16]), sequence: 9, head: LineHash::of(b"x") };
        let segment = Some("audit-0000000003-07070707.jsonl".to_owned());
        let bookmark = Bookmark { position: Some(position), segment, offset: 4711 };
        leave(&bookmark, folder.path()).unwrap();
        assert_eq!(read(folder.path()).as_ref(), Some(&bookmark));
        let whole = std::fs::read(folder.path().join(FILE)).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(folder.path().join(FILE), &whole[..cut]).unwrap();
            assert_eq!(read(folder.path()), None, "{cut} bytes of it");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(folder.path().join(FILE), &altered).unwrap();
            assert_ne!(read(folder.path()).map(|b| b == bookmark), Some(false), "byte {at}");
        }
    }
}
