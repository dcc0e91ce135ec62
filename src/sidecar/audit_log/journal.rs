//! The chain on its way to the disk: lines are made, gathered, and made durable as one batch.
//!
//! INVARIANT: a line that was given a sequence stays in `batch` until it is durable, whichever segment that takes.

use std::io;

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

#[derive(Debug)]
pub(super) struct Journal {
    storage: Box<dyn Storage>,
    identity: LogIdentity,
    log_id: LogId,
    chain: Chain,
    durable: Position,
    /// `None` after its storage failed.
    segment: Option<Open>,
    next_number: u64,
    batch: Vec<u8>,
    scratch: Vec<u8>,
    /// Durable or batched intents without an outcome in the batch or before.
    open_intents: u64,
}

#[derive(Debug)]
struct Open {
    file: Box<dyn SegmentFile>,
    len: u64,
    reserved: u64,
    /// After a rotation that failed: not again before this length.
    rotate_from: u64,
}

impl Journal {
    /// A new log after `previous`, whose first segment has `number`. Nothing is written yet, and there is no segment
    /// until [`Journal::begin`] or [`Journal::resume`] has made one.
    pub(super) fn new(
        storage: Box<dyn Storage>,
        identity: LogIdentity,
        log_id: LogId,
        previous: Option<&Position>,
        number: u64,
    ) -> Self {
        let chain = Chain::start(log_id, previous);
        Self {
            storage,
            identity,
            log_id,
            chain,
            durable: chain.position(),
            segment: None,
            next_number: number,
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
        self.segment = Some(segment);
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        self.batch.clear();
        self.durable = self.chain.position();
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
                self.segment = Some(segment);
                self.settle();
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
        self.next_number = self.next_number.saturating_add(1);
        let mut segment = Open { file: self.storage.create(&name)?, len: 0, reserved: 0, rotate_from: 0 };
        segment.ensure(self.batch_bytes().saturating_add(outcomes_bytes(self.open_intents)))?;
        Ok(segment)
    }

    /// Gives back what was reserved for more.
    pub(super) fn finish(mut self) {
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
        match self.file.reserve(ample) {
            Ok(()) => self.reserved = ample,
            Err(error) if is_full(&error) => {
                self.file.reserve(need)?;
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
