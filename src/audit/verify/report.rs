//! What verification tells.

use crate::audit::chain::{LogId, Position};
use crate::audit::loss::AcceptedLoss;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub segments: u64,
    /// Process starts.
    pub logs: u64,
    /// Lines, each sequence counted once.
    pub records: u64,
    pub intents: u64,
    /// Outcomes, unknown ones included.
    pub outcomes: u64,
    /// Intents with neither an outcome nor an unknown outcome: in flight, or the end is lost.
    pub orphans: u64,
    /// Outcomes that a later process had to record as unknown.
    pub unknown_outcomes: u64,
    /// Intents, less those whose outcome says that nothing was forwarded.
    pub overrides: u64,
    pub refusals: u64,
    pub observed: u64,
    /// Refusals and observations that are only counted, in summaries.
    pub summarised: u64,
    /// Segments whose storage failed and whose end is repeated by the next.
    pub resumed: u64,
    /// Unfinished lines where the process died: not tampering, and never acknowledged. At the end of the last segment,
    /// and of the one before where the last was begun to repeat it and did not get so far.
    pub torn_tails: Vec<TornTail>,
    /// After the last accepted loss.
    pub first_problem: Option<Problem>,
    /// Losses that an operator accepted: the log is not whole before the last of them.
    pub losses: Vec<Loss>,
    /// The expected position was not among the lines.
    pub lacks_position: bool,
    /// A process found the log before it damaged, and no line after that accepts it.
    pub unaccepted: bool,
    /// The last line.
    pub head: Option<Position>,
}

impl Report {
    pub const fn is_sound(&self) -> bool {
        self.first_problem.is_none()
    }
}

/// Bytes at the end of a segment that are no whole line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub segment: String,
    /// The number the line would have.
    pub line: u64,
    /// Where it begins: what to keep of the file.
    pub offset_bytes: u64,
}

/// A loss, as the line that accepts it tells, and what verification itself found before that line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub segment: String,
    pub line: u64,
    pub accepted: AcceptedLoss,
    /// `None` where the chain alone does not show it: the loss of an end.
    pub problem: Option<Problem>,
}

/// The first line that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{segment}, line {line}: {what}")]
pub struct Problem {
    pub segment: String,
    /// From 1; 0 speaks of the segment as a whole.
    pub line: u64,
    pub what: ProblemKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    #[error("cannot be read as a record: it {0}")]
    Unreadable(String),
    #[error("a line was altered: the line after it names another hash")]
    Altered,
    #[error("expected sequence {expected}, found {found}: lines were dropped, inserted, swapped or repeated")]
    Sequence { expected: u64, found: u64 },
    #[error("log {found} begins in the middle, at sequence {sequence}")]
    LogBegins { found: LogId, sequence: u64 },
    #[error("log {0} was closed or replaced earlier, and appears again")]
    LogAgain(LogId),
    #[error("begins a log that does not name the end of the one before it")]
    Previous,
    #[error("a log_started stands in the middle of a log")]
    Started,
    #[error("the beginning is missing: the first log names a log before it")]
    BeginningMissing,
    #[error("is a record of the log's end, and more lines of that log follow")]
    AfterEnd,
    #[error("is the outcome of an intent that is not open")]
    NoSuchIntent,
    #[error("the expected line with sequence {0} is not there: the end is missing")]
    EndMissing(u64),
    #[error("the expected line with sequence {0} has another hash")]
    OtherThanExpected(u64),
}
