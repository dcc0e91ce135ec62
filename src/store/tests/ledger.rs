//! The tree over the entries, on both databases: whole, or as it was before; built by one or by many; never back.

use std::time::Duration;

use super::bench::{Bench, break_table, count, mend_table, on_both_databases, raw};
use super::{NOW, service};
use crate::domain::GrantId;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::entry::Draft;
use crate::ledger::hash::Hash;
use crate::ledger::note::KeyName;
use crate::ledger::tile::{Kind, TilePath};
use crate::ledger::tree;
use crate::store::{Cosigned, Growth, LedgerError, Store, StoredCheckpoint};

on_both_databases! {
    the_tree_is_that_of_the_entries,
    replicas_that_build_at_once_build_one_tree,
    a_failure_at_any_write_leaves_the_tree_as_it_was,
    a_tile_or_an_entry_that_was_changed_stops_the_tree_and_is_named,
    a_checkpoint_is_kept_once_and_never_below_another,
    entries_in_batches_are_as_entries_alone,
    an_origin_never_changes_but_by_a_restore,
    cosignatures_go_with_their_checkpoints,
}

pub(super) fn origin() -> KeyName {
    "breakglass.test/ledger".parse().unwrap()
}

pub(super) fn drafts(count: u64) -> Vec<Draft> {
    (0..count).map(|n| Draft::grant_expired(&GrantId::from_random(n))).collect()
}

/// Takes everything in, `limit` at once.
pub(super) async fn grow(store: &Store, limit: u32) -> (u64, Hash) {
    loop {
        match store.grow_ledger(limit).await.unwrap() {
            Growth::Current { size, root } => return (size, root),
            Growth::Grown { .. } | Growth::Overtaken => {}
        }
    }
}

async fn leaves(store: &Store) -> Vec<Hash> {
    let entries = store.entries(0, 10_000).await.unwrap();
    entries.iter().map(|entry| Hash::of_leaf(entry.canonical.as_bytes())).collect()
}

pub(super) fn checkpoint(size: u64, root: Hash) -> StoredCheckpoint {
    let text = Checkpoint { origin: origin(), size, root }.text();
    StoredCheckpoint { size, root, note: format!("{text}\n— breakglass.test/ledger AAAAAAAA\n"), at: NOW }
}

async fn the_tree_is_that_of_the_entries(bench: Bench) {
    let store = &bench.store;
    assert_eq!(grow(store, 10).await, (0, Hash::of_nothing()));
    for batch in [1, 254, 1, 1, 300] {
        store.record_all(drafts(batch)).await.unwrap();
        let (size, root) = grow(store, 100).await;
        let all = leaves(store).await;
        assert_eq!((size, root), (all.len() as u64, tree::root_over(&all)));
        store.check_edge().await.unwrap();
    }
    let all = leaves(store).await;
    for size in [0, 1, 255, 256, 257, 500, 557] {
        let expected = tree::root_over(&all[..size]);
        assert_eq!(store.ledger_root_at(size as u64).await.unwrap(), Some(expected), "{size}");
        let proof = store.prove_growth(size as u64, 557).await.unwrap();
        let (old, new) = ((size as u64, expected), (557, tree::root_over(&all)));
        assert_eq!(tree::check_consistency(&proof, old, new), Ok(()), "{size}");
    }
    assert_eq!(store.ledger_root_at(558).await.unwrap(), None);
    let tile = |width| TilePath { kind: Kind::Hashes(0), n: 2, width };
    assert_eq!(store.ledger_tile(0, &tile(45)).await.unwrap().unwrap().hashes(), &all[512..]);
    assert_eq!(store.ledger_tile(0, &tile(46)).await.unwrap(), None);
    let bundle = TilePath { kind: Kind::Entries, n: 2, width: 40 };
    assert_eq!(store.ledger_bundle(&bundle).await.unwrap().unwrap().len(), 40);
    assert_eq!(store.ledger_bundle(&TilePath { width: 46, ..bundle }).await.unwrap(), None);
    let report = store.check().await.unwrap();
    assert_eq!((report.findings, report.ledger), (vec![], 557));
}

async fn replicas_that_build_at_once_build_one_tree(bench: Bench) {
    let mut replicas = vec![bench.store.clone()];
    for _ in 0..2 {
        replicas.push(bench.place.open(&bench.clock).await.unwrap());
    }
    let work = replicas.iter().map(|store| async move {
        for _ in 0..10 {
            store.record_all(drafts(30)).await.unwrap();
            grow(store, 17).await;
        }
    });
    futures_util::future::join_all(work).await;
    let all = leaves(&bench.store).await;
    for store in &replicas {
        assert_eq!(grow(store, 1000).await, (900, tree::root_over(&all)));
    }
    assert_eq!(bench.store.check().await.unwrap().findings, vec![]);
}

