//! What callers and the writer share: the queues, the readiness, the position.
//!
//! INVARIANT: the lock is held for a few moves of memory, never across I/O or an await. INVARIANT: outcomes never lack a
//! place: each intent that is let in holds one, and there are at most `open_intents_max`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{oneshot, watch};

use super::budget::Budget;
use super::follow::{Bookmark, Readers};
use super::ledger::Ledger;
use super::metrics::{Counters, Metrics};
use super::waiting::Queues;
use super::work::{Extra, Pace, PendingIntent, PendingOutcome, Work};
use super::{AuditLogConfig, Cause, IntentError, Opened, Readiness, Standing};
use crate::audit::{Counted, LineHash, LogId, Position, Summary};
use crate::clock::Clock;

const FAULT_NONE: u8 = 0;
const FAULT_FULL: u8 = 1;
const FAULT_FAILED: u8 = 2;

const STAGE_OPEN: u8 = 0;
const STAGE_OPENING: u8 = 1;
const STAGE_DAMAGED: u8 = 2;

/// Where a log is that is not open.
const UNOPENED: Position = Position { log_id: LogId::from_bytes([0; 16]), sequence: 0, head: LineHash::NONE };

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: AuditLogConfig,
    pub(super) clock: Clock,
    pub(super) metrics: Counters,
    pub(super) ledger: Ledger,
    pub(super) position: watch::Sender<Position>,
    queues: Mutex<Queues>,
    wake: Condvar,
    fault: AtomicU8,
    stage: AtomicU8,
    opened: watch::Sender<Option<Opened>>,
    /// Whoever hands the log's lines on.
    pub(super) readers: Readers,
    /// Those of them that must have taken an intent before it is acknowledged.
    required: ArcSwap<Vec<watch::Receiver<Bookmark>>>,
    /// When the write now running began, by the boot clock, plus one; 0 while none runs.
    busy_since_ms: AtomicU64,
}

impl Shared {
    /// Of a log that is still to be opened.
    pub(super) fn new(config: AuditLogConfig, clock: Clock) -> Self {
        let strangers = Budget::new(config.stranger_records_per_s_max, config.stranger_bytes_per_s_max, clock.boot());
        let queues = Queues::new(strangers);
        Self {
            ledger: Ledger::new(config.ledger_required),
            config,
            clock,
            metrics: Counters::default(),
            position: watch::Sender::new(UNOPENED),
            queues: Mutex::new(queues),
            wake: Condvar::new(),
            fault: AtomicU8::new(FAULT_NONE),
            stage: AtomicU8::new(STAGE_OPENING),
            opened: watch::Sender::new(None),
            readers: Readers::default(),
            required: ArcSwap::default(),
            busy_since_ms: AtomicU64::new(0),
        }
    }

