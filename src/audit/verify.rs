//! Checking a chain of segments, line by line, in constant memory per line.
//!
//! It names the first line that is not what was written: altered, dropped, swapped, inserted, or missing with its whole
//! segment. What a chain alone cannot show is a change of its very last line or the loss of its end: for that the caller
//! gives an [`Expectation`], a position that someone else has kept (the ledger anchors them).
//!
//! After a problem it goes on from the next line that can be read, so that counts and open intents stay useful; only the
//! first problem is told. It never changes a file.

use std::collections::{HashMap, HashSet};

use super::chain::{LineHash, LogId, Position};
use super::line::{LineBody, LineError, ParsedLine, PastIntent};
use super::loss::AcceptedLoss;
use super::segment::{RawLine, SegmentName};

mod observer;
mod place;
mod report;
pub use observer::{NoObserver, Observer};
pub use report::{Loss, Problem, ProblemKind, Report, TornTail};

use place::{Excused, Place};

/// What is known of the log from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// A line that must be there, with this hash.
    pub position: Option<Position>,
    pub beginning: Beginning,
}

/// What the first line must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Beginning {
    /// The first line of the first log of all.
    #[default]
    Whole,
    /// The first line of some log: what stood before it was lost, and that was accepted.
    OfALog,
    /// Any line: earlier segments were removed on purpose.
    Pruned,
    /// The line right after this one, which was removed on purpose.
    After(Position),
}

/// What stands after a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// Nothing: the process may have died in the middle of its last line.
    Nothing,
    Segment,
    /// A segment that repeats what may be damaged in this one.
    Resumed,
}

/// Takes segments in order, each line by line.
#[derive(Debug)]
pub struct Verifier<O = NoObserver> {
    expectation: Expectation,
    expectation_met: bool,
    report: Report,
    observer: O,
    place: Place,
    cursor: Option<Position>,
    log_closed: bool,
    logs_seen: HashSet<LogId>,
    /// Hashes of the current log's lines since the last segment that was not resumed, for repeats.
    recent: Vec<(LogId, u64, LineHash)>,
    /// The place of the line at the cursor.
    cursor_place: Place,
    /// A line that names another hash than the line before it has: one of the two was altered.
    suspect: Option<(LineHash, Place)>,
    /// A problem in a segment whose storage failed; settled by the resumed segment after it.
    excused: Option<Excused>,
    open: HashMap<(LogId, u64), PastIntent>,
}

impl Default for Verifier<NoObserver> {
    fn default() -> Self {
        Self::new(Expectation::default(), NoObserver)
    }
}

impl<O: Observer> Verifier<O> {
    pub fn new(expectation: Expectation, observer: O) -> Self {
        Self {
            expectation,
            expectation_met: false,
            report: Report::default(),
            observer,
            place: Place::default(),
            cursor: None,
            log_closed: false,
            logs_seen: HashSet::new(),
            recent: Vec::new(),
            cursor_place: Place::default(),
            suspect: None,
            excused: None,
            open: HashMap::new(),
        }
    }

    /// Opens the next segment.
    pub fn begin_segment(&mut self, name: &SegmentName, following: Following) {
        self.report.segments += 1;
        if name.is_resumed() {
            self.report.resumed += 1;
        } else {
            self.condemn();
            let keep_from = self.recent.len().saturating_sub(1);
            self.recent.drain(..keep_from);
        }
        self.place = Place {
            segment: name.to_string().into(),
            line: 0,
            following_resumed: following == Following::Resumed,
            following_nothing: following == Following::Nothing,
            repeating: name.is_resumed(),
            abandoned: false,
        };
    }

    /// Takes the next line of the segment, which begins at `offset_bytes` of it.
    pub fn line(&mut self, raw: RawLine<'_>, offset_bytes: u64) {
        self.place.line += 1;
        if self.place.abandoned {
            return;
        }
        if is_torn(raw) && (self.place.following_nothing || self.place.following_resumed) {
            self.torn(offset_bytes);
            return;
        }
        match raw {
            RawLine::Whole(bytes) => match ParsedLine::parse(bytes) {
                Ok(line) => self.parsed(&line, LineHash::of(bytes)),
                Err(error) => self.problem(ProblemKind::Unreadable(unreadable(&error))),
            },
            RawLine::Unterminated(_) => self.problem(ProblemKind::Unreadable("does not end in a newline".to_owned())),
            RawLine::TooLong(_) => self.problem(ProblemKind::Unreadable("is longer than any record".to_owned())),
        }
    }

    /// The process died here, or the storage failed: nothing after it was acknowledged in this segment.
    fn torn(&mut self, offset_bytes: u64) {
        self.place.abandoned = true;
        let tail = TornTail { segment: self.place.segment.to_string(), line: self.place.line, offset_bytes };
        if self.place.following_nothing {
            self.report.torn_tails.push(tail);
        } else {
            let what = ProblemKind::Unreadable("is unfinished, and the next segment does not repeat it".to_owned());
            self.excused.get_or_insert(Excused { place: self.place.clone(), what, torn: Some(tail) });
        }
    }