async fn a_failure_at_any_write_leaves_the_tree_as_it_was(bench: Bench) {
    let store = &bench.store;
    store.record_all(drafts(300)).await.unwrap();
    let before = grow(store, 1000).await;
    store.record_all(drafts(300)).await.unwrap();
    for table in ["ledger_tree", "ledger_tiles"] {
        break_table(store, table).await;
        store.grow_ledger(1000).await.unwrap_err();
        mend_table(store).await;
        let standing = store.ledger_standing(&origin()).await.unwrap();
        assert_eq!((standing.size, standing.root, standing.entries), (before.0, before.1, 600), "{table}");
        assert_eq!(store.check().await.unwrap().findings, vec![], "{table}");
    }
    break_table(store, "ledger_checkpoints").await;
    store.keep_checkpoint(&origin(), &checkpoint(before.0, before.1)).await.unwrap_err();
    mend_table(store).await;
    assert_eq!(store.newest_checkpoint(&origin()).await.unwrap(), None);
    assert_eq!(grow(store, 1000).await, (600, tree::root_over(&leaves(store).await)));
}

async fn a_tile_or_an_entry_that_was_changed_stops_the_tree_and_is_named(bench: Bench) {
    let store = &bench.store;
    store.record_all(drafts(600)).await.unwrap();
    let (size, root) = grow(store, 1000).await;
    store.keep_checkpoint(&origin(), &checkpoint(size, root)).await.unwrap();
    let other = "'AAAA' || substr(hashes, 5)";
    let set = |level: u32, n: u64, hashes: &str| {
        format!("UPDATE ledger_tiles SET hashes = {hashes} WHERE level = {level} AND n = {n}")
    };
    let found = async || {
        let findings = store.check().await.unwrap().findings;
        findings.into_iter().map(|finding| format!("{}: {}", finding.place, finding.what)).collect::<Vec<_>>()
    };
    raw(store, "CREATE TABLE kept AS SELECT * FROM ledger_tiles".to_owned()).await;
    for (level, n, path, is_edge) in
        [(0, 0, "tile/0/000", false), (0, 2, "tile/0/002.p/88", true), (1, 0, "tile/1/000.p/2", true)]
    {
        raw(store, set(level, n, other)).await;
        assert_eq!(found().await, [format!("{path}: is not the tile over the entries")]);
        assert_eq!(store.check_edge().await.is_err(), is_edge, "{path}");
        if is_edge {
            store.record_all(drafts(1)).await.unwrap();
            assert!(matches!(store.grow_ledger(10).await, Err(LedgerError::Unsound(_))), "{path}");
        }
        raw(
            store,
            "UPDATE ledger_tiles SET hashes = (SELECT hashes FROM kept WHERE kept.level = ledger_tiles.level \
                    AND kept.n = ledger_tiles.n)"
                .to_owned(),
        )
        .await;
        assert_eq!(found().await, [""; 0]);
    }
    raw(store, set(0, 1, "'AA'")).await;
    assert_eq!(found().await, ["tile/0/001: is no tile"]);
    raw(store, "DELETE FROM ledger_tiles WHERE level = 0 AND n = 1".to_owned()).await;
    assert_eq!(found().await, ["tile/0/001: is missing"]);
    raw(store, "INSERT INTO ledger_tiles SELECT * FROM kept WHERE level = 0 AND n = 1".to_owned()).await;
    raw(store, "UPDATE ledger_checkpoints SET root = 'x', size = 599".to_owned()).await;
    let said = found().await;
    assert!(said[0].starts_with("checkpoint of 599 entries: its root is x, and should be "), "{said:?}");
    raw(store, "UPDATE ledger_checkpoints SET size = 700".to_owned()).await;
    assert_eq!(found().await, ["ledger: a checkpoint of 700 entries was signed, which are more than its tree has"]);
    raw(store, "DELETE FROM ledger_checkpoints".to_owned()).await;
    raw(store, "DELETE FROM entries WHERE entry_index = 601".to_owned()).await;
    assert!(matches!(store.grow_ledger(10).await, Ok(Growth::Grown { size: 601, .. })));
    assert!(matches!(store.grow_ledger(10).await, Ok(Growth::Current { .. })));
    raw(store, "UPDATE counters SET value = 5 WHERE name = 'entry'".to_owned()).await;
    assert!(matches!(store.check_edge().await, Err(LedgerError::Unsound(_))));
}