    /// A panic elsewhere leaves the queues whole: every change of them is one step.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_if_idle(&self, queues: &mut Queues) {
        if queues.idle {
            queues.idle = false;
            self.wake.notify_one();
        }
    }

    /// Damage waits for a human, so it is told before anything that passes by itself.
    pub(super) fn readiness(&self) -> Readiness {
        let stage = self.stage.load(Ordering::Acquire);
        if stage == STAGE_DAMAGED {
            return Readiness::Unavailable(Cause::Damaged);
        }
        match self.storage_readiness() {
            Readiness::Ready if stage == STAGE_OPENING => Readiness::Unavailable(Cause::Opening),
            Readiness::Ready => self.ledger.lack().map_or(Readiness::Ready, Readiness::Unavailable),
            readiness => readiness,
        }
    }

    /// Where overrides stand aside: whether lines can be written.
    fn storage_readiness(&self) -> Readiness {
        match self.fault.load(Ordering::Acquire) {
            FAULT_NONE => {}
            FAULT_FULL => return Readiness::Unavailable(Cause::Full),
            _ => return Readiness::Unavailable(Cause::Failed),
        }
        let since = self.busy_since_ms.load(Ordering::Acquire);
        let is_slow = since > 0 && self.boot_ms().saturating_sub(since - 1) > self.config.write_deadline_ms_max;
        if is_slow { Readiness::Unavailable(Cause::Slow) } else { Readiness::Ready }
    }

    fn boot_ms(&self) -> u64 {
        u64::try_from(self.clock.boot().as_duration().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn begin_write(&self) {
        self.busy_since_ms.store(self.boot_ms().saturating_add(1), Ordering::Release);
    }

    pub(super) fn end_write(&self) {
        self.busy_since_ms.store(0, Ordering::Release);
    }

    /// Damage was found; overrides wait until it is accepted.
    pub(super) fn set_damaged(&self) {
        self.stage.store(STAGE_DAMAGED, Ordering::Release);
    }

    /// From now on overrides may be recorded.
    pub(super) fn set_open(&self, opened: Opened) {
        self.stage.store(STAGE_OPEN, Ordering::Release);
        self.opened.send_replace(Some(opened));
    }

    pub(super) fn set_required(&self, readers: Vec<watch::Receiver<Bookmark>>) {
        self.required.store(Arc::new(readers));
    }

    pub(super) fn required(&self) -> Guard<Arc<Vec<watch::Receiver<Bookmark>>>> {
        self.required.load()
    }

    pub(super) fn opened(&self) -> watch::Receiver<Option<Opened>> {
        self.opened.subscribe()
    }

    pub(super) fn set_fault(&self, fault: Option<Cause>) {
        let value = match fault {
            // Slowness shows in how long a write has been running; the others are stages.
            None | Some(Cause::Slow | Cause::Opening | Cause::Damaged | Cause::Spool | Cause::Ledger) => FAULT_NONE,
            Some(Cause::Full) => FAULT_FULL,
            Some(Cause::Failed) => FAULT_FAILED,
        };
        self.fault.store(value, Ordering::Release);
    }

    pub(super) fn has_fault(&self) -> bool {
        self.fault.load(Ordering::Acquire) != FAULT_NONE
    }

    pub(super) fn push_intent(&self, pending: PendingIntent) -> Result<(), IntentError> {
        let mut queues = self.lock();
        if queues.closing || queues.closed {
            return Err(IntentError::Closed);
        }
        queues.intents.push_back(pending);
        self.wake_if_idle(&mut queues);
        Ok(())
    }

    pub(super) fn push_outcome(&self, pending: PendingOutcome) {
        let mut queues = self.lock();
        if !queues.closed {
            queues.outcomes.push_back(pending);
            self.wake_if_idle(&mut queues);
        }
    }

    /// A damaged log still takes what is no override: it goes on in a new segment.
    fn takes_extras(&self) -> bool {
        self.stage.load(Ordering::Acquire) != STAGE_OPENING
            && self.storage_readiness() == Readiness::Ready
            && !self.ledger.is_spool_full()
    }

    /// Queues a record, or counts it.
    pub(super) fn offer(&self, extra: Extra, counted: Counted, standing: Standing) {
        let now = self.clock.now();
        let size = extra.size_estimate();
        let is_ready = self.takes_extras();
        let mut queues = self.lock();
        let fits = is_ready
            && !queues.closed
            && match standing {
                Standing::Proven => queues.extras.len() < self.config.queue_records_max,
                // Half of the queue is out of a stranger's reach.
                Standing::Stranger => {
                    queues.extras.len() < self.config.queue_records_max / 2 && queues.strangers.take(size, now.boot)
                }
            };
        if fits {
            queues.extras.push_back((extra, counted));
            self.wake_if_idle(&mut queues);
        } else {
            drop(queues);
            self.summarise(counted);
        }
    }

    /// Counts a record that is left out.
    pub(super) fn summarise(&self, counted: Counted) {
        self.metrics.count_summarised();
        let now = self.clock.wall();
        let mut queues = self.lock();
        if queues.closed {
            // No line can tell it any more: the counter does.
            self.metrics.count_after_close();
        }
        let summary = &mut queues.summary;
        summary.from.get_or_insert(now);
        let count = summary.counts.entry(counted).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// The counts so far, if there are any and they are old enough.
    pub(super) fn take_summary(&self, at_once: bool) -> Option<Summary> {
        let now = self.clock.wall();
        let interval = Duration::from_millis(self.config.summary_interval_ms);
        let summary = &mut self.lock().summary;
        let from = summary.from?;
        // A wall clock set back must not hold the counts for long.
        let is_due = at_once || now < from || now.since(from) >= interval;
        is_due.then(|| Summary { until: Some(now), ..std::mem::take(summary) })
    }

    /// Puts back a summary that could not be written.
    pub(super) fn return_summary(&self, unwritten: Summary) {
        let summary = &mut self.lock().summary;
        summary.from = unwritten.from;
        for (counted, count) in unwritten.counts {
            let total = summary.counts.entry(counted).or_insert(0);
            *total = total.saturating_add(count);
        }
    }

    /// Waits for work, at most `tick`; an empty result is a tick.
    pub(super) fn take_work(&self, tick: Duration, gather: Duration, pace: Pace) -> Work {
        let mut queues = self.lock();
        if queues.is_empty() && !queues.closing {
            queues.idle = true;
            (queues, _) = self.wake.wait_timeout(queues, tick).unwrap_or_else(PoisonError::into_inner);
        }
        if !queues.is_empty() {
            // No one waits for outcomes and refusals: let more gather, until an intent comes.
            let wait = self.wake.wait_timeout_while(queues, gather, Queues::keeps_gathering);
            (queues, _) = wait.unwrap_or_else(PoisonError::into_inner);
        }
        if queues.lacks_some(pace) {
            let wait = self.wake.wait_timeout_while(queues, pace.patience(gather), |queues| queues.awaits_more(pace));
            (queues, _) = wait.unwrap_or_else(PoisonError::into_inner);
        }
        queues.idle = false;
        queues.take()
    }

    /// While the storage fails: waits for a whole `tick`, or the end, then takes all but the outcomes.
    pub(super) fn take_refusable(&self, tick: Duration) -> Work {
        let wait = self.wake.wait_timeout_while(self.lock(), tick, |queues| !queues.closing);
        let (mut queues, _) = wait.unwrap_or_else(PoisonError::into_inner);
        queues.take_refusable()
    }

    pub(super) fn queued_intents(&self) -> usize {
        self.lock().intents.len()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    pub(super) fn is_drained(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn begin_close(&self, done: Option<oneshot::Sender<bool>>) {
        let mut queues = self.lock();
        queues.closing = true;
        let ended_well = queues.closed.then_some(queues.ended_well);
        match (done, ended_well) {
            (Some(done), Some(ended_well)) => drop(done.send(ended_well)),
            (done, _) => queues.done.extend(done),
        }
        drop(queues);
        self.wake.notify_one();
    }

    /// Whether no intent is open, and none will be: a place is taken before an intent is pushed, and pushing sees
    /// `closing` under the same lock.
    pub(super) fn begin_close_if_idle(&self, done: oneshot::Sender<bool>) -> bool {
        let mut queues = self.lock();
        if self.metrics.open_intents.load(Ordering::Acquire) > 0 {
            return false;
        }
        queues.closing = true;
        if !queues.closed {
            queues.done.push(done);
        }
        drop(queues);
        self.wake.notify_one();
        true
    }

    /// The writer's last word.
    pub(super) fn end_close(&self, in_order: bool) {
        let (done, left) = {
            let mut queues = self.lock();
            queues.closed = true;
            queues.ended_well = in_order;
            queues.closing = true;
            let left = (std::mem::take(&mut queues.intents), std::mem::take(&mut queues.outcomes));
            (std::mem::take(&mut queues.done), left)
        };
        // Outside of the lock: dropping a reply or a slot may wake others.
        drop(left);
        for waiting in done {
            let _gone = waiting.send(in_order);
        }
    }

    pub(super) fn metrics_snapshot(&self) -> Metrics {
        let queued = {
            let queues = self.lock();
            queues.intents.len() + queues.outcomes.len() + queues.extras.len()
        };
        let unavailable = match self.readiness() {
            Readiness::Ready => None,
            Readiness::Unavailable(cause) => Some(cause),
        };
        self.metrics.snapshot(u64::try_from(queued).unwrap_or(u64::MAX), unavailable)
    }
}
