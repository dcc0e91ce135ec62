//! Every write of the ledger fails in every way, on both databases: whole, or as it was before; tried again, there once.
//!
//! Each deed below is done again and again, each time with the next of its steps failing (a statement, BEGIN or COMMIT):
//! before it was done and after, with an error and without an answer until the caller gives up. What is committed then is
//! read through another opening of the database, and the deed is done again as its caller does. The steps are those that
//! ran, so a further write is failed, too; and no statement that writes may be missing (see `nothing_is_left_out`).
//!
//! The writes, and where they are failed:
//! - lines taken in, forks, losses, silent logs, accounts, anchors; entries and the values beside them; keys, origins; the
//!   tree, checkpoints, cosignatures; sinks' places: here. A disk that is full: here, on SQLite at every page, and under
//!   PostgreSQL's tables. A write-ahead log that is torn: here, on SQLite; PostgreSQL mends its own.
//! - transitions of requests, grants and revocations: `super` and `lifecycle`.
//! - the ledger's head: `control::ledger::head`. The sidecar's segments, its `head`, `pruned`, `damage` and what is kept of
//!   an accepted loss: `sidecar::audit_log::tests`, `sidecar::shipping`. A witness's state: `witness`.

use std::collections::BTreeSet;

use super::audit::{all_of, batch_of, shipped, some_log};
use super::bench::{Bench, on_both_databases, raw};
use super::ledger::{checkpoint, drafts, grow, origin};
use super::*;
use crate::audit::End;
use crate::audit::sample::LogBuilder;
use crate::ledger::entry::Draft;
use crate::small_disk::SmallDisk;
use crate::store::audit::{AuditBatch, CLOSE_WAIT, Ingested, LOST_AFTER};
use crate::store::faults::{Way, with_fault};
use crate::store::statement::sql;
use crate::wire::audit::{LossCause, Settled as ShippedUpTo};

on_both_databases! {
    every_write_fails_in_every_way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Lines,
    AnotherBranch,
    DeclaredLoss,
    FolderAnew,
    SilentLog,
    GrantEnd,
    Account,
    Anchor,
    Entry,
    Entries,
    Key,
    Origin,
    Restore,
    Tree,
    Checkpoint,
    Cosignature,
    SinkTurn,
    SinkPlace,
}

const DEEDS: [Deed; 18] = [
    Deed::Lines,
    Deed::AnotherBranch,
    Deed::DeclaredLoss,
    Deed::FolderAnew,
    Deed::SilentLog,
    Deed::GrantEnd,
    Deed::Account,
    Deed::Anchor,
    Deed::Entry,
    Deed::Entries,
    Deed::Key,
    Deed::Origin,
    Deed::Restore,
    Deed::Tree,
    Deed::Checkpoint,
    Deed::Cosignature,
    Deed::SinkTurn,
    Deed::SinkPlace,
];

/// A deed, and what it is done to.
struct Trial<'b> {
    deed: Deed,
    bench: &'b Bench,
    /// Counts how often it was prepared.
    round: u64,
    log: LogBuilder,
    batch: AuditBatch,
}

impl<'b> Trial<'b> {
    async fn new(deed: Deed, bench: &'b Bench) -> Self {
        let log = some_log(1);
        let batch = batch_of(&log.lines);
        bench.store.establish_log(&origin(), true).await.unwrap();
        Self { deed, bench, round: 0, log, batch }
    }

