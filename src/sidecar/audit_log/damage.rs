//! Damage: what is missing or is not what was written, by name, and the digest that an acceptance must repeat.
//!
//! Once found it is pinned in a file of its own before anything new is written, so that it stays the same damage until
//! an operator accepts it, and a further one shows as another.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::{LineHash, Position, Problem};

/// The file's name.
pub(super) const FILE: &str = "damage";
/// Findings beyond these are not told one by one.
const FINDINGS_MAX: usize = 16;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// The segment it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// From 1, within the segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub detail: String,
}

/// The kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Segments are there, the head is not.
    HeadMissing,
    HeadUnreadable,
    /// There was a log, and no segment of it is left.
    AllMissing,
    FirstMissing,
    LastMissing,
    /// A line that had been durable is not there.
    EndMissing,
    /// Another line stands where a durable one stood: the log was rewritten or replaced.
    Replaced,
    /// A line does not follow: altered, dropped, inserted, swapped, or of another log.
    Broken,
    SegmentUnreadable,
    /// Two segments claim one number.
    SameNumber,
    /// The log says that damage was found before, and the record of it is gone.
    PinMissing,
    PinUnreadable,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.segment, self.line) {
            (Some(segment), Some(line)) => write!(f, "{segment}, line {line}: {}", self.detail),
            (Some(segment), None) => write!(f, "{segment}: {}", self.detail),
            (None, _) => f.write_str(&self.detail),
        }
    }
}

impl Finding {
    pub(super) fn of_the_folder(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { kind, segment: None, line: None, detail: detail.into() }
    }

    pub(super) fn of_a_segment(kind: FindingKind, segment: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, segment: Some(segment.into()), line: None, detail: detail.into() }
    }

    pub(super) fn of_a_line(kind: FindingKind, problem: &Problem) -> Self {
        let segment = Some(problem.segment.clone());
        Self { kind, segment, line: Some(problem.line), detail: problem.what.to_string() }
    }
}

/// Everything that is wrong with a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    pub findings: Vec<Finding>,
    /// The last place known to have been durable.
    pub known: Option<Position>,
    /// The last line that is still there.
    pub found: Option<Position>,
    /// The name of the folder whose shares are forfeited.
    pub lineage: Option<String>,
    /// The log goes on from the segment with this number; what stands before is kept as it is.
    pub from: u64,
}

/// Whether damage is on record in this folder, and not accepted.
pub fn is_on_record(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// What stands in the folder.
#[derive(Debug, Clone)]
pub(super) enum PinFound {
    Absent,
    Unreadable(String),
    At(Damage),
}

impl PinFound {
    pub(super) fn read(folder: &Path) -> Self {
        match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(damage) => Self::At(damage),
                Err(_) => Self::Unreadable("it is no record of damage".to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Absent,
            Err(error) => Self::Unreadable(error.kind().to_string()),
        }
    }
}

impl Damage {
    /// Names this damage among all others. Where the log goes on does not matter to it.
    pub fn digest(&self) -> LineHash {
        let text = serde_json::to_vec(&(&self.findings, &self.known, &self.found, &self.lineage)).unwrap_or_default();
        LineHash::of(&text)
    }

    /// This one, and then more.
    pub(super) fn with(mut self, more: Self) -> Self {
        self.findings.extend(more.findings);
        self.from = more.from;
        self.bounded()
    }

    pub(super) fn bounded(mut self) -> Self {
        // The newest is what tells a further damage from the one before.
        let excess = self.findings.len().saturating_sub(FINDINGS_MAX);
        self.findings.drain(..excess);
        self
    }

    pub(super) fn file(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}
