//! What a stream carries, in which order, and how fresh it claims to be.

use std::time::Duration;

use super::bench::*;
use crate::control::feed::{FeedCounts, FeedLimits};
use crate::domain::WallTime;
use crate::store::RevokeOutcome;
use crate::wire::feed::{EndCause, FromControl, FromSidecar, Subscribe};

fn kinds(lines: &[FromControl]) -> Vec<&'static str> {
    lines
        .iter()
        .map(|line| match line {
            FromControl::Welcome { .. } => "welcome",
            FromControl::Keys { .. } => "keys",
            FromControl::Put { .. } => "put",
            FromControl::Suspended { .. } => "suspended",
            FromControl::Tombstone { .. } => "tombstone",
            FromControl::Freeze { .. } => "freeze",
            FromControl::Share { .. } => "share",
            FromControl::ShareRecall { .. } => "share_recall",
            FromControl::AssertionCertificate { .. } => "assertion_certificate",
            FromControl::AssertionRefused { .. } => "assertion_refused",
            FromControl::SnapshotEnd { .. } => "snapshot_end",
            FromControl::Heartbeat { .. } => "heartbeat",
            FromControl::Resync { .. } => "resync",
        })
        .collect()
}

fn epoch_of(lines: &[FromControl]) -> String {
    match lines.first() {
        Some(FromControl::Welcome { epoch, .. }) => epoch.clone(),
        other => panic!("{other:?}"),
    }
}

fn resuming(instance: &str, epoch: &str, last: u64) -> Subscribe {
    Subscribe { epoch: Some(epoch.into()), last_revision: Some(last), ..subscribe(instance) }
}

#[tokio::test]
async fn a_snapshot_then_each_change_once_and_in_order() {
    let bench = bench(FeedLimits::default()).await;
    let (ended, _) = bench.grant(1, 0).await;
    bench.revoke(&ended).await;
    bench.grant(2, 0).await;
    let (mut sidecar, beginning) = bench.sidecar(subscribe("one")).await;
    assert_eq!(kinds(&beginning), ["welcome", "keys", "freeze", "put", "put", "tombstone", "snapshot_end"]);
    assert_eq!(beginning.last().unwrap().revision(), Some(3));
    assert!(matches!(&beginning[5], FromControl::Tombstone { grant, cause: EndCause::Revoked, .. } if *grant == ended));

    let mut expected = Vec::new();
    for n in 10..20 {
        let (grant, put) = bench.grant(n, 0).await;
        expected.extend([put, bench.revoke(&grant).await]);
    }
    let last = *expected.last().unwrap();
    let deltas = sidecar.hear_until(|line| line.revision() == Some(last)).await;
    assert_eq!(deltas.iter().filter_map(FromControl::revision).collect::<Vec<_>>(), expected);
    assert!(sidecar.ping(1).await.0.is_empty(), "nothing comes twice");
    bench.stop().await;
}

#[tokio::test]
async fn who_comes_back_gets_only_what_was_missed() {
    let bench = bench(FeedLimits::default()).await;
    bench.grant(1, 0).await;
    let (sidecar, beginning) = bench.sidecar(subscribe("one")).await;
    let (epoch, last) = (epoch_of(&beginning), beginning.last().unwrap().revision().unwrap());
    drop(sidecar);
    let (_, missed) = bench.grant(2, 0).await;
    let (mut sidecar, mut again) = bench.sidecar(resuming("one", &epoch, last)).await;
    if again.last().unwrap().revision() != Some(missed) {
        // The stream began before what was missed was read from the database: it comes behind.
        again.extend(sidecar.hear_until(|line| line.revision() == Some(missed)).await);
    }
    let puts = again.iter().filter(|line| matches!(line, FromControl::Put { .. }));
    assert_eq!(puts.map(FromControl::revision).collect::<Vec<_>>(), [Some(missed)], "{:?}", kinds(&again));
    assert_eq!(kinds(&again)[..2], ["welcome", "keys"]);
    bench.stop().await;
}

