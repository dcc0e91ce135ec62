//! The reader against real and damaged folders: every durable line once, in order, and nothing skipped in silence.

use std::path::Path;

use super::*;
use crate::audit::sample::LogBuilder;
use crate::audit::{End, LogId, SegmentName};

const ALL: BatchLimits = BatchLimits { bytes_max: usize::MAX, lines_max: usize::MAX, is_one_run: true };

fn some_log(overrides: usize) -> LogBuilder {
    let mut log = LogBuilder::new();
    for n in 0..overrides {
        let id = format!("r-{n}");
        let link = log.intent(&id);
        log.outcome(&id, &link, End::Completed);
    }
    log
}

fn place(line: &[u8]) -> Position {
    ToldLine::parse(line).unwrap().position()
}

fn write(folder: &Path, number: u64, resumed: bool, lines: &[Vec<u8>]) {
    let name = SegmentName::new(number, LogId::from_bytes([1; 16]), resumed).to_string();
    let mut bytes = lines.join(&b'\n');
    if !lines.is_empty() {
        bytes.push(b'\n');
    }
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn append(folder: &Path, number: u64, bytes: &[u8]) {
    use std::io::Write as _;
    let name = SegmentName::new(number, LogId::from_bytes([1; 16]), false).to_string();
    std::fs::OpenOptions::new().append(true).open(folder.join(name)).unwrap().write_all(bytes).unwrap();
}

/// Everything there is, batch by batch: the sequences, and before which a loss was told.
fn drain(reader: &mut Reader, durable: &Position, limits: BatchLimits) -> (Vec<u64>, Vec<(u64, LossCause)>) {
    let (mut sequences, mut losses) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.read(durable, limits).unwrap() {
        let lines: Vec<_> = batch.bytes.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n').collect();
        assert_eq!(lines.len() as u64, batch.lines);
        assert!(lines.len() <= limits.lines_max && (lines.len() == 1 || batch.bytes.len() <= limits.bytes_max));
        let first = ToldLine::parse(lines[0]).unwrap().link.seq;
        losses.extend(batch.lost.map(|cause| (first, cause)));
        sequences.extend(lines.iter().map(|line| ToldLine::parse(line).unwrap().link.seq));
        assert_eq!(place(lines.last().unwrap()), batch.position);
        assert_eq!(batch.end.position(), Some(&batch.position));
    }
    (sequences, losses)
}

#[test]
fn only_what_is_durable_is_read_and_all_of_it() {
    let (folder, log) = (tempfile::tempdir().unwrap(), some_log(5));
    write(folder.path(), 1, false, &log.lines[..4]);
    write(folder.path(), 2, false, &log.lines[4..]);
    let mut reader = Reader::new(folder.path());
    for durable in [1, 4, 5, 11] {
        let durable = place(&log.lines[durable - 1]);
        let (sequences, losses) = drain(&mut reader, &durable, BatchLimits { lines_max: 2, ..ALL });
        assert_eq!(sequences.last(), Some(&durable.sequence));
        assert!(losses.is_empty());
    }
    assert_eq!(reader.behind_bytes().unwrap(), 0);
}

#[test]
fn a_line_that_is_being_written_waits() {
    let (folder, log) = (tempfile::tempdir().unwrap(), some_log(1));
    write(folder.path(), 1, false, &log.lines[..2]);
    append(folder.path(), 1, &log.lines[2][..40]);
    let mut reader = Reader::new(folder.path());
    let durable = place(&log.lines[2]);
    assert_eq!(drain(&mut reader, &durable, ALL).0, [1, 2]);
    append(folder.path(), 1, &log.lines[2][40..]);
    assert_eq!(drain(&mut reader, &durable, ALL).0, Vec::<u64>::new(), "its newline is missing");
    append(folder.path(), 1, b"\n");
    assert_eq!(drain(&mut reader, &durable, ALL).0, [3]);
}

#[test]
fn a_resumed_segment_repeats_and_nothing_is_read_twice_or_lost() {
    let log = some_log(5);
    let durable = place(log.lines.last().unwrap());
    // What the segment that was given up holds past its durable lines: nothing, a part, garbage, lines out of order.
    let tails: [&[u8]; 4] = [b"", &log.lines[4][..30], b"\0\0\0\0\n", &[&log.lines[6][..], b"\n"].concat()];
    for tail in tails {
        for repeated in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), 1, false, &log.lines[..4]);
            append(folder.path(), 1, tail);
            write(folder.path(), 3, true, &log.lines[4 - repeated..]);
            let (sequences, losses) = drain(&mut Reader::new(folder.path()), &durable, ALL);
            assert_eq!(sequences, (1..=11).collect::<Vec<_>>(), "{} bytes, {repeated} repeated", tail.len());
            assert_eq!(losses, []);
        }
    }
}

