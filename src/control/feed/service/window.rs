//! The newest changes of one service, as they go down its streams: read once, serialised once, shared by all.
//!
//! INVARIANT: every change of the service after `start` and up to `end` is held, in the order of revisions, but for
//! freezes that a later one has overtaken. What a share is, is never held: by the time a stream comes to it, it may have
//! been handed back, so each stream reads its own when it does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::control::feed::lines::{WriteError, serialised};
use crate::domain::GrantId;
use crate::store::contract::{ChangeBody, FeedChange};
use crate::wire::feed::FromControl;

/// One change.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::control::feed) struct Entry {
    pub(in crate::control::feed) revision: u64,
    pub(in crate::control::feed) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::control::feed) enum What {
    /// A line for everybody, newline included.
    Line(Bytes),
    Freeze(Bytes),
    /// The set of keys is another.
    Keys,
    /// For this lineage alone: what it holds of the grant has changed.
    Share {
        lineage: String,
        grant: GrantId,
    },
}

impl Entry {
    pub(super) fn of(change: FeedChange) -> Result<Self, WriteError> {
        let revision = change.revision;
        let what = match change.body {
            ChangeBody::Put { token, identity_since, .. } => {
                let token = token.into_exposed();
                What::Line(serialised(&FromControl::Put { revision, token, identity_since })?)
            }
            ChangeBody::Suspended { token, .. } => {
                What::Line(serialised(&FromControl::Suspended { revision, token: token.into_exposed() })?)
            }
            ChangeBody::Tombstone { grant, cause } => {
                What::Line(serialised(&FromControl::Tombstone { revision, grant, cause })?)
            }
            ChangeBody::Freeze { frozen } => What::Freeze(serialised(&FromControl::Freeze { revision, frozen })?),
            ChangeBody::Keys => What::Keys,
            ChangeBody::Share { lineage, grant, .. } => What::Share { lineage, grant },
        };
        Ok(Self { revision, what })
    }

    fn bytes(&self) -> usize {
        match &self.what {
            What::Line(line) | What::Freeze(line) => line.len(),
            What::Keys => 0,
            What::Share { lineage, .. } => lineage.len(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    room: Capacity,
}

/// What a window may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    pub(super) changes: usize,
    pub(super) bytes: usize,
}

impl Window {
    pub(super) fn starting_after(start: u64, room: Capacity) -> Self {
        Self { start, end: start, entries: VecDeque::new(), bytes: 0, room }
    }

    /// Adds what came after `end`, in order; then everything up to `end` is held.
    pub(super) fn append(&mut self, entries: Vec<Entry>, end: u64) {
        let overtaken = entries.iter().rposition(|entry| matches!(entry.what, What::Freeze(_)));
        if overtaken.is_some() {
            self.entries.retain(|entry| !matches!(entry.what, What::Freeze(_)));
        }
        let stands = |(at, entry): &(usize, Entry)| !matches!(entry.what, What::Freeze(_)) || Some(*at) == overtaken;
        let stand = entries.into_iter().enumerate().filter(stands).map(|(_, entry)| Arc::new(entry));
        self.entries.extend(stand);
        self.bytes = self.entries.iter().map(|entry| entry.bytes()).sum();
        self.end = self.end.max(end);
        while (self.entries.len() > self.room.changes || self.bytes > self.room.bytes)
            && let Some(gone) = self.entries.pop_front()
        {
            self.start = gone.revision;
            self.bytes = self.bytes.saturating_sub(gone.bytes());
        }
    }

    /// What came after `cursor`; `None` when it is no longer held.
    pub(super) fn after(&self, cursor: u64) -> Option<Vec<Arc<Entry>>> {
        if cursor < self.start {
            return None;
        }
        let from = self.entries.partition_point(|entry| entry.revision <= cursor);
        Some(self.entries.range(from..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::WallTime;
    use crate::wire::feed::EndCause;

    fn tombstone(revision: u64) -> Entry {
        let body = ChangeBody::Tombstone { grant: GrantId::from_random(revision), cause: EndCause::Revoked };
        Entry::of(FeedChange { revision, at: WallTime::EPOCH, body }).unwrap()
    }

    fn freeze(revision: u64) -> Entry {
        let body = ChangeBody::Freeze { frozen: true };
        Entry::of(FeedChange { revision, at: WallTime::EPOCH, body }).unwrap()
    }

    fn revisions(window: &Window, cursor: u64) -> Option<Vec<u64>> {
        Some(window.after(cursor)?.iter().map(|entry| entry.revision).collect())
    }

    #[test]
    fn what_came_after_a_cursor_is_there_or_known_to_be_gone() {
        let mut window = Window::starting_after(10, Capacity { changes: 3, bytes: 10_000 });
        assert_eq!((revisions(&window, 10), revisions(&window, 9)), (Some(vec![]), None));
        window.append(vec![tombstone(11), tombstone(14)], 15);
        assert_eq!(revisions(&window, 10), Some(vec![11, 14]));
        assert_eq!(revisions(&window, 11), Some(vec![14]), "revisions between are other services'");
        assert_eq!(revisions(&window, 15), Some(vec![]));
        window.append(vec![tombstone(16), tombstone(17)], 17);
        assert_eq!((revisions(&window, 10), revisions(&window, 11)), (None, Some(vec![14, 16, 17])));
    }

    #[test]
    fn a_window_holds_no_more_bytes_than_it_may() {
        let line = tombstone(1).bytes();
        let mut window = Window::starting_after(0, Capacity { changes: 10, bytes: 2 * line + 1 });
        window.append(vec![tombstone(1), tombstone(2), tombstone(3)], 3);
        assert_eq!((revisions(&window, 0), revisions(&window, 1)), (None, Some(vec![2, 3])));
    }

    #[test]
    fn only_the_newest_freeze_is_told() {
        let mut window = Window::starting_after(0, Capacity { changes: 10, bytes: 10_000 });
        window.append(vec![freeze(1), tombstone(2), freeze(3)], 3);
        assert_eq!(revisions(&window, 0), Some(vec![2, 3]));
        window.append(vec![tombstone(4)], 4);
        window.append(vec![freeze(5)], 5);
        assert_eq!(revisions(&window, 0), Some(vec![2, 4, 5]));
    }
}
