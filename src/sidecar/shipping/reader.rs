//! Reads durable lines from the segments, in the order of the chain, from a place on.
//!
//! It reads files that the writer appends to and never waits for it: only lines up to the position that the log calls
//! durable count. A segment that was given up is read as far as it follows, and the one that resumes it repeats the rest.
//! Where a line does not follow, what stands before is lost to the ledger, and the run that begins there says so.
//! Must never: skip a line in silence, or write to the folder.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::audit::folder::{FolderError, list_all_segments, open_segment};
use crate::audit::segment::{LineReader, RawLine};
use crate::audit::{LINE_BYTES_MAX, Position, SegmentName, ToldLine};
use crate::domain::WallTime;
use crate::wire::audit::LossCause;

use super::bookmark::Bookmark;

/// How much of a batch there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) bytes_max: usize,
    pub(super) lines_max: usize,
}

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
    /// Where the last of them stands, and what comes after.
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
    /// The next line to read.
    segment: u64,
    offset: u64,
    /// The line before it, once one is known.
    last: Option<Position>,
    /// What is read next does not follow what the ledger has.
    loss: Option<LossCause>,
}

/// What a line is to the reader.
enum Step {
    Take(Box<ToldLine>),
    /// It was shipped from the segment before.
    Skip,
    /// Not durable yet.
    Wait,
    /// It does not follow. What can be read goes on with it.
    Break(Option<Box<ToldLine>>),
}

