//! What callers hand to the writer, and what it takes at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::IntentError;
use super::receipt::{IntentReceipt, Slot};
use crate::audit::{Counted, Intent, Link, Observed, Outcome, Refusal, RequestFacts};

/// A line's length beside the client's own text.
const FRAME_BYTES: usize = 1536;

pub(super) type Reply = oneshot::Sender<Result<IntentReceipt, IntentError>>;

#[derive(Debug)]
pub(super) struct PendingIntent {
    pub(super) intent: Box<Intent>,
    pub(super) slot: Slot,
    pub(super) reply: Reply,
}

#[derive(Debug)]
pub(super) struct PendingOutcome {
    pub(super) intent: Arc<Intent>,
    pub(super) link: Link,
    pub(super) outcome: Outcome,
    /// Freed when the outcome has been given its line.
    pub(super) slot: Slot,
}

/// A record that may be left out and counted.
#[derive(Debug)]
pub(super) enum Extra {
    Refusal(Box<Refusal>),
    Observed(Box<Observed>),
}

impl Extra {
    /// About how long its line will be.
    pub(super) fn size_estimate(&self) -> u64 {
        let request: &RequestFacts = match self {
            Self::Refusal(refusal) => &refusal.request,
            Self::Observed(observed) => &observed.request,
        };
        let names: usize = request.query_names.iter().map(String::len).sum();
        let own = request.path.len() + names + request.host.as_ref().map_or(0, String::len);
        u64::try_from(own.min(crate::audit::LINE_BYTES_MAX) + FRAME_BYTES).unwrap_or(u64::MAX)
    }
}

/// What the writer takes at once.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) intents: Vec<PendingIntent>,
    pub(super) outcomes: Vec<PendingOutcome>,
    pub(super) extras: Vec<(Extra, Counted)>,
    /// No further intents come.
    pub(super) closing: bool,
}

/// How the writer's last batch went, by which it takes the next one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// How many intents it made durable, and came meanwhile: as many may come again.
    pub(super) askers: usize,
    /// How long the commit took.
    pub(super) commit: Duration,
}

impl Pace {
    /// How long to wait for as many intents, and never longer than `max`: an eighth of what one that is a moment late would
    /// wait for the next commit, and what the others lose is no more than that.
    pub(super) fn patience(self, max: Duration) -> Duration {
        (self.commit / 8).min(max)
    }
}
