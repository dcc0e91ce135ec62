//! Every durable line once and in order, over failing disks, restarts and damage.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::audit::folder::list_segments;
use crate::audit::sample::{identity, intent, outcome, refusal};
use crate::audit::{End, Expectation, ParsedLine, SegmentName, verify_folder};
use crate::clock::Clock;
use crate::decision::RefusalCode;
use crate::sidecar::audit_log::faulty::{Fault, Faults, FaultyStorage};
use crate::sidecar::audit_log::{AuditLog, AuditLogConfig, IntentError, Readiness, Standing};

const AMPLE: BatchLimits = BatchLimits { lines_max: 1000, bytes_max: 1 << 20, is_one_run: false };
const ONE: BatchLimits = BatchLimits { lines_max: 1, bytes_max: 1, is_one_run: false };

fn config(folder: &Path) -> AuditLogConfig {
    AuditLogConfig {
        directory: folder.join("audit"),
        override_reserve_bytes: 0,
        write_deadline_ms_max: 5000,
        probe_interval_ms: 5,
        segment_bytes_max: 8 * 1024,
        ..AuditLogConfig::default()
    }
}

fn open(config: &AuditLogConfig, faults: &Faults) -> AuditLog {
    std::fs::create_dir_all(&config.directory).unwrap();
    let storage = FaultyStorage::open(&config.directory, faults.clone());
    AuditLog::open_with(config.clone(), identity(), Clock::System, Box::new(storage)).unwrap().0
}

fn name(text: &str) -> ReaderName {
    text.parse().unwrap()
}

async fn follower(config: &AuditLogConfig, log: &AuditLog, readers: &Readers) -> Follower {
    Follower::open(&config.directory, name("siem"), log.positions(), readers).await.unwrap()
}

/// Everything that is durable now, settled.
async fn take_all(follower: &mut Follower, limits: BatchLimits) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Some(batch) = follower.next_now(limits).await.unwrap() {
        assert_eq!(batch.unreadable, 0);
        follower.settle(&batch).await.unwrap();
        lines.extend(batch.lines);
    }
    lines
}

async fn overrides(log: &AuditLog, count: usize) {
    for n in 0..count {
        if let Ok(receipt) = log.intent(intent(&format!("r-{n}"))).await {
            receipt.outcome(outcome(End::Completed));
        }
    }
}

/// Each line follows the one before, the last is the log's last, and none stands twice.
fn assert_whole(lines: &[Line], last: Position) {
    assert!(lines.iter().all(|line| line.follows), "nothing is missing between");
    assert_eq!(lines.last().map(|line| line.position), Some(last));
    let places: BTreeSet<_> = lines.iter().map(|line| (line.position.log_id, line.position.sequence)).collect();
    assert_eq!(places.len(), lines.len());
}

#[tokio::test]
async fn it_hands_out_every_line_as_it_stands_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (faults, readers) = (Faults::default(), Readers::default());
    let log = open(&config, &faults);
    let mut reader = follower(&config, &log, &readers).await;
    overrides(&log, 40).await;
    let mut lines = take_all(&mut reader, ONE).await;
    assert!(!lines.is_empty());
    drop(reader);
    let last = log.close().await.unwrap();
    drop(log);
    let log = open(&config, &faults);
    let readers = Readers::default();
    let mut reader = follower(&config, &log, &readers).await;
    overrides(&log, 3).await;
    let end = log.close().await.unwrap();
    let behind = readers.lines_behind(&name("siem"), &end).unwrap();
    let rest = take_all(&mut reader, AMPLE).await;
    assert!(rest.iter().any(|line| line.position == last), "the end of the log before");
    assert!(behind <= u64::try_from(rest.len()).unwrap());
    assert_eq!(readers.lines_behind(&name("siem"), &end), Some(0));
    lines.extend(rest);
    assert_whole(&lines, end);
    let names = list_segments(&config.directory).unwrap();
    assert!(names.len() > 3, "over several segments");
    let stored: Vec<u8> =
        names.iter().flat_map(|name| std::fs::read(config.directory.join(name.to_string())).unwrap()).collect();
    let handed: Vec<u8> = lines.iter().flat_map(|line| [line.text.as_ref(), b"\n"].concat()).collect();
    assert_eq!(handed, stored);
    assert_eq!(readers.floor(), names.last().map(SegmentName::number));
}

