//! Reading a folder: what is there, and whether it is what was written. It changes nothing, so that a command may look
//! while a sidecar writes.
//!
//! A torn last line is no damage: whoever died while writing it had not been promised anything. What had been durable and
//! is not there, or is something else, is damage; the [`head`](super::head) tells the two apart.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::acknowledgement::Acknowledgement;
use super::damage::{Damage, Finding, FindingKind, PinFound};
use super::head::{Head, HeadFound};
use crate::audit::folder::{FolderError, list_all_segments, read_what_can_be, same_number};
use crate::audit::pruned::Pruned;
use crate::audit::verify::Observer;
use crate::audit::{Beginning, Expectation, PastIntent, Problem, ProblemKind, Report, SegmentName};
use crate::domain::{GrantId, WallTime};
use crate::sidecar::lineage;

/// Uses of grants that ended longer ago than this are not told: no clock is off by as much.
pub const SPENT_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What stands in a folder.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The log's segments, in order.
    pub segments: Vec<SegmentName>,
    /// Segments from before a loss that was found: kept as evidence, no part of the log.
    pub evidence: Vec<SegmentName>,
    pub head: HeadFound,
    pub lineage: Option<String>,
    /// What verification of the log's segments told.
    pub report: Report,
    pub damage: Option<Damage>,
    /// The damage is on record already, as it is.
    pub is_pinned: bool,
    pub acknowledgement: Option<Acknowledgement>,
    /// Intents without an outcome, the oldest first.
    pub orphans: Vec<PastIntent>,
    /// Uses per grant, from durable intents, less those that were not forwarded.
    pub spent: HashMap<GrantId, u32>,
    /// The head belongs to the log's segments.
    pub(super) has_own_head: bool,
    /// What the next segment is numbered.
    pub(super) next_number: u64,
}

impl Inspection {
    /// Whether an operator has accepted this very damage.
    pub fn is_acknowledged(&self) -> bool {
        let both = self.damage.as_ref().zip(self.acknowledgement.as_ref());
        both.is_some_and(|(damage, acknowledgement)| acknowledgement.covers(damage))
    }
}

/// Looks at a folder.
///
/// # Errors
/// When the folder itself can't be read. A file in it that can't be is a finding.
pub fn inspect(folder: &Path, now: WallTime) -> Result<Inspection, FolderError> {
    let pin = PinFound::read(folder);
    // Before the segments: the log may grow meanwhile, and must then hold what the head said.
    let head = HeadFound::read(folder);
    let all = list_all_segments(folder)?;
    let io = |source| FolderError::Io { path: folder.join(lineage::FILE), source };
    let lineage = lineage::read(folder).map_err(io)?;
    let from = match &pin {
        PinFound::At(damage) => damage.from,
        PinFound::Absent | PinFound::Unreadable(_) => 0,
    };
    let own_head = head.head().filter(|head| head.first >= from || **head == Head::NOTHING).copied();
    // Where something was damaged since, what was pruned before is no part of the log.
    let pruned = Pruned::read(folder).map_err(io)?.filter(|pruned| pruned.first > from);
    let pruned = pruned.filter(|pruned| own_head.is_some_and(|head| pruned.first >= head.first));
    let base = own_head.map_or(from, |head| head.first.max(from)).max(pruned.map_or(0, |pruned| pruned.first));
    let highest = all.last().map_or(0, SegmentName::number).max(head.head().map_or(0, |head| head.last));
    let (evidence, segments): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| name.number() < base);
    let uses = Uses { ended_before: now.minus(SPENT_KEPT_FOR), spent: HashMap::new() };
    let position = own_head.and_then(|head| head.position);
    let beginning = match pruned {
        Some(pruned) => Beginning::After(pruned.after),
        None if own_head.is_some() => Beginning::OfALog,
        None => Beginning::Pruned,
    };
    let mut findings = Vec::new();
    let (report, mut orphans, uses) =
        read_what_can_be(folder, &segments, Expectation { position, beginning }, uses, |name, error| {
            let detail = format!("cannot be read: {}", error.kind());
            findings.push(Finding::of_a_segment(FindingKind::SegmentUnreadable, name.to_string(), detail));
        });
    orphans.sort_by_key(|intent| (intent.at, intent.log_id, intent.seq));
    let seen = Seen { pin: &pin, head: &head, own_head, pruned, segments: &segments, lineage: lineage.as_deref() };
    seen.look(&report, &mut findings);
    let next_number = highest.max(from.saturating_sub(1)).saturating_add(1);
    let fresh = (!findings.is_empty()).then(|| Damage {
        findings,
        known: head.head().and_then(|head| head.position),
        found: report.head,
        lineage: lineage.clone(),
        from: next_number,
    });
    let is_pinned = matches!(pin, PinFound::At(_)) && fresh.is_none();
    let damage = match (pin, fresh) {
        (PinFound::At(pinned), Some(fresh)) => Some(pinned.with(fresh)),
        (PinFound::At(pinned), None) => Some(pinned),
        (PinFound::Absent | PinFound::Unreadable(_), fresh) => fresh.map(Damage::bounded),
    };
    Ok(Inspection {
        segments,
        evidence,
        head,
        lineage,
        report,
        damage,
        is_pinned,
        // One that can't be read accepts nothing.
        acknowledgement: Acknowledgement::read(folder).unwrap_or(None),
        orphans,
        spent: uses.spent.into_iter().filter(|(_, count)| *count > 0).collect(),
        has_own_head: own_head.is_some(),
        next_number,
    })
}

