//! Sidecars' lines become entries: each once, in order, with what is missing or twofold named, on both databases.

use std::time::Duration;

use super::bench::{Bench, on_both_databases};
use super::*;
use crate::audit::record::{Event, LogEnd};
use crate::audit::sample::{self, LogBuilder};
use crate::audit::{End, Outcome, Position, ToldLine};
use crate::decision::RefusalCode;
use crate::ledger::entry::FORMAT_VERSION;
use crate::store::audit::{AuditBatch, BatchLine, CLOSE_WAIT, Ingested, LOST_AFTER};
use crate::store::statement::sql;
use crate::wire::audit::{LossCause, Settled, Signed};

on_both_databases! {
    lines_become_entries_in_order_and_once,
    whatever_way_a_log_is_cut_into_batches_every_line_is_there_once,
    a_gap_is_refused_with_the_last_line_that_is_here,
    a_loss_that_is_declared_is_named_and_the_log_goes_on,
    a_fork_is_named_once_and_both_branches_are_kept,
    a_log_that_goes_on_from_an_earlier_line_is_a_fork,
    a_folder_that_begins_anew_names_the_log_that_vanished,
    a_log_that_falls_silent_is_named,
    anothers_log_is_not_written,
    an_answer_that_is_lost_doubles_nothing,
    entries_hold_no_personal_value_and_their_commitments_fit,
    an_account_is_closed_once_everybody_has_shipped_past_the_end,
    an_account_that_waited_long_enough_says_who_is_missing_and_is_amended,
    counters_of_sidecars_are_held_against_the_lines,
    positions_are_anchored_when_they_moved,
}

pub(super) fn batch_of(lines: &[Vec<u8>]) -> AuditBatch {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| BatchLine { told: ToldLine::parse(line).unwrap(), text: String::from_utf8(line.clone()).unwrap() })
        .collect();
    AuditBatch {
        service: sample::identity().service,
        instance: sample::identity().instance,
        lineage: "lineage-1".to_owned(),
        after: lines.first().and_then(|line| line.told.before()),
        lost: None,
        settled: None,
        signed: None,
        lines,
    }
}

pub(super) fn place(line: &[u8]) -> Position {
    ToldLine::parse(line).unwrap().position()
}

pub(super) async fn take(store: &Store, lines: &[Vec<u8>]) -> u64 {
    match store.ingest_audit(&batch_of(lines)).await.unwrap() {
        Ingested::Taken { position, new, .. } => {
            assert_eq!(position, lines.last().map(|line| place(line)));
            new
        }
        other => panic!("{other:?}"),
    }
}

async fn entries(store: &Store) -> Vec<serde_json::Value> {
    let all = store.entries(0, 10_000).await.unwrap();
    all.iter().map(|entry| serde_json::from_str(&entry.canonical).unwrap()).collect()
}

async fn of_kind(store: &Store, kind: &str) -> Vec<serde_json::Value> {
    let all = entries(store).await.into_iter();
    all.filter(|entry| entry["kind"] == kind).map(|entry| entry["facts"].clone()).collect()
}

/// Log and sequence of every line that is an entry.
pub(super) async fn shipped(store: &Store) -> Vec<(String, u64)> {
    let facts = of_kind(store, "audit_line").await;
    facts.iter().map(|facts| (facts["log_id"].as_str().unwrap().to_owned(), facts["seq"].as_u64().unwrap())).collect()
}

pub(super) fn all_of(log: &LogBuilder) -> Vec<(String, u64)> {
    log.lines.iter().map(|line| (place(line).log_id.to_string(), place(line).sequence)).collect()
}

/// Some overrides, the log closed, and a further start.
pub(super) fn some_log(overrides: usize) -> LogBuilder {
    let mut log = LogBuilder::new();
    for n in 0..overrides {
        let id = format!("r-{n}");
        let link = log.intent(&id);
        log.outcome(&id, &link, End::Completed);
    }
    log
}

