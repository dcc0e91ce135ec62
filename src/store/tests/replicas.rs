//! Streams and their numbers, questions about shares, and what replicas tell each other, on both databases.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::{Bench, allot, begin, claim, on_both_databases, stream};
use super::sample::create;
use super::{NOW, grant, new_grant, service};
use crate::store::*;
use crate::wire::feed::AuditPosition;

on_both_databases! {
    a_newer_stream_takes_the_word_from_every_earlier_one,
    many_streams_begin_at_once_each_with_a_number_of_its_own,
    while_a_lineage_is_asked_nothing_is_allotted_to_it,
    a_question_dies_with_the_stream_it_was_asked_on,
    a_turn_that_is_not_ended_moves_nothing,
    a_late_report_of_an_earlier_stream_changes_nothing,
    who_is_long_gone_is_forgotten,
}

async fn a_newer_stream_takes_the_word_from_every_earlier_one(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = grant(&new_grant(1, 5)).id.clone();
    create(&store, &new_grant(1, 5)).await.unwrap();
    let old = stream(&store, "a").await;
    assert_eq!(allot(&store, &id, &old, 3).await, Some(3));
    // The same sidecar again; then its audit folder under another instance; then that instance with another folder.
    let again = stream(&store, "a").await;
    let renamed = begin(&store, StreamClaim { instance: "other".parse().unwrap(), ..claim("a") }).await;
    let refilled = begin(&store, StreamClaim { lineage: "b".into(), ..claim("x") }).await;
    let moved = begin(&store, StreamClaim { instance: refilled.instance.clone(), ..claim("c") }).await;
    for outdated in [&old, &again, &refilled] {
        let mut turn = store.share_turn().await.unwrap();
        assert!(!turn.is_current(outdated).await.unwrap(), "{outdated:?}");
        drop(turn);
        assert_eq!(store.record_spent(&id, outdated, 2).await.unwrap(), SpentOutcome::default());
    }
    assert_eq!(store.shares_of(&id).await.unwrap()[0].spent, 0);
    let mut turn = store.share_turn().await.unwrap();
    assert!(turn.is_current(&renamed).await.unwrap() && turn.is_current(&moved).await.unwrap());
    let connected: Vec<_> = turn.connected(&service()).await.unwrap().into_iter().map(|h| h.lineage).collect();
    assert_eq!(connected, ["a", "c"], "each lineage once, by its newest stream");
    drop(turn);
    store.record_spent(&id, &renamed, 2).await.unwrap();
    assert_eq!(store.shares_of(&id).await.unwrap()[0].spent, 2, "the share is the lineage's");
}

async fn many_streams_begin_at_once_each_with_a_number_of_its_own(bench: Bench) {
    let Bench { store, .. } = bench;
    let first = stream(&store, "first").await.generation;
    let claims: Vec<_> = (0..150).map(|n| claim(&format!("l{n}"))).collect();
    let admitted = store.admit(&claims).await.unwrap();
    let expected: Vec<_> = (first + 1..=first + 150).map(Admission::Begun).collect();
    assert_eq!(admitted, expected);
    let rows = store.sidecars().await.unwrap();
    assert_eq!(rows.len(), 151);
    assert!(rows.iter().all(|row| row.connected && row.replica == store.replica() && row.heard == NOW));
    assert!(store.admit(&[]).await.unwrap().is_empty());
}

