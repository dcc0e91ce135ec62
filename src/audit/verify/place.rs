//! Where in the segments the verifier stands, and what it may yet excuse.

use std::sync::Arc;

use super::{ProblemKind, TornTail};

#[derive(Debug)]
pub(super) struct Excused {
    pub(super) place: Place,
    pub(super) what: ProblemKind,
    pub(super) torn: Option<TornTail>,
}

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) segment: Arc<str>,
    pub(super) line: u64,
    pub(super) following_resumed: bool,
    pub(super) following_nothing: bool,
    /// Still within the lines that a resumed segment repeats.
    pub(super) repeating: bool,
    /// What is left of this segment is not looked at.
    pub(super) abandoned: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            segment: "".into(),
            line: 0,
            following_resumed: false,
            following_nothing: false,
            repeating: false,
            abandoned: false,
        }
    }
}
