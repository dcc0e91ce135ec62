//! All readers of one log: which segments are still needed, and how far behind each reader is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Bookmark, ReaderName};
use crate::audit::folder::{list_all_segments, open_segment};
use crate::audit::{LogId, Position, SegmentName};

/// The places of all readers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readers(Arc<Mutex<BTreeMap<ReaderName, Arc<Place>>>>);

/// One reader's place.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) settled: watch::Sender<Bookmark>,
    /// Lines of logs before the one that is being written, which it has not taken.
    pub(super) earlier_lines: AtomicU64,
}

impl Place {
    pub(super) fn settle(&self, place: &Bookmark, earlier_lines: u64) {
        let _ = self
            .earlier_lines
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(earlier_lines)));
        self.settled.send_replace(place.clone());
    }

    fn lines_behind(&self, durable: &Position) -> u64 {
        match self.settled.borrow().position {
            Some(taken) if taken.log_id == durable.log_id => durable.sequence.saturating_sub(taken.sequence),
            Some(_) | None => durable.sequence.saturating_add(self.earlier_lines.load(Ordering::Relaxed)),
        }
    }
}

impl Readers {
    /// Makes known a reader that may not have begun yet: until then it needs every segment.
    pub fn expect(&self, name: &ReaderName) {
        let _not_begun = self.place(name);
    }

    pub(super) fn place(&self, name: &ReaderName) -> Arc<Place> {
        Arc::clone(self.lock().entry(name.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReaderName, Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the first segment that a reader still needs: what stands before was taken by all. `None` without a reader.
    pub fn floor(&self) -> Option<u64> {
        self.lock().values().map(|place| place.settled.borrow().segment_number()).min()
    }

    /// The place of one of them.
    pub fn settled(&self, name: &ReaderName) -> Option<watch::Receiver<Bookmark>> {
        self.lock().get(name).map(|place| place.settled.subscribe())
    }

    /// How many durable lines it has not taken. Of logs before the one that is being written they were counted when the
    /// reader began, with those that a failing disk made stand twice.
    pub fn lines_behind(&self, name: &ReaderName, durable: &Position) -> Option<u64> {
        self.lock().get(name).map(|place| place.lines_behind(durable))
    }
}

/// What a reader has not taken yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Counted to the end of the files, of which the last lines may not be durable yet.
    pub bytes: u64,
    pub segments: u64,
}

impl Behind {
    /// Looks at the folder. Blocks on the disk.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn measure(folder: &Path, place: &Bookmark) -> io::Result<Self> {
        let mut behind = Self::default();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<SegmentName>().ok()) else {
                continue;
            };
            if name.number() < place.segment_number() {
                continue;
            }
            let is_current = place.segment.as_ref().is_some_and(|current| *current == name.to_string());
            let read = if is_current { place.offset } else { 0 };
            let bytes = entry.metadata().map_or(0, |data| data.len()).saturating_sub(read);
            behind.bytes = behind.bytes.saturating_add(bytes);
            behind.segments = behind.segments.saturating_add(u64::from(bytes > 0));
        }
        Ok(behind)
    }
}

/// Lines after `place` in the segments of other logs than the one that is being written. Blocks on the disk.
pub(in crate::sidecar) fn earlier_lines(folder: &Path, place: &Bookmark, current: LogId) -> io::Result<u64> {
    let mut lines = 0_u64;
    for name in list_all_segments(folder).map_err(io::Error::other)? {
        if name.number() < place.segment_number() || name == SegmentName::new(name.number(), current, name.is_resumed())
        {
            continue;
        }
        let is_current = place.segment.as_ref().is_some_and(|current| *current == name.to_string());
        let from = if is_current { place.offset } else { 0 };
        // One that can't be read is passed over by its readers, too.
        let Ok(segment) = open_segment(&folder.join(name.to_string()), from) else { continue };
        lines = lines.saturating_add(newlines(segment)?);
    }
    Ok(lines)
}

fn newlines(mut reader: BufReader<File>) -> io::Result<u64> {
    let mut lines = 0_u64;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        let found = bytes.iter().filter(|byte| **byte == b'\n').count();
        lines = lines.saturating_add(u64::try_from(found).unwrap_or(u64::MAX));
        let used = bytes.len();
        reader.consume(used);
    }
}
