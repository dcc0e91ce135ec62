//! The promises of the log, on a sound disk, on a failing one, and after a loss of power.

mod damaged;
mod late;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::faulty::{Fault, Faults, FaultyStorage, Loss};
use super::*;
use crate::audit::sample::{grant, identity, intent, intent_under, observed, outcome, refusal};
use crate::audit::{End, Expectation, Report, verify_folder};
use crate::decision::RefusalCode;

fn config(folder: &Path) -> AuditLogConfig {
    AuditLogConfig {
        directory: folder.join("audit"),
        override_reserve_bytes: 0,
        write_deadline_ms_max: 5000,
        probe_interval_ms: 5,
        ..AuditLogConfig::default()
    }
}

fn open(config: &AuditLogConfig) -> (AuditLog, Recovery) {
    AuditLog::open(config.clone(), identity(), Clock::System).unwrap()
}

fn open_faulty(config: &AuditLogConfig) -> (AuditLog, Faults) {
    let faults = Faults::default();
    (open_with(config, &faults), faults)
}

fn open_with(config: &AuditLogConfig, faults: &Faults) -> AuditLog {
    std::fs::create_dir_all(&config.directory).unwrap();
    let storage = FaultyStorage::open(&config.directory, faults.clone());
    AuditLog::open_with(config.clone(), identity(), Clock::System, Box::new(storage)).unwrap().0
}

fn verified(config: &AuditLogConfig, position: Option<Position>) -> Report {
    let report = verify_folder(&config.directory, Expectation { position, ..Expectation::default() }).unwrap();
    assert_eq!(report.first_problem, None);
    report
}

/// Every line in the folder, in order.
fn lines(config: &AuditLogConfig) -> Vec<serde_json::Value> {
    let names = crate::audit::folder::list_segments(&config.directory).unwrap();
    let texts = names.iter().map(|name| std::fs::read(config.directory.join(name.to_string())).unwrap());
    let all: Vec<_> = texts.collect();
    let lines = all.iter().flat_map(|text| text.split(|byte| *byte == b'\n'));
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// (request id, end) of every outcome.
fn ends(config: &AuditLogConfig) -> Vec<(String, String)> {
    let facts = |line: &serde_json::Value| line["unmapped"]["break_glass"].clone();
    let all = lines(config).iter().map(facts).collect::<Vec<_>>();
    let outcomes = all.iter().filter(|facts| facts["end"].is_string());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    outcomes.map(|facts| (text(&facts["request_id"]), text(&facts["end"]))).collect()
}

async fn until_ready(log: &AuditLog) {
    let all = async {
        while log.readiness() != Readiness::Ready {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("the log recovers by itself");
}

/// The machine loses its power: what is not synced may be lost.
async fn power_loss(log: AuditLog, faults: &Faults, loss: Loss) {
    faults.die();
    log.close().await.unwrap_err();
    faults.lose(loss);
}

#[tokio::test]
async fn an_override_leaves_intent_and_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, recovery) = open(&config);
    assert_eq!((recovery.orphans.len(), recovery.previous), (0, None));
    let receipt = log.intent(intent("r-1")).await.unwrap();
    assert_eq!(log.position().sequence, receipt.link().unwrap().seq);
    assert_eq!(verified(&config, Some(log.position())).orphans, 1, "durable before it is acknowledged");
    receipt.outcome(outcome(End::Completed));
    log.refusal(refusal(RefusalCode::GrantExpired), Standing::Proven);
    log.observed(observed());
    let last = log.close().await.unwrap();
    let report = verified(&config, Some(last));
    assert_eq!((report.records, report.overrides, report.orphans), (6, 1, 0));
    assert_eq!((report.refusals, report.observed), (1, 1));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.directory), 0o700);
    for entry in std::fs::read_dir(&config.directory).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_dropped_receipt_is_an_aborted_override() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    drop(log.intent(intent("r-1")).await.unwrap());
    log.close().await.unwrap();
    assert_eq!(ends(&config), [("r-1".to_owned(), "aborted".to_owned())]);
}