/// Every write of the log fails in every way, at every time, while it is followed.
#[tokio::test]
async fn a_failing_disk_neither_hides_nor_doubles_a_line() {
    for fault in [Fault::AppendBefore, Fault::AppendHalf, Fault::AppendAfter, Fault::SyncBefore, Fault::SyncAfter] {
        for skip in [0, 1, 4] {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path());
            let (faults, readers) = (Faults::default(), Readers::default());
            let log = open(&config, &faults);
            let mut reader = follower(&config, &log, &readers).await;
            let mut lines = take_all(&mut reader, AMPLE).await;
            faults.plan(fault, skip, 3);
            for _ in 0..8 {
                overrides(&log, 2).await;
                lines.extend(take_all(&mut reader, AMPLE).await);
            }
            faults.clear();
            while log.readiness() != Readiness::Ready {
                tokio::task::yield_now().await;
            }
            let last = log.close().await.unwrap();
            lines.extend(take_all(&mut reader, AMPLE).await);
            assert_whole(&lines, last);
            let report = verify_folder(&config.directory, Expectation::default()).unwrap();
            assert_eq!(report.first_problem, None);
            assert!(report.resumed > 0, "{fault:?} after {skip}");
            assert_eq!(u64::try_from(lines.len()).unwrap(), report.records);
        }
    }
}

#[tokio::test]
async fn what_was_not_settled_is_handed_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (faults, readers) = (Faults::default(), Readers::default());
    let log = open(&config, &faults);
    let mut reader = follower(&config, &log, &readers).await;
    overrides(&log, 5).await;
    let first = reader.next(ONE).await.unwrap();
    reader.settle(&first).await.unwrap();
    let second = reader.next(ONE).await.unwrap();
    drop(reader);
    let mut reader = follower(&config, &log, &readers).await;
    assert_eq!(reader.next(ONE).await.unwrap(), second);
    // A place that a loss of power tore is the one before, and without any the log begins anew.
    let file = config.directory.join("follow-siem");
    reader.settle(&second).await.unwrap();
    drop(reader);
    let sound = std::fs::read(&file).unwrap();
    let newest = if two_slots_begin(&sound) { 40 } else { 552 };
    let mut torn = sound.clone();
    torn[newest] ^= 1;
    std::fs::write(&file, &torn).unwrap();
    let mut reader = follower(&config, &log, &readers).await;
    assert_eq!(reader.next(ONE).await.unwrap(), second);
    drop(reader);
    std::fs::write(&file, b"nonsense").unwrap();
    let mut reader = follower(&config, &log, &readers).await;
    assert_eq!(reader.next(ONE).await.unwrap().lines, first.lines);
}

/// Whether the newer slot is the first.
fn two_slots_begin(file: &[u8]) -> bool {
    let count = |slot: &[u8]| serde_json::from_slice::<serde_json::Value>(slot).ok()?["count"].as_u64();
    count(&file[..512]) > count(&file[512..])
}

#[tokio::test]
async fn a_reader_is_one_process_and_one_that_waits_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (faults, readers) = (Faults::default(), Readers::default());
    let log = open(&config, &faults);
    let mut reader = follower(&config, &log, &readers).await;
    let second = Follower::open(&config.directory, name("siem"), log.positions(), &readers).await;
    assert!(matches!(second, Err(FollowError::Busy)));
    take_all(&mut reader, AMPLE).await;
    let (batch, ()) = tokio::join!(reader.next(AMPLE), async {
        tokio::task::yield_now().await;
        log.refusal(refusal(RefusalCode::GrantExpired), Standing::Proven);
    });
    assert_eq!(batch.unwrap().lines.len(), 1);
    log.close().await.unwrap();
    drop(log);
    take_all(&mut reader, AMPLE).await;
    assert!(matches!(reader.next(AMPLE).await, Err(FollowError::Ended)));
}