#[tokio::test]
async fn another_epoch_gets_everything_and_who_has_seen_more_than_there_is_nothing() {
    let bench = bench(FeedLimits::default()).await;
    bench.grant(1, 0).await;
    let everything = ["welcome", "keys", "freeze", "put", "snapshot_end"];
    let (_, beginning) = bench.sidecar(resuming("one", "another epoch", 1)).await;
    assert_eq!(kinds(&beginning), everything);
    let client = bench.client_of("spiffe://bank.test/sidecar/payments").await;
    let seen_more = resuming("one", &epoch_of(&beginning), 99);
    let problem = client.subscribe(seen_more).await.map(|_| ()).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (503, "feed_history_behind"));
    assert_eq!(FeedCounts::read(&bench.hub.counts().behind), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_heartbeat_comes_after_everything_it_speaks_of() {
    let bench = bench(FeedLimits::default()).await;
    let (mut sidecar, _) = bench.sidecar(subscribe("one")).await;
    let before = crate::clock::Clock::System.wall();
    let (_, revision) = bench.grant(1, 0).await;
    let mut put_seen = false;
    for n in 1.. {
        let (lines, heartbeat) = sidecar.ping(n).await;
        put_seen |= lines.iter().any(|line| line.revision() == Some(revision));
        let FromControl::Heartbeat { server_time, as_of, revision: spoken, .. } = heartbeat else { panic!() };
        assert!(server_time >= before && as_of <= server_time);
        assert!(server_time.since(as_of) < Duration::from_secs(5), "the reader reads four times a second");
        assert!(spoken <= revision);
        if spoken == revision {
            assert!(put_seen, "the grant came before the heartbeat that covers it");
            break;
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn heartbeats_grow_old_when_the_database_fails() {
    let bench = bench(FeedLimits { poll_every: Duration::from_millis(5), ..Default::default() }).await;
    let (mut sidecar, _) = bench.sidecar(subscribe("one")).await;
    bench.store.close().await;
    let closed = crate::clock::Clock::System.wall();
    let (mut n, mut last) = (0, WallTime::EPOCH);
    // Until a heartbeat was stamped well after the database went.
    while last.since(closed) < Duration::from_millis(100) {
        n += 1;
        let FromControl::Heartbeat { server_time, as_of, .. } = sidecar.ping(n).await.1 else { panic!() };
        assert!(as_of <= closed.plus(Duration::from_millis(1)), "nothing was read after {closed:?}: {as_of:?}");
        last = server_time;
    }
    let problem = bench.client().await.subscribe(subscribe("two")).await.map(|_| ()).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (503, "feed_unavailable"));
    bench.stop().await;
}

#[tokio::test]
async fn who_takes_nothing_is_cut_off() {
    let limits = FeedLimits {
        write_wait_max: Duration::from_millis(200),
        chunks_queued_max: 1,
        chunk_bytes: 1,
        ..Default::default()
    };
    let bench = bench(limits).await;
    let identity = bench.authority.client(&["spiffe://bank.test/sidecar/payments"]);
    let slow = bench.connect(Some(identity), 1_024).await.unwrap();
    let slow = slow.subscribe(subscribe("slow")).await.unwrap();
    // Heartbeats nobody reads fill the windows and the queue, and nothing beyond.
    let ping =
        [serde_json::to_vec(&FromSidecar::Ping { n: 1, at: None }).unwrap(), b"\n".to_vec()].concat().repeat(100);
    while slow.try_say(ping.clone()).await {}
    let broken = slow.client.driver.await.unwrap();
    assert!(broken.is_err(), "the connection is dropped without a farewell");
    assert_eq!(FeedCounts::read(&bench.hub.counts().slow_cut), 1);
    assert_eq!(bench.hub.connected(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn enforcement_counts_answers_and_names_the_silent() {
    let bench = bench(FeedLimits::default()).await;
    let (mut one, _) = bench.sidecar(subscribe("one")).await;
    let (mut two, _) = bench.sidecar(subscribe("two")).await;
    let (grant, _) = bench.grant(1, 0).await;
    let revision = bench.revoke(&grant).await;
    let committed = crate::clock::Clock::System.wall();
    for sidecar in [&mut one, &mut two] {
        sidecar.hear_until(|line| line.revision() == Some(revision)).await;
    }
    one.ack(revision).await;
    one.ping(1).await;
    let partly = bench.hub.wait_enforced(&service(), revision, committed, Duration::from_millis(1)).await;
    assert_eq!((partly.sidecars, partly.enforced, partly.elapsed_ms), (2, 1, None));
    assert_eq!(partly.silent[0].instance.as_str(), "two");
    assert!(partly.silent[0].stops_by > committed);

    let hub = std::sync::Arc::clone(&bench.hub);
    let waiting =
        tokio::spawn(async move { hub.wait_enforced(&service(), revision, committed, Duration::from_secs(20)).await });
    two.ack(revision).await;
    let whole = waiting.await.unwrap();
    assert_eq!((whole.sidecars, whole.enforced, whole.silent.len()), (2, 2, 0));
    assert!(whole.elapsed_ms.is_some_and(|ms| ms < 20_000), "{whole:?}");

    // A sidecar that is gone but may still act is silent about what came since.
    drop(two);
    let (_, later) = bench.grant(2, 0).await;
    one.hear_until(|line| line.revision() == Some(later)).await;
    one.say(FromSidecar::Reject { revision: later, grant: None, why: "above the\nceiling".into() }).await;
    one.ping(2).await;
    let stands = bench.hub.enforcement(&service(), later, committed);
    assert_eq!((stands.sidecars, stands.enforced), (2, 0));
    assert_eq!(stands.silent[0].instance.as_str(), "two");
    assert_eq!(stands.rejected[0].why, "above the ceiling");
    bench.stop().await;
}

#[tokio::test]
async fn what_was_heard_outlives_the_process() {
    let bench = bench(FeedLimits::default()).await;
    let (grant, revision) = bench.grant(1, 0).await;
    let (mut sidecar, _) = bench.sidecar(subscribe("one")).await;
    sidecar.ack(revision).await;
    sidecar.ping(1).await;
    let store = std::sync::Arc::clone(&bench.store);
    drop(sidecar);
    bench.stop().await;
    let by = "alice@example.test".parse().unwrap();
    let RevokeOutcome::Revoked(record) = store.revoke(&grant, &by, None).await.unwrap() else { panic!() };
    let revoked = record.revision;
    let hub = crate::control::feed::Hub::new(crate::clock::Clock::System, FeedLimits::default());
    hub.restore(store.as_ref()).await.unwrap();
    let stands = hub.enforcement(&service(), revoked, crate::clock::Clock::System.wall());
    assert_eq!((stands.sidecars, stands.enforced, stands.silent.len()), (1, 0, 1), "{stands:?}");
    assert_eq!(hub.enforcement(&service(), revision, WallTime::EPOCH).enforced, 1);
    assert!(!hub.sidecars(|_| None)[0].connected);
}

#[tokio::test]
async fn a_freeze_reaches_its_service_and_everyone_and_no_other() {
    let bench = bench(FeedLimits::default()).await;
    let (mut sidecar, _) = bench.sidecar(subscribe("one")).await;
    let by = "alice@example.test".parse().unwrap();
    let elsewhere = bench.store.set_frozen(Some(&"limits".parse().unwrap()), true, &by).await.unwrap();
    let everywhere = bench.store.set_frozen(None, true, &by).await.unwrap();
    let heard = sidecar.hear_until(|line| line.revision() == Some(everywhere)).await;
    assert_eq!(heard, [FromControl::Freeze { revision: everywhere, frozen: true }], "{elsewhere} is not ours");
    let (_, beginning) = bench.sidecar(subscribe("two")).await;
    assert!(beginning.iter().any(|line| matches!(line, FromControl::Freeze { frozen: true, .. })));
    bench.stop().await;
}