impl Reader {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), segment: 0, offset: 0, last: None, loss: None }
    }

    /// Goes on after the bookmark; false where it leads nowhere.
    pub(super) fn resume(&mut self, at: Bookmark) -> Result<bool, FolderError> {
        let segments = list_all_segments(&self.folder)?;
        let Some(name) = segments.iter().find(|name| name.number() == at.segment) else { return Ok(false) };
        let len = std::fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len());
        if len >= at.offset {
            (self.segment, self.offset, self.last, self.loss) = (at.segment, at.offset, Some(at.position), None);
        }
        Ok(len >= at.offset)
    }

    /// Goes on with the first line there is.
    pub(super) fn rewind(&mut self, loss: Option<LossCause>) {
        (self.segment, self.offset, self.last, self.loss) = (0, 0, None, loss);
    }

    /// Goes on after the line that the ledger has, wherever it stands.
    pub(super) fn seek(&mut self, line: &Position) -> Result<Sought, FolderError> {
        let mut first_of_log = None;
        for name in list_all_segments(&self.folder)? {
            let Ok(mut lines) = self.open(&name, 0) else { continue };
            loop {
                let offset = lines.consumed_bytes();
                let Ok(Some(raw)) = lines.next_line() else { break };
                let RawLine::Whole(bytes) = raw else { break };
                let Ok(told) = ToldLine::parse(bytes) else { continue };
                if told.link.log_id != line.log_id {
                    continue;
                }
                first_of_log.get_or_insert((name.number(), offset));
                if told.position() == *line {
                    let after = lines.consumed_bytes();
                    (self.segment, self.offset, self.last, self.loss) = (name.number(), after, Some(*line), None);
                    return Ok(Sought::Found);
                }
            }
        }
        self.rewind(Some(LossCause::Missing));
        if let Some((segment, offset)) = first_of_log {
            (self.segment, self.offset) = (segment, offset);
        }
        Ok(Sought::NotFound)
    }

    /// Bytes that are still to be read.
    pub(super) fn behind_bytes(&self) -> Result<u64, FolderError> {
        let segments = list_all_segments(&self.folder)?;
        let ahead = segments.iter().filter(|name| name.number() >= self.segment);
        let sum = ahead.map(|name| std::fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len()));
        Ok(sum.sum::<u64>().saturating_sub(self.offset))
    }

    /// Lines that are still to be read of logs before `current`.
    pub(super) fn older_lines(&self, current: &Position) -> Result<u64, FolderError> {
        let mut count = 0_u64;
        for name in list_all_segments(&self.folder)? {
            if name.number() < self.segment
                || name.log_prefix() == SegmentName::new(0, current.log_id, false).log_prefix()
            {
                continue;
            }
            let from = if name.number() == self.segment { self.offset } else { 0 };
            let Ok(mut lines) = self.open(&name, from) else { continue };
            while let Ok(Some(RawLine::Whole(_))) = lines.next_line() {
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }

    /// The next lines up to `durable`; `None` where there are none now.
    pub(super) fn read(&mut self, durable: &Position, limits: BatchLimits) -> Result<Option<Batch>, FolderError> {
        let segments = list_all_segments(&self.folder)?;
        let mut building = Building::new(durable, limits);
        let mut at = segments.iter().position(|name| name.number() >= self.segment).unwrap_or(segments.len());
        while let Some(name) = segments.get(at) {
            if name.number() != self.segment {
                (self.segment, self.offset) = (name.number(), 0);
            }
            let next = segments.get(at.saturating_add(1));
            let is_over = self.read_segment(name, next, &mut building)?;
            if !is_over {
                break;
            }
            let Some(next) = next else { break };
            (self.segment, self.offset) = (next.number(), 0);
            at = at.saturating_add(1);
        }
        Ok(building.finish(self))
    }

    /// Whether the segment is read to its end.
    fn read_segment(
        &mut self,
        name: &SegmentName,
        next: Option<&SegmentName>,
        building: &mut Building<'_>,
    ) -> Result<bool, FolderError> {
        let path = self.path(name);
        let io = |source| FolderError::Io { path: path.clone(), source };
        let mut lines = match self.open(name, self.offset) {
            Ok(lines) => lines,
            // It was pruned, or is damaged: what comes next does not follow.
            Err(_) if next.is_some() => {
                self.loss = Some(LossCause::Damaged);
                return Ok(true);
            }
            Err(error) => return Err(io(error)),
        };
        let from = self.offset;
        loop {
            let Some(raw) = lines.next_line().map_err(io)? else { return Ok(true) };
            let RawLine::Whole(bytes) = raw else {
                // Unfinished: whoever wrote it is gone, or is writing it now.
                return Ok(next.is_some());
            };
            match self.step(bytes, building.durable) {
                Step::Wait => return Ok(false),
                Step::Skip => {}
                Step::Break(_) if next.is_some_and(SegmentName::is_resumed) => return Ok(true),
                Step::Break(None) if next.is_none() => return Ok(false),
                Step::Break(None) => self.loss = Some(LossCause::Damaged),
                Step::Break(Some(told)) => {
                    if !building.is_empty() {
                        // It begins a batch of its own.
                        return Ok(false);
                    }
                    self.loss.get_or_insert(LossCause::Damaged);
                    if !building.take(self, &told, bytes) {
                        return Ok(false);
                    }
                }
                Step::Take(told) => {
                    if !building.take(self, &told, bytes) {
                        return Ok(false);
                    }
                }
            }
            self.offset = from.saturating_add(lines.consumed_bytes());
        }
    }

    fn step(&self, line: &[u8], durable: &Position) -> Step {
        let Ok(told) = ToldLine::parse(line) else { return Step::Break(None) };
        if told.link.log_id == durable.log_id && told.link.seq > durable.sequence {
            return Step::Wait;
        }
        if !told.is_of_one_mind() {
            return Step::Break(None);
        }
        let Some(last) = &self.last else { return Step::Take(Box::new(told)) };
        if told.follows(Some(last)) {
            return Step::Take(Box::new(told));
        }
        if told.link.log_id == last.log_id && told.link.seq <= last.sequence {
            return Step::Skip;
        }
        Step::Break(Some(Box::new(told)))
    }

    fn open(&self, name: &SegmentName, offset: u64) -> io::Result<LineReader<BufReader<File>>> {
        Ok(LineReader::new(open_segment(&self.path(name), offset)?, LINE_BYTES_MAX))
    }

    fn path(&self, name: &SegmentName) -> PathBuf {
        self.folder.join(name.to_string())
    }
}

/// A batch that is being gathered.
struct Building<'d> {
    durable: &'d Position,
    limits: BatchLimits,
    bytes: Vec<u8>,
    lines: u64,
    older_lines: u64,
    first_at: Option<WallTime>,
    lost: Option<LossCause>,
    is_full: bool,
}

impl<'d> Building<'d> {
    fn new(durable: &'d Position, limits: BatchLimits) -> Self {
        let bytes = Vec::new();
        Self { durable, limits, bytes, lines: 0, older_lines: 0, first_at: None, lost: None, is_full: false }
    }

    fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// False where it has no room.
    fn take(&mut self, reader: &mut Reader, told: &ToldLine, line: &[u8]) -> bool {
        let many = usize::try_from(self.lines).unwrap_or(usize::MAX) >= self.limits.lines_max;
        if many || (!self.is_empty() && self.bytes.len() + line.len() + 1 > self.limits.bytes_max) {
            self.is_full = true;
            return false;
        }
        if self.is_empty() {
            (self.first_at, self.lost) = (Some(told.at), reader.loss.take());
        }
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.lines = self.lines.saturating_add(1);
        if told.link.log_id != self.durable.log_id {
            self.older_lines = self.older_lines.saturating_add(1);
        }
        reader.last = Some(told.position());
        true
    }

    fn finish(self, reader: &Reader) -> Option<Batch> {
        Some(Batch {
            bytes: self.bytes,
            lines: self.lines,
            older_lines: self.older_lines,
            first_at: self.first_at?,
            lost: self.lost,
            end: Bookmark { position: reader.last?, segment: reader.segment, offset: reader.offset },
            is_full: self.is_full,
        })
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
