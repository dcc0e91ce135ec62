//! Reading the segments in the order of the chain, up to what is durable. Blocks on the disk, and never on a pipe.
//!
//! The one reader of durable lines: the ledger's shipper and every sink read by it. A segment that is followed by a resumed
//! one counts up to the line with which that one begins: what stands after it there is repeated, and may be damaged here.
//! What is no line, and a segment that can't be read, is passed over and counted, and the line after it says that it does
//! not follow; the folder is never changed.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use bytes::Bytes;

use super::place::Place;
use super::{Batch, BatchLimits, Bookmark, FollowError, Line};
use crate::audit::folder::{list_all_segments, open_segment};
use crate::audit::segment::{LineReader, RawLine};
use crate::audit::{LINE_BYTES_MAX, LineHash, Link, Position, SegmentName};

/// What counts as a line: its place, or `None`.
type AsLine = fn(&[u8]) -> Option<Place>;

/// See the module.
#[derive(Debug)]
pub(in crate::sidecar) struct Reader {
    folder: PathBuf,
    /// After what was handed out.
    at: Bookmark,
    segment: Option<Segment>,
    as_line: AsLine,
}

/// The segment that is being read.
#[derive(Debug)]
struct Segment {
    /// `None` where it can't be opened, or is no plain file.
    lines: Option<LineReader<BufReader<File>>>,
    /// Where `lines` began.
    from: u64,
    /// The one after it, once there is one: then this one grows no more.
    next: Option<SegmentName>,
    /// The line with which that one begins to repeat.
    repeated_from: Option<Link>,
}

/// What stands at the reader's place.
enum Found {
    Line(Line),
    /// No line of the log.
    Unreadable,
    /// Nothing that may be handed out yet.
    Nothing,
    /// The segment ends here.
    End,
    /// The segment is none that can be read, and others follow it.
    Unopened,
}

impl Reader {
    /// For whoever hands lines on as they stand, of whatever kind.
    pub(super) const fn new(folder: PathBuf, at: Bookmark) -> Self {
        Self::of_lines(folder, at, Place::of)
    }

    /// For whoever takes only such lines.
    pub(in crate::sidecar) const fn of_lines(folder: PathBuf, at: Bookmark, as_line: AsLine) -> Self {
        Self { folder, at, segment: None, as_line }
    }

    /// Where reading goes on.
    pub(in crate::sidecar) const fn place(&self) -> &Bookmark {
        &self.at
    }

    /// What is durable and was not handed out; `None` where there is nothing. On an error nothing was handed out.
    pub(in crate::sidecar) fn read(
        &mut self,
        durable: Position,
        limits: BatchLimits,
    ) -> Result<Option<Batch>, FollowError> {
        let before = self.at.clone();
        let read = self.gather(durable, limits);
        if read.is_err() {
            self.at = before;
        }
        // Opened anew each time: a file at whose end one has read is not read on, and none is held open that may be removed.
        self.segment = None;
        let path = self.folder.clone();
        read.map_err(|source| FollowError::Io { path, source })
    }

    fn gather(&mut self, durable: Position, limits: BatchLimits) -> io::Result<Option<Batch>> {
        let (mut lines, mut bytes, mut unreadable) = (Vec::new(), 0_usize, 0_u64);
        while durable.sequence > 0 && lines.len() < limits.lines_max && bytes < limits.bytes_max {
            if self.at.has_taken(durable.log_id, durable.sequence) || !self.is_open()? {
                break;
            }
            match self.find(durable)? {
                Found::Line(line) if !lines.is_empty() && limits.end_before(&line, bytes) => break,
                Found::Line(line) => {
                    bytes = bytes.saturating_add(line.text.len()).saturating_add(1);
                    self.pass(Some(line.position));
                    lines.push(line);
                }
                Found::Unreadable => {
                    unreadable = unreadable.saturating_add(1);
                    self.pass(None);
                }
                Found::Unopened => {
                    unreadable = unreadable.saturating_add(1);
                    self.advance()?;
                }
                Found::End if self.advance()? => {}
                Found::End | Found::Nothing => break,
            }
        }
        let is_empty = lines.is_empty() && unreadable == 0;
        Ok((!is_empty).then(|| Batch { lines, unreadable, end: self.at.clone() }))
    }

    /// What was found is behind the reader.
    fn pass(&mut self, position: Option<Position>) {
        if let Some(Segment { from, lines: Some(lines), .. }) = &self.segment {
            self.at.offset = from.saturating_add(lines.consumed_bytes());
        }
        self.at.position = position.or(self.at.position);
    }

    fn find(&mut self, durable: Position) -> io::Result<Found> {
        let Some(segment) = &mut self.segment else { return Ok(Found::Nothing) };
        let may_be_repeated = segment.next.as_ref().is_none_or(SegmentName::is_resumed);
        let Some(lines) = &mut segment.lines else { return Ok(Found::Unopened) };
        let text = match lines.next_line()? {
            // The writer is in the middle of a line, or was when it died.
            None | Some(RawLine::Unterminated(_)) => return Ok(Found::End),
            Some(RawLine::TooLong(_)) => return Ok(Found::Unreadable),
            Some(RawLine::Whole(text)) => text,
        };
        let Some(Place { link, at }) = (self.as_line)(text) else { return Ok(Found::Unreadable) };
        if is_repeated(segment.repeated_from, &link) {
            return Ok(Found::End);
        }
        if link.log_id == durable.log_id && link.seq > durable.sequence {
            // In a segment that was left in order every line is durable, so this one is none of the writer's.
            return Ok(if may_be_repeated { Found::Nothing } else { Found::Unreadable });
        }
        let follows = follows(&link, self.at.position.as_ref());
        let position = Position { log_id: link.log_id, sequence: link.seq, head: LineHash::of(text) };
        Ok(Found::Line(Line { text: Bytes::copy_from_slice(text), position, at, follows }))
    }

