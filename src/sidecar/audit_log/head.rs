//! The head: how far the log had become durable, beside the segments, so that the loss of an end can be seen.
//!
//! Two slots ([`super::two_slots`]), written in turn after every commit and never synced on an intent's path. INVARIANT: it
//! is never ahead of what is durable.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::two_slots;
use crate::audit::Position;

/// The file's name.
pub(super) const FILE: &str = "head";

/// How far the log had become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last durable line; `None` before the first.
    pub position: Option<Position>,
    /// Number of the segment in which the log begins: what stands before is no part of it. 0 before the first.
    pub first: u64,
    /// Number of the segment that holds the position.
    pub last: u64,
}

impl Head {
    /// Of a log of which nothing is durable yet.
    pub(super) const NOTHING: Self = Self { position: None, first: 0, last: 0 };
}

/// What stands in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadFound {
    Absent,
    Unreadable(String),
    At { head: Head, count: u64 },
}

impl HeadFound {
    pub(in crate::sidecar) fn read(folder: &Path) -> Self {
        let bytes = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Absent,
            Err(error) => return Self::Unreadable(error.kind().to_string()),
        };
        match two_slots::newest(&bytes) {
            Some((head, count)) => Self::At { head, count },
            None => Self::Unreadable("neither slot passes its own check".to_owned()),
        }
    }

    pub const fn head(&self) -> Option<&Head> {
        match self {
            Self::At { head, .. } => Some(head),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// A whole file for `head`, newer than anything counted before.
pub(super) fn file(head: Head, count: u64) -> io::Result<Vec<u8>> {
    two_slots::file(head, count)
}

/// Where in the file the slot with this count stands, and its bytes.
pub(super) fn slot(head: Head, count: u64) -> io::Result<(u64, Vec<u8>)> {
    two_slots::slot(head, count)
}

#[cfg(test)]
mod tests {
    use super::two_slots::SLOT_BYTES;
    use super::*;
    use crate::audit::{LineHash, LogId};

    fn head(sequence: u64) -> Head {
        let log_id = LogId::from_bytes([0xff; 16]);
        Head {
            position: Some(Position { log_id, sequence, head: LineHash::of(b"x") }),
            first: sequence,
            last: sequence,
        }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let read = || HeadFound::read(folder.path());
        assert_eq!(read(), HeadFound::Absent);
        let mut bytes = file(Head::NOTHING, 0).unwrap();
        for count in 1..4 {
            let (offset, slot) = slot(head(count), count).unwrap();
            let offset = usize::try_from(offset).unwrap();
            bytes[offset..offset + slot.len()].copy_from_slice(&slot);
        }
        std::fs::write(folder.path().join(FILE), &bytes).unwrap();
        assert_eq!(read(), HeadFound::At { head: head(3), count: 3 });
        // The newer slot is torn: the older one counts.
        bytes[SLOT_BYTES + 40] ^= 1;
        std::fs::write(folder.path().join(FILE), &bytes).unwrap();
        assert_eq!(read(), HeadFound::At { head: head(2), count: 2 });
        bytes[40] ^= 1;
        std::fs::write(folder.path().join(FILE), &bytes).unwrap();
        assert!(matches!(read(), HeadFound::Unreadable(_)));
        std::fs::write(folder.path().join(FILE), b"").unwrap();
        assert!(matches!(read(), HeadFound::Unreadable(_)));
    }

    #[test]
    fn the_longest_slot_fits_its_sector() {
        assert_eq!(slot(head(u64::MAX), u64::MAX).unwrap().1.len(), SLOT_BYTES);
        assert!(two_slots::newest::<Head>(&slot(head(u64::MAX), u64::MAX).unwrap().1).is_some());
    }
}