async fn while_a_lineage_is_asked_nothing_is_allotted_to_it(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = grant(&new_grant(1, 5)).id.clone();
    create(&store, &new_grant(1, 5)).await.unwrap();
    let (a, b) = (stream(&store, "a").await, stream(&store, "b").await);
    allot(&store, &id, &a, 3).await.unwrap();
    let mut wakes = store.subscribe_replicas();
    wakes.borrow_and_update();
    let mut turn = store.share_turn().await.unwrap();
    turn.ask(&id, &a, 1, &b, 2).await.unwrap();
    turn.commit().await.unwrap();
    wakes.changed().await.unwrap();
    let asked = store.recalls().await.unwrap();
    assert_eq!((asked.len(), asked[0].keep, asked[0].wanted, asked[0].revision), (1, 1, 2, 2));
    assert_eq!((&asked[0].lineage, asked[0].generation, &asked[0].asker), (&a.lineage, a.generation, &b));
    assert_eq!(allot(&store, &id, &a, 1).await, None, "it is asked to give back");
    assert_eq!(allot(&store, &id, &b, 1).await, Some(1));
    let mut turn = store.share_turn().await.unwrap();
    turn.ask(&id, &a, 0, &b, 1).await.unwrap_err();
    drop(turn);
    let mut turn = store.share_turn().await.unwrap();
    turn.close(&asked[0]).await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(allot(&store, &id, &a, 1).await, Some(4));
}

async fn a_question_dies_with_the_stream_it_was_asked_on(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = grant(&new_grant(1, 5)).id.clone();
    create(&store, &new_grant(1, 5)).await.unwrap();
    let (a, b) = (stream(&store, "a").await, stream(&store, "b").await);
    for _ in 0..2 {
        let mut turn = store.share_turn().await.unwrap();
        turn.ask(&id, &a, 0, &b, 1).await.unwrap();
        turn.commit().await.unwrap();
        assert_eq!(store.recalls().await.unwrap().len(), 1);
        stream(&store, "a").await;
        assert_eq!(store.recalls().await.unwrap(), vec![]);
    }
    // One whose stream ended without a new one is found out by the next turn.
    let a = stream(&store, "a").await;
    let mut turn = store.share_turn().await.unwrap();
    turn.ask(&id, &a, 0, &b, 1).await.unwrap();
    turn.commit().await.unwrap();
    let mut row = store.sidecars().await.unwrap().into_iter().find(|row| row.lineage == "a").unwrap();
    row.connected = false;
    store.report(1, &[row]).await.unwrap();
    let mut turn = store.share_turn().await.unwrap();
    assert_eq!(turn.recalls(&id).await.unwrap(), vec![]);
}

async fn a_turn_that_is_not_ended_moves_nothing(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = grant(&new_grant(1, 5)).id.clone();
    create(&store, &new_grant(1, 5)).await.unwrap();
    let (a, b) = (stream(&store, "a").await, stream(&store, "b").await);
    let mut turn = store.share_turn().await.unwrap();
    turn.allot(&id, &a, 3).await.unwrap().unwrap();
    turn.ask(&id, &a, 0, &b, 1).await.unwrap();
    drop(turn);
    assert_eq!(store.shares_of(&id).await.unwrap(), vec![]);
    assert_eq!((store.recalls().await.unwrap(), store.newest_revision().await.unwrap()), (vec![], 1));
}

fn seen(holder: &ShareHolder, store: &Store, revision: u64) -> SidecarSeen {
    SidecarSeen {
        service: holder.service.clone(),
        instance: holder.instance.clone(),
        version: "0.1.0".into(),
        service_digest: "d".into(),
        lineage: holder.lineage.clone(),
        revision,
        acked: NOW,
        heard: NOW,
        audit: AuditPosition::default(),
        replica: store.replica().to_owned(),
        generation: holder.generation,
        connected: true,
        fresh: NOW,
        skew_ms: None,
        rejections: vec![],
    }
}

async fn a_late_report_of_an_earlier_stream_changes_nothing(bench: Bench) {
    let Bench { store, .. } = bench;
    let (old, new) = (stream(&store, "a").await, stream(&store, "a").await);
    let row = async || store.sidecars().await.unwrap().remove(0);
    store.report(1, &[seen(&old, &store, 9)]).await.unwrap();
    assert_eq!((row().await.generation, row().await.revision), (new.generation, 0), "the acknowledgement is not its");
    store.report(3, &[seen(&new, &store, 5)]).await.unwrap();
    store.report(2, &[seen(&new, &store, 4)]).await.unwrap();
    assert_eq!(row().await.revision, 5, "a report that comes late is no news");
}

