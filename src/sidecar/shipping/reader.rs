//! Batches for the ledger: durable lines, read by the reader that every reader of the log uses.
//!
//! Where a line does not follow, what stands before is lost to the ledger, and the batch that begins there says so. What
//! the ledger would not take for a line is none. Must never: skip a line in silence, or write to the folder.

use std::io;
use std::path::{Path, PathBuf};

use crate::audit::{Position, ToldLine};
use crate::domain::WallTime;
use crate::sidecar::audit_log::follow::{self, BatchLimits, Behind, Bookmark, FollowError, LinePlace, earlier_lines};
use crate::wire::audit::{BATCH_BYTES_MAX, BATCH_LINES_MAX, LossCause};

/// Kept free of a batch for its first line.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// How much of a batch there may be.
pub(super) const LIMITS: BatchLimits =
    BatchLimits { bytes_max: BATCH_BYTES_MAX - HEADER_BYTES_MAX, lines_max: BATCH_LINES_MAX, is_one_run: true };

/// Lines that follow each other, byte for byte, a newline after each.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    /// Those that are of a log before the one that is written now.
    pub(super) older_lines: u64,
    pub(super) first_at: WallTime,
    /// What stands before it can't be shipped.
    pub(super) lost: Option<LossCause>,
    /// The last of them.
    pub(super) position: Position,
    /// Where it stands, and what comes after.
    pub(super) end: Bookmark,
    /// There may be more at once.
    pub(super) is_full: bool,
}

/// Where a line was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought {
    /// Reading goes on after it.
    Found,
    /// Another line stands in its place, or none: reading goes on with the first line of its log, or of all.
    NotFound,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    inner: follow::Reader,
    /// What is read next does not follow what the ledger has.
    loss: Option<LossCause>,
}

impl Reader {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), inner: Self::at(folder, Bookmark::default()), loss: None }
    }

    fn at(folder: &Path, place: Bookmark) -> follow::Reader {
        follow::Reader::of_lines(folder.to_owned(), place, as_line)
    }

    /// Goes on after the bookmark; false where it leads nowhere.
    pub(super) fn resume(&mut self, at: &Bookmark) -> bool {
        let len = at.segment.as_ref().and_then(|name| std::fs::metadata(self.folder.join(name)).ok());
        let leads_on = len.is_some_and(|metadata| metadata.len() >= at.offset);
        if leads_on {
            (self.inner, self.loss) = (Self::at(&self.folder, at.clone()), None);
        }
        leads_on
    }

    /// Goes on with the first line there is.
    pub(super) fn rewind(&mut self, loss: Option<LossCause>) {
        (self.inner, self.loss) = (Self::at(&self.folder, Bookmark::default()), loss);
    }

    /// Goes on after the line that the ledger has, wherever it stands.
    pub(super) fn seek(&mut self, line: &Position) -> io::Result<Sought> {
        let (place, is_found) = self.inner.seek(line)?;
        self.inner = Self::at(&self.folder, place);
        self.loss = if is_found { None } else { Some(LossCause::Missing) };
        Ok(if is_found { Sought::Found } else { Sought::NotFound })
    }

    /// Bytes that are still to be read.
    pub(super) fn behind_bytes(&self) -> io::Result<u64> {
        Ok(Behind::measure(&self.folder, self.inner.place())?.bytes)
    }

    /// Lines that are still to be read of logs before `current`.
    pub(super) fn older_lines(&self, current: &Position) -> io::Result<u64> {
        earlier_lines(&self.folder, self.inner.place(), current.log_id)
    }

    /// The next lines up to `durable`; `None` where there are none now.
    pub(super) fn read(&mut self, durable: &Position, limits: BatchLimits) -> Result<Option<Batch>, FollowError> {
        loop {
            let goes_on = self.inner.place().position().is_some();
            let Some(read) = self.inner.read(*durable, limits)? else { return Ok(None) };
            // What is no line is a loss only where something is missing: the line after it tells.
            let (Some(first), Some(last)) = (read.lines.first(), read.lines.last()) else { continue };
            if goes_on && !first.follows {
                self.loss.get_or_insert(LossCause::Damaged);
            }
            let mut bytes = Vec::with_capacity(read.lines.iter().map(|line| line.text.len() + 1).sum());
            for line in &read.lines {
                bytes.extend_from_slice(&line.text);
                bytes.push(b'\n');
            }
            let older = read.lines.iter().filter(|line| line.position.log_id != durable.log_id).count();
            let is_full = last.position != *durable;
            return Ok(Some(Batch {
                lines: count(read.lines.len()),
                older_lines: count(older),
                first_at: first.at,
                lost: self.loss.take(),
                position: last.position,
                end: read.end().clone(),
                is_full,
                bytes,
            }));
        }
    }
}

fn count(lines: usize) -> u64 {
    u64::try_from(lines).unwrap_or(u64::MAX)
}

fn as_line(line: &[u8]) -> Option<LinePlace> {
    let told = ToldLine::parse(line).ok().filter(ToldLine::is_of_one_mind)?;
    Some(LinePlace { link: told.link, at: told.at })
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