async fn a_checkpoint_is_kept_once_and_never_below_another(bench: Bench) {
    let store = &bench.store;
    store.record_all(drafts(10)).await.unwrap();
    let (_, root) = grow(store, 100).await;
    let keep = async |size, root| store.keep_checkpoint(&origin(), &checkpoint(size, root)).await.unwrap();
    assert!(!keep(11, root).await, "the tree was never so large");
    assert!(keep(5, Hash::of_leaf(b"5")).await);
    assert!(!keep(5, Hash::of_leaf(b"another")).await, "one of a size");
    assert!(!keep(4, Hash::of_leaf(b"4")).await, "never a shorter one");
    assert!(keep(10, root).await);
    let newest = store.newest_checkpoint(&origin()).await.unwrap().unwrap();
    assert_eq!((newest.size, newest.root), (10, root));
    assert_eq!(store.ledger_standing(&origin()).await.unwrap().signed, Some(10));
    let other: KeyName = "other.test/log".parse().unwrap();
    assert_eq!(store.newest_checkpoint(&other).await.unwrap(), None);
    // An hour later the one that was followed is let go.
    store.record_all(drafts(1)).await.unwrap();
    let (size, root) = grow(store, 100).await;
    let at = NOW.plus(Duration::from_secs(3601));
    assert!(store.keep_checkpoint(&origin(), &StoredCheckpoint { at, ..checkpoint(size, root) }).await.unwrap());
    assert_eq!(count(store, "ledger_checkpoints").await, 1);
}

async fn entries_in_batches_are_as_entries_alone(bench: Bench) {
    let store = &bench.store;
    let mut woken = store.subscribe_commits();
    store.record(Draft::grant_expired(&GrantId::from_random(1))).await.unwrap();
    let (person, note) = ("bob".parse().unwrap(), r#"a "quoted" \u0000 note, é"#);
    let named = |frozen| Draft::freeze_changed(Some(&service()), frozen, &person, Some(note), None);
    assert_eq!(store.record_all(vec![named(true), named(false)]).await.unwrap(), 1);
    assert_eq!(*woken.borrow_and_update(), 2);
    assert_eq!(store.record_all(Vec::new()).await.unwrap(), 3);
    let entries = store.entries(0, 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(count(store, "entry_values").await, 4);
    assert_eq!(store.check().await.unwrap().findings.len(), 0, "canonical, and true to their commitments");
    break_table(store, "entry_values").await;
    store.record_all(vec![named(true)]).await.unwrap_err();
    mend_table(store).await;
    assert_eq!(store.record_all(vec![named(true)]).await.unwrap(), 3, "no number was lost");
}

async fn an_origin_never_changes_but_by_a_restore(bench: Bench) {
    let store = &bench.store;
    assert_eq!(store.establish_log(&origin(), true).await.unwrap(), origin());
    assert_eq!(store.establish_log(&origin(), true).await.unwrap(), origin());
    let other: KeyName = "other.test/log".parse().unwrap();
    let error = store.establish_log(&other, true).await.unwrap_err();
    assert!(matches!(error, LedgerError::OtherOrigin { .. }), "{error}");
    assert_eq!(store.establish_log(&other, false).await.unwrap(), origin(), "the URL may change");
    store.record_all(drafts(3)).await.unwrap();
    let (size, root) = grow(store, 100).await;
    store.keep_checkpoint(&origin(), &checkpoint(size, root)).await.unwrap();
    let restored = store.mark_restored().await.unwrap();
    let begun = store.establish_log(&origin(), true).await.unwrap();
    assert_eq!(begun.as_str(), format!("{}/{}", origin(), &restored.epoch[..16]));
    assert_eq!(store.logs().await.unwrap(), [origin().to_string(), begun.to_string()]);
    assert_eq!(store.newest_checkpoint(&begun).await.unwrap(), None, "nothing is signed below what was");
    let entry = store.entries(3, 1).await.unwrap().remove(0);
    for told in
        [format!(r#""origin":"{begun}""#), r#""signed_before":3"#.into(), format!(r#""origin_before":"{}""#, origin())]
    {
        assert!(entry.canonical.contains(&told), "{told} is not in {}", entry.canonical);
    }
    assert_eq!(store.check().await.unwrap().findings, vec![]);
}

async fn cosignatures_go_with_their_checkpoints(bench: Bench) {
    let store = &bench.store;
    let cosigned =
        |size: u64, witness: &str, line: &str| Cosigned { size, witness: witness.into(), line: line.into(), at: NOW };
    for (size, witness, line) in [(3, "w1", "a"), (5, "w1", "b"), (5, "w1", "c"), (3, "w2", "d")] {
        store.keep_cosignature(&origin(), &cosigned(size, witness, line)).await.unwrap();
    }
    let newest = store.newest_cosignatures(&origin()).await.unwrap();
    assert_eq!(newest, [cosigned(5, "w1", "c"), cosigned(3, "w2", "d")]);
}
