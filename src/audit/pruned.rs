//! What says that the beginning of a folder was taken away on purpose, after it was shipped: the file `pruned`.
//!
//! It names the last line that is gone, so that the first that is there can be held to it. INVARIANT: it is durable before
//! a segment is removed, so that a missing segment without it is damage.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::{LineHash, Position};

/// The file's name.
pub const FILE: &str = "pruned";
const FORMAT: u32 = 1;

/// The log begins with this segment, whose first line follows this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Number of the segment.
    pub first: u64,
    /// The last line that was pruned.
    pub after: Position,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    pruned: Pruned,
    check: LineHash,
}

impl Pruned {
    /// What stands in the folder. One that can't be understood is none: then what is gone is damage.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) else { return Ok(None) };
        Ok((stored.format == FORMAT && stored.check == stored.pruned.sum()).then_some(stored.pruned))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// Only when the serializer fails.
    pub fn file(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&Stored { format: FORMAT, pruned: *self, check: self.sum() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn sum(&self) -> LineHash {
        LineHash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}
