//! The head: how far the log had become durable, beside the segments, so that the loss of an end can be seen.
//!
//! Two slots of one line each, written in turn after every commit and never synced on an intent's path: a killed process
//! leaves the newest, a machine that lost its power perhaps an older one. INVARIANT: it is never ahead of what is durable.
//! A slot torn by a loss of power fails its own check, and the other one counts.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::{LineHash, Position};

/// The file's name.
pub(super) const FILE: &str = "head";
/// One sector, which disks write whole or not at all.
const SLOT_BYTES: usize = 512;
const FORMAT: u32 = 1;

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
        let slots = bytes.chunks(SLOT_BYTES).filter_map(Slot::parse);
        match slots.max_by_key(|slot| slot.count) {
            Some(slot) => Self::At { head: slot.head, count: slot.count },
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

/// One of the file's two lines.
#[derive(Debug, Serialize, Deserialize)]
struct Slot {
    format: u32,
    /// The greater one is the newer.
    count: u64,
    #[serde(flatten)]
    head: Head,
    check: LineHash,
}

impl Slot {
    fn new(head: Head, count: u64) -> Self {
        let unchecked = Self { format: FORMAT, count, head, check: LineHash::NONE };
        Self { check: unchecked.sum(), ..unchecked }
    }

    /// Over everything but itself.
    fn sum(&self) -> LineHash {
        let text = serde_json::to_vec(&(self.format, self.count, &self.head)).unwrap_or_default();
        LineHash::of(&text)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let slot: Self = serde_json::from_slice(bytes).ok()?;
        (slot.format == FORMAT && slot.check == slot.sum()).then_some(slot)
    }

    /// Padded with blanks to the length of a slot, newline last.
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.resize(SLOT_BYTES - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// A whole file for `head`, newer than anything counted before.
pub(super) fn file(head: Head, count: u64) -> io::Result<Vec<u8>> {
    let slot = Slot::new(head, count).bytes()?;
    Ok([slot.as_slice(), slot.as_slice()].concat())
}

/// Where in the file the slot with this count stands, and its bytes.
pub(super) fn slot(head: Head, count: u64) -> io::Result<(u64, Vec<u8>)> {
    let offset = if count.is_multiple_of(2) { 0 } else { SLOT_BYTES };
    Ok((u64::try_from(offset).unwrap_or_default(), Slot::new(head, count).bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::LogId;

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
        assert!(Slot::parse(&slot(head(u64::MAX), u64::MAX).unwrap().1).is_some());
    }
}
