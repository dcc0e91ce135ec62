//! The chain on its way to the disk: lines are made, gathered, and made durable as one batch.
//!
//! INVARIANT: a line that was given a sequence stays in `batch` until it is durable, whichever segment that takes.

use std::io;

use super::damage::{self, Damage};
use super::head::{self, Head, HeadFound};
use super::storage::{SegmentFile, Storage};
use crate::audit::{
    Chain, Event, LINE_BYTES_MAX, Link, LogId, LogIdentity, OUTCOME_BYTES_MAX, Position, SegmentName, encode,
};

/// Space is allocated in steps of this, while there is plenty.
const RESERVE_STEP_BYTES: u64 = 1024 * 1024;
/// Kept for the log's last line.
const LOG_END_BYTES: u64 = 2048;

/// Why a line was not taken. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    #[error("no room")]
    Full,
    #[error("the storage fails")]
    Storage(#[source] io::Error),
    #[error("the record cannot be written as a line")]
    Encode,
}

impl From<io::Error> for PushError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Storage(error) }
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Where a new log begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) log_id: LogId,
    /// The last line of the log before.
    pub(super) previous: Option<Position>,
    /// Of the first segment.
    pub(super) number: u64,
    pub(super) head: HeadFound,
    /// The head that was found is this log's, too. Else a new one is begun.
    pub(super) has_own_head: bool,
    /// Damage that must be on record before anything is written.
    pub(super) pin: Option<Damage>,
}

/// The files beside the segments, and what is still to be done to them before a segment is begun.
#[derive(Debug)]
struct Beside {
    head: Head,
    count: u64,
    needs_head: bool,
    pin: Option<Damage>,
}

impl Beside {
    fn new(plan: &Plan) -> Self {
        let (found, count) = match plan.head {
            HeadFound::At { head, count } => (head, count),
            HeadFound::Absent | HeadFound::Unreadable(_) => (Head::NOTHING, 0),
        };
        let head = if plan.has_own_head { found } else { Head::NOTHING };
        Self { head, count, needs_head: !plan.has_own_head, pin: plan.pin.clone() }
    }

    /// INVARIANT: no segment is there without a head, and none after a damage that is not on record: so that a process
    /// that dies between any two steps leaves nothing that looks like damage, and hides none.
    fn prepare(&mut self, storage: &mut dyn Storage) -> io::Result<()> {
        if let Some(pin) = &self.pin {
            storage.put(damage::FILE, &pin.file()?)?;
            self.pin = None;
        }
        if self.needs_head {
            self.put(storage)?;
            self.needs_head = false;
        }
        Ok(())
    }

    fn put(&mut self, storage: &mut dyn Storage) -> io::Result<()> {
        self.count = self.count.saturating_add(1);
        storage.put(head::FILE, &head::file(self.head, self.count)?)
    }

    /// Everything up to `position` is durable, in the segment with this number.
    fn advance(&mut self, storage: &mut dyn Storage, position: Position, number: u64) {
        let first = if self.head.first == 0 { number } else { self.head.first };
        self.head = Head { position: Some(position), first, last: number };
        self.count = self.count.saturating_add(1);
        // A head that lags behind is no harm: it only notices less.
        let _lags = head::slot(self.head, self.count).and_then(|(at, bytes)| storage.note(head::FILE, at, &bytes));
    }
}

#[derive(Debug)]
pub(super) struct Journal {
    storage: Box<dyn Storage>,
    identity: LogIdentity,
    log_id: LogId,
    chain: Chain,
    durable: Position,
    /// `None` after its storage failed.
    segment: Option<Open>,
    beside: Beside,
    next_number: u64,
    batch: Vec<u8>,
    scratch: Vec<u8>,
    /// Durable or batched intents without an outcome in the batch or before.
    open_intents: u64,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: Box<dyn SegmentFile>,
    len: u64,
    reserved: u64,
    /// After a rotation that failed: not again before this length.
    rotate_from: u64,
}