#[tokio::test]
async fn a_second_process_cannot_write_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    let second = AuditLog::open(config.clone(), identity(), Clock::System);
    assert!(matches!(second, Err(OpenError::Locked(_))));
    log.close().await.unwrap();
    open(&config).0.close().await.unwrap();
}

#[tokio::test]
async fn after_a_crash_an_open_intent_is_unknown_once_and_spends_a_use() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, faults) = open_faulty(&config);
    // Grants that end in the future of the system clock.
    let live = |id| crate::domain::Grant { expires: Clock::System.wall().plus(Duration::from_secs(600)), ..grant(id) };
    let open_one = log.intent(intent_under("r-1", live(1))).await.unwrap();
    log.intent(intent_under("r-2", live(1))).await.unwrap().outcome(outcome(End::Completed));
    let refused = outcome(End::NotForwarded(RefusalCode::Frozen));
    log.intent(intent_under("r-3", live(2))).await.unwrap().outcome(refused);
    log.intent(intent_under("r-4", live(3))).await.unwrap().outcome(outcome(End::UpstreamFailed));
    let mut positions = log.positions();
    positions.wait_for(|position| position.sequence == 8).await.unwrap();
    power_loss(log, &faults, Loss::All).await;
    drop(open_one);
    let (log, recovery) = open(&config);
    assert_eq!(recovery.orphans.iter().map(|orphan| orphan.request_id.as_str()).collect::<Vec<_>>(), ["r-1"]);
    let spent = |id| recovery.spent.get(&crate::domain::GrantId::from_random(id)).copied();
    assert_eq!((spent(1), spent(2), spent(3)), (Some(2), None, Some(1)));
    log.close().await.unwrap();
    let (log, recovery) = open(&config);
    assert_eq!(recovery.orphans, []);
    let report = verified(&config, Some(log.position()));
    assert_eq!((report.unknown_outcomes, report.orphans, report.logs), (1, 0, 3));
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    for (tail, torn) in [(&b"{\"activity_id\":"[..], 15), (&[0; 77][..], 77), (&b"{\"a\":1}\0\0\n{}\n"[..], 13)] {
        let last = open(&config).0.close().await.unwrap();
        let names = crate::audit::folder::list_segments(&config.directory).unwrap();
        let path = config.directory.join(names.last().unwrap().to_string());
        let sound = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&sound, tail].concat()).unwrap();
        let (log, recovery) = open(&config);
        assert_eq!((recovery.torn_bytes, recovery.previous, recovery.problem), (torn, Some(last), None));
        assert_eq!(std::fs::read(&path).unwrap(), sound);
        assert_eq!(lines(&config).last().unwrap()["unmapped"]["break_glass"]["torn_bytes"], torn);
        log.close().await.unwrap();
    }
    verified(&config, None);
}

#[tokio::test]
async fn tampering_is_left_as_it_is_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    log.intent(intent("r-1")).await.unwrap().outcome(outcome(End::Completed));
    log.close().await.unwrap();
    let names = crate::audit::folder::list_segments(&config.directory).unwrap();
    let path = config.directory.join(names[0].to_string());
    let altered = std::fs::read_to_string(&path).unwrap().replace("INC-2041", "INC-2042");
    std::fs::write(&path, &altered).unwrap();
    let (log, recovery) = open(&config);
    assert_eq!(recovery.problem.map(|problem| problem.line), Some(2));
    log.close().await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), altered);
    let report = verify_folder(&config.directory, Expectation::default()).unwrap();
    assert_eq!(report.first_problem.map(|problem| problem.line), Some(2));
}

