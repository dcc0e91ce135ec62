//! A log that opens later than its process, and one that is closed earlier.

use super::*;

#[tokio::test]
async fn a_log_opens_as_soon_as_its_folder_is_free_and_tells_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (before, _) = open(&config);
    let lineage = before.opened().await.lineage;
    let _open = before.intent(intent("r-before")).await.unwrap();
    let log = AuditLog::start(config.clone(), identity(), Clock::System, WhenLocked::Wait).unwrap();
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Opening));
    assert_eq!(log.intent(intent("r-early")).await.unwrap_err(), IntentError::Opening);
    for _ in 0..1000 {
        log.refusal(refusal(RefusalCode::AuditUnavailable), Standing::Proven);
    }
    assert_eq!((log.metrics().queue_records, log.metrics().summarised), (0, 1000));
    before.close().await.unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(10), log.opened()).await.unwrap();
    assert_eq!(opened.lineage, lineage);
    assert_eq!(opened.recovery.orphans.len(), 1);
    log.intent(intent("r-late")).await.unwrap().outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    let report = verified(&config, Some(last));
    assert_eq!((report.summarised, report.logs, report.overrides), (1000, 2, 2));
}

#[tokio::test]
async fn a_log_that_never_opened_closes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (before, _) = open(&config);
    let log = AuditLog::start(config.clone(), identity(), Clock::System, WhenLocked::Wait).unwrap();
    assert_eq!(log.close().await, Err(CloseError::Failed));
    before.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_opened_is_tried_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    std::fs::write(&config.directory, "a file in its place").unwrap();
    let log = AuditLog::start(config.clone(), identity(), Clock::System, WhenLocked::Wait).unwrap();
    assert_eq!(log.readiness(), Readiness::Unavailable(Cause::Opening));
    std::fs::remove_file(&config.directory).unwrap();
    tokio::time::timeout(Duration::from_secs(10), log.opened()).await.unwrap();
    assert_eq!(log.readiness(), Readiness::Ready);
}

#[tokio::test]
async fn a_log_is_closed_while_requests_go_on_and_frees_its_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    log.intent(intent("r-1")).await.unwrap().outcome(outcome(End::Completed));
    let last = log.close().await.unwrap();
    // Others still hold it; the folder is free all the same.
    let (next, recovery) = open(&config);
    assert_eq!((recovery.previous, recovery.orphans.len()), (Some(last), 0));
    assert_eq!(log.intent(intent("r-2")).await.unwrap_err(), IntentError::Closed);
    log.refusal(refusal(RefusalCode::Frozen), Standing::Proven);
    assert_eq!(log.metrics().after_close, 1);
    assert_eq!(log.close().await, Ok(last), "closing twice is closing once");
    next.close().await.unwrap();
}

#[tokio::test]
async fn a_log_started_behind_takes_the_lock_at_once_and_ends_in_order_however_early() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let start = || AuditLog::start(config.clone(), identity(), Clock::System, WhenLocked::Fail);
    let log = start().unwrap();
    assert!(matches!(start(), Err(OpenError::Locked(_))));
    let last = log.close().await.unwrap();
    assert_eq!(verified(&config, Some(last)).records, 2);
}

#[tokio::test]
async fn a_log_closes_by_itself_only_while_no_override_is_open_and_then_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (log, _) = open(&config);
    let receipt = log.intent(intent("r-1")).await.unwrap();
    assert_eq!(log.close_if_idle().await, None);
    let second = log.intent(intent("r-2")).await.unwrap();
    receipt.outcome(outcome(End::Completed));
    second.outcome(outcome(End::Completed));
    let closed = loop {
        match log.close_if_idle().await {
            Some(closed) => break closed.unwrap(),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(log.intent(intent("r-3")).await.unwrap_err(), IntentError::Closed);
    let report = verified(&config, Some(closed));
    assert_eq!((report.intents, report.outcomes, report.orphans), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_while_intents_race_leaves_none_without_its_outcome() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (log, _) = open(&config);
        let racing: Vec<_> = (0..4)
            .map(|_| {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut taken = 0_u64;
                    while let Ok(receipt) = log.intent(intent("r-1")).await {
                        tokio::task::yield_now().await;
                        receipt.outcome(outcome(End::Completed));
                        taken += 1;
                        tokio::time::sleep(Duration::from_millis(taken % 3)).await;
                    }
                    taken
                })
            })
            .collect();
        let closed = loop {
            match log.close_if_idle().await {
                Some(closed) => break closed.unwrap(),
                None => tokio::task::yield_now().await,
            }
        };
        let mut taken = 0;
        for client in racing {
            taken += client.await.unwrap();
        }
        let report = verified(&config, Some(closed));
        assert_eq!((report.intents, report.outcomes, report.orphans), (taken, taken, 0));
    }
}
