//! Segments: how they are named, so that names sort in the order of the chain, and how their lines are read.
//!
//! `audit-<number, ten digits>-<log id, first eight digits>[-resumed].jsonl`. Numbers grow across process starts (a
//! wall clock may step back, a number does not). A `resumed` segment follows one whose storage failed: it begins by
//! repeating, byte for byte, the lines of that one that may not have become durable.

use std::fmt;
use std::io::{self, BufRead};
use std::str::FromStr;

use super::chain::LogId;

/// The name of one segment. Orders as the chain does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    number: u64,
    log_prefix: String,
    resumed: bool,
}

/// The file name is not that of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an audit segment")]
pub struct NotASegment;

impl SegmentName {
    /// The greatest number that ten digits hold.
    pub const NUMBER_MAX: u64 = 9_999_999_999;

    pub fn new(number: u64, log_id: LogId, resumed: bool) -> Self {
        let log_prefix = log_id.to_string().chars().take(8).collect();
        Self { number, log_prefix, resumed }
    }

    /// The beginning of the log id.
    pub fn log_prefix(&self) -> &str {
        &self.log_prefix
    }

    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether it begins by repeating the end of the segment before.
    pub const fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.resumed { "-resumed" } else { "" };
        write!(f, "audit-{:010}-{}{mark}.jsonl", self.number, self.log_prefix)
    }
}

impl FromStr for SegmentName {
    type Err = NotASegment;

    fn from_str(text: &str) -> Result<Self, NotASegment> {
        let stem = text.strip_prefix("audit-").and_then(|t| t.strip_suffix(".jsonl")).ok_or(NotASegment)?;
        let (stem, resumed) = stem.strip_suffix("-resumed").map_or((stem, false), |stem| (stem, true));
        let (number, log_prefix) = stem.split_once('-').ok_or(NotASegment)?;
        let is_number = number.len() == 10 && number.bytes().all(|b| b.is_ascii_digit());
        let is_prefix = log_prefix.len() == 8 && log_prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_number || !is_prefix {
            return Err(NotASegment);
        }
        let number = number.parse().map_err(|_| NotASegment)?;
        Ok(Self { number, log_prefix: log_prefix.to_owned(), resumed })
    }
}

/// One line as it stands in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawLine<'a> {
    /// Without its newline.
    Whole(&'a [u8]),
    /// The file ends without a newline.
    Unterminated(&'a [u8]),
    /// Longer than any line of ours; only its beginning is held.
    TooLong(&'a [u8]),
}

/// Reads lines, holding at most one bounded line in memory.
#[derive(Debug)]
pub struct LineReader<R> {
    inner: R,
    buffer: Vec<u8>,
    bytes_max: usize,
    consumed: u64,
}

impl<R: BufRead> LineReader<R> {
    pub fn new(inner: R, bytes_max: usize) -> Self {
        Self { inner, buffer: Vec::new(), bytes_max, consumed: 0 }
    }

    /// How many bytes the lines so far took, newlines included.
    pub const fn consumed_bytes(&self) -> u64 {
        self.consumed
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_line(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.buffer.clear();
        let (mut taken, mut terminated) = (0_usize, false);
        while !terminated {
            let available = self.inner.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let part = newline.map_or(available, |at| available.get(..at).unwrap_or_default());
            let room = self.bytes_max.saturating_sub(self.buffer.len());
            self.buffer.extend(part.iter().take(room));
            taken = taken.saturating_add(part.len());
            terminated = newline.is_some();
            let used = part.len() + usize::from(terminated);
            self.inner.consume(used);
            self.consumed = self.consumed.saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
        }
        Ok(match (terminated, taken) {
            (false, 0) => None,
            (_, taken) if taken > self.bytes_max => Some(RawLine::TooLong(&self.buffer)),
            (false, _) => Some(RawLine::Unterminated(&self.buffer)),
            (true, _) => Some(RawLine::Whole(&self.buffer)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sort() {
        let log_id = LogId::from_bytes([0xab; 16]);
        let names = [(9, false), (10, false), (11, true), (1_000_000, false)];
        let names = names.map(|(number, resumed)| SegmentName::new(number, log_id, resumed));
        let texts = names.clone().map(|name| name.to_string());
        assert_eq!(texts[2], "audit-0000000011-abababab-resumed.jsonl");
        assert!(names.is_sorted() && texts.is_sorted());
        for (name, text) in names.iter().zip(&texts) {
            assert_eq!(text.parse::<SegmentName>().as_ref(), Ok(name));
        }
    }

    #[test]
    fn other_files_are_no_segments() {
        for bad in [
            "lock",
            "audit-1-abababab.jsonl",
            "audit-0000000001-ABABABAB.jsonl",
            "audit-0000000001-abababab.jsonl.gz",
            "audit-+000000001-abababab.jsonl",
            "audit-0000000001-abababab-again.jsonl",
        ] {
            assert!(bad.parse::<SegmentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_bounded_and_their_ends_told_apart() {
        let mut lines = LineReader::new(&b"ab\n\n0123456789\nend"[..], 4);
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Whole(b"ab")));
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Whole(b"")));
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::TooLong(b"0123")));
        assert_eq!(lines.consumed_bytes(), 15);
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Unterminated(b"end")));
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
