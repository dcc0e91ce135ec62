//! Whatever is lost or replaced is named, stays what it is, and waits for an operator; whatever fails meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

const LINEAGE: &str = "lineage";

/// Several segments, closed in order; lineage and last position.
async fn written(config: &AuditLogConfig) -> (String, Position) {
    let (log, _) = open(config);
    let lineage = log.opened().await.lineage;
    for i in 0..6 {
        log.intent(intent(&format!("r-{i}"))).await.unwrap().outcome(outcome(End::Completed));
    }
    (lineage, log.close().await.unwrap())
}

fn small(folder: &Path) -> AuditLogConfig {
    AuditLogConfig { segment_bytes_max: 3000, probe_interval_ms: 1, ..config(folder) }
}

fn segments(config: &AuditLogConfig) -> Vec<PathBuf> {
    let names = crate::audit::folder::list_segments(&config.directory).unwrap();
    names.iter().map(|name| config.directory.join(name.to_string())).collect()
}

fn look(config: &AuditLogConfig) -> Inspection {
    inspect(&config.directory, Clock::System.wall()).unwrap()
}

fn accept(config: &AuditLogConfig) {
    let damage = look(config).damage.expect("damage");
    Acknowledgement::new(&damage, "ada", "the disk was replaced", Clock::System.wall())
        .unwrap()
        .leave(&config.directory)
        .unwrap();
}

/// Every segment as it stands.
fn contents(config: &AuditLogConfig) -> BTreeMap<PathBuf, Vec<u8>> {
    segments(config).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn cut_tail(config: &AuditLogConfig) {
    let last = segments(config).pop().unwrap();
    let text = std::fs::read(&last).unwrap();
    std::fs::write(&last, &text[..text.len() - 40]).unwrap();
}

fn flip(config: &AuditLogConfig, segment: usize) {
    let path = &segments(config)[segment];
    let mut text = std::fs::read(path).unwrap();
    let at = text.windows(13).rposition(|window| window == b"payments-prod").unwrap();
    text[at] = b'P';
    std::fs::write(path, text).unwrap();
}

fn replace_by_another(config: &AuditLogConfig) {
    let other = tempfile::tempdir().unwrap();
    let theirs = small(other.path());
    written_elsewhere(&theirs);
    std::fs::copy(&segments(&theirs)[1], &segments(config)[1]).unwrap();
}

/// [`written`], from within a runtime.
fn written_elsewhere(config: &AuditLogConfig) {
    let write = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(written(config));
    };
    std::thread::scope(|scope| scope.spawn(write).join().unwrap());
}

fn swap(config: &AuditLogConfig) {
    let all = segments(config);
    let (one, two) = (std::fs::read(&all[1]).unwrap(), std::fs::read(&all[2]).unwrap());
    std::fs::write(&all[1], two).unwrap();
    std::fs::write(&all[2], one).unwrap();
}

fn rewrite(config: &AuditLogConfig) {
    let other = tempfile::tempdir().unwrap();
    let theirs = small(other.path());
    written_elsewhere(&theirs);
    for path in segments(config) {
        std::fs::remove_file(path).unwrap();
    }
    for path in segments(&theirs) {
        std::fs::copy(&path, config.directory.join(path.file_name().unwrap())).unwrap();
    }
}

fn unreadable(config: &AuditLogConfig) {
    let path = &segments(config)[1];
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
}

