//! A small file of two slots, written in turn: what a killed process leaves is the newest, what a machine leaves that lost
//! its power perhaps an older one. It costs no sync.
//!
//! Each slot is one line of JSON in one sector with a check of its own, so that a torn one shows, and the other counts.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::audit::LineHash;

/// One sector, which disks write whole or not at all.
pub(super) const SLOT_BYTES: usize = 512;
const FORMAT: u32 = 1;

/// One of the file's two lines.
#[derive(Debug, Serialize, Deserialize)]
struct Slot<T> {
    format: u32,
    /// The greater one is the newer.
    count: u64,
    #[serde(flatten)]
    content: T,
    check: LineHash,
}

impl<T: Serialize + DeserializeOwned> Slot<T> {
    fn new(content: T, count: u64) -> Self {
        let unchecked = Self { format: FORMAT, count, content, check: LineHash::NONE };
        Self { check: unchecked.sum(), ..unchecked }
    }

    /// Over everything but itself.
    fn sum(&self) -> LineHash {
        let text = serde_json::to_vec(&(self.format, self.count, &self.content)).unwrap_or_default();
        LineHash::of(&text)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let slot: Self = serde_json::from_slice(bytes).ok()?;
        (slot.format == FORMAT && slot.check == slot.sum()).then_some(slot)
    }

    /// Padded with blanks to the length of a slot, newline last.
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        if bytes.len() >= SLOT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.resize(SLOT_BYTES - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The newest whole slot of a file, and its count.
pub(super) fn newest<T: Serialize + DeserializeOwned>(file: &[u8]) -> Option<(T, u64)> {
    let slots = file.chunks(SLOT_BYTES).filter_map(Slot::parse);
    slots.max_by_key(|slot| slot.count).map(|slot| (slot.content, slot.count))
}

/// A whole file, newer than anything counted before.
pub(super) fn file<T: Serialize + DeserializeOwned>(content: T, count: u64) -> io::Result<Vec<u8>> {
    let slot = Slot::new(content, count).bytes()?;
    Ok([slot.as_slice(), slot.as_slice()].concat())
}

/// Where in the file the slot with this count stands, and its bytes.
pub(super) fn slot<T: Serialize + DeserializeOwned>(content: T, count: u64) -> io::Result<(u64, Vec<u8>)> {
    let offset = if count.is_multiple_of(2) { 0 } else { SLOT_BYTES };
    Ok((u64::try_from(offset).unwrap_or_default(), Slot::new(content, count).bytes()?))
}