    fn store(&self) -> &'b Store {
        &self.bench.store
    }

    /// Makes that there is something to do.
    async fn prepare(&mut self) {
        self.round += 1;
        let (store, round) = (self.store(), self.round);
        match self.deed {
            Deed::Lines | Deed::AnotherBranch | Deed::DeclaredLoss | Deed::FolderAnew | Deed::SilentLog => {
                self.prepare_lines().await;
            }
            Deed::GrantEnd => {
                create(store, &sample::granted(round, 0, wall(self.bench))).await.unwrap();
            }
            Deed::Account => {
                let new = sample::granted(round, 0, wall(self.bench));
                create(store, &new).await.unwrap();
                store.revoke(&new.grant.unwrap().grant.id, &"root".parse().unwrap(), None).await.unwrap();
                self.bench.clock.advance(CLOSE_WAIT);
            }
            Deed::Anchor => {
                let mut claim = bench::claim("one");
                claim.audit = AuditPosition { log_id: "log".into(), sequence: round, head: "head".into() };
                store.admit(&[claim]).await.unwrap();
            }
            Deed::Origin => raw(store, "DELETE FROM ledger_logs".to_owned()).await,
            Deed::Tree => {
                store.record_all(drafts(150)).await.unwrap();
            }
            Deed::Checkpoint => {
                // Those before, and what cosigned them, are old enough to be forgotten with it.
                store.record_all(drafts(1)).await.unwrap();
                grow(store, 1000).await;
                let cosigned = Cosigned { size: round, witness: "w".into(), line: "line".into(), at: wall(self.bench) };
                store.keep_cosignature(&origin(), &cosigned).await.unwrap();
                self.bench.clock.advance(Duration::from_secs(3601));
            }
            Deed::SinkPlace => assert!(store.sink_turn("siem").await.unwrap().is_some()),
            Deed::Entry | Deed::Entries | Deed::Key | Deed::Restore | Deed::Cosignature | Deed::SinkTurn => {}
        }
    }

    async fn prepare_lines(&mut self) {
        let id = u8::try_from(self.round + 10).unwrap();
        match self.deed {
            Deed::Lines => {
                let before = self.log.lines.len();
                let link = self.log.intent("r");
                self.log.outcome("r", &link, End::Completed);
                let before = if self.round == 1 { 0 } else { before };
                self.batch = batch_of(&self.log.lines[before..]);
                let settled = ShippedUpTo { epoch: self.store().epoch().to_owned(), revision: self.round };
                self.batch.settled = Some(settled);
            }
            Deed::AnotherBranch => {
                let mut log = LogBuilder { lines: Vec::new(), ..some_log(0) };
                log.restart(id);
                let mut other = LogBuilder { chain: log.chain, lines: log.lines.clone() };
                log.intent("one");
                other.intent("other");
                self.take(batch_of(&log.lines)).await;
                self.batch = batch_of(&other.lines[1..]);
            }
            Deed::DeclaredLoss => {
                let mut log = LogBuilder { lines: Vec::new(), ..some_log(0) };
                log.restart(id);
                for n in 0..3 {
                    log.intent(&format!("r-{n}"));
                }
                self.take(batch_of(&log.lines[..2])).await;
                self.batch = AuditBatch { lost: Some(LossCause::Damaged), ..batch_of(&log.lines[3..]) };
            }
            _ => {
                let mut log = LogBuilder { lines: Vec::new(), ..some_log(0) };
                log.restart(id);
                self.batch = batch_of(&log.lines);
                if self.deed == Deed::SilentLog {
                    self.batch.instance = format!("sidecar-{id}").parse().unwrap();
                    self.take(self.batch.clone()).await;
                    self.bench.clock.advance(LOST_AFTER + Duration::from_secs(1));
                }
            }
        }
    }

    async fn take(&self, batch: AuditBatch) {
        assert!(matches!(self.store().ingest_audit(&batch).await.unwrap(), Ingested::Taken { .. }));
    }

    async fn act(&self) -> Result<(), String> {
        let (store, round) = (self.store(), self.round);
        let told = |error: &dyn std::error::Error| crate::error_chain::error_chain(error);
        match self.deed {
            Deed::Lines | Deed::AnotherBranch | Deed::DeclaredLoss | Deed::FolderAnew => {
                store.ingest_audit(&self.batch).await.map(drop)
            }
            Deed::SilentLog => store.name_silent_logs().await.map(drop),
            Deed::GrantEnd => {
                store.revoke(&GrantId::from_random(round), &"root".parse().unwrap(), None).await.map(drop)
            }
            Deed::Account => store.close_accounts().await.map(drop),
            Deed::Anchor => store.anchor_audit_logs().await.map(drop),
            Deed::Entry => store.record(personal()).await.map(drop),
            Deed::Entries => store.record_all(vec![personal(), personal()]).await.map(drop),
            Deed::Key => store.record_ledger_key(&format!("key-{round}"), personal()).await.map(drop),
            Deed::Origin => return store.establish_log(&origin(), true).await.map(drop).map_err(|e| told(&e)),
            Deed::Restore => store.mark_restored().await.map(drop),
            Deed::Tree => return store.grow_ledger(1000).await.map(drop).map_err(|e| told(&e)),
            Deed::Checkpoint => {
                let standing = store.ledger_standing(&origin()).await.map_err(|e| told(&e))?;
                let kept = StoredCheckpoint { at: wall(self.bench), ..checkpoint(standing.size, standing.root) };
                store.keep_checkpoint(&origin(), &kept).await.map(drop)
            }
            Deed::Cosignature => {
                let cosigned = Cosigned { size: round, witness: "w".into(), line: "line".into(), at: NOW };
                store.keep_cosignature(&origin(), &cosigned).await.map(drop)
            }
            Deed::SinkTurn => store.sink_turn(&format!("sink-{round}")).await.map(drop),
            Deed::SinkPlace => store.settle_sink("siem", round).await.map(drop),
        }
        .map_err(|error| told(&error))
    }

    /// Whether its caller tries again; one that records what a person did says that it does not know.
    fn is_tried_again(&self) -> bool {
        !matches!(self.deed, Deed::Entry | Deed::Entries | Deed::Restore)
    }

    /// How far it has come.
    async fn progress(&self) -> i64 {
        let text = match self.deed {
            Deed::Origin | Deed::Restore => "SELECT COUNT(*) FROM ledger_logs",
            Deed::Tree => "SELECT size FROM ledger_tree",
            Deed::Checkpoint => "SELECT COALESCE(MAX(size), 0) FROM ledger_checkpoints",
            Deed::Cosignature => "SELECT COUNT(*) FROM ledger_cosignatures",
            Deed::SinkTurn => "SELECT COUNT(*) FROM sink_places WHERE holder <> ''",
            Deed::SinkPlace => "SELECT next_index FROM sink_places",
            _ => "SELECT COUNT(*) FROM entries",
        };
        sql(text).integer(&self.store().shared.database).await.unwrap()
    }

    /// One fault after the other; the writes that were seen.
    async fn run(mut self) -> BTreeSet<String> {
        // The first time is like no other.
        self.prepare().await;
        self.act().await.unwrap();
        self.prepare().await;
        let before = self.progress().await;
        self.act().await.unwrap();
        let whole = self.progress().await - before;
        assert!(whole > 0, "{:?}", self.deed);
        let mut seen = BTreeSet::new();
        for way in Way::ALL {
            for nth in 0.. {
                self.prepare().await;
                let before = self.progress().await;
                let faulted = with_fault(way, nth, self.act()).await;
                let what = format!("{:?}, {way:?} at {:?}", self.deed, faulted.steps.last());
                let now = self.progress().await - before;
                if !faulted.has_failed {
                    assert_eq!((faulted.answer, now), (Some(Ok(())), whole), "{what}");
                    seen.extend(faulted.steps.iter().filter_map(|text| written(text)));
                    break;
                }
                assert!(!matches!(faulted.answer, Some(Ok(()))), "{what}");
                let is_committed = way.is_done() && faulted.steps.last() == Some(&"COMMIT");
                assert_eq!(now, if is_committed { whole } else { 0 }, "{what}");
                if self.is_tried_again() {
                    self.act().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(self.progress().await - before, whole, "{what}, and again");
                }
            }
        }
        self.reload().await;
        seen
    }

    /// Another opening finds a whole ledger.
    async fn reload(&self) {
        if self.deed == Deed::Restore {
            return;
        }
        let store = self.bench.place.open(&self.bench.clock).await.unwrap();
        grow(&store, 1000).await;
        let findings = store.check().await.unwrap().findings;
        let own = ["entry", "ledger", "tile", "checkpoint"];
        let is_own = |finding: &&check::Finding| own.iter().any(|place| finding.place.starts_with(place));
        assert_eq!(findings.iter().find(is_own), None, "{:?}", self.deed);
        if self.deed == Deed::Lines {
            assert_eq!(shipped(&store).await, all_of(&self.log));
            let numbers = numbers(&store).await;
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "dense, whatever failed");
        }
    }
}

