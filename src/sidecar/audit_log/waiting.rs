//! What waits to be written, and how much of it is taken at once. INVARIANT: touched under the lock of `queue` alone.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::budget::Budget;
use super::work::{Extra, Pace, PendingIntent, PendingOutcome, Work};
use crate::audit::{Counted, Summary};

/// Most records of each kind in one batch.
const INTENTS_PER_BATCH_MAX: usize = 256;
const OUTCOMES_PER_BATCH_MAX: usize = 1024;
const EXTRAS_PER_BATCH_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Queues {
    pub(super) intents: VecDeque<PendingIntent>,
    pub(super) outcomes: VecDeque<PendingOutcome>,
    pub(super) extras: VecDeque<(Extra, Counted)>,
    pub(super) summary: Summary,
    pub(super) strangers: Budget,
    /// No further intents; the writer ends once the queues are empty.
    pub(super) closing: bool,
    /// The writer is gone.
    pub(super) closed: bool,
    /// And ended in order.
    pub(super) ended_well: bool,
    /// Told when the writer is gone, and whether it ended in order.
    pub(super) done: Vec<oneshot::Sender<bool>>,
    /// The writer waits to be woken.
    pub(super) idle: bool,
}

impl Queues {
    pub(super) fn new(strangers: Budget) -> Self {
        Self {
            intents: VecDeque::new(),
            outcomes: VecDeque::new(),
            extras: VecDeque::new(),
            summary: Summary::default(),
            strangers,
            closing: false,
            closed: false,
            ended_well: false,
            done: Vec::new(),
            idle: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.intents.is_empty() && self.outcomes.is_empty() && self.extras.is_empty()
    }

    /// Asks to be woken again for as long as it is true.
    pub(super) fn keeps_gathering(&mut self) -> bool {
        self.idle = self.intents.is_empty() && !self.closing;
        self.idle
    }

    /// Whether there are intents, and fewer than there may be.
    pub(super) fn lacks_some(&self, pace: Pace) -> bool {
        !self.closing && !self.intents.is_empty() && self.intents.len() < pace.askers
    }

    /// Asks to be woken again for as long as it is true.
    pub(super) fn awaits_more(&mut self, pace: Pace) -> bool {
        self.idle = self.lacks_some(pace);
        self.idle
    }

    pub(super) fn take(&mut self) -> Work {
        let outcomes = self.outcomes.len().min(OUTCOMES_PER_BATCH_MAX);
        let outcomes = self.outcomes.drain(..outcomes).collect();
        Work { outcomes, ..self.take_refusable() }
    }

    pub(super) fn take_refusable(&mut self) -> Work {
        let intents = self.intents.len().min(INTENTS_PER_BATCH_MAX);
        let extras = self.extras.len().min(EXTRAS_PER_BATCH_MAX);
        Work {
            intents: self.intents.drain(..intents).collect(),
            outcomes: Vec::new(),
            extras: self.extras.drain(..extras).collect(),
            closing: self.closing,
        }
    }
}
