//! The Merkle tree: built anew from the entries, and held against its tiles, its root, and every checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckReport, PAGE};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::edge::{Edge, Grown};
use crate::ledger::hash::Hash;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::ledger::read_tile;
use crate::store::rows::{from_sql, to_sql};
use crate::store::statement::sql;

/// Checkpoints by size: origin, root and note of each.
type Checkpoints = BTreeMap<u64, Vec<(String, String, String)>>;

pub(super) async fn check(reading: &mut Transaction, report: &mut CheckReport) -> Result<(), StoreError> {
    let row = sql("SELECT size, root FROM ledger_tree").fetch_one(&mut *reading).await?;
    let (size, root): (u64, String) = (from_sql(row.try_get("size")?), row.try_get("root")?);
    let checkpoints = checkpoints(reading).await?;
    let mut edge = Edge::default();
    let mut tiles = BTreeSet::new();
    while edge.size() < size {
        let page = entries(reading, edge.size(), size).await?;
        if page.is_empty() {
            report.find("ledger", format!("its tree has {size} entries, and there are {}", edge.size()));
            return Ok(());
        }
        for entry in page {
            for grown in edge.append(Hash::of_leaf(entry.as_bytes())) {
                tiles.insert((grown.level, grown.n));
                tile(reading, &grown, report).await?;
            }
            signed(&checkpoints, &edge, report);
        }
    }
    for grown in edge.partial() {
        tiles.insert((grown.level, grown.n));
        tile(reading, &grown, report).await?;
    }
    report.agree("ledger", "its root", root, edge.root().to_string());
    for size in checkpoints.keys().filter(|signed| **signed > size) {
        report.find("ledger", format!("a checkpoint of {size} entries was signed, which are more than its tree has"));
    }
    report.ledger = size;
    nothing_else(reading, &tiles, report).await
}

async fn checkpoints(reading: &mut Transaction) -> Result<Checkpoints, StoreError> {
    let rows = sql("SELECT origin, size, root, note FROM ledger_checkpoints").fetch_all(reading).await?;
    let mut found = Checkpoints::new();
    for row in &rows {
        let told = (row.try_get("origin")?, row.try_get("root")?, row.try_get("note")?);
        found.entry(from_sql(row.try_get("size")?)).or_default().push(told);
    }
    Ok(found)
}

async fn entries(reading: &mut Transaction, from: u64, size: u64) -> Result<Vec<String>, StoreError> {
    let rows = sql("SELECT canonical FROM entries WHERE entry_index >= $1 AND entry_index < $2 \
                    ORDER BY entry_index LIMIT $3")
    .bind(to_sql(from))
    .bind(to_sql(size))
    .bind(PAGE)
    .fetch_all(reading)
    .await?;
    Ok(rows.iter().map(|row| row.try_get("canonical")).collect::<Result<_, _>>()?)
}

async fn tile(reading: &mut Transaction, built: &Grown, report: &mut CheckReport) -> Result<(), StoreError> {
    let place = built.path().to_string();
    match read_tile(reading, built.level, built.n).await {
        Ok(Some(found)) if found == built.tile => {}
        Ok(Some(_)) => report.find(place, "is not the tile over the entries"),
        Ok(None) => report.find(place, "is missing"),
        Err(StoreError::Corrupt(_)) => report.find(place, "is no tile"),
        Err(other) => return Err(other),
    }
    Ok(())
}

/// Every checkpoint of the tree's present size.
fn signed(checkpoints: &Checkpoints, edge: &Edge, report: &mut CheckReport) {
    for (origin, root, note) in checkpoints.get(&edge.size()).into_iter().flatten() {
        let place = format!("checkpoint of {} entries", edge.size());
        report.agree(&place, "its root", root.clone(), edge.root().to_string());
        let says = SignedCheckpoint::read(note).map(|read| read.checkpoint);
        let fits = says
            .is_ok_and(|says| says.origin.as_str() == origin && says.size == edge.size() && says.root == edge.root());
        if !fits {
            report.find(place, "its note says something else than its row");
        }
    }
}

async fn nothing_else(
    reading: &mut Transaction,
    built: &BTreeSet<(u32, u64)>,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let rows = sql("SELECT level, n FROM ledger_tiles").fetch_all(reading).await?;
    for row in &rows {
        let (level, n) = (from_sql(row.try_get("level")?), from_sql(row.try_get("n")?));
        if !u32::try_from(level).is_ok_and(|level| built.contains(&(level, n))) {
            report.find(format!("tile/{level}, number {n}"), "is not one of the tree's");
        }
    }
    Ok(())
}