#[tokio::test]
async fn segments_follow_each_other_in_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { segment_bytes_max: 4000, ..config(folder.path()) };
    for _ in 0..2 {
        let (log, _) = open(&config);
        for i in 0..20 {
            log.intent(intent(&format!("r-{i}"))).await.unwrap().outcome(outcome(End::Completed));
        }
        let segments = log.metrics().segments;
        log.close().await.unwrap();
        assert!(segments > 5, "{segments}");
    }
    let report = verified(&config, None);
    assert_eq!((report.overrides, report.orphans, report.logs), (40, 0, 2));
}

/// Overrides, one after the other; the request ids that were acknowledged.
async fn some_overrides(log: &AuditLog) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for i in 0..6 {
        let id = format!("r-{i}");
        if let Ok(receipt) = log.intent(intent(&id)).await {
            acknowledged.insert(id);
            receipt.outcome(outcome(End::Completed));
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn whatever_fails_and_whatever_is_lost_nothing_acknowledged_is_missing() {
    let mut cases = Vec::new();
    for fault in Fault::ALL {
        for skip in 0..5 {
            for times in [1, 2, 3] {
                for loss in [Loss::Nothing, Loss::All, Loss::Half, Loss::Zeros] {
                    cases.push(survives(fault, skip, times, loss));
                }
            }
        }
    }
    all(cases).await;
}

/// A few cases at a time: most of each is waiting for the disk.
async fn all(cases: Vec<impl Future<Output = ()> + Send + 'static>) {
    use futures_util::StreamExt as _;
    let cases = futures_util::stream::iter(cases).map(tokio::spawn).buffer_unordered(8);
    cases.for_each(async |case| case.unwrap()).await;
}

async fn survives(fault: Fault, skip: u32, times: u32, loss: Loss) {
    let what = format!("{fault:?} after {skip}, {times} times, losing {loss:?}");
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { segment_bytes_max: 6000, probe_interval_ms: 1, ..config(folder.path()) };
    let faults = Faults::default();
    faults.plan(fault, skip, times);
    let log = open_with(&config, &faults);
    let acknowledged = some_overrides(&log).await;
    let position = log.position();
    power_loss(log, &faults, loss).await;
    // The newest head is there, or only an older one.
    if skip % 2 == 1 {
        faults.lose_notes();
    }
    let (log, recovery) = open(&config);
    assert_eq!((recovery.problem, recovery.damage), (None, None), "{what}");
    assert_eq!(log.readiness(), Readiness::Ready, "{what}");
    log.close().await.unwrap();
    let expected = Some(position).filter(|position| position.sequence > 0);
    let report =
        verify_folder(&config.directory, Expectation { position: expected, ..Expectation::default() }).unwrap();
    assert_eq!((report.first_problem, report.orphans), (None, 0), "{what}");
    let recorded: BTreeSet<String> = lines(&config)
        .iter()
        .filter_map(|line| line["metadata"]["correlation_uid"].as_str().map(str::to_owned))
        .collect();
    assert!(acknowledged.is_subset(&recorded), "{what}: {acknowledged:?} in {recorded:?}");
}

#[tokio::test]
async fn a_failed_sync_is_never_trusted_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, faults) = open_faulty(&config);
    faults.plan(Fault::SyncBefore, 0, 1);
    log.intent(intent("r-1")).await.expect("a new segment took it").outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    faults.lose(Loss::Zeros);
    let report = verified(&config, Some(last));
    assert_eq!((report.resumed, report.segments, report.overrides), (1, 2, 1));
}

#[tokio::test]
async fn failing_storage_refuses_overrides_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, faults) = open_faulty(&config);
    let early = log.intent(intent("r-1")).await.unwrap();
    faults.plan(Fault::SyncBefore, 0, u32::MAX);
    assert_eq!(log.intent(intent("r-2")).await.unwrap_err(), IntentError::Failed);
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Failed));
    early.outcome(outcome(End::Completed));
    log.refusal(refusal(RefusalCode::AuditUnavailable), Standing::Proven);
    assert_eq!(log.intent(intent("r-3")).await.unwrap_err(), IntentError::Failed);
    faults.clear();
    until_ready(&log).await;
    log.intent(intent("r-4")).await.unwrap().outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    let report = verified(&config, Some(last));
    assert_eq!((report.overrides, report.orphans, report.summarised), (2, 0, 1));
    assert!(ends(&config).contains(&("r-2".to_owned(), "not_forwarded".to_owned())));
}