fn empty(config: &AuditLogConfig) {
    for entry in std::fs::read_dir(&config.directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != LINEAGE && name != "lock") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn remove(config: &AuditLogConfig, name: &str) {
    std::fs::remove_file(config.directory.join(name)).unwrap();
}

fn second_of_a_number(config: &AuditLogConfig) {
    let all = segments(config);
    std::fs::copy(&all[1], config.directory.join("audit-0000000002-00000000.jsonl")).unwrap();
}

type Do = fn(&AuditLogConfig);

/// What is done to the folder, and what must be among the findings.
const DAMAGES: &[(&str, Do, FindingKind)] = &[
    ("the tail is cut below what was durable", cut_tail, FindingKind::EndMissing),
    ("the last segment", |c| std::fs::remove_file(segments(c).pop().unwrap()).unwrap(), FindingKind::LastMissing),
    ("the first segment", |c| std::fs::remove_file(&segments(c)[0]).unwrap(), FindingKind::FirstMissing),
    ("a segment in the middle", |c| std::fs::remove_file(&segments(c)[1]).unwrap(), FindingKind::Broken),
    ("two segments are swapped", swap, FindingKind::Broken),
    ("a byte of the first segment", |c| flip(c, 0), FindingKind::Broken),
    ("a byte of the last line", |c| flip(c, segments(c).len() - 1), FindingKind::Replaced),
    ("a segment is another log's", replace_by_another, FindingKind::Broken),
    ("every segment is another log's", rewrite, FindingKind::EndMissing),
    ("a segment can't be read", unreadable, FindingKind::SegmentUnreadable),
    ("two claim a number", second_of_a_number, FindingKind::SameNumber),
    ("every segment", |c| segments(c).iter().for_each(|p| std::fs::remove_file(p).unwrap()), FindingKind::AllMissing),
    ("all but the lineage", empty, FindingKind::AllMissing),
    ("the head", |c| remove(c, "head"), FindingKind::HeadMissing),
    ("the head's text", |c| std::fs::write(c.directory.join("head"), "{}").unwrap(), FindingKind::HeadUnreadable),
];

#[tokio::test]
async fn every_damage_is_named_left_as_it_is_and_waits_for_an_operator() {
    for (what, damage, kind) in DAMAGES {
        let folder = tempfile::tempdir().unwrap();
        let config = small(folder.path());
        let (lineage, _) = written(&config).await;
        assert!(look(&config).damage.is_none());
        damage(&config);
        let found = look(&config).damage.unwrap_or_else(|| panic!("{what}: nothing found"));
        assert!(found.findings.iter().any(|finding| finding.kind == *kind), "{what}: {:?}", found.findings);
        let digest = found.digest();
        let evidence = if what.contains("can't be read") { BTreeMap::new() } else { contents_of(&config, what) };
        // Twice: a restart alone accepts nothing, and the damage stays the same.
        for round in 0..2 {
            let (log, recovery) = open(&config);
            assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Damaged), "{what}");
            assert_eq!(log.intent(intent("r-no")).await.unwrap_err(), IntentError::Damaged, "{what}");
            assert_eq!(recovery.damage.unwrap().digest(), digest, "{what}, start {round}");
            log.refusal(refusal(RefusalCode::AuditUnavailable), Standing::Proven);
            log.close().await.unwrap();
        }
        accept(&config);
        let (log, _) = open(&config);
        assert_eq!(log.readiness(), Readiness::Ready, "{what}");
        let opened = log.opened().await;
        assert_ne!(opened.lineage, lineage, "{what}: the shares are forfeited");
        assert!(opened.recovery.spent.is_empty());
        log.intent(intent("r-yes")).await.unwrap().outcome(outcome(End::Completed));
        log.close().await.unwrap();
        for (path, content) in evidence {
            assert!(std::fs::read(path).unwrap() == content, "{what}: evidence is left untouched");
        }
        let inspection = look(&config);
        assert_eq!((inspection.damage, inspection.acknowledgement), (None, None), "{what}");
        assert_eq!((inspection.report.refusals, inspection.report.overrides), (2, 1), "{what}");
        let [loss] = &inspection.report.losses[..] else { panic!("{what}: {:?}", inspection.report.losses) };
        assert_eq!((loss.accepted.by.as_str(), loss.accepted.digest), ("ada", digest), "{what}");
        let (log, recovery) = open(&config);
        assert_eq!((recovery.damage, log.opened().await.lineage), (None, opened.lineage), "{what}");
    }
}

fn contents_of(config: &AuditLogConfig, what: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    if what.contains("claim a number") { BTreeMap::new() } else { contents(config) }
}

#[tokio::test]
async fn a_running_log_takes_an_operators_word_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(folder.path());
    let (lineage, last) = written(&config).await;
    cut_tail(&config);
    let (log, _) = open(&config);
    let damage = look(&config).damage.unwrap();
    assert!(look(&config).is_pinned && damage.known == Some(last));
    // A word for something else changes nothing.
    let other = Damage { lineage: None, ..damage.clone() };
    Acknowledgement::new(&other, "eve", "no", Clock::System.wall()).unwrap().leave(&config.directory).unwrap();
    log.refusal(refusal(RefusalCode::AuditUnavailable), Standing::Proven);
    log.positions().wait_for(|position| position.sequence == 2).await.unwrap();
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Damaged));
    accept(&config);
    let opened = tokio::time::timeout(Duration::from_secs(10), log.opened()).await.unwrap();
    assert_ne!(opened.lineage, lineage);
    assert_eq!(log.readiness(), Readiness::Ready);
    log.intent(intent("r-yes")).await.unwrap().outcome(outcome(End::Completed));
    log.close().await.unwrap();
    let report = verify_folder(&config.directory, Expectation::default()).unwrap();
    assert_eq!((report.first_problem, report.losses.len()), (None, 1));
    let accepted = &report.losses[0].accepted;
    assert_eq!(accepted.known, Some(last));
    assert!(accepted.found.unwrap().sequence < last.sequence, "{accepted:?}");
}