#[test]
fn what_does_not_follow_is_shipped_with_word_of_the_loss() {
    let log = some_log(5);
    let durable = place(log.lines.last().unwrap());
    let alterations: [(&str, Vec<Vec<u8>>, u64); 4] = [
        ("dropped", [&log.lines[..4], &log.lines[5..]].concat(), 6),
        ("unreadable", [&log.lines[..4], &[b"garbage".to_vec()], &log.lines[5..]].concat(), 6),
        ("spliced", [&log.lines[..2], &log.lines[7..]].concat(), 8),
        (
            "altered",
            {
                let mut lines = log.lines.clone();
                let text = String::from_utf8(lines[4].clone()).unwrap().replace("10.1.2.3", "10.1.2.4");
                lines[4] = text.into_bytes();
                lines
            },
            6,
        ),
    ];
    for (what, lines, first_after) in alterations {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, false, &lines);
        write(folder.path(), 2, false, &[]);
        let (sequences, losses) = drain(&mut Reader::new(folder.path()), &durable, ALL);
        assert_eq!(losses, [(first_after, LossCause::Damaged)], "{what}");
        assert_eq!(sequences.last(), Some(&11), "{what}: what can be read is shipped");
        assert!(sequences.is_sorted(), "{what}");
    }
}

/// Neither waits for a pipe, nor takes a segment that is gone for one that was never there.
#[test]
fn a_segment_that_is_a_pipe_or_vanished_is_passed_over_and_the_loss_told() {
    let log = some_log(5);
    let durable = place(log.lines.last().unwrap());
    for is_pipe in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, false, &log.lines[..4]);
        write(folder.path(), 3, false, &log.lines[7..]);
        if is_pipe {
            let name = SegmentName::new(2, LogId::from_bytes([1; 16]), false).to_string();
            let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
            assert!(made.success());
        }
        let mut reader = Reader::new(folder.path());
        let (sequences, losses) = drain(&mut reader, &durable, ALL);
        assert_eq!(sequences, [1, 2, 3, 4, 8, 9, 10, 11], "pipe: {is_pipe}");
        assert_eq!(losses, [(8, LossCause::Damaged)], "pipe: {is_pipe}");
        assert_eq!(reader.seek(&place(&log.lines[8])).unwrap(), Sought::Found, "pipe: {is_pipe}");
    }
}

/// A line that lies about its place, in a segment that was left in order, holds nothing up.
#[test]
fn a_line_that_claims_a_place_beyond_what_is_durable_is_passed_over_once_others_follow() {
    let (folder, log) = (tempfile::tempdir().unwrap(), some_log(5));
    write(folder.path(), 1, false, &[&log.lines[..4], &log.lines[10..]].concat());
    write(folder.path(), 2, false, &log.lines[4..8]);
    let (sequences, losses) = drain(&mut Reader::new(folder.path()), &place(&log.lines[7]), ALL);
    assert_eq!((sequences, losses), ((1..=8).collect::<Vec<_>>(), vec![]));
}

/// From each line, reading goes on with the next.
fn each_is_found(reader: &mut Reader, lines: &[Vec<u8>]) {
    let durable = place(lines.last().unwrap());
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(reader.seek(&place(line)).unwrap(), Sought::Found);
        let (sequences, losses) = drain(reader, &durable, ALL);
        assert_eq!((sequences, losses), ((at as u64 + 2..=11).collect(), vec![]), "after line {}", at + 1);
    }
}