#[tokio::test]
async fn a_stuck_disk_hangs_neither_request_nor_readiness() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { write_deadline_ms_max: 20, close_deadline_ms_max: 20, ..config(folder.path()) };
    let (log, faults) = open_faulty(&config);
    faults.set_stuck(true);
    assert_eq!(log.intent(intent("r-1")).await.unwrap_err(), IntentError::Slow);
    while log.readiness() == Readiness::Ready {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Slow));
    assert_eq!(log.intent(intent("r-2")).await.unwrap_err(), IntentError::Slow);
    let mut positions = log.positions();
    faults.set_stuck(false);
    positions.wait_for(|position| position.sequence == 3).await.unwrap();
    until_ready(&log).await;
    assert_eq!(ends(&config), [("r-1".to_owned(), "not_forwarded".to_owned())]);
    assert_eq!(log.metrics().intents_refused.slow, 2);
    faults.set_stuck(true);
    log.refusal(refusal(RefusalCode::Frozen), Standing::Proven);
    assert_eq!(log.close().await, Err(CloseError::Deadline));
    faults.set_stuck(false);
}

#[tokio::test]
async fn a_full_disk_refuses_at_once_keeps_its_word_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, faults) = open_faulty(&config);
    let early = log.intent(intent("r-1")).await.unwrap();
    // Reserved space is used up by the longest intents before the fault is met.
    faults.plan(Fault::ReserveFull, 0, u32::MAX);
    let long = crate::audit::sample::longest_intent;
    let error = loop {
        match log.intent(long()).await {
            Ok(receipt) => receipt.outcome(outcome(End::Completed)),
            Err(error) => break error,
        }
    };
    assert_eq!(error, IntentError::Full);
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Full));
    let before = log.position().sequence;
    early.outcome(outcome(End::Completed));
    let mut positions = log.positions();
    positions.wait_for(|position| position.sequence > before).await.unwrap();
    assert!(ends(&config).contains(&("r-1".to_owned(), "completed".to_owned())), "its space was reserved");
    faults.clear();
    until_ready(&log).await;
    log.intent(intent("r-9")).await.unwrap().outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    assert_eq!(verified(&config, Some(last)).orphans, 0);
}

#[tokio::test]
async fn a_start_on_a_full_disk_serves_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let faults = Faults::default();
    faults.plan(Fault::ReserveFull, 0, u32::MAX);
    let log = open_with(&config, &faults);
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Full));
    assert_eq!(log.intent(intent("r-1")).await.unwrap_err(), IntentError::Full);
    faults.clear();
    until_ready(&log).await;
    log.intent(intent("r-2")).await.unwrap().outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    assert_eq!(verified(&config, Some(last)).overrides, 1);
}

#[tokio::test]
async fn a_flood_of_strangers_is_counted_and_shuts_no_glass() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { stranger_records_per_s_max: 10, ..config(folder.path()) };
    let (log, _) = open(&config);
    for i in 0..20 {
        for _ in 0..500 {
            log.refusal(refusal(RefusalCode::HeaderMalformed), Standing::Stranger);
        }
        log.intent(intent(&format!("r-{i}"))).await.unwrap().outcome(outcome(End::Completed));
    }
    let last = log.close().await.unwrap();
    let report = verified(&config, Some(last));
    assert_eq!((report.overrides, report.refusals + report.summarised), (20, 10_000));
    assert!(report.refusals < 200, "{}", report.refusals);
}