#[tokio::test]
async fn another_damage_needs_another_word() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(folder.path());
    written(&config).await;
    cut_tail(&config);
    let first = look(&config).damage.unwrap().digest();
    accept(&config);
    written(&config).await;
    assert!(look(&config).damage.is_none());
    cut_tail(&config);
    // Whoever kept the first word can't use it again.
    let (log, recovery) = open(&config);
    assert_ne!(recovery.damage.unwrap().digest(), first);
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Damaged));
    log.close().await.unwrap();
    // And while the second is not accepted, a third: the word for the second does not cover both.
    let second = look(&config).damage.unwrap();
    accept(&config);
    std::fs::remove_file(segments(&config).pop().unwrap()).unwrap();
    let (log, recovery) = open(&config);
    let both = recovery.damage.unwrap();
    assert!(both.findings.len() > second.findings.len() && both.digest() != second.digest());
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Damaged));
    accept(&config);
    log.opened().await;
    log.close().await.unwrap();
    assert!(look(&config).damage.is_none());
}

#[tokio::test]
async fn striking_off_the_record_of_a_damage_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(folder.path());
    written(&config).await;
    cut_tail(&config);
    open(&config).0.close().await.unwrap();
    remove(&config, "damage");
    let found = look(&config).damage.unwrap();
    assert_eq!(found.findings[0].kind, FindingKind::PinMissing);
    std::fs::write(config.directory.join("damage"), "{").unwrap();
    let found = look(&config).damage.unwrap();
    assert_eq!(found.findings[0].kind, FindingKind::PinUnreadable);
}

/// Most of a case is waiting for the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn whatever_fails_an_unaccepted_damage_stays_and_an_accepted_one_goes() {
    let losses = [Loss::Nothing, Loss::All, Loss::Half];
    let mut cases = Vec::new();
    for fault in Fault::ALL {
        for skip in 0..6 {
            for accepted in [false, true] {
                cases.push(stays_or_goes(fault, skip, accepted, losses[skip as usize % 3]));
            }
        }
    }
    all(cases).await;
}

/// The damaged start, or the acceptance, breaks off at the fault and the machine dies.
async fn stays_or_goes(fault: Fault, skip: u32, accepted: bool, loss: Loss) {
    let what = format!("{fault:?} after {skip}, accepted: {accepted}, losing {loss:?}");
    let folder = tempfile::tempdir().unwrap();
    let config = AuditLogConfig { probe_interval_ms: 1000, ..small(folder.path()) };
    let (lineage, _) = written(&config).await;
    cut_tail(&config);
    let digest = look(&config).damage.unwrap().digest();
    if accepted {
        accept(&config);
    }
    let faults = Faults::default();
    faults.plan(fault, skip, u32::MAX);
    let log = open_with(&config, &faults);
    if !accepted {
        assert_ne!(log.readiness(), Readiness::Ready, "{what}");
    }
    power_loss(log, &faults, loss).await;
    if skip % 2 == 1 {
        faults.lose_notes();
    }
    let (log, recovery) = open(&config);
    if accepted {
        assert_eq!(log.readiness(), Readiness::Ready, "{what}: {:?}", recovery.damage);
        assert_ne!(log.opened().await.lineage, lineage, "{what}");
    } else {
        assert_eq!(recovery.damage.unwrap().digest(), digest, "{what}");
        assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Damaged), "{what}");
    }
    log.close().await.unwrap();
    let inspection = look(&config);
    assert_eq!(inspection.damage.is_some(), !accepted, "{what}: {:?}", inspection.damage);
    assert_eq!(!inspection.report.losses.is_empty(), accepted, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn a_first_start_that_dies_anywhere_leaves_nothing_that_looks_like_damage() {
    let mut cases = Vec::new();
    for fault in Fault::ALL {
        for skip in 0..6 {
            for loss in [Loss::Nothing, Loss::All, Loss::Half, Loss::Zeros] {
                cases.push(first_start(fault, skip, loss));
            }
        }
    }
    all(cases).await;
}

async fn first_start(fault: Fault, skip: u32, loss: Loss) {
    let folder = tempfile::tempdir().unwrap();
    let config = small(folder.path());
    let faults = Faults::default();
    faults.plan(fault, skip, u32::MAX);
    power_loss(open_with(&config, &faults), &faults, loss).await;
    let (log, recovery) = open(&config);
    assert_eq!(recovery.damage, None, "{fault:?} after {skip}, losing {loss:?}");
    assert_eq!(log.readiness(), Readiness::Ready);
    log.close().await.unwrap();
    assert!(look(&config).damage.is_none(), "{fault:?} after {skip}, losing {loss:?}");
}