/// The numbers of all intents, in order.
async fn numbers(store: &Store) -> Vec<u64> {
    let entries = store.entries(0, 10_000).await.unwrap();
    let facts = entries.iter().map(|entry| serde_json::from_str::<serde_json::Value>(&entry.canonical).unwrap());
    facts.filter_map(|entry| entry["facts"]["number"].as_u64()).collect()
}

fn wall(bench: &Bench) -> WallTime {
    bench.store.shared.clock.wall()
}

/// An entry with personal values beside it.
fn personal() -> Draft {
    Draft::freeze_changed(Some(&service()), true, &"bob".parse().unwrap(), Some("a note"), None)
}

/// Verb and table of a statement that writes.
fn written(text: &str) -> Option<String> {
    ["INSERT INTO ", "UPDATE ", "DELETE FROM "].iter().find_map(|verb| {
        let table = text.strip_prefix(verb)?.split([' ', '(']).next()?;
        Some(format!("{verb}{table}"))
    })
}

/// What the sources of the ledger write.
fn all_writes() -> BTreeSet<String> {
    let texts = [
        include_str!("../audit/accounts.rs"),
        include_str!("../audit/anchors.rs"),
        include_str!("../audit/closing.rs"),
        include_str!("../audit/lines.rs"),
        include_str!("../audit/lost.rs"),
        include_str!("../audit/mod.rs"),
        include_str!("../ledger.rs"),
        include_str!("../ledger_growth.rs"),
        include_str!("../sink_places.rs"),
        include_str!("../transition.rs"),
    ];
    texts.iter().flat_map(|text| text.split('"').filter_map(written)).collect()
}