#[tokio::test]
async fn damage_is_passed_over_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let faults = Faults::default();
    let log = open(&config, &faults);
    overrides(&log, 40).await;
    log.close().await.unwrap();
    drop(log);
    let names = list_segments(&config.directory).unwrap();
    // One segment is gone, and a line of another is no line any more.
    std::fs::remove_file(config.directory.join(names[1].to_string())).unwrap();
    let altered = config.directory.join(names[2].to_string());
    let mut text = std::fs::read(&altered).unwrap();
    text[0] = b'#';
    std::fs::write(&altered, text).unwrap();
    let log = open(&config, &faults);
    let readers = Readers::default();
    let mut reader = follower(&config, &log, &readers).await;
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_now(AMPLE).await.unwrap() {
        reader.settle(&batch).await.unwrap();
        batches.push(batch);
    }
    assert_eq!(batches.iter().map(|batch| batch.unreadable).sum::<u64>(), 1);
    let lines: Vec<_> = batches.into_iter().flat_map(|batch| batch.lines).collect();
    assert_eq!(lines.iter().filter(|line| !line.follows).count(), 1, "the line after the gap");
    assert_eq!(lines.last().map(|line| line.position), Some(log.position()));
}

#[tokio::test]
async fn another_folder_in_the_same_place_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let faults = Faults::default();
    let log = open(&config, &faults);
    overrides(&log, 40).await;
    let readers = Readers::default();
    let mut reader = follower(&config, &log, &readers).await;
    take_all(&mut reader, AMPLE).await;
    log.close().await.unwrap();
    drop((log, reader));
    for name in list_segments(&config.directory).unwrap() {
        std::fs::remove_file(config.directory.join(name.to_string())).unwrap();
    }
    std::fs::remove_file(config.directory.join("head")).unwrap();
    let log = open(&config, &Faults::default());
    let mut reader = follower(&config, &log, &readers).await;
    let lines = take_all(&mut reader, AMPLE).await;
    assert_eq!(lines.first().map(|line| line.position.sequence), Some(1));
    assert_eq!(lines.last().map(|line| line.position), Some(log.position()));
}

#[tokio::test]
async fn an_override_waits_for_the_readers_that_must_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { write_deadline_ms_max: 200, ..config(folder.path()) };
    let readers = Readers::default();
    let log = open(&config, &Faults::default());
    readers.expect(&name("siem"));
    assert_eq!(readers.floor(), Some(0), "one that has not begun needs every segment");
    log.require(vec![readers.settled(&name("siem")).unwrap()]);
    // Nobody reads: it is refused in time, and its outcome says that nothing was forwarded.
    assert_eq!(log.intent(intent("r-1")).await.unwrap_err(), IntentError::Untaken);
    assert_eq!(log.metrics().intents_refused.untaken, 1);
    let mut reader = follower(&config, &log, &readers).await;
    let reading = async {
        loop {
            let batch = reader.next(AMPLE).await.unwrap();
            reader.settle(&batch).await.unwrap();
            if let Some(line) = batch.lines.iter().find(|line| String::from_utf8_lossy(&line.text).contains("r-2")) {
                break line.clone();
            }
        }
    };
    let (line, receipt) = tokio::join!(reading, log.intent(intent("r-2")));
    let link = receipt.as_ref().unwrap().link().unwrap();
    assert_eq!((line.position.log_id, line.position.sequence), (link.log_id, link.seq));
    receipt.unwrap().outcome(outcome(End::Completed));
    tokio::time::timeout(Duration::from_secs(10), log.close()).await.unwrap().unwrap();
    let ends: Vec<_> = take_all(&mut reader, AMPLE).await;
    assert!(ends.iter().all(|line| ParsedLine::parse(&line.text).is_ok()));
    let text = std::fs::read_to_string(config.directory.join(list_segments(&config.directory).unwrap()[0].to_string()));
    assert!(text.unwrap().lines().any(|line| line.contains("r-1") && line.contains("not_forwarded")));
}
