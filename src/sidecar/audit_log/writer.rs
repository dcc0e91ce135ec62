//! The writer's thread: take, write, sync, acknowledge; and when the storage fails, try again until it does not.
//!
//! A request waits for its intent, and nobody for anything else. So intents come first: what came with them is made into
//! lines once they are acknowledged, while the next ones gather, and is synced together with those.

use std::sync::Arc;
use std::time::Duration;

use super::Cause;
use super::journal::{Journal, PushError, is_full};
use super::numbers::Numbers;
use super::opening::Unopened;
use super::queue::Shared;
use super::receipt::IntentReceipt;
use super::work::{Extra, Pace, PendingIntent, PendingOutcome, Work};
use crate::audit::{Counted, End, Event, LogEnd};
use crate::decision::RefusalCode;

/// An intent with a line, that is not yet durable.
#[derive(Debug)]
struct Written {
    receipt: IntentReceipt,
    reply: super::work::Reply,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    /// Until overrides may be recorded.
    pub(super) unopened: Option<Unopened>,
    written: Vec<Written>,
    numbers: Numbers,
    pace: Pace,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal, unopened: Unopened) -> Self {
        Self {
            shared,
            journal,
            unopened: Some(unopened),
            written: Vec::new(),
            numbers: Numbers::default(),
            pace: Pace::default(),
        }
    }

    /// Writes until the log is closed, on a thread of its own.
    pub(super) fn run(mut self) {
        self.look_at_space();
        let tick = Duration::from_millis(self.shared.config.probe_interval_ms.clamp(1, 1000));
        let gather = Duration::from_millis(self.shared.config.group_commit_ms);
        loop {
            let work = if self.journal.has_failed() {
                self.shared.take_refusable(tick)
            } else {
                // Lines that have no sync yet wait for the next intents no longer than lines gather.
                let tick = if self.journal.batch_bytes() > 0 { gather.min(tick) } else { tick };
                self.shared.take_work(tick, gather, self.pace)
            };
            let is_closing = work.closing;
            if self.journal.has_failed() {
                self.while_failed(work);
            } else {
                self.batch(work);
            }
            self.try_open();
            if is_closing && (self.journal.has_failed() || self.shared.is_drained()) {
                return self.end();
            }
        }
    }

    fn batch(&mut self, work: Work) {
        self.shared.begin_write();
        self.rotate();
        let has_intents = !work.intents.is_empty();
        for pending in work.intents {
            self.intent(pending);
        }
        if has_intents {
            self.commit();
        }
        if !work.outcomes.is_empty() {
            // Under load a batch begins with lines that wait for their sync; here there are none.
            self.rotate();
        }
        for pending in work.outcomes {
            self.outcome(pending);
        }
        self.extras(work.extras, work.closing);
        if !has_intents {
            self.commit();
        }
        self.probe();
        self.shared.end_write();
    }

    fn rotate(&mut self) {
        if self.journal.rotate(self.shared.config.segment_bytes_max) {
            self.shared.metrics.count_segment();
        }
    }

    /// The storage has failed: nothing new is taken until everything up to here is durable elsewhere.
    fn while_failed(&mut self, work: Work) {
        self.shared.begin_write();
        for pending in work.intents {
            let _gone = pending.reply.send(Err(super::IntentError::Failed));
        }
        for (_, counted) in work.extras {
            self.shared.summarise(counted);
        }
        self.resume();
        self.shared.end_write();
    }

    fn outcome(&mut self, pending: PendingOutcome) {
        let event = Event::Outcome { intent: &pending.intent, link: &pending.link, outcome: &pending.outcome };
        if self.journal.push_outcome(&event).is_ok() {
            self.shared.metrics.count_record(&event);
        }
        drop(pending.slot);
    }

    fn intent(&mut self, pending: PendingIntent) {
        let PendingIntent { intent, slot, reply } = pending;
        if reply.is_closed() {
            return;
        }
        let (grant, expires) = (intent.grant().id.clone(), intent.grant().expires);
        let intent = Arc::new(intent.numbered(self.numbers.next(&grant)));
        let event = Event::Intent(&intent);
        match self.journal.push_intent(&event) {
            Ok(link) => {
                self.numbers.take(grant, expires, self.shared.clock.wall());
                self.shared.metrics.count_record(&event);
                let receipt = IntentReceipt::new(Arc::clone(&intent), link, slot);
                self.written.push(Written { receipt, reply });
            }
            Err(error) => {
                let _gone = reply.send(Err(self.intent_failed(&error)));
            }
        }
    }

    fn intent_failed(&self, error: &PushError) -> super::IntentError {
        match error {
            PushError::Full => {
                self.shared.set_fault(Some(Cause::Full));
                super::IntentError::Full
            }
            PushError::Storage(_) | PushError::Encode => {
                self.shared.metrics.count_storage_error();
                super::IntentError::Failed
            }
        }
    }

    /// Records that may be left out: only above the overrides' reserve.
    fn extras(&mut self, extras: Vec<(Extra, Counted)>, at_once: bool) {
        let summary = self.shared.take_summary(at_once);
        if extras.is_empty() && summary.is_none() {
            return;
        }
        let has_space = self.look_at_space();
        for (extra, counted) in extras {
            let event = match &extra {
                Extra::Refusal(refusal) => Event::Refusal(refusal),
                Extra::Observed(observed) => Event::Observed(observed),
            };
            if !has_space || !self.extra(&event) {
                self.shared.summarise(counted);
            }
        }
        if let Some(summary) = summary
            && (!has_space || !self.extra(&Event::RefusalSummary(&summary)))
        {
            self.shared.return_summary(summary);
        }
    }

    pub(super) fn extra(&mut self, event: &Event<'_>) -> bool {
        let is_written = self.journal.push_extra(event).is_ok();
        if is_written {
            self.shared.metrics.count_record(event);
        }
        is_written
    }

    /// Whether more than the overrides' reserve is free.
    fn look_at_space(&self) -> bool {
        let Some(free) = self.journal.free_bytes() else { return false };
        self.shared.metrics.set_free_bytes(free);
        free > self.shared.config.override_reserve_bytes
    }

    pub(super) fn commit(&mut self) {
        let bytes = self.journal.batch_bytes();
        if bytes == 0 {
            return;
        }
        let started = self.shared.clock.boot();
        match self.journal.commit() {
            Ok(()) => {
                let took = self.shared.clock.boot().since(started);
                self.shared.metrics.count_commit(bytes, took);
                let askers = self.written.len().saturating_add(self.shared.queued_intents());
                self.pace = Pace { askers, commit: took };
                self.acknowledge();
            }
            Err(_) => {
                self.shared.metrics.count_storage_error();
                self.shared.set_fault(Some(Cause::Failed));
                self.resume();
            }
        }
    }

    /// Tries a new segment. Where that works, what waits is durable after all.
    fn resume(&mut self) {
        let bytes = self.journal.batch_bytes();
        let started = self.shared.clock.boot();
        match self.journal.resume() {
            Ok(()) => {
                self.shared.metrics.count_segment();
                self.shared.metrics.count_commit(bytes, self.shared.clock.boot().since(started));
                self.shared.set_fault(None);
                self.acknowledge();
            }
            Err(error) => {
                self.shared.metrics.count_storage_error();
                self.shared.set_fault(Some(if is_full(&error) { Cause::Full } else { Cause::Failed }));
                self.refuse_written();
            }
        }
    }

    /// INVARIANT: reached only when every line up to here is durable.
    fn acknowledge(&mut self) {
        self.shared.position.send_replace(self.journal.position());
        for Written { receipt, reply } in self.written.drain(..) {
            if let Err(Ok(undelivered)) = reply.send(Ok(receipt)) {
                undelivered.ended(End::NotForwarded(RefusalCode::AuditUnavailable));
            }
        }
    }

    /// Their lines may become durable yet, so each owes an outcome.
    fn refuse_written(&mut self) {
        for Written { receipt, reply } in self.written.drain(..) {
            let _gone = reply.send(Err(super::IntentError::Failed));
            receipt.ended(End::NotForwarded(RefusalCode::AuditUnavailable));
        }
    }

    /// Looks whether there is room again.
    fn probe(&mut self) {
        if self.shared.has_fault() && !self.journal.has_failed() && self.journal.has_room().is_ok() {
            self.shared.set_fault(None);
        }
    }

    fn end(mut self) {
        let open_intents = self.journal.open_intents();
        let event = LogEnd { at: self.shared.clock.wall(), open_intents };
        let event = Event::LogEnded(&event);
        if !self.journal.has_failed() {
            // What was taken before does not depend on whether the last line has room.
            self.commit();
        }
        let in_order = !self.journal.has_failed() && self.extra(&event) && {
            self.commit();
            !self.journal.has_failed()
        };
        self.journal.finish();
        self.shared.end_close(in_order);
    }
}