#[test]
fn a_line_is_found_again_wherever_it_stands_and_another_in_its_place_is_not_it() {
    let (folder, log) = (tempfile::tempdir().unwrap(), some_log(5));
    write(folder.path(), 1, false, &log.lines[..4]);
    write(folder.path(), 2, false, &log.lines[4..]);
    let durable = place(log.lines.last().unwrap());
    let mut reader = Reader::new(folder.path());
    each_is_found(&mut reader, &log.lines);
    let other = Position { head: crate::audit::LineHash::of(b"x"), ..place(&log.lines[5]) };
    assert_eq!(reader.seek(&other).unwrap(), Sought::NotFound);
    let (sequences, losses) = drain(&mut reader, &durable, ALL);
    assert_eq!((sequences.len(), losses), (11, vec![(1, LossCause::Missing)]));
}

#[test]
fn a_line_that_stands_twice_is_found_where_reading_goes_on() {
    let (folder, log) = (tempfile::tempdir().unwrap(), some_log(5));
    write(folder.path(), 1, false, &log.lines[..6]);
    write(folder.path(), 2, true, &log.lines[3..]);
    each_is_found(&mut Reader::new(folder.path()), &log.lines);
}

#[test]
fn a_bookmark_leads_on_unless_its_segment_is_gone() {
    let (folder, log) = (tempfile::tempdir().unwrap(), some_log(5));
    write(folder.path(), 1, false, &log.lines[..4]);
    let mut reader = Reader::new(folder.path());
    let batch = reader.read(&place(&log.lines[2]), ALL).unwrap().unwrap();
    let mut next = Reader::new(folder.path());
    assert!(next.resume(&batch.end));
    assert_eq!(drain(&mut next, &place(&log.lines[3]), ALL).0, [4]);
    let beyond = Bookmark { offset: 1 << 40, ..batch.end.clone() };
    assert!(!Reader::new(folder.path()).resume(&beyond));
    std::fs::remove_file(folder.path().join(SegmentName::new(1, LogId::from_bytes([1; 16]), false).to_string()))
        .unwrap();
    assert!(!Reader::new(folder.path()).resume(&batch.end));
}

/// Every write of the log fails in every way, at every time, while it is read: what is read is what verifies, each line
/// once, and every intent that was acknowledged is among it.
#[tokio::test]
async fn whatever_the_disk_does_every_durable_line_is_read_once_and_in_order() {
    use crate::audit::sample::{identity, intent, outcome};
    use crate::sidecar::audit_log::faulty::{Fault, Faults, FaultyStorage};
    use crate::sidecar::audit_log::{AuditLog, AuditLogConfig, Readiness};

    for fault in [Fault::AppendBefore, Fault::AppendHalf, Fault::AppendAfter, Fault::SyncBefore, Fault::SyncAfter] {
        for skip in [0, 1, 4] {
            let folder = tempfile::tempdir().unwrap();
            let config = AuditLogConfig {
                directory: folder.path().to_owned(),
                override_reserve_bytes: 0,
                write_deadline_ms_max: 5_000,
                probe_interval_ms: 5,
                segment_bytes_max: 8 * 1024,
                ..AuditLogConfig::default()
            };
            let faults = Faults::default();
            let storage = FaultyStorage::open(folder.path(), faults.clone());
            let clock = crate::clock::Clock::System;
            let (log, _) = AuditLog::open_with(config, identity(), clock, Box::new(storage)).unwrap();
            let mut reader = Reader::new(folder.path());
            let (mut read, mut acknowledged) = (Vec::new(), Vec::new());
            faults.plan(fault, skip, 3);
            for n in 0..16 {
                if let Ok(receipt) = log.intent(intent(&format!("r-{n}"))).await {
                    acknowledged.push(receipt.link().unwrap().seq);
                    receipt.outcome(outcome(End::Completed));
                }
                let (lines, losses) = drain(&mut reader, &log.position(), BatchLimits { lines_max: 2, ..ALL });
                assert_eq!(losses, [], "{fault:?} after {skip}");
                read.extend(lines);
            }
            faults.clear();
            while log.readiness() != Readiness::Ready {
                tokio::task::yield_now().await;
            }
            let last = log.close().await.unwrap();
            read.extend(drain(&mut reader, &last, ALL).0);
            assert_eq!(read, (1..=last.sequence).collect::<Vec<_>>(), "{fault:?} after {skip}");
            assert!(acknowledged.iter().all(|seq| read.contains(seq)));
            let report = crate::audit::verify_folder(folder.path(), crate::audit::Expectation::default()).unwrap();
            assert!(report.is_sound() && report.resumed > 0 && report.records == last.sequence, "{report:?}");
        }
    }
}