async fn every_write_fails_in_every_way(bench: Bench) {
    let mut seen = BTreeSet::new();
    for deed in DEEDS {
        let own = bench.another().await;
        seen.extend(Trial::new(deed, &own).await.run().await);
    }
    let missing: Vec<_> = all_writes().difference(&seen).cloned().collect();
    assert_eq!(missing, [""; 0], "a write that no deed does");
}

/// At every page that is to be had, there is none: nothing of it stays, and with room it is there once.
#[tokio::test]
async fn a_full_disk_at_every_page_leaves_the_ledger_as_it_was() {
    for deed in DEEDS {
        let bench = Bench::sqlite().await;
        let mut trial = Trial::new(deed, &bench).await;
        trial.prepare().await;
        trial.act().await.unwrap();
        let (mut failed, mut extra) = (0, 0);
        // Each round takes a little more, so that sooner or later a page is wanted.
        while failed < 4 && trial.round < 40 {
            trial.prepare().await;
            let before = trial.progress().await;
            let pages = sql("SELECT page_count FROM pragma_page_count").integer(&bench.store.shared.database);
            let pages = pages.await.unwrap();
            raw(&bench.store, format!("PRAGMA max_page_count = {}", pages + extra)).await;
            let acted = trial.act().await;
            raw(&bench.store, "PRAGMA max_page_count = 1000000".to_owned()).await;
            if let Err(error) = acted {
                assert!(error.contains("full"), "{deed:?}: {error}");
                assert_eq!(trial.progress().await, before, "{deed:?}");
                trial.act().await.unwrap();
                (failed, extra) = (failed + 1, (extra + 1) % 3);
            }
            assert!(trial.progress().await > before, "{deed:?}");
        }
        trial.reload().await;
    }
}

/// The disk under PostgreSQL's tables is really full, again and again, until it wanted a page and had none.
#[tokio::test]
async fn a_full_disk_under_postgresql_leaves_the_ledger_as_it_was() {
    let Some(disk) = SmallDisk::mount("48m") else { return };
    for deed in [Deed::Lines, Deed::Account, Deed::Entries, Deed::Tree] {
        let (bench, database) = Bench::postgres_in(&disk.path().join(format!("{deed:?}").to_lowercase())).await;
        let mut trial = Trial::new(deed, &bench).await;
        let mut failed = 0;
        for _ in 0..400 {
            trial.prepare().await;
            let before = trial.progress().await;
            disk.fill();
            let acted = trial.act().await;
            disk.make_room();
            if let Err(error) = acted {
                assert!(error.contains("No space left on device"), "{deed:?}: {error}");
                assert_eq!(trial.progress().await, before, "{deed:?}");
                trial.act().await.unwrap();
                failed += 1;
            }
            assert!(trial.progress().await > before, "{deed:?}");
            if failed == 2 {
                break;
            }
        }
        assert_eq!(failed, 2, "{deed:?} wanted no page");
        trial.reload().await;
        bench.store.close().await;
        drop(database);
    }
}

/// The machine loses its power in the midst of a commit: what was acknowledged is there, and the rest whole or not at all.
#[tokio::test]
async fn a_torn_end_of_the_database_loses_nothing_that_was_acknowledged() {
    let (bench, mut log) = (Bench::sqlite().await, some_log(2));
    let store = &bench.store;
    store.ingest_audit(&batch_of(&log.lines)).await.unwrap();
    grow(store, 1000).await;
    let acknowledged = log.lines.len();
    let wal = |folder: &std::path::Path| folder.join("db-wal");
    let from = std::fs::metadata(wal(bench.place.folder())).unwrap().len();
    let link = log.intent("r-torn");
    log.outcome("r-torn", &link, End::Completed);
    let torn = batch_of(&log.lines[acknowledged..]);
    store.ingest_audit(&torn).await.unwrap();
    let to = std::fs::metadata(wal(bench.place.folder())).unwrap().len();
    assert!(from < to, "it was not folded into the file meanwhile");
    for cut in (from..=to).step_by(usize::try_from(to - from).unwrap() / 24) {
        let copy = Bench::sqlite_place();
        for file in ["db", "db-wal"] {
            std::fs::copy(bench.place.folder().join(file), copy.folder().join(file)).unwrap();
        }
        std::fs::OpenOptions::new().write(true).open(wal(copy.folder())).unwrap().set_len(cut).unwrap();
        let store = copy.open(&bench.clock).await.unwrap();
        let found = usize::try_from(store.audit_lines().await.unwrap()).unwrap();
        assert!([acknowledged, log.lines.len()].contains(&found), "{found} lines at {cut} of {from} to {to}");
        store.ingest_audit(&torn).await.unwrap();
        assert_eq!(shipped(&store).await, all_of(&log));
        grow(&store, 1000).await;
        assert_eq!(store.check().await.unwrap().findings, vec![]);
    }
}
