//! What is shipped and old goes, everything else stays, and the log verifies all the same.

use super::*;
use crate::audit::sample::{grant, identity, intent_under, outcome};
use crate::audit::{End, Intent};
use crate::clock::Clock;
use crate::domain::Grant;
use crate::sidecar::audit_log::follow::Bookmark;
use crate::sidecar::audit_log::{AuditLog, AuditLogConfig, inspect};
use crate::sidecar::shipping::bookmark;

const LONG_AGO: WallTime = WallTime::from_unix_ms(1_000_000_000_000);
const ALWAYS: u64 = u64::MAX;
const BY_SIZE: Keep = Keep { shipped_for: None, bytes_max: Some(1) };

fn config(folder: &Path) -> AuditLogConfig {
    AuditLogConfig {
        directory: folder.to_owned(),
        segment_bytes_max: 4_000,
        override_reserve_bytes: 0,
        write_deadline_ms_max: 5_000,
        ..AuditLogConfig::default()
    }
}

/// A log of a dozen segments, closed. Its overrides are under a grant that expires then.
async fn log(folder: &Path, expires: WallTime) {
    let (log, _) = AuditLog::open(config(folder), identity(), Clock::System).unwrap();
    for n in 0..20 {
        let intent: Intent = intent_under(&format!("r-{n}"), Grant { expires, ..grant(7) });
        log.intent(intent).await.unwrap().outcome(outcome(End::Completed));
    }
    log.close().await.unwrap();
}

fn numbers(folder: &Path) -> Vec<u64> {
    list_segments(folder).unwrap().iter().map(SegmentName::number).collect()
}

/// Reading it finds no damage.
fn sound(folder: &Path) {
    let found = inspect(folder, Clock::System.wall()).unwrap();
    assert_eq!(found.damage, None);
    assert!(found.report.is_sound());
}

fn now() -> WallTime {
    LONG_AGO.plus(Duration::from_secs(7 * 86_400))
}

#[tokio::test]
async fn what_is_shipped_goes_and_the_rest_verifies() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), LONG_AGO).await;
    let all = numbers(folder.path());
    assert!(all.len() > 5, "{all:?}");
    let mut pruner = Pruner::new(folder.path(), BY_SIZE);
    assert_eq!(pruner.prune(all[0], now()).unwrap(), 0, "nothing is shipped");
    assert_eq!(pruner.prune(all[3], now()).unwrap(), 3);
    assert_eq!(numbers(folder.path()), all[3..]);
    sound(folder.path());
    assert_eq!(pruner.prune(ALWAYS, now()).unwrap(), all.len() - 4, "the last stays");
    sound(folder.path());
    // The sidecar goes on, and the next start finds no damage.
    log(folder.path(), LONG_AGO).await;
    sound(folder.path());
    // Without the word for it, it is damage; and so is a first segment that was taken after it.
    let pruned = std::fs::read(folder.path().join(pruned::FILE)).unwrap();
    std::fs::remove_file(folder.path().join(pruned::FILE)).unwrap();
    assert!(inspect(folder.path(), now()).unwrap().damage.is_some());
    std::fs::write(folder.path().join(pruned::FILE), pruned).unwrap();
    sound(folder.path());
    let first = list_segments(folder.path()).unwrap().remove(0);
    std::fs::remove_file(folder.path().join(first.to_string())).unwrap();
    assert!(inspect(folder.path(), now()).unwrap().damage.is_some());
}

#[tokio::test]
async fn what_a_start_needs_stays() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), now()).await;
    let all = numbers(folder.path());
    let mut pruner = Pruner::new(folder.path(), BY_SIZE);
    assert_eq!(pruner.prune(ALWAYS, now()).unwrap(), 0, "uses of a grant that may live are in it");
    assert_eq!(pruner.prune(ALWAYS, now().plus(SPENT_KEPT_FOR)).unwrap(), all.len() - 1);
    sound(folder.path());
}

#[tokio::test]
async fn nothing_goes_unless_it_was_asked_for_or_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), LONG_AGO).await;
    let all = numbers(folder.path());
    let kept = |shipped_for, bytes_max| Pruner::new(folder.path(), Keep { shipped_for, bytes_max });
    assert_eq!(kept(None, None).prune(ALWAYS, now()).unwrap(), 0);
    assert_eq!(kept(None, Some(u64::MAX)).prune(ALWAYS, now()).unwrap(), 0);
    let hour = Duration::from_secs(3_600);
    let written = Clock::System.wall();
    assert_eq!(kept(Some(hour), None).prune(ALWAYS, written).unwrap(), 0);
    let later = written.plus(hour + Duration::from_secs(60));
    assert_eq!(kept(Some(hour), None).prune(ALWAYS, later).unwrap(), all.len() - 1);
    sound(folder.path());
}

#[tokio::test]
async fn one_that_dies_in_the_middle_leaves_no_damage_and_is_carried_on() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), LONG_AGO).await;
    let all = list_segments(folder.path()).unwrap();
    let before: Vec<_> = all.iter().map(|name| std::fs::read(folder.path().join(name.to_string())).unwrap()).collect();
    Pruner::new(folder.path(), BY_SIZE).prune(all[4].number(), now()).unwrap();
    // It died before it had removed these.
    for at in [1, 3] {
        std::fs::write(folder.path().join(all[at].to_string()), &before[at]).unwrap();
    }
    sound(folder.path());
    Pruner::new(folder.path(), BY_SIZE).prune(0, now()).unwrap();
    assert_eq!(numbers(folder.path()), all[4..].iter().map(SegmentName::number).collect::<Vec<_>>());
    sound(folder.path());
}

/// What is noted before a segment goes is whole as it was, and nothing goes.
#[tokio::test]
async fn a_disk_that_is_really_full_keeps_every_segment_and_the_place_that_was_left() {
    let Some(disk) = crate::small_disk::SmallDisk::mount("1m") else { return };
    log(disk.path(), LONG_AGO).await;
    let all = numbers(disk.path());
    let place = |offset| Bookmark { segment: Some("audit-0000000001-01010101.jsonl".into()), offset, position: None };
    bookmark::leave(&place(1), disk.path()).unwrap();
    disk.fill();
    Pruner::new(disk.path(), BY_SIZE).prune(ALWAYS, now()).unwrap_err();
    assert_eq!(numbers(disk.path()), all);
    bookmark::leave(&place(2), disk.path()).unwrap_err();
    assert_eq!(bookmark::read(disk.path()), Some(place(1)));
    sound(disk.path());
    disk.make_room();
    bookmark::leave(&place(2), disk.path()).unwrap();
    assert_eq!(bookmark::read(disk.path()), Some(place(2)));
    assert_eq!(Pruner::new(disk.path(), BY_SIZE).prune(ALWAYS, now()).unwrap(), all.len() - 1);
    sound(disk.path());
}
