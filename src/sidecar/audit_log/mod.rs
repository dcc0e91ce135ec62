//! The audit log's writer: makes an override's intent durable before anything is forwarded (P3), and never holds up
//! anything else (P4).
//!
//! One thread writes. It gathers what came while the last fdatasync ran, writes it, syncs, then acknowledges; what nobody
//! waits for is made into lines after that, and synced with the next intents, or soon if none come. Callers on
//! any runtime wait at most [`AuditLogConfig::write_deadline_ms_max`]; outcomes, refusals and observations never wait.
//!
//! INVARIANT: what was acknowledged is durable. INVARIANT: for every acknowledged intent the space of its outcome is
//! allocated and a place in the queue is held. INVARIANT: a segment whose write or sync failed is never written again
//! (its page cache may lie); everything not known durable is repeated in a new one.

mod acknowledgement;
mod budget;
mod config;
mod damage;
pub mod follow;
mod head;
mod inspect;
mod journal;
mod ledger;
mod metrics;
mod numbers;
mod opening;
mod queue;
mod receipt;
mod recovery;
mod storage;
mod two_slots;
mod waiting;
mod work;
mod writer;

#[cfg(test)]
pub(in crate::sidecar) mod faulty;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::audit::{Asker, Counted, Intent, LogIdentity, Observed, Position, Refusal};
use crate::clock::Clock;

pub use acknowledgement::{Acknowledgement, WordsError};
pub use config::AuditLogConfig;
pub use damage::{Damage, Finding, FindingKind, is_on_record};
pub use head::{Head, HeadFound};
pub use inspect::{Inspection, SPENT_KEPT_FOR, inspect};
pub use metrics::{FSYNC_BOUNDS_MS, KINDS, Metrics};
pub use opening::Opened;
pub use receipt::IntentReceipt;
pub use recovery::{OpenError, Recovery};
pub use storage::{FolderStorage, SegmentFile, Storage, is_locked};

use follow::{Bookmark, FollowError, Follower, ReaderName, Readers};
use queue::Shared;
use work::Extra;

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
    /// The folder is not open yet: another process holds it, or its first lines are not durable.
    Opening,
    /// What was found is damaged, and no operator has accepted that.
    Damaged,
    /// Too much waits to be shipped to the ledger.
    Spool,
    /// The ledger must have an intent first, and can't be reached.
    Ledger,
}

impl Cause {
    pub const ALL: [Self; 7] =
        [Self::Full, Self::Slow, Self::Failed, Self::Opening, Self::Damaged, Self::Spool, Self::Ledger];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Opening => "opening",
            Self::Damaged => "damaged",
            Self::Spool => "spool",
            Self::Ledger => "ledger",
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
    #[error("the audit log is not open yet")]
    Opening,
    #[error("the audit log is damaged, and nobody has accepted that yet")]
    Damaged,
    #[error("too much of the audit log waits to be shipped")]
    Spool,
    /// Nothing was written.
    #[error("the ledger can't be reached, and must have every intent")]
    NoLedger,
    /// It is durable here, and whoever must have it, a reader or the ledger, did not take it. Its outcome says that nothing
    /// was forwarded.
    #[error("a required reader of the audit log did not take the intent within the write deadline")]
    Untaken,
}

