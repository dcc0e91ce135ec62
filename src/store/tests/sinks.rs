//! Whose turn it is to hand entries on: one replica's at a time, passed on when it falls silent, and nothing left out.

use std::time::Duration;

use super::bench::{Bench, on_both_databases};
use super::ledger::drafts;
use crate::store::Store;

on_both_databases! {
    a_turn_is_one_replicas_and_passes_on_when_it_falls_silent,
    a_place_moves_only_by_the_word_of_whose_turn_it_is_and_never_back,
    whoever_is_killed_wherever_every_entry_is_handed_on,
}

/// Longer than a turn that is not renewed.
const SILENCE: Duration = Duration::from_secs(16);

async fn replicas(bench: &Bench) -> [Store; 2] {
    [bench.store.clone(), bench.place.open(&bench.clock).await.unwrap()]
}

async fn a_turn_is_one_replicas_and_passes_on_when_it_falls_silent(bench: Bench) {
    let [one, other] = &replicas(&bench).await;
    assert_eq!(one.sink_turn("siem").await.unwrap(), Some(0));
    assert_eq!(other.sink_turn("siem").await.unwrap(), None);
    assert_eq!(other.sink_turn("another").await.unwrap(), Some(0), "each sink has turns of its own");
    // What is renewed stays.
    for _ in 0..4 {
        bench.clock.advance(SILENCE / 2);
        assert_eq!(one.sink_turn("siem").await.unwrap(), Some(0));
        assert_eq!(other.sink_turn("siem").await.unwrap(), None);
    }
    assert!(one.settle_sink("siem", 7).await.unwrap(), "which renews it, too");
    bench.clock.advance(SILENCE);
    assert_eq!(other.sink_turn("siem").await.unwrap(), Some(7), "from where the other had come");
    assert_eq!(one.sink_turn("siem").await.unwrap(), None);
}

async fn a_place_moves_only_by_the_word_of_whose_turn_it_is_and_never_back(bench: Bench) {
    let [one, other] = &replicas(&bench).await;
    assert_eq!(one.sink_turn("siem").await.unwrap(), Some(0));
    bench.clock.advance(SILENCE);
    assert_eq!(other.sink_turn("siem").await.unwrap(), Some(0));
    assert!(!one.settle_sink("siem", 5).await.unwrap(), "its turn had passed on");
    assert!(other.settle_sink("siem", 50).await.unwrap());
    bench.clock.advance(SILENCE);
    // One that was held up hands on entries from before, and has its turn again meanwhile.
    assert_eq!(one.sink_turn("siem").await.unwrap(), Some(50));
    assert!(!one.settle_sink("siem", 5).await.unwrap());
    assert_eq!(one.sink_turn("siem").await.unwrap(), Some(50), "what the other handed on is not handed on again");
    assert!(one.settle_sink("siem", 50).await.unwrap(), "a word whose answer was lost is said again");
    assert!(one.settle_sink("siem", 51).await.unwrap());
}

/// A replica dies before or after its batch is with the sink, and before or after that is settled.
async fn whoever_is_killed_wherever_every_entry_is_handed_on(bench: Bench) {
    let mut replicas = replicas(&bench).await;
    let (mut taken, mut twice) = (Vec::new(), 0);
    for round in 0..12 {
        replicas[0].record_all(drafts(10)).await.unwrap();
        let at = round % 2;
        let next = replicas[at].sink_turn("siem").await.unwrap().expect("the other one is silent");
        let indices: Vec<u64> =
            replicas[at].told_entries(next, 7).await.unwrap().iter().map(|told| told.entry.index).collect();
        let dies_at = round % 3;
        if dies_at > 0 {
            twice += indices.iter().filter(|index| taken.contains(*index)).count();
            taken.extend(&indices);
        }
        if dies_at > 1 {
            assert!(replicas[at].settle_sink("siem", indices.last().unwrap() + 1).await.unwrap());
        }
        // It is killed, and comes back as another opening of the database.
        replicas[at] = bench.place.open(&bench.clock).await.unwrap();
        bench.clock.advance(SILENCE);
    }
    while let Some(next) = replicas[0].sink_turn("siem").await.unwrap() {
        let told = replicas[0].told_entries(next, 7).await.unwrap();
        let Some(last) = told.last() else { break };
        taken.extend(told.iter().map(|told| told.entry.index));
        assert!(replicas[0].settle_sink("siem", last.entry.index + 1).await.unwrap());
    }
    let mut once = taken.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once, (0..120).collect::<Vec<_>>(), "none is left out");
    assert!(twice > 0, "only what was not settled came twice");
}