#[tokio::test]
async fn refusals_stay_out_of_the_overrides_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { override_reserve_bytes: 1000, ..config(folder.path()) };
    let (log, faults) = open_faulty(&config);
    faults.set_free_bytes(1000);
    log.refusal(refusal(RefusalCode::GrantRevoked), Standing::Proven);
    log.intent(intent("r-1")).await.unwrap().outcome(outcome(End::Completed));
    let mut positions = log.positions();
    positions.wait_for(|position| position.sequence == 3).await.unwrap();
    faults.set_free_bytes(1_000_000);
    let last = log.close().await.unwrap();
    let report = verified(&config, Some(last));
    assert_eq!((report.refusals, report.summarised, report.overrides), (0, 1, 1));
}

#[tokio::test]
async fn no_more_overrides_are_in_flight_than_have_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { open_intents_max: 2, ..config(folder.path()) };
    let (log, _) = open(&config);
    let first = log.intent(intent("r-1")).await.unwrap();
    let second = log.intent(intent("r-2")).await.unwrap();
    assert_eq!(log.intent(intent("r-3")).await.unwrap_err(), IntentError::Busy);
    let mut positions = log.positions();
    first.outcome(outcome(End::Completed));
    positions.wait_for(|position| position.sequence == 4).await.unwrap();
    log.intent(intent("r-4")).await.unwrap().outcome(outcome(End::Completed));
    drop(second);
    let last = log.close().await.unwrap();
    assert_eq!(verified(&config, Some(last)).overrides, 3);
}

#[test]
fn many_runtimes_share_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    let worker = |log: AuditLog| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let tasks = (0..8).map(|_| async {
                for i in 0..10 {
                    log.intent(intent(&format!("r-{i}"))).await.unwrap().outcome(outcome(End::Completed));
                }
            });
            futures_util::future::join_all(tasks).await;
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log.clone();
            scope.spawn(move || worker(log));
        }
    });
    let commits = log.metrics().commits;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let last = runtime.block_on(log.close()).unwrap();
    let report = verified(&config, Some(last));
    assert_eq!((report.overrides, report.outcomes, report.orphans), (320, 320, 0));
    assert!(commits < 320, "batches hold more than one record: {commits}");
}

#[test]
fn nothing_held_back_keeps_the_thread_or_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    let shared = Arc::downgrade(&log.shared);
    drop(log);
    while shared.strong_count() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(open(&config).1.orphans, []);
}

/// A file system of its own, unmounted when dropped. Mounting takes root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this machine does not let us mount; why is told on standard error.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder.path()).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("no small disk can be mounted here (it takes root): this test is left out");
        }
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// On a real file system that is really full.
#[tokio::test]
async fn a_really_full_disk_keeps_every_reservation() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.0.path().to_owned();
    let config = AuditLogConfig { segment_bytes_max: 256 * 1024, ..config(&folder) };
    let (log, _) = open(&config);
    let filler = folder.join("filler");
    let file = std::fs::File::create(&filler).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 2 * 1024 * 1024).unwrap();
    let mut owed = Vec::new();
    let error = loop {
        match log.intent(intent(&format!("r-{}", owed.len()))).await {
            Ok(receipt) => owed.push(receipt),
            Err(error) => break error,
        }
    };
    assert_eq!((error, log.readiness()), (IntentError::Full, Readiness::Unavailable(Cause::Full)));
    let before = log.position().sequence;
    let count = owed.len() as u64;
    owed.into_iter().for_each(|receipt| receipt.outcome(outcome(End::Completed)));
    let mut positions = log.positions();
    positions.wait_for(|position| position.sequence >= before + count).await.unwrap();
    assert_eq!(verified(&config, Some(log.position())).orphans, 0, "all {count} outcomes had their space");
    assert_eq!(log.metrics().storage_errors, 0);
    drop(file);
    std::fs::remove_file(filler).unwrap();
    until_ready(&log).await;
    log.intent(intent("r-last")).await.unwrap().outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    assert_eq!(verified(&config, Some(last)).overrides, count + 1);
}