    /// Goes to the next segment, if there is one. INVARIANT: only once this one was read to its end after the next was there.
    fn advance(&mut self) -> io::Result<bool> {
        let next = self.segment.as_ref().and_then(|segment| segment.next.clone());
        if let Some(next) = next {
            self.at = Bookmark { segment: Some(next.to_string()), offset: 0, position: self.at.position };
            self.segment = None;
            return Ok(true);
        }
        self.segment = None;
        // What was written while there was no next one is read before going on.
        Ok(self.is_open()? && self.segment.as_ref().is_some_and(|segment| segment.next.is_some()))
    }

    /// Opens the segment at the reader's place, or the one that stands there now; false where there is none.
    fn is_open(&mut self) -> io::Result<bool> {
        if self.segment.is_some() {
            return Ok(true);
        }
        let names = list_all_segments(&self.folder).map_err(io::Error::other)?;
        let Some(index) = self.index(&names) else { return Ok(false) };
        let (_, from_here) = names.split_at(index);
        let Some((name, later)) = from_here.split_first() else { return Ok(false) };
        if self.at.segment.as_deref() != Some(name.to_string().as_str()) {
            self.at = Bookmark { segment: Some(name.to_string()), offset: 0, position: self.at.position };
        }
        let path = self.folder.join(name.to_string());
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() < self.at.offset) {
            // Cut since: what is there is handed out again rather than passed over.
            self.at.offset = 0;
        }
        let lines = self.lines_of(name, self.at.offset)?;
        if lines.is_none() && later.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the newest segment is gone, or no plain file"));
        }
        let (from, next, repeated_from) = (self.at.offset, later.first().cloned(), self.repeated_from(later)?);
        self.segment = Some(Segment { lines, from, next, repeated_from });
        Ok(true)
    }

    /// The segment of the place, or the first after it where it is gone, or the very first where all are older: another
    /// folder was put in place of this one.
    fn index(&self, names: &[SegmentName]) -> Option<usize> {
        let number = self.at.segment_number();
        let same = names.iter().position(|name| self.at.segment.as_deref() == Some(name.to_string().as_str()));
        let after = || names.iter().position(|name| name.number() >= number);
        same.or_else(after).or(if names.is_empty() { None } else { Some(0) })
    }

    /// A segment's lines; `None` where it is gone, or no plain file. What may be otherwise later is an error.
    fn lines_of(&self, name: &SegmentName, offset: u64) -> io::Result<Option<LineReader<BufReader<File>>>> {
        match open_segment(&self.folder.join(name.to_string()), offset) {
            Ok(segment) => Ok(Some(LineReader::new(segment, LINE_BYTES_MAX))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// With which line the resumed segments that follow begin. One of them may itself have been given up before its first.
    fn repeated_from(&self, later: &[SegmentName]) -> io::Result<Option<Link>> {
        for name in later.iter().take_while(|name| name.is_resumed()) {
            let Some(mut lines) = self.lines_of(name, 0)? else { continue };
            if let Some(RawLine::Whole(text)) = lines.next_line()?
                && let Some(place) = (self.as_line)(text)
            {
                return Ok(Some(place.link));
            }
        }
        Ok(None)
    }

    /// The place after this line, wherever it stands; else that of the first line of its log, or of all.
    ///
    /// # Errors
    /// When the folder or a segment of it can't be read.
    pub(in crate::sidecar) fn seek(&self, line: &Position) -> io::Result<(Bookmark, bool)> {
        let mut first_of_log = None;
        let names = list_all_segments(&self.folder).map_err(io::Error::other)?;
        let mut from_here = names.as_slice();
        while let Some((name, later)) = from_here.split_first() {
            from_here = later;
            let Some(mut lines) = self.lines_of(name, 0)? else { continue };
            let repeated_from = self.repeated_from(later)?;
            loop {
                let offset = lines.consumed_bytes();
                let Some(RawLine::Whole(text)) = lines.next_line()? else { break };
                let Some(Place { link, .. }) = (self.as_line)(text).filter(|place| place.link.log_id == line.log_id)
                else {
                    continue;
                };
                if is_repeated(repeated_from, &link) {
                    // It is read where it stands again.
                    break;
                }
                let at = |offset, position| Bookmark { segment: Some(name.to_string()), offset, position };
                first_of_log.get_or_insert_with(|| at(offset, None));
                if link.seq == line.sequence && LineHash::of(text) == line.head {
                    return Ok((at(lines.consumed_bytes(), Some(*line)), true));
                }
            }
        }
        Ok((first_of_log.unwrap_or_default(), false))
    }
}

/// Whether the line stands again in the segment that begins with `from`.
fn is_repeated(from: Option<Link>, link: &Link) -> bool {
    from.is_some_and(|from| from.log_id == link.log_id && link.seq >= from.seq)
}

/// Whether the line says that it is right after that one.
fn follows(link: &Link, before: Option<&Position>) -> bool {
    let Some(before) = before else { return link.prev == LineHash::NONE };
    let is_next = link.log_id == before.log_id && before.sequence.checked_add(1) == Some(link.seq);
    link.prev == before.head && (is_next || link.seq == 1)
}