    /// What was found, and the intents left open, in no order.
    pub fn finish(mut self) -> (Report, Vec<PastIntent>, O) {
        match self.excused.take_if(|excused| excused.torn.is_some()) {
            // The process died before the segment that was to repeat it was whole.
            Some(Excused { torn, .. }) => self.report.torn_tails.splice(..0, torn).for_each(drop),
            None => self.condemn(),
        }
        self.settle_suspect(self.expectation.position.map(|expected| expected.head));
        if let Some(expected) = self.expectation.position
            && !self.expectation_met
        {
            let place = Place { line: self.place.line.saturating_add(1), ..self.place.clone() };
            self.report.lacks_position = true;
            self.problem_at(&place, ProblemKind::EndMissing(expected.sequence));
        }
        self.report.orphans = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        (self.report, self.open.into_values().collect(), self.observer)
    }

    fn parsed(&mut self, line: &ParsedLine, hash: LineHash) {
        if self.place.repeating && self.is_repeat(line, hash) {
            return;
        }
        self.settle_suspect(Some(line.link.prev));
        match self.check(line) {
            Ok(()) => self.excused = None,
            Err(ProblemKind::Altered) => {
                self.condemn();
                self.suspect_two(hash);
            }
            Err(what) => {
                self.condemn();
                self.problem(what);
            }
        }
        self.place.repeating = false;
        if !self.place.abandoned {
            self.accept(line, hash);
        }
    }

    /// Whether a resumed segment repeats a line that stood, byte for byte, at the end of the one before.
    fn is_repeat(&self, line: &ParsedLine, hash: LineHash) -> bool {
        let same = |(log_id, seq, _): &&(LogId, u64, LineHash)| *log_id == line.link.log_id && *seq == line.link.seq;
        self.recent.iter().rev().find(same).is_some_and(|(_, _, known)| *known == hash)
    }

    fn check(&self, line: &ParsedLine) -> Result<(), ProblemKind> {
        let link = &line.link;
        let Some(cursor) = self.cursor else { return self.check_first(line) };
        if link.log_id != cursor.log_id {
            return self.check_new_log(line, &cursor);
        }
        let expected = cursor.sequence.saturating_add(1);
        if link.seq != expected {
            return Err(ProblemKind::Sequence { expected, found: link.seq });
        }
        if matches!(line.body, LineBody::LogStarted { .. }) {
            return Err(ProblemKind::Started);
        }
        if self.log_closed {
            return Err(ProblemKind::AfterEnd);
        }
        if link.prev == cursor.head { Ok(()) } else { Err(ProblemKind::Altered) }
    }

    fn check_first(&self, line: &ParsedLine) -> Result<(), ProblemKind> {
        let is_first = line.link.seq == 1;
        match (&line.body, self.expectation.beginning) {
            (_, Beginning::Pruned) => Ok(()),
            (_, Beginning::After(before)) => self.check_after(line, &before),
            (LineBody::LogStarted { .. }, Beginning::OfALog) if is_first => Ok(()),
            (LineBody::LogStarted { previous: None, .. }, _) if is_first && line.link.prev == LineHash::NONE => Ok(()),
            (LineBody::LogStarted { previous: Some(_), .. }, _) => Err(ProblemKind::BeginningMissing),
            _ => Err(ProblemKind::LogBegins { found: line.link.log_id, sequence: line.link.seq }),
        }
    }

    /// The first line that is here, after the last that was pruned.
    fn check_after(&self, line: &ParsedLine, before: &Position) -> Result<(), ProblemKind> {
        if line.link.log_id != before.log_id {
            return self.check_new_log(line, before);
        }
        let is_next = line.link.seq == before.sequence.saturating_add(1) && line.link.prev == before.head;
        if is_next { Ok(()) } else { Err(ProblemKind::BeginningMissing) }
    }

    fn check_new_log(&self, line: &ParsedLine, cursor: &Position) -> Result<(), ProblemKind> {
        let link = &line.link;
        if self.logs_seen.contains(&link.log_id) {
            return Err(ProblemKind::LogAgain(link.log_id));
        }
        let LineBody::LogStarted { previous, .. } = line.body else {
            return Err(ProblemKind::LogBegins { found: link.log_id, sequence: link.seq });
        };
        match previous {
            _ if link.seq != 1 => Err(ProblemKind::Sequence { expected: 1, found: link.seq }),
            Some(named) if named.log_id != cursor.log_id || named.sequence != cursor.sequence => {
                Err(ProblemKind::Previous)
            }
            Some(named) if named.head != link.prev => Err(ProblemKind::Previous),
            Some(_) if link.prev == cursor.head => Ok(()),
            Some(_) => Err(ProblemKind::Altered),
            None => Err(ProblemKind::Previous),
        }
    }

