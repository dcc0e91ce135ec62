//! Whatever is done to a log is found, and the first bad line is named.

use proptest::prelude::*;

use super::*;
use crate::audit::sample::{self, LogBuilder, one_of_each, refusal};
use crate::audit::{End, Event};
use crate::decision::RefusalCode;

/// Segments of lines: index of the segment, then its lines.
type Segments = Vec<(SegmentName, Vec<Vec<u8>>)>;

fn name(number: u64, resumed: bool) -> SegmentName {
    SegmentName::new(number, LogId::from_bytes([1; 16]), resumed)
}

fn cut(lines: &[Vec<u8>], per_segment: usize) -> Segments {
    let parts = lines.chunks(per_segment.max(1)).enumerate();
    parts.map(|(i, part)| (name(i as u64 + 1, false), part.to_vec())).collect()
}

fn verify(segments: &Segments, expectation: Expectation) -> Report {
    let mut verifier = Verifier::new(expectation, NoObserver);
    for (i, (name, lines)) in segments.iter().enumerate() {
        let following = match segments.get(i + 1) {
            None => Following::Nothing,
            Some((next, _)) if next.is_resumed() => Following::Resumed,
            Some(_) => Following::Segment,
        };
        verifier.begin_segment(name, following);
        let mut offset = 0;
        for line in lines {
            match line.strip_suffix(b"<torn>") {
                Some(torn) => verifier.line(RawLine::Unterminated(torn), offset),
                None => verifier.line(RawLine::Whole(line), offset),
            }
            offset += line.len() as u64 + 1;
        }
    }
    verifier.finish().0
}

fn at_head(log: &LogBuilder) -> Expectation {
    Expectation { position: Some(log.chain.position()), ..Expectation::default() }
}

/// (segment number, line) of the first problem.
fn place(report: &Report) -> (u64, u64) {
    let problem = report.first_problem.as_ref().expect("a problem");
    (problem.segment.parse::<SegmentName>().unwrap().number(), problem.line)
}

#[test]
fn a_sound_log_is_counted() {
    let log = one_of_each();
    let report = verify(&cut(&log.lines, 7), at_head(&log));
    assert_eq!(report.first_problem, None);
    let codes = RefusalCode::ALL.len() as u64;
    assert_eq!((report.logs, report.records), (2, log.lines.len() as u64));
    assert_eq!((report.intents, report.outcomes, report.orphans), (codes + 14, codes + 14, 0));
    assert_eq!((report.overrides, report.unknown_outcomes), (14, 1));
    assert_eq!((report.refusals, report.observed, report.summarised), (codes + 1, 1, 5));
    assert_eq!(report.head, Some(log.chain.position()));
}

#[test]
fn a_missing_segment_is_named_where_it_is_missed() {
    let log = one_of_each();
    let mut segments = cut(&log.lines, 9);
    segments.remove(2);
    assert_eq!(place(&verify(&segments, at_head(&log))), (4, 1));
}

#[test]
fn a_missing_beginning_is_a_problem_unless_it_was_pruned() {
    let log = one_of_each();
    let mut segments = cut(&log.lines, 9);
    segments.remove(0);
    assert_eq!(place(&verify(&segments, at_head(&log))), (2, 1));
    let pruned = Expectation { beginning: Beginning::Pruned, ..at_head(&log) };
    assert_eq!(verify(&segments, pruned).first_problem, None);
}

#[test]
fn a_torn_tail_is_no_tampering_at_the_end_and_a_problem_elsewhere() {
    let log = one_of_each();
    let mut segments = cut(&log.lines, 9);
    let last = segments.len() - 1;
    segments[last].1.push(b"{\"activity_id\":1,<torn>".to_vec());
    let report = verify(&segments, at_head(&log));
    assert_eq!(report.first_problem, None);
    assert_eq!(report.torn_tails[0].line, segments[last].1.len() as u64);
    segments[last].1.pop();
    segments[1].1.push(b"{\"activity_id\":1,<torn>".to_vec());
    assert_eq!(place(&verify(&segments, at_head(&log))), (2, 10));
}

#[test]
fn a_hole_of_zeros_at_the_end_is_torn_with_all_that_follows() {
    let log = one_of_each();
    let mut segments = cut(&log.lines, 9);
    let last = segments.len() - 1;
    segments[last].1.push([&[0; 100][..], b"}"].concat());
    segments[last].1.push(b"{}".to_vec());
    let report = verify(&segments, at_head(&log));
    assert_eq!((report.first_problem, report.torn_tails.len() == 1), (None, true));
}