async fn lines_become_entries_in_order_and_once(bench: Bench) {
    let (store, log) = (&bench.store, sample::one_of_each());
    assert_eq!(take(store, &log.lines).await, log.lines.len() as u64);
    assert_eq!(shipped(store).await, all_of(&log));
    assert_eq!(take(store, &log.lines).await, 0, "again");
    assert_eq!(shipped(store).await, all_of(&log));
    assert_eq!(store.audit_lines().await.unwrap(), log.lines.len() as u64);
    let facts = of_kind(store, "audit_line").await;
    assert_eq!(facts[0]["line"], "log_started");
    let intents: Vec<_> = facts.iter().filter(|facts| facts["line"] == "intent").collect();
    let own = |facts: &&&serde_json::Value| facts["grant"] == intents[0]["grant"];
    let numbers: Vec<_> = intents.iter().filter(own).map(|facts| facts["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "dense per grant");
    assert!(intents.iter().all(|facts| facts["resource"].is_string() && facts["action"].is_string()));
    let report = store.check().await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

async fn whatever_way_a_log_is_cut_into_batches_every_line_is_there_once(bench: Bench) {
    let mut log = some_log(20);
    log.push(&Event::LogEnded(&LogEnd { at: sample::AT, open_intents: 0 }));
    log.restart(2);
    log.intent("r-last");
    // Sizes, and how many lines each batch repeats.
    for (size, repeat) in [(1, 0), (3, 1), (7, 7), (50, 3)] {
        let bench = bench.another().await;
        let mut at = 0;
        while at < log.lines.len() {
            let end = (at + size).min(log.lines.len());
            let from = at.saturating_sub(repeat);
            assert_eq!(take(&bench.store, &log.lines[from..end]).await, (end - at) as u64, "{size}, {repeat}");
            at = end;
        }
        assert_eq!(shipped(&bench.store).await, all_of(&log), "{size}, {repeat}");
        assert_eq!(of_kind(&bench.store, "audit_fork").await.len(), 0);
        assert_eq!(of_kind(&bench.store, "audit_lost").await.len(), 0);
    }
}

async fn a_gap_is_refused_with_the_last_line_that_is_here(bench: Bench) {
    let (store, log) = (&bench.store, some_log(5));
    let gap = |batch: AuditBatch| async move { store.ingest_audit(&batch).await.unwrap() };
    assert_eq!(gap(batch_of(&log.lines[3..])).await, Ingested::Gap(None));
    take(store, &log.lines[..3]).await;
    assert_eq!(gap(batch_of(&log.lines[5..])).await, Ingested::Gap(Some(place(&log.lines[2]))));
    // A line that pretends to follow one that never was.
    let mut other = some_log(1);
    other.chain = crate::audit::Chain::start(crate::audit::LogId::from_bytes([9; 16]), Some(&place(&log.lines[4])));
    other.push(&Event::LogStarted(&sample::log_start(Some(place(&log.lines[4])))));
    let last = other.lines.len() - 1;
    assert_eq!(gap(batch_of(&other.lines[last..])).await, Ingested::Gap(Some(place(&log.lines[2]))));
    assert_eq!(shipped(store).await.len(), 3, "nothing of them was taken");
    // Asked without lines, it says where it is.
    let asked = store.ingest_audit(&batch_of(&[])).await.unwrap();
    assert!(matches!(asked, Ingested::Taken { position: Some(at), new: 0, .. } if at == place(&log.lines[2])));
}

async fn a_loss_that_is_declared_is_named_and_the_log_goes_on(bench: Bench) {
    let (store, log) = (&bench.store, some_log(5));
    take(store, &log.lines[..3]).await;
    let lost = AuditBatch { lost: Some(LossCause::Damaged), ..batch_of(&log.lines[6..]) };
    let taken = store.ingest_audit(&lost).await.unwrap();
    assert!(matches!(taken, Ingested::Taken { new: 5, lost: 1, .. }), "{taken:?}");
    let again = store.ingest_audit(&lost).await.unwrap();
    assert!(matches!(again, Ingested::Taken { new: 0, lost: 0, .. }), "{again:?}");
    let losses = of_kind(store, "audit_lost").await;
    assert_eq!(losses.len(), 1);
    assert_eq!((&losses[0]["after"]["seq"], &losses[0]["next"]["seq"]), (&3.into(), &7.into()), "{losses:?}");
    assert_eq!(losses[0]["cause"], "damaged");
    // Where nothing is missing the word changes nothing.
    let needless = AuditBatch { lost: Some(LossCause::Missing), ..batch_of(&log.lines[10..]) };
    assert!(matches!(store.ingest_audit(&needless).await.unwrap(), Ingested::Taken { new: 0, lost: 0, .. }));
    // Nothing of the sidecar was ever here.
    let bench = bench.another().await;
    let first = bench.store.ingest_audit(&lost).await.unwrap();
    assert!(matches!(first, Ingested::Taken { new: 5, lost: 1, .. }), "{first:?}");
    assert_eq!(of_kind(&bench.store, "audit_lost").await[0].get("after"), None);
}

async fn a_fork_is_named_once_and_both_branches_are_kept(bench: Bench) {
    let (store, mut log) = (&bench.store, some_log(2));
    let mut other = LogBuilder { chain: log.chain, lines: log.lines.clone() };
    let common = log.lines.len();
    for n in 0..3 {
        log.intent(&format!("one-{n}"));
        other.intent(&format!("other-{n}"));
    }
    take(store, &log.lines).await;
    let taken = store.ingest_audit(&batch_of(&other.lines[common..])).await.unwrap();
    assert!(matches!(taken, Ingested::Taken { new: 3, forks: 1, .. }), "{taken:?}");
    // Whole again, from the beginning: nothing new, and no second name.
    let taken = store.ingest_audit(&batch_of(&other.lines)).await.unwrap();
    assert!(matches!(taken, Ingested::Taken { new: 0, forks: 0, .. }), "{taken:?}");
    let forks = of_kind(store, "audit_fork").await;
    assert_eq!(forks.len(), 1);
    assert_eq!(forks[0]["seq"], common as u64 + 1);
    assert_eq!(shipped(store).await.len(), common + 6);
}

async fn a_log_that_goes_on_from_an_earlier_line_is_a_fork(bench: Bench) {
    let (store, mut log) = (&bench.store, some_log(2));
    let mut restored = LogBuilder { chain: log.chain, lines: log.lines.clone() };
    log.intent("after the copy was taken");
    take(store, &log.lines).await;
    restored.restart(7);
    let first = restored.lines.len() - 1;
    let taken = store.ingest_audit(&batch_of(&restored.lines[first..])).await.unwrap();
    assert!(matches!(taken, Ingested::Taken { new: 1, forks: 1, .. }), "{taken:?}");
    assert!(of_kind(store, "audit_fork").await[0]["by_log"].is_string());
}

async fn a_folder_that_begins_anew_names_the_log_that_vanished(bench: Bench) {
    let (store, log) = (&bench.store, some_log(2));
    take(store, &log.lines).await;
    let mut anew = LogBuilder { chain: log.chain, lines: Vec::new() };
    anew.restart(5);
    take(store, &anew.lines).await;
    let losses = of_kind(store, "audit_lost").await;
    assert_eq!((losses.len(), &losses[0]["cause"]), (1, &"vanished".into()));
    assert_eq!(losses[0]["after"]["seq"], log.lines.len() as u64);
    // One that was closed in order leaves nothing to miss.
    anew.push(&Event::LogEnded(&LogEnd { at: sample::AT, open_intents: 0 }));
    take(store, &anew.lines[1..]).await;
    let mut third = LogBuilder { chain: log.chain, lines: Vec::new() };
    third.restart(6);
    take(store, &third.lines).await;
    assert_eq!(of_kind(store, "audit_lost").await.len(), 1);
}

async fn a_log_that_falls_silent_is_named(bench: Bench) {
    let (store, log) = (&bench.store, some_log(1));
    take(store, &log.lines).await;
    assert_eq!(store.name_silent_logs().await.unwrap(), 0);
    bench.clock.advance(LOST_AFTER + Duration::from_secs(1));
    assert_eq!(store.name_silent_logs().await.unwrap(), 1);
    assert_eq!(store.name_silent_logs().await.unwrap(), 0, "once");
    let losses = of_kind(store, "audit_lost").await;
    assert_eq!((losses.len(), &losses[0]["cause"]), (1, &"silent".into()));
}

async fn anothers_log_is_not_written(bench: Bench) {
    let (store, log) = (&bench.store, some_log(2));
    take(store, &log.lines[..2]).await;
    let foreign = AuditBatch { instance: "another".parse().unwrap(), ..batch_of(&log.lines[2..]) };
    assert_eq!(store.ingest_audit(&foreign).await.unwrap(), Ingested::Foreign);
    assert_eq!(shipped(store).await.len(), 2);
}

async fn an_answer_that_is_lost_doubles_nothing(bench: Bench) {
    let (store, log) = (&bench.store, some_log(4));
    for chunk in [&log.lines[..4], &log.lines[4..]] {
        // It is committed, and nobody hears of it.
        store.shared.loses_answer.store(true, std::sync::atomic::Ordering::Relaxed);
        store.ingest_audit(&batch_of(chunk)).await.unwrap_err();
        assert_eq!(take(store, chunk).await, 0);
    }
    assert_eq!(shipped(store).await, all_of(&log));
}

async fn entries_hold_no_personal_value_and_their_commitments_fit(bench: Bench) {
    let (store, log) = (&bench.store, sample::one_of_each());
    take(store, &log.lines).await;
    for entry in store.entries(0, 10_000).await.unwrap() {
        for personal in ["\"ada\"", "10.1.2.3", "INC-2041", "\"bob\""] {
            assert!(!entry.canonical.contains(personal), "{personal} in {}", entry.canonical);
        }
        assert!(entry.canonical.len() <= 65_535, "{}", entry.canonical.len());
        assert!(entry.canonical.contains(&format!("\"format\":{FORMAT_VERSION}")));
    }
    // That the values beside fit their commitments is what the check looks at.
    assert!(store.check().await.unwrap().is_sound());
    let values = sql("SELECT COUNT(*) FROM entry_values WHERE field = 'line'").integer(&store.shared.database).await;
    assert_eq!(values.unwrap(), log.lines.len() as i64);
}

/// A grant that has ended, its id and the revision of its end. Sample lines are under grant 7.
async fn ended_grant(bench: &Bench, max_uses: u32) -> (GrantId, u64) {
    let mut new = crate::store::sample::granted(7, max_uses, bench.store.shared.clock.wall());
    new.record.elevation.service = sample::identity().service;
    new.grant.as_mut().unwrap().grant.service = sample::identity().service;
    create(&bench.store, &new).await.unwrap();
    let id = new.grant.unwrap().grant.id;
    match bench.store.revoke(&id, &"root".parse().unwrap(), None).await.unwrap() {
        RevokeOutcome::Revoked(record) => (id, record.revision),
        other => panic!("{other:?}"),
    }
}

async fn connect(store: &Store, lineage: &str) {
    let claim = StreamClaim {
        service: sample::identity().service,
        instance: sample::identity().instance,
        lineage: lineage.to_owned(),
        version: "1".to_owned(),
        service_digest: String::new(),
        audit: Default::default(),
    };
    store.admit(&[claim]).await.unwrap();
}

fn settled(store: &Store, revision: u64, lines: &[Vec<u8>]) -> AuditBatch {
    AuditBatch { settled: Some(Settled { epoch: store.epoch().to_owned(), revision }), ..batch_of(lines) }
}

async fn closed_now(store: &Store) -> Vec<GrantId> {
    store.close_accounts().await.unwrap().into_iter().map(|closed| closed.grant).collect()
}

async fn an_account_is_closed_once_everybody_has_shipped_past_the_end(bench: Bench) {
    let store = &bench.store;
    connect(store, "lineage-1").await;
    let mut log = some_log(3);
    let link = log.intent("r-refused-late");
    log.outcome("r-refused-late", &link, End::NotForwarded(RefusalCode::GrantRevoked));
    let (grant, revision) = ended_grant(&bench, 0).await;
    take(store, &log.lines[..4]).await;
    assert!(store.close_accounts().await.unwrap().is_empty(), "the sidecar has not shipped past the end");
    store.ingest_audit(&settled(store, revision - 1, &log.lines[4..6])).await.unwrap();
    assert!(store.close_accounts().await.unwrap().is_empty(), "an earlier end");
    store.ingest_audit(&settled(store, revision, &log.lines[6..])).await.unwrap();
    assert_eq!(closed_now(store).await, std::slice::from_ref(&grant));
    assert!(store.close_accounts().await.unwrap().is_empty(), "once");
    let closed = of_kind(store, "grant_closed").await;
    assert_eq!(closed.len(), 1);
    let facts = &closed[0];
    assert_eq!((&facts["grant"], &facts["overrides"]), (&grant.as_str().into(), &4.into()));
    assert_eq!(facts["ends"], serde_json::json!({ "completed": 3, "not_forwarded": 1 }));
    assert_eq!((&facts["open"], &facts["reconciled"]), (&0.into(), &true.into()));
    assert_eq!(facts.get("missing"), None);
    // Something comes late: the account is amended, and says which one.
    let link = log.intent("r-late");
    log.outcome("r-late", &link, End::Completed);
    let late = log.lines.len() - 2;
    take(store, &log.lines[late..]).await;
    assert_eq!(closed_now(store).await, [grant]);
    let closed = of_kind(store, "grant_closed").await;
    assert_eq!((closed.len(), &closed[1]["overrides"]), (2, &5.into()));
    assert!(closed[1]["amends"].is_u64());
    let report = store.check().await.unwrap();
    assert!(report.findings.iter().all(|finding| !finding.place.starts_with("entry")), "{:?}", report.findings);
}

async fn an_account_that_waited_long_enough_says_who_is_missing_and_is_amended(bench: Bench) {
    let store = &bench.store;
    connect(store, "lineage-1").await;
    let log = some_log(1);
    let (grant, revision) = ended_grant(&bench, 3).await;
    take(store, &log.lines[..2]).await;
    bench.clock.advance(CLOSE_WAIT - Duration::from_secs(1));
    assert!(store.close_accounts().await.unwrap().is_empty());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(closed_now(store).await, std::slice::from_ref(&grant));
    let closed = of_kind(store, "grant_closed").await;
    assert_eq!(closed[0]["missing"], serde_json::json!(["sidecar-1"]));
    assert_eq!((&closed[0]["open"], &closed[0]["reconciled"]), (&1.into(), &false.into()));
    store.ingest_audit(&settled(store, revision, &log.lines[2..])).await.unwrap();
    assert_eq!(closed_now(store).await, [grant]);
    let closed = of_kind(store, "grant_closed").await;
    assert_eq!(closed[1].get("missing"), None);
    // It had a limit, and the sidecar never said that a use was spent.
    assert_eq!((&closed[1]["spent"], &closed[1]["reconciled"]), (&0.into(), &false.into()));
}

/// An override, numbered and told to the upstream.
fn told_override(log: &mut LogBuilder, number: u64, assertion: Option<u64>) {
    let intent = sample::intent("r").numbered(number);
    let link = log.push(&Event::Intent(&intent));
    let outcome = Outcome { assertion, ..sample::outcome(End::Completed) };
    log.push(&Event::Outcome { intent: &intent, link: &link, outcome: &outcome });
}

/// Intent numbers and assertions of the lines, what the sidecar's counter says, what is named, and how many were signed.
type Case = (&'static [(u64, Option<u64>)], Option<(String, u64)>, &'static [&'static str], u64);

async fn counters_of_sidecars_are_held_against_the_lines(bench: Bench) {
    let log_id = || "01".repeat(16);
    let cases: [Case; 8] = [
        (&[(1, Some(1)), (2, Some(2))], Some((log_id(), 2)), &[], 2),
        (&[(1, Some(1)), (2, Some(2))], None, &[], 2),
        (&[(1, Some(1)), (2, Some(2))], Some((log_id(), 3)), &["assertions"], 3),
        (&[(1, Some(1)), (2, Some(3))], Some((log_id(), 3)), &["assertions"], 3),
        (&[(1, Some(1)), (2, Some(1))], Some((log_id(), 1)), &["assertions"], 1),
        (&[(1, Some(1)), (3, Some(2))], Some((log_id(), 2)), &["intents"], 2),
        (&[(u64::MAX, Some(u64::MAX))], Some((log_id(), u64::MAX)), &["intents", "assertions"], 1 << 40),
        // The counter of a log that is not this sidecar's counts for nothing.
        (&[(1, Some(1))], Some(("09".repeat(16), 9)), &[], 1),
    ];
    for (overrides, counter, wanted, signed) in cases {
        let bench = bench.another().await;
        let store = &bench.store;
        connect(store, "lineage-1").await;
        let mut log = LogBuilder::new();
        overrides.iter().for_each(|(number, assertion)| told_override(&mut log, *number, *assertion));
        let (grant, revision) = ended_grant(&bench, 0).await;
        let numbers = |count| [(grant.clone(), count), (GrantId::from_random(99), 7)].into();
        let counter = counter.map(|(log_id, count)| Signed { log_id, numbers: numbers(count) });
        let batch = AuditBatch { signed: counter, ..settled(store, revision, &log.lines) };
        store.ingest_audit(&batch).await.unwrap();
        store.ingest_audit(&batch).await.unwrap();
        bench.clock.advance(CLOSE_WAIT);
        let closed = store.close_accounts().await.unwrap();
        let named: Vec<_> = closed[0].differences.iter().map(|difference| difference.as_str()).collect();
        assert_eq!(named, wanted, "{overrides:?}");
        let facts = &of_kind(store, "grant_closed").await[0];
        assert_eq!(
            (&facts["signed"], &facts["assertions"]),
            (&signed.into(), &overrides.len().into()),
            "{overrides:?}"
        );
        assert_eq!(facts["reconciled"], wanted.is_empty());
        assert_eq!(facts.get("differences").cloned(), (!wanted.is_empty()).then(|| serde_json::json!(wanted)));
    }
}

async fn positions_are_anchored_when_they_moved(bench: Bench) {
    let store = &bench.store;
    assert_eq!(store.anchor_audit_logs().await.unwrap(), 0);
    let line = some_log(1).lines.remove(0);
    let at = place(&line);
    let claim = |sequence| StreamClaim {
        service: service(),
        instance: "one".parse().unwrap(),
        lineage: "l".to_owned(),
        version: "1".to_owned(),
        service_digest: String::new(),
        audit: AuditPosition { log_id: at.log_id.to_string(), sequence, head: at.head.to_string() },
    };
    store.admit(&[claim(4)]).await.unwrap();
    assert_eq!(store.anchor_audit_logs().await.unwrap(), 1);
    assert_eq!(store.anchor_audit_logs().await.unwrap(), 0, "it has not moved");
    store.admit(&[claim(9)]).await.unwrap();
    assert_eq!(store.anchor_audit_logs().await.unwrap(), 1);
    let anchors = of_kind(store, "audit_anchored").await;
    let sequences: Vec<_> = anchors.iter().map(|facts| facts["anchors"][0]["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [4, 9]);
    assert_eq!(anchors[0]["anchors"][0]["head"], at.head.to_string());
}