    /// Either the line at the cursor was altered or this one; the next line tells which.
    fn suspect_two(&mut self, hash: LineHash) {
        let before = self.cursor_place.clone();
        if self.place.following_resumed {
            self.place.abandoned = true;
            self.excused.get_or_insert(Excused { place: before, what: ProblemKind::Altered, torn: None });
        } else if self.report.first_problem.is_none() {
            self.problem_at(&before, ProblemKind::Altered);
            self.suspect = Some((hash, self.place.clone()));
        }
    }

    /// `vouched` is the hash that the line after the suspect names, or that an expectation does.
    fn settle_suspect(&mut self, vouched: Option<LineHash>) {
        if let Some((hash, place)) = self.suspect.take()
            && vouched.is_some_and(|vouched| vouched != hash)
        {
            self.report.first_problem = None;
            self.problem_at(&place, ProblemKind::Altered);
        }
    }

    /// The problem that a resumed segment should have settled stands.
    fn condemn(&mut self) {
        if let Some(Excused { place, what, .. }) = self.excused.take() {
            self.problem_at(&place, what);
        }
    }

    /// Marks the place as the first bad one, unless the next segment may repeat it.
    fn problem(&mut self, what: ProblemKind) {
        if self.place.following_resumed {
            self.place.abandoned = true;
            self.excused.get_or_insert(Excused { place: self.place.clone(), what, torn: None });
            return;
        }
        let place = self.place.clone();
        self.problem_at(&place, what);
    }

    fn problem_at(&mut self, place: &Place, what: ProblemKind) {
        if self.report.first_problem.is_none() {
            let (segment, line) = (place.segment.to_string(), place.line);
            self.report.first_problem = Some(Problem { segment, line, what });
        }
    }

    /// Counts the line and goes on from it, whether or not it followed.
    fn accept(&mut self, line: &ParsedLine, hash: LineHash) {
        let link = &line.link;
        let position = Position { log_id: link.log_id, sequence: link.seq, head: hash };
        if self.cursor.is_none_or(|cursor| cursor.log_id != link.log_id) {
            self.log_closed = false;
            if self.logs_seen.insert(link.log_id) {
                self.report.logs += 1;
            }
        }
        self.report.records += 1;
        self.cursor = Some(position);
        self.cursor_place = self.place.clone();
        self.report.head = Some(position);
        self.recent.push((link.log_id, link.seq, hash));
        self.meet_expectation(&position);
        self.count(&line.body);
    }

    fn meet_expectation(&mut self, here: &Position) {
        let Some(expected) = self.expectation.position else { return };
        if expected.log_id == here.log_id && expected.sequence == here.sequence && !self.expectation_met {
            self.expectation_met = true;
            if expected.head != here.head {
                self.problem(ProblemKind::OtherThanExpected(expected.sequence));
            }
        }
    }

    fn count(&mut self, body: &LineBody) {
        match body {
            LineBody::LogStarted { previous_damaged, .. } => self.report.unaccepted |= *previous_damaged,
            LineBody::Intent(intent) => {
                self.report.intents += 1;
                self.report.overrides += 1;
                self.observer.intent(intent);
                self.open.insert((intent.log_id, intent.seq), (**intent).clone());
            }
            LineBody::Outcome { log_id, seq, forwarded } => self.close_intent(*log_id, *seq, *forwarded),
            LineBody::UnknownOutcome { log_id, seq } => {
                self.report.unknown_outcomes += 1;
                self.close_intent(*log_id, *seq, true);
            }
            LineBody::Refusal => self.report.refusals += 1,
            LineBody::Observed => self.report.observed += 1,
            LineBody::RefusalSummary { records } => {
                self.report.summarised = self.report.summarised.saturating_add(*records);
            }
            LineBody::LossAccepted(loss) => self.loss(loss),
            LineBody::LogEnded => self.log_closed = true,
        }
    }

    /// What was wrong up to here is accepted; the log holds, or does not, from here on.
    fn loss(&mut self, accepted: &AcceptedLoss) {
        let (segment, line) = (self.place.segment.to_string(), self.place.line);
        let problem = self.report.first_problem.take();
        self.report.unaccepted = false;
        self.report.losses.push(Loss { segment, line, accepted: accepted.clone(), problem });
    }

    fn close_intent(&mut self, log_id: LogId, seq: u64, forwarded: bool) {
        self.report.outcomes += 1;
        match self.open.remove(&(log_id, seq)) {
            Some(_) if forwarded => {}
            Some(intent) => {
                self.report.overrides = self.report.overrides.saturating_sub(1);
                self.observer.not_forwarded(&intent);
            }
            None if self.expectation.beginning != Beginning::Whole || !self.report.losses.is_empty() => {}
            None => self.problem(ProblemKind::NoSuchIntent),
        }
    }
}

/// Unfinished, or with a hole that was never written.
fn is_torn(raw: RawLine<'_>) -> bool {
    match raw {
        RawLine::Unterminated(_) => true,
        RawLine::Whole(bytes) | RawLine::TooLong(bytes) => bytes.contains(&0),
    }
}

fn unreadable(error: &LineError) -> String {
    if let LineError::Malformed(cause) = error { format!("{error} ({cause})") } else { error.to_string() }
}

#[cfg(test)]
mod tests;
