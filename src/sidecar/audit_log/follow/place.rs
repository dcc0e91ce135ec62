//! Of a line, its place and time alone: a line of a kind that a newer version writes is handed on like any other.

use serde::Deserialize;

use crate::audit::{LineHash, Link, LogId};
use crate::domain::WallTime;

/// Where a line says it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sidecar) struct Place {
    pub(in crate::sidecar) link: Link,
    pub(in crate::sidecar) at: WallTime,
}

impl Place {
    /// `None` for what is no line of the log.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(line).ok()?;
        let Facts { log_id, seq, prev } = document.unmapped.break_glass;
        Some(Self { link: Link { log_id, seq, prev }, at: document.time })
    }
}

#[derive(Deserialize)]
struct Document {
    time: WallTime,
    unmapped: Unmapped,
}

#[derive(Deserialize)]
struct Unmapped {
    break_glass: Facts,
}

#[derive(Deserialize)]
struct Facts {
    log_id: LogId,
    seq: u64,
    prev: LineHash,
}