/// What to do about a folder that another process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLocked {
    /// It is an error.
    Fail,
    /// It will be free later.
    Wait,
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
        let shared = Arc::new(Shared::new(config, clock));
        let (writer, recovery) = opening::begin(&shared, identity, storage)?;
        opening::spawn(move || writer.run()).map_err(OpenError::Thread)?;
        Ok((Self::of(shared), recovery))
    }

    /// [`AuditLog::open`] on the log's own thread. With [`WhenLocked::Fail`] it returns once the log is begun, or after
    /// [`AuditLogConfig::open_wait_ms_max`]: reading a long log takes seconds for each GiB, and ordinary traffic must not
    /// wait for that. With [`WhenLocked::Wait`] it returns at once, and the folder need not be free yet, such as while the
    /// process that hands over to this one still writes it. Until the log is open its readiness is [`Cause::Opening`], intents are refused at once, and refusals and
    /// observations are counted into a summary that the log begins with. What keeps the folder from being opened later is
    /// told in the process's log and tried again.
    ///
    /// # Errors
    /// Where no thread can be started, and with [`WhenLocked::Fail`] where the folder can't be made or locked now.
    pub fn start(
        config: AuditLogConfig,
        identity: LogIdentity,
        clock: Clock,
        when_locked: WhenLocked,
    ) -> Result<Self, OpenError> {
        let storage = match when_locked {
            WhenLocked::Fail => Some(FolderStorage::open(&config.directory)?),
            WhenLocked::Wait => None,
        };
        let shared = Arc::new(Shared::new(config, clock));
        let own = Arc::clone(&shared);
        let (begun, wait) = std::sync::mpsc::sync_channel(1);
        let patience = Duration::from_millis(shared.config.open_wait_ms_max);
        opening::spawn(move || opening::wait_and_run(&own, &identity, storage, &begun)).map_err(OpenError::Thread)?;
        if when_locked == WhenLocked::Fail {
            let _begun_or_not_yet = wait.recv_timeout(patience);
        }
        Ok(Self::of(shared))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let guard = Arc::new(CloseGuard(Arc::clone(&shared)));
        Self { shared, _guard: guard }
    }

    /// What earlier processes left, and the folder's lineage, as soon as overrides may be recorded: at once for a sound
    /// folder, after an operator's word for a damaged one. It never resolves for a log that is closed before.
    pub fn opened(&self) -> impl Future<Output = Opened> + Send + use<> {
        let mut opened = self.shared.opened();
        async move {
            let found = opened.wait_for(Option::is_some).await.ok().and_then(|opened| opened.clone());
            match found {
                Some(opened) => opened,
                None => std::future::pending().await,
            }
        }
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

    /// Whoever hands the lines of this log on.
    pub fn readers(&self) -> &Readers {
        &self.shared.readers
    }

    /// The reader called `name`, from where it had settled.
    ///
    /// # Errors
    /// As [`Follower::open`].
    pub async fn follow(&self, name: ReaderName) -> Result<Follower, FollowError> {
        Follower::open(&self.shared.config.directory, name, self.positions(), self.readers()).await
    }

    /// The folder of the segments.
    pub fn folder(&self) -> &Path {
        &self.shared.config.directory
    }

    /// From now on an intent is acknowledged only once each of these readers has taken its line, too, within the same write
    /// deadline ([`follow::Readers::settled`]).
    pub fn require(&self, readers: Vec<watch::Receiver<Bookmark>>) {
        self.shared.set_required(readers);
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
        let standing = standing_of(observed.asker.as_ref());
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

    /// Everything up to this line is in the ledger.
    pub fn set_arrived(&self, position: Position) {
        self.shared.ledger.set_arrived(position);
    }

    /// Whether the ledger answered the last time.
    pub fn set_ledger_reachable(&self, reachable: bool) {
        self.shared.ledger.set_reachable(reachable);
    }

    /// Whether more waits to be shipped than may.
    pub fn set_spool_full(&self, full: bool) {
        self.shared.ledger.set_spool_full(full);
    }

    /// Space that is kept for overrides, in bytes.
    pub fn reserve_bytes(&self) -> u64 {
        self.shared.config.override_reserve_bytes
    }

    pub fn metrics(&self) -> Metrics {
        self.shared.metrics_snapshot()
    }

    /// Writes what is queued and the log's last line, and waits for it, at most
    /// [`AuditLogConfig::close_deadline_ms_max`]. When it returns without an error, the folder's lock is free for another
    /// process. Requests may still run: their intents are refused as [`IntentError::Closed`], refusals and observations
    /// are counted ([`Metrics::after_close`]). An outcome that comes after the end is not recorded, and the next start
    /// reports it as unknown: close when [`AuditLog::open_intents`] is 0, or when no more can be waited for.
    ///
    /// # Errors
    /// [`CloseError`]: then the next start reports what is open. After [`CloseError::Deadline`] the lock is held for as
    /// long as the storage takes to answer.
    pub async fn close(&self) -> Result<Position, CloseError> {
        let (done, finished) = oneshot::channel();
        self.shared.begin_close(Some(done));
        self.closed(finished).await
    }

    /// [`AuditLog::close`], if no intent is open at this very moment; else nothing is done and nothing returned.
    pub async fn close_if_idle(&self) -> Option<Result<Position, CloseError>> {
        let (done, finished) = oneshot::channel();
        if self.shared.begin_close_if_idle(done) { Some(self.closed(finished).await) } else { None }
    }

    async fn closed(&self, finished: oneshot::Receiver<bool>) -> Result<Position, CloseError> {
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

fn standing_of(asker: Option<&Asker>) -> Standing {
    if asker.is_some_and(Asker::is_holder) { Standing::Proven } else { Standing::Stranger }
}
