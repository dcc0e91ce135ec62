//! What the log is told of its lines' way to the ledger, as far as overrides ask: whether too much waits, and, where that
//! is required, whether an intent has arrived.
//!
//! Without `required` an override never waits for anything but the disk.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::Cause;
use crate::audit::{Link, Position};

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    is_required: bool,
    /// The last line of this log that is in the ledger.
    arrived: watch::Sender<Option<Position>>,
    is_reachable: AtomicBool,
    is_spool_full: AtomicBool,
}

impl Ledger {
    pub(super) fn new(is_required: bool) -> Self {
        let arrived = watch::Sender::new(None);
        Self { is_required, arrived, is_reachable: AtomicBool::new(false), is_spool_full: AtomicBool::new(false) }
    }

    pub(super) fn set_arrived(&self, position: Position) {
        self.arrived.send_replace(Some(position));
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.is_reachable.store(reachable, Ordering::Release);
    }

    pub(super) fn set_spool_full(&self, full: bool) {
        self.is_spool_full.store(full, Ordering::Release);
    }

    pub(super) fn is_spool_full(&self) -> bool {
        self.is_spool_full.load(Ordering::Acquire)
    }

    /// Why no override can be recorded as it must be.
    pub(super) fn lack(&self) -> Option<Cause> {
        if self.is_spool_full() {
            return Some(Cause::Spool);
        }
        (self.is_required && !self.is_reachable.load(Ordering::Acquire)).then_some(Cause::Ledger)
    }

    pub(super) const fn is_required(&self) -> bool {
        self.is_required
    }

    /// Waits until a durable line has arrived, where that is required; false where nobody will say so any more.
    pub(super) async fn has(&self, link: &Link) -> bool {
        let covers = |at: &Option<Position>| at.is_some_and(|at| at.log_id == link.log_id && at.sequence >= link.seq);
        !self.is_required || self.arrived.subscribe().wait_for(covers).await.is_ok()
    }
}
