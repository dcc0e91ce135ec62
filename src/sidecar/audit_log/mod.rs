//! The audit log's writer: makes an override's intent durable before anything is forwarded (P3), and never holds up
//! anything else (P4).
//!
//! One thread writes. It gathers what came while the last fdatasync ran, writes it, syncs, then acknowledges. Callers on
//! any runtime wait at most [`AuditLogConfig::write_deadline_ms_max`]; outcomes, refusals and observations never wait.
//!
//! INVARIANT: what was acknowledged is durable. INVARIANT: for every acknowledged intent the space of its outcome is
//! allocated and a place in the queue is held. INVARIANT: a segment whose write or sync failed is never written again
//! (its page cache may lie); everything not known durable is repeated in a new one.

mod budget;
mod config;
mod journal;
mod metrics;
mod queue;
mod receipt;
mod recovery;
mod storage;
mod writer;

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::audit::{Counted, Holder, Intent, LogIdentity, Observed, Position, Refusal};
use crate::clock::Clock;

pub use config::AuditLogConfig;
pub use metrics::{FSYNC_BOUNDS_MS, Metrics};
pub use receipt::IntentReceipt;
pub use recovery::{OpenError, Recovery};
pub use storage::{FolderStorage, SegmentFile, Storage};

use queue::{Extra, Shared};

/// Whether an intent can be made durable now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Unavailable(Cause),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No room for an intent and its outcome.
    Full,
    /// A write or sync has been running for longer than the write deadline.
    Slow,
    /// The storage fails; a new segment is tried again and again.
    Failed,
}

impl Cause {
    pub const ALL: [Self; 3] = [Self::Full, Self::Slow, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// Why an intent is not acknowledged. The request must be refused; if the line was or will be written nonetheless, its
/// outcome `not_forwarded` follows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IntentError {
    #[error("the audit log has no room")]
    Full,
    #[error("the audit log did not become durable within the write deadline")]
    Slow,
    #[error("the audit log's storage fails")]
    Failed,
    #[error("too many overrides are in flight")]
    Busy,
    #[error("the audit log is closed")]
    Closed,
}

/// Whether a refused caller had proven the binding. Strangers have a budget of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Proven,
    Stranger,
}

/// Why the log was not closed in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    #[error("the audit log did not finish within its deadline")]
    Deadline,
    #[error("the audit log's storage fails: its end is not recorded")]
    Failed,
}

/// The log. Cheap to clone; usable from any thread. When the last clone is dropped, the writer stops by itself.
#[derive(Debug, Clone)]
pub struct AuditLog {
    shared: Arc<Shared>,
    _guard: Arc<CloseGuard>,
}

#[derive(Debug)]
struct CloseGuard(Arc<Shared>);

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.0.begin_close(None);
    }
}

impl AuditLog {
    /// Locks the folder, repairs and reads what is there, begins a new log in a new segment, and starts the writer.
    /// Blocks on the disk: call it before serving.
    ///
    /// # Errors
    /// When the folder cannot be made, locked (another process writes it) or read. A full or failing disk is no error:
    /// the log then starts as [`Readiness::Unavailable`] and recovers by itself.
    pub fn open(config: AuditLogConfig, identity: LogIdentity, clock: Clock) -> Result<(Self, Recovery), OpenError> {
        let storage = FolderStorage::open(&config.directory)?;
        Self::open_with(config, identity, clock, Box::new(storage))
    }

    /// [`AuditLog::open`] with a storage of one's own for the new segments; old ones are read from the folder.
    ///
    /// # Errors
    /// As [`AuditLog::open`].
    pub fn open_with(
        config: AuditLogConfig,
        identity: LogIdentity,
        clock: Clock,
        storage: Box<dyn Storage>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (journal, recovery, unavailable) = recovery::begin(&config, identity, &clock, storage)?;
        let shared = Arc::new(Shared::new(config, clock, journal.position()));
        shared.set_fault(unavailable);
        shared.metrics.count_start(recovery.orphans.len());
        writer::spawn(Arc::clone(&shared), journal).map_err(OpenError::Thread)?;
        let guard = Arc::new(CloseGuard(Arc::clone(&shared)));
        Ok((Self { shared, _guard: guard }, recovery))
    }

    /// Whether an intent can be made durable now. A few atomic reads; never waits.
    pub fn readiness(&self) -> Readiness {
        self.shared.readiness()
    }

    /// Makes an intent durable. Returns only once its line is synced, or within the write deadline with an error.
    ///
    /// # Errors
    /// [`IntentError`]: the request must be refused.
    pub async fn intent(&self, intent: Intent) -> Result<IntentReceipt, IntentError> {
        let result = receipt::submit(&self.shared, intent).await;
        if let Err(error) = &result {
            self.shared.metrics.count_intent_refused(*error);
        }
        result
    }

    /// Records a refusal, or counts it where budget or space does not allow a record. Never blocks.
    pub fn refusal(&self, refusal: Refusal, standing: Standing) {
        let counted = Counted::Refusal(refusal.code);
        self.shared.offer(Extra::Refusal(Box::new(refusal)), counted, standing);
    }

    /// Records what would have been decided in observe mode. Never blocks. Without a proven holder the strangers' budget
    /// applies.
    pub fn observed(&self, observed: Observed) {
        let counted = Counted::Observed(observed.decision);
        let standing = standing_of(observed.holder.as_ref());
        self.shared.offer(Extra::Observed(Box::new(observed)), counted, standing);
    }

    /// The last durable line. Its sequence is 0, and its hash that of the line it will follow, while a start on a full or
    /// failing disk has not written its first line.
    pub fn position(&self) -> Position {
        *self.shared.position.borrow()
    }

    /// Follows [`AuditLog::position`].
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.shared.position.subscribe()
    }

    pub fn metrics(&self) -> Metrics {
        self.shared.metrics_snapshot()
    }

    /// Writes what is queued and the log's last line, and waits for it, at most
    /// [`AuditLogConfig::close_deadline_ms_max`]. Intents that come later are refused.
    ///
    /// # Errors
    /// [`CloseError`]: then the next start reports what is open.
    pub async fn close(self) -> Result<Position, CloseError> {
        let (done, finished) = oneshot::channel();
        self.shared.begin_close(Some(done));
        let deadline = Duration::from_millis(self.shared.config.close_deadline_ms_max);
        match tokio::time::timeout(deadline, finished).await {
            Err(_) => Err(CloseError::Deadline),
            Ok(Ok(true)) => Ok(self.position()),
            Ok(Ok(false) | Err(_)) => Err(CloseError::Failed),
        }
    }

    /// Intents whose outcome is still to come.
    pub fn open_intents(&self) -> u64 {
        self.shared.metrics.open_intents.load(Ordering::Relaxed)
    }
}

fn standing_of(holder: Option<&Holder>) -> Standing {
    if holder.is_some() { Standing::Proven } else { Standing::Stranger }
}