async fn who_is_long_gone_is_forgotten(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let a = stream(&store, "a").await;
    clock.advance(Duration::from_secs(23 * 3600));
    stream(&store, "b").await;
    store.forget_silent().await.unwrap();
    assert_eq!(store.sidecars().await.unwrap().len(), 2);
    clock.advance(Duration::from_secs(2 * 3600));
    store.forget_silent().await.unwrap();
    assert_eq!(store.sidecars().await.unwrap().len(), 1);
    let mut turn = store.share_turn().await.unwrap();
    assert!(!turn.is_current(&a).await.unwrap());
}

/// Another replica on the same database.
async fn another(bench: &Bench) -> Store {
    bench.place.open(&bench.clock).await.unwrap()
}

#[tokio::test]
async fn replicas_read_each_others_reports_once() {
    let bench = Bench::postgres().await;
    let (one, two) = (&bench.store, another(&bench).await);
    assert!(one.is_shared() && one.replica() != two.replica());
    let mut wakes = two.subscribe_replicas();
    let a = stream(one, "a").await;
    wakes.borrow_and_update();
    one.report(1, &[seen(&a, one, 3)]).await.unwrap();
    wakes.changed().await.unwrap();
    let heard = two.hearsay(&BTreeMap::new()).await.unwrap();
    assert_eq!((heard.replicas.len(), heard.replicas[0].batch, heard.sidecars.len()), (1, 1, 1));
    assert_eq!((heard.sidecars[0].revision, heard.sidecars[0].replica.as_str()), (3, one.replica()));
    let read: BTreeMap<_, _> = [(one.replica().to_owned(), 1)].into();
    assert_eq!(two.hearsay(&read).await.unwrap().sidecars, vec![]);
    one.report(2, &[]).await.unwrap();
    let alive = two.hearsay(&read).await.unwrap();
    assert_eq!((alive.replicas[0].batch, alive.sidecars), (2, vec![]), "it is at work and has no news");
    assert_eq!(one.hearsay(&BTreeMap::new()).await.unwrap(), Hearsay::default(), "nobody hears himself");
}

#[tokio::test]
async fn a_lineage_is_one_instances_over_all_replicas_that_are_at_work() {
    let bench = Bench::postgres().await;
    let (one, two) = (&bench.store, another(&bench).await);
    let a = stream(one, "a").await;
    one.report(1, &[]).await.unwrap();
    let renamed = StreamClaim { instance: "other".parse().unwrap(), ..claim("a") };
    let claims = [claim("b"), renamed.clone(), claim("c")];
    let admitted = two.admit(&claims).await.unwrap();
    assert!(
        matches!(admitted[..], [Admission::Begun(_), Admission::LineageInUse, Admission::Begun(_)]),
        "{admitted:?}"
    );
    let mut turn = two.share_turn().await.unwrap();
    assert!(turn.is_current(&a).await.unwrap(), "who was refused took nothing");
    drop(turn);
    bench.clock.advance(Store::REPLICA_SILENT);
    let taken = begin(&two, renamed).await;
    let mut turn = one.share_turn().await.unwrap();
    assert!(!turn.is_current(&a).await.unwrap() && turn.is_current(&taken).await.unwrap());
}

#[tokio::test]
async fn only_sidecars_of_replicas_at_work_are_counted_on() {
    let bench = Bench::postgres().await;
    let (one, two) = (&bench.store, another(&bench).await);
    stream(one, "a").await;
    stream(&two, "b").await;
    let connected = async || {
        let mut turn = two.share_turn().await.unwrap();
        turn.connected(&service()).await.unwrap().into_iter().map(|holder| holder.lineage).collect::<Vec<_>>()
    };
    assert_eq!(connected().await, ["b"], "the other replica has never said that it is at work");
    one.report(1, &[]).await.unwrap();
    assert_eq!(connected().await, ["a", "b"]);
    bench.clock.advance(Store::REPLICA_SILENT);
    assert_eq!(connected().await, ["b"]);
}
