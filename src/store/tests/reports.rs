//! What reports read: entries of a time, of a grant, of a request, page by page, on both databases.

use super::bench::{Bench, on_both_databases};
use super::*;
use crate::audit::End;
use crate::audit::ToldLine;
use crate::audit::sample::{self as lines, LogBuilder};
use crate::store::audit::{AuditBatch, BatchLine};
use crate::store::{Subject, Written};

on_both_databases! {
    entries_are_found_by_what_they_are_about,
    a_time_is_found_by_its_entries,
    lines_are_read_page_by_page,
}

async fn kinds(store: &Store, subject: Subject<'_>) -> Vec<String> {
    let (written, _) = store.entries_about(subject, 0..u64::from(u32::MAX), 100).await.unwrap();
    written.iter().map(kind).collect()
}

fn kind(written: &Written) -> String {
    let entry: serde_json::Value = serde_json::from_str(&written.canonical).unwrap();
    entry["kind"].as_str().unwrap().to_owned()
}

async fn entries_are_found_by_what_they_are_about(bench: Bench) {
    let store = &bench.store;
    let (one, other) = (new_grant(1, 3), new_grant(2, 3));
    create(store, &one).await.unwrap();
    create(store, &other).await.unwrap();
    let id = grant(&one).id.clone();
    assert_eq!(kinds(store, Subject::Grant(id.as_str())).await, ["grant_issued"]);
    assert_eq!(kinds(store, Subject::Elevation(one.record.elevation.id.as_str())).await, ["elevation_requested"]);
    assert_eq!(kinds(store, Subject::Grant("g-0123456789ab")).await, [""; 0]);
    assert_eq!(kinds(store, Subject::Grant("' OR '1' = '1")).await, [""; 0]);
    let (written, next) = store.entries_about(Subject::Grant(id.as_str()), 0..100, 1).await.unwrap();
    assert_eq!(written[0].values["person"], "alice@example.test");
    assert_eq!(written[0].values["ticket"], "INC-2041");
    let (rest, _) = store.entries_about(Subject::Grant(id.as_str()), next..100, 1).await.unwrap();
    assert_eq!(rest, []);
    let (before, _) = store.entries_about(Subject::Grant(id.as_str()), 0..next - 1, 1).await.unwrap();
    assert_eq!(before, [], "the end is left out");
}

async fn a_time_is_found_by_its_entries(bench: Bench) {
    let (store, clock) = (&bench.store, &bench.clock);
    assert_eq!(store.entries_within(WallTime::EPOCH, NOW, 1_000).await.unwrap(), None);
    create(store, &new_grant(1, 3)).await.unwrap();
    clock.advance(Duration::from_secs(10));
    create(store, &new_grant(2, 3)).await.unwrap();
    // A clock that goes back: the entry comes last, and belongs to the first second all the same.
    clock.step_wall(-10_000);
    create(store, &new_grant(3, 3)).await.unwrap();
    let after = |s: u64| NOW.plus(Duration::from_secs(s));
    let within = async |from, to, size| store.entries_within(from, to, size).await.unwrap();
    let newest = store.entries(0, 1_000).await.unwrap().last().unwrap().index;
    let first = newest - 5;
    assert_eq!(within(NOW, after(1), 1_000).await, Some((first, newest)));
    assert_eq!(within(after(1), after(60), 1_000).await, Some((first + 2, first + 3)));
    assert_eq!(within(after(11), after(60), 1_000).await, None);
    assert_eq!(within(NOW, after(1), first + 2).await, Some((first, first + 1)), "what is not signed yet is left out");
    assert_eq!(store.entries_until(NOW, 1_000).await.unwrap(), first);
    assert_eq!(store.entries_until(after(60), 1_000).await.unwrap(), first + 4);
    let counted = store.counted_entries(first..newest + 1, NOW, after(1)).await.unwrap();
    assert_eq!(counted.len(), 4, "two of another time are passed over");
    assert!(counted.iter().all(|written| written.values["person"] == "alice@example.test"));
}

async fn lines_are_read_page_by_page(bench: Bench) {
    let store = &bench.store;
    let mut log = LogBuilder::new();
    for n in 0..5 {
        let id = format!("r-{n}");
        let link = log.intent(&id);
        log.outcome(&id, &link, End::Completed);
    }
    let read = |line: &Vec<u8>| BatchLine {
        told: ToldLine::parse(line).unwrap(),
        text: String::from_utf8(line.clone()).unwrap(),
    };
    let told: Vec<BatchLine> = log.lines.iter().map(read).collect();
    let grant = told.iter().find_map(|line| line.told.grant.clone()).unwrap();
    let batch = AuditBatch {
        service: lines::identity().service,
        instance: lines::identity().instance,
        lineage: "lineage-1".to_owned(),
        after: told.first().and_then(|line| line.told.before()),
        lost: None,
        settled: None,
        signed: None,
        lines: told,
    };
    store.ingest_audit(&batch).await.unwrap();
    let (mut from, mut found) = (0, Vec::new());
    loop {
        let (page, next) = store.entries_about(Subject::Lines(grant.as_str()), from..1_000, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        found.extend(page);
        from = next;
    }
    assert_eq!(found.len(), 10, "five intents and five outcomes");
    assert!(found.iter().all(|written| written.values["line"].contains("break_glass")));
}