#[test]
fn without_an_expectation_a_lost_end_shows_only_as_open_intents() {
    let mut log = LogBuilder::new();
    log.intent("r-1");
    let lost = Expectation { position: Some(log.chain.position()), ..Expectation::default() };
    log.lines.pop();
    assert_eq!(verify(&cut(&log.lines, 9), Expectation::default()).first_problem, None);
    let report = verify(&cut(&log.lines, 9), lost);
    assert_eq!(report.first_problem.unwrap().what, ProblemKind::EndMissing(2));
}

/// A segment failed after `good` of its lines; `tail` is what stands there since.
fn failed_segment(log: &LogBuilder, good: usize, tail: &[&[u8]], resumed_from: usize) -> Segments {
    let mut first = log.lines[..good].to_vec();
    first.extend(tail.iter().map(|line| line.to_vec()));
    vec![(name(1, false), first), (name(2, true), log.lines[resumed_from..].to_vec())]
}

#[test]
fn a_resumed_segment_settles_the_damage_it_repeats() {
    let log = one_of_each();
    for (tail, from) in [
        (&[][..], 5),
        (&[][..], 6),
        (&[&b"garbage"[..], b"more"][..], 6),
        (&[&b"{\"half<torn>"[..]][..], 4),
        (&[&[0; 9][..]][..], 6),
    ] {
        let report = verify(&failed_segment(&log, 6, tail, from), at_head(&log));
        assert_eq!((report.first_problem, report.records), (None, log.lines.len() as u64), "{tail:?} {from}");
    }
}

#[test]
fn a_resumed_segment_excuses_nothing_it_does_not_repeat() {
    let log = one_of_each();
    let damaged = failed_segment(&log, 6, &[b"garbage"], 8);
    assert_eq!(place(&verify(&damaged, at_head(&log))), (1, 7));
    let mut altered = failed_segment(&log, 6, &[], 6);
    altered[0].1[2] = String::from_utf8(altered[0].1[2].clone()).unwrap().replace("ada", "eve").into_bytes();
    assert_eq!(place(&verify(&altered, at_head(&log))), (1, 3));
    let mut fork = failed_segment(&log, 6, &[], 5);
    fork[1].1[0] = String::from_utf8(fork[1].1[0].clone()).unwrap().replace("POST", "GET").into_bytes();
    assert!(!verify(&fork, at_head(&log)).is_sound());
}

fn random_log() -> impl Strategy<Value = LogBuilder> {
    random_log_of(0)
}

/// One whose log ids are its own: those of two logs never meet.
fn random_log_of(first_id: u8) -> impl Strategy<Value = LogBuilder> {
    proptest::collection::vec(0_u8..5, 3..40).prop_map(move |steps| {
        let (mut log, mut open) = (LogBuilder { lines: Vec::new(), ..LogBuilder::new() }, Vec::new());
        log.restart(first_id + 1);
        for (i, step) in steps.into_iter().enumerate() {
            let id = format!("r-{i}");
            match (step, open.pop()) {
                (0, popped) => {
                    open.extend(popped);
                    open.push((id.clone(), log.intent(&id)));
                }
                (1, Some((id, link))) => log.outcome(&id, &link, End::Completed),
                (2, Some((id, link))) => log.outcome(&id, &link, End::NotForwarded(RefusalCode::Frozen)),
                (3, popped) => {
                    open.extend(popped);
                    log.restart(first_id + u8::try_from(i).unwrap() + 2);
                }
                (_, popped) => {
                    open.extend(popped);
                    log.push(&Event::Refusal(&refusal(RefusalCode::GrantNotUsable)));
                }
            }
        }
        log
    })
}

#[derive(Debug, Clone)]
enum Tampering {
    /// Flip the lowest bit of one byte.
    Alter(prop::sample::Index),
    Drop,
    Swap(prop::sample::Index),
    /// A copy of another line.
    Insert(prop::sample::Index),
    Duplicate,
    /// This line and everything after it are gone.
    Truncate,
    /// Lines of another place, or of another log with the same key and names, stand in place of these.
    Splice(prop::sample::Index, usize, Option<Vec<Vec<u8>>>),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Tampering::Alter),
        Just(Tampering::Drop),
        index().prop_map(Tampering::Swap),
        index().prop_map(Tampering::Insert),
        Just(Tampering::Duplicate),
        Just(Tampering::Truncate),
        (index(), 1_usize..9, prop::option::of(random_log_of(100)))
            .prop_map(|(from, length, other)| Tampering::Splice(from, length, other.map(|log| log.lines))),
    ]
}

