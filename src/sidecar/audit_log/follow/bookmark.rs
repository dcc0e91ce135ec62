//! A reader's place in the log, and the file that keeps it over restarts: `follow-<name>` in the audit log's folder.
//!
//! It is written after every batch and not synced, since the same disk makes intents durable: a killed process loses
//! nothing, a machine that loses its power goes back to an older place, and its readers hand out some lines again. A file
//! that is missing or unreadable begins at the log's beginning.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::ReaderName;
use crate::audit::{Position, SegmentName};
use crate::sidecar::audit_log::two_slots;

/// Every line up to here was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    /// The segment that is read next, by its file's name; `None` before the first.
    pub(in crate::sidecar) segment: Option<String>,
    /// How many of its bytes are read.
    pub(in crate::sidecar) offset: u64,
    /// The last line that was taken.
    pub(in crate::sidecar) position: Option<Position>,
}

impl Bookmark {
    /// The last line that was taken; `None` before the first.
    pub const fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The number of the first segment that is still needed; 0 before the first.
    pub fn segment_number(&self) -> u64 {
        self.segment.as_ref().and_then(|name| name.parse::<SegmentName>().ok()).map_or(0, |name| name.number())
    }

    /// Whether the line with this place was taken, or one after it in the same log.
    pub fn has_taken(&self, log_id: crate::audit::LogId, seq: u64) -> bool {
        self.position.is_some_and(|taken| taken.log_id == log_id && taken.sequence >= seq)
    }
}

pub(super) fn file_name(name: &ReaderName) -> String {
    format!("follow-{name}")
}

/// The file, held against a second process.
#[derive(Debug)]
pub(super) struct BookmarkFile {
    file: File,
    count: u64,
    found: Bookmark,
}

impl BookmarkFile {
    /// `None` while another process holds it.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let mut bytes = Vec::new();
        file.by_ref().take(4096).read_to_end(&mut bytes)?;
        let (found, count) = two_slots::newest(&bytes).unwrap_or_default();
        Ok(Some(Self { file, count, found }))
    }

    pub(super) const fn found(&self) -> &Bookmark {
        &self.found
    }

    pub(super) fn note(&mut self, place: &Bookmark) -> io::Result<()> {
        let count = self.count.saturating_add(1);
        let (offset, bytes) = two_slots::slot(place.clone(), count)?;
        self.file.write_all_at(&bytes, offset)?;
        self.count = count;
        Ok(())
    }
}