/// Counts uses of grants that may still live.
struct Uses {
    ended_before: WallTime,
    spent: HashMap<GrantId, u32>,
}

impl Observer for Uses {
    fn intent(&mut self, intent: &PastIntent) {
        if intent.expires > self.ended_before {
            let uses = self.spent.entry(intent.grant.clone()).or_insert(0);
            *uses = uses.saturating_add(1);
        }
    }

    fn not_forwarded(&mut self, intent: &PastIntent) {
        if let Some(uses) = self.spent.get_mut(&intent.grant) {
            *uses = uses.saturating_sub(1);
        }
    }
}

/// The files by which damage is told.
struct Seen<'a> {
    pin: &'a PinFound,
    head: &'a HeadFound,
    /// `None` where the head is missing, unreadable, or of a log that was given up.
    own_head: Option<Head>,
    /// The beginning was taken away on purpose.
    pruned: Option<Pruned>,
    segments: &'a [SegmentName],
    lineage: Option<&'a str>,
}

impl Seen<'_> {
    fn look(&self, report: &Report, findings: &mut Vec<Finding>) {
        self.look_at_pin(report, findings);
        self.look_at_head(findings);
        self.look_at_segments(findings);
        self.look_at_chain(report, findings);
    }

    const fn is_pinned(&self) -> bool {
        matches!(self.pin, PinFound::At(_))
    }

    fn look_at_pin(&self, report: &Report, findings: &mut Vec<Finding>) {
        if let PinFound::Unreadable(why) = self.pin {
            let detail = format!("the record of an earlier damage cannot be read: {why}");
            findings.push(Finding::of_the_folder(FindingKind::PinUnreadable, detail));
        } else if report.unaccepted && !self.is_pinned() {
            let detail = "the log tells of an earlier damage that nobody accepted, and the record of it is gone";
            findings.push(Finding::of_the_folder(FindingKind::PinMissing, detail));
        }
    }

    fn look_at_head(&self, findings: &mut Vec<Finding>) {
        if let HeadFound::Unreadable(why) = self.head {
            if !self.is_pinned() || !self.segments.is_empty() {
                let detail = format!("the file head cannot be read: {why}");
                findings.push(Finding::of_the_folder(FindingKind::HeadUnreadable, detail));
            }
        } else if self.own_head.is_none() && !self.segments.is_empty() {
            let detail = "segments are there, and the file head that says how far the log had come is not";
            findings.push(Finding::of_the_folder(FindingKind::HeadMissing, detail));
        }
    }

    fn look_at_segments(&self, findings: &mut Vec<Finding>) {
        let position = self.own_head.and_then(|head| head.position);
        let Some(lowest) = self.segments.first().map(SegmentName::number) else {
            // A name is begun only once a log is there. Where damage is on record the log may not have gone on yet.
            if position.is_some() || (self.lineage.is_some() && !self.is_pinned()) {
                let last = position
                    .map(|at| format!("; its last known line was sequence {} of log {}", at.sequence, at.log_id));
                let detail = format!("every segment of the log is missing{}", last.unwrap_or_default());
                findings.push(Finding::of_the_folder(FindingKind::AllMissing, detail));
            }
            return;
        };
        if let Some(number) = same_number(self.segments) {
            let detail = format!("two segments claim the number {number}");
            findings.push(Finding::of_the_folder(FindingKind::SameNumber, detail));
        }
        let Some(head) = self.own_head.filter(|head| head.position.is_some()) else { return };
        let first = head.first.max(self.pruned.map_or(0, |pruned| pruned.first));
        if lowest > first {
            let detail = format!("the log began in segment {first}, and the first that is here is {lowest}");
            findings.push(Finding::of_the_folder(FindingKind::FirstMissing, detail));
        }
        if !self.segments.iter().any(|name| name.number() == head.last) {
            let detail = format!("segment {}, which held the last known line, is missing", head.last);
            findings.push(Finding::of_the_folder(FindingKind::LastMissing, detail));
        }
    }

    fn look_at_chain(&self, report: &Report, findings: &mut Vec<Finding>) {
        if self.segments.is_empty() {
            return;
        }
        if let Some(problem) = &report.first_problem {
            findings.push(self.of_problem(problem));
        }
        let is_told = matches!(report.first_problem, Some(Problem { what: ProblemKind::EndMissing(_), .. }));
        if report.lacks_position && !is_told {
            let sequence = self.own_head.and_then(|head| head.position).map_or(0, |at| at.sequence);
            let what = ProblemKind::EndMissing(sequence);
            findings.push(Finding::of_the_folder(FindingKind::EndMissing, what.to_string()));
        }
    }

    fn of_problem(&self, problem: &Problem) -> Finding {
        let kind = match problem.what {
            ProblemKind::EndMissing(_) => FindingKind::EndMissing,
            ProblemKind::OtherThanExpected(_) => FindingKind::Replaced,
            _ => FindingKind::Broken,
        };
        let mut finding = Finding::of_a_line(kind, problem);
        if let Some((before, here)) = self.gap_before(&problem.segment) {
            finding.detail = format!("{}; between segments {before} and {here} there is none", finding.detail);
        }
        finding
    }

    /// The numbers around a gap right before the segment. A gap alone is nothing: a segment that could not be begun
    /// leaves one.
    fn gap_before(&self, segment: &str) -> Option<(u64, u64)> {
        let here = segment.parse::<SegmentName>().ok()?.number();
        let before = self.segments.iter().map(SegmentName::number).take_while(|number| *number < here).last()?;
        (before.saturating_add(1) < here).then_some((before, here))
    }
}