/// Carries it out at line `at`; the index of the first line that differs, or `None` when none does.
fn tamper(lines: &mut Vec<Vec<u8>>, at: usize, how: &Tampering) -> Option<usize> {
    let before = lines.clone();
    match how {
        Tampering::Alter(byte) => {
            let byte = byte.index(lines[at].len());
            // A line is printable ASCII: this makes neither NUL nor newline.
            lines[at][byte] ^= 1;
        }
        Tampering::Drop => drop(lines.remove(at)),
        Tampering::Swap(other) => lines.swap(at, other.index(before.len())),
        Tampering::Insert(source) => lines.insert(at, before[source.index(before.len())].clone()),
        Tampering::Duplicate => lines.insert(at, before[at].clone()),
        // One line stays: an empty folder is no log.
        Tampering::Truncate => lines.truncate(at.max(1)),
        Tampering::Splice(source, length, other) => {
            let others = other.as_ref().unwrap_or(&before);
            let source = source.index(others.len());
            // What goes on from the very same lines is a fork, and only the known head tells it from this log.
            if others[..source] == before[..at] {
                return None;
            }
            let run: Vec<_> = others.iter().skip(source).take(*length).cloned().collect();
            let end = (at + run.len()).min(before.len());
            lines.splice(at..end, run);
        }
    }
    // Before an identical line, a copy is told only by what follows it.
    let same = before.iter().zip(lines.iter()).take_while(|(one, other)| one == other).count();
    (same < before.len().max(lines.len())).then_some(same)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_tampering_is_found_and_the_first_bad_line_named(
        log in random_log(),
        per_segment in 1_usize..50,
        at in any::<prop::sample::Index>(),
        how in tampering(),
    ) {
        prop_assert_eq!(verify(&cut(&log.lines, per_segment), at_head(&log)).first_problem, None);
        let mut lines = log.lines.clone();
        let at = at.index(lines.len());
        prop_assume!(!(matches!(how, Tampering::Drop) && lines.len() == 1));
        if let Some(first_bad) = tamper(&mut lines, at, &how) {
            let report = verify(&cut(&lines, per_segment), at_head(&log));
            let (segment, line) = place(&report);
            let found = usize::try_from(segment - 1).unwrap() * per_segment + usize::try_from(line).unwrap() - 1;
            prop_assert_eq!(found, first_bad, "{:?} at {}: {:?}", how, at, report.first_problem);
        }
    }
}

impl std::fmt::Debug for LogBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", String::from_utf8_lossy(line)))
    }
}

#[test]
fn an_accepted_loss_covers_what_is_before_it_and_nothing_after() {
    let mut log = one_of_each();
    let lost = log.lines.remove(3);
    log.restart(3);
    log.push(&Event::LossAccepted { loss: &sample::loss(), at: sample::AT });
    let link = log.intent("r-after");
    log.outcome("r-after", &link, End::Completed);
    let report = verify(&cut(&log.lines, 5), Expectation::default());
    assert_eq!(report.first_problem, None);
    let [loss] = &report.losses[..] else { panic!("{:?}", report.losses) };
    assert_eq!((loss.accepted.by.as_str(), loss.problem.as_ref().map(|p| p.line)), ("ada", Some(4)));
    assert!(lost.len() > 100 && report.is_sound());
    let last = log.lines.len() - 2;
    log.lines.remove(last);
    let report = verify(&cut(&log.lines, 5), Expectation::default());
    assert!(!report.is_sound() && report.losses.len() == 1);
}

#[test]
fn a_log_may_begin_anew_only_with_its_first_line() {
    let log = one_of_each();
    let second = log.lines.iter().rposition(|line| String::from_utf8_lossy(line).contains("\"log_started\"")).unwrap();
    let begins = |from: usize, beginning| {
        let expectation = Expectation { beginning, ..at_head(&log) };
        verify(&cut(&log.lines[from..], 5), expectation).first_problem.map(|problem| problem.what)
    };
    assert_eq!(begins(second, Beginning::OfALog), None);
    assert_eq!(begins(second, Beginning::Whole), Some(ProblemKind::BeginningMissing));
    assert!(matches!(begins(second + 1, Beginning::OfALog), Some(ProblemKind::LogBegins { .. })));
}
