//! The format of the sidecar's local audit log: what a line says, how lines are chained, how segments are named, and how
//! a folder of them is checked.
//!
//! A line is one OCSF 1.8 API Activity event (class 6003) as JSON, with our own facts under `unmapped.break_glass`. Each
//! line carries the SHA-256 of the line before it, across segments and process starts. `docs/audit-log.md` is the
//! specification for auditors.
//!
//! Nothing here writes, waits or reads a clock; [`folder`] is the one place that touches a file, and only reads.
//! INVARIANT: no token, query value or body reaches a line (P8), but for members of a body that an operator named, in the way
//! that was named for them.

pub mod captured;
pub mod chain;
mod content;
mod cuts;
mod document;
pub mod folder;
mod kind;
pub mod line;
pub mod loss;
mod ocsf;
pub mod pruned;
pub mod record;
#[cfg(test)]
pub(crate) mod sample;
pub mod segment;
mod told;
pub mod verify;

pub use captured::Captured;
pub use chain::{Chain, LineHash, Link, LogId, Position};
pub use folder::{FolderError, verify_folder};
pub use kind::LineKind;
pub use line::{ParsedLine, PastIntent};
pub use loss::AcceptedLoss;
pub use ocsf::{LINE_BYTES_MAX, OUTCOME_BYTES_MAX, encode};
pub use record::{
    Asker, Counted, End, Event, Intent, LogEnd, LogIdentity, LogStart, Observed, Outcome, Protocol, Refusal,
    RequestFacts, Summary,
};
pub use segment::SegmentName;
pub use told::{LeftOut, ToldLine};
pub use verify::{Beginning, Expectation, Loss, Problem, ProblemKind, Report, Verifier};