impl Journal {
    /// A new log. Nothing is written yet, and there is no segment until [`Journal::begin`] or [`Journal::resume`] has
    /// made one.
    pub(super) fn new(storage: Box<dyn Storage>, identity: LogIdentity, plan: Plan) -> Self {
        let chain = Chain::start(plan.log_id, plan.previous.as_ref());
        Self {
            storage,
            identity,
            log_id: plan.log_id,
            beside: Beside::new(&plan),
            chain,
            durable: chain.position(),
            segment: None,
            next_number: plan.number,
            batch: Vec::new(),
            scratch: Vec::new(),
            open_intents: 0,
        }
    }

    /// Takes a line that must come before all others, whether or not there is room yet.
    pub(super) fn push_beginning(&mut self, event: &Event<'_>) -> Result<Link, PushError> {
        self.make_line(event)?;
        Ok(self.take_line())
    }

    /// Makes the beginning durable in a first segment. On an error it stays in the batch, for [`Journal::resume`].
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let segment = self.create(false)?;
        self.segment = Some(segment);
        self.commit()
    }

    /// The last durable line.
    pub(super) const fn position(&self) -> Position {
        self.durable
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.segment.is_none()
    }

    pub(super) const fn open_intents(&self) -> u64 {
        self.open_intents
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.storage.free_bytes().ok()
    }

    pub(super) fn batch_bytes(&self) -> u64 {
        len(&self.batch)
    }

    /// Takes an intent, if there is room for it and for its outcome.
    pub(super) fn push_intent(&mut self, event: &Event<'_>) -> Result<Link, PushError> {
        let link = self.push_within(event, self.open_intents.saturating_add(1))?;
        self.open_intents = self.open_intents.saturating_add(1);
        Ok(link)
    }

    /// Takes an outcome: its room was reserved by its intent.
    pub(super) fn push_outcome(&mut self, event: &Event<'_>) -> Result<Link, PushError> {
        self.make_line(event)?;
        self.open_intents = self.open_intents.saturating_sub(1);
        Ok(self.take_line())
    }

    /// Takes a record of another kind, if that leaves every outcome its room.
    pub(super) fn push_extra(&mut self, event: &Event<'_>) -> Result<Link, PushError> {
        self.push_within(event, self.open_intents)
    }

    fn push_within(&mut self, event: &Event<'_>, outcomes: u64) -> Result<Link, PushError> {
        self.make_line(event)?;
        self.ensure(len(&self.scratch).saturating_add(outcomes_bytes(outcomes)))?;
        Ok(self.take_line())
    }

    /// Whether an intent of any size would be taken now.
    pub(super) fn has_room(&mut self) -> Result<(), PushError> {
        let one = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        Ok(self.ensure(one.saturating_add(outcomes_bytes(self.open_intents.saturating_add(1))))?)
    }

    /// Encodes into `scratch`, with its newline.
    fn make_line(&mut self, event: &Event<'_>) -> Result<(), PushError> {
        self.scratch.clear();
        encode(&self.chain.next(), &self.identity, event, &mut self.scratch).map_err(|_| PushError::Encode)?;
        if self.scratch.len() > LINE_BYTES_MAX {
            return Err(PushError::Encode);
        }
        self.scratch.push(b'\n');
        Ok(())
    }

    fn take_line(&mut self) -> Link {
        let link = self.chain.next();
        let line = self.scratch.strip_suffix(b"\n").unwrap_or(&self.scratch);
        self.chain.advance(line);
        self.batch.append(&mut self.scratch);
        link
    }

    /// Room for so many bytes after the batch.
    fn ensure(&mut self, bytes: u64) -> io::Result<()> {
        let batch = self.batch_bytes();
        let Some(segment) = &mut self.segment else { return Err(io::ErrorKind::BrokenPipe.into()) };
        segment.ensure(batch.saturating_add(bytes))
    }

    /// Writes and syncs the batch. On an error the segment is given up and the batch kept.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let Some(mut segment) = self.segment.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        segment.file.append(&self.batch)?;
        segment.file.sync()?;
        segment.len = segment.len.saturating_add(self.batch_bytes());
        self.settle(segment);
        Ok(())
    }

    /// INVARIANT: reached only when the batch is durable, in this segment.
    fn settle(&mut self, segment: Open) {
        self.batch.clear();
        self.durable = self.chain.position();
        self.beside.advance(&mut *self.storage, self.durable, segment.number);
        self.segment = Some(segment);
    }

    /// The folder's own files, beside the segments.
    pub(super) fn storage(&mut self) -> &mut dyn Storage {
        &mut *self.storage
    }

    /// Goes on in a new segment that repeats the batch. On an error nothing changed, and it may be tried again.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let number = self.next_number;
        let result = self.create(true).and_then(|mut segment| {
            segment.file.append(&self.batch)?;
            segment.file.sync()?;
            segment.len = self.batch_bytes();
            Ok(segment)
        });
        match result {
            Ok(segment) => {
                self.settle(segment);
                Ok(())
            }
            Err(error) => {
                // What cannot be removed is left: verification knows that a resumed segment may itself be given up.
                let _removed = self.storage.remove(&SegmentName::new(number, self.log_id, true));
                Err(error)
            }
        }
    }

    /// Begins a new segment once the current one is large. Where there is no room for one, the old is written on.
    /// INVARIANT: only between batches, so that all of the old one is durable.
    pub(super) fn rotate(&mut self, segment_bytes_max: u64) -> bool {
        let is_due =
            self.segment.as_ref().is_some_and(|segment| segment.len >= segment_bytes_max.max(segment.rotate_from));
        if !is_due || !self.batch.is_empty() {
            return false;
        }
        let number = self.next_number;
        match self.create(false) {
            Ok(new) => {
                if let Some(mut old) = self.segment.replace(new) {
                    old.file.release_after(old.len);
                }
                true
            }
            Err(_) => {
                let _removed = self.storage.remove(&SegmentName::new(number, self.log_id, false));
                if let Some(segment) = &mut self.segment {
                    segment.rotate_from = segment.len.saturating_add(RESERVE_STEP_BYTES);
                }
                false
            }
        }
    }

    /// A new segment with room for the batch, every outcome to come and the log's end.
    fn create(&mut self, resumed: bool) -> io::Result<Open> {
        let name = SegmentName::new(self.next_number, self.log_id, resumed);
        if name.number() > SegmentName::NUMBER_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.beside.prepare(&mut *self.storage)?;
        self.next_number = self.next_number.saturating_add(1);
        let mut segment =
            Open { number: name.number(), file: self.storage.create(&name)?, len: 0, reserved: 0, rotate_from: 0 };
        segment.ensure(self.batch_bytes().saturating_add(outcomes_bytes(self.open_intents)))?;
        Ok(segment)
    }

    /// Gives back what was reserved for more, and makes the head durable. Then the storage is free for another process.
    pub(super) fn finish(mut self) {
        if self.segment.is_some() {
            let _lags = self.beside.put(&mut *self.storage);
        }
        if let Some(segment) = &mut self.segment {
            segment.file.release_after(segment.len);
        }
    }
}

impl Open {
    fn ensure(&mut self, bytes: u64) -> io::Result<()> {
        let need = self.len.saturating_add(bytes);
        if need <= self.reserved {
            return Ok(());
        }
        let ample = need.saturating_add(RESERVE_STEP_BYTES);
        match self.file.reserve(self.reserved, ample) {
            Ok(()) => self.reserved = ample,
            Err(error) if is_full(&error) => {
                self.file.reserve(self.reserved, need)?;
                self.reserved = need;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn outcomes_bytes(outcomes: u64) -> u64 {
    outcomes.saturating_mul(u64::try_from(OUTCOME_BYTES_MAX).unwrap_or(u64::MAX)).saturating_add(LOG_END_BYTES)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
