//! How the tree grows over committed entries: read and hashed beside the writer's turn, put down within it.
//!
//! INVARIANT: size and root move together, from what they were when the entries were read (compare-and-swap): of several
//! replicas that build at once one succeeds, and what it built is what all would have.

use serde::Serialize;

use super::database::Transaction;
use super::ledger::{LedgerError, read_tile, text_of};
use super::rows::{from_sql, parsed, to_json, to_sql};
use super::statement::{sql, sql_over_rows};
use super::{Store, StoreError};
use crate::ledger::edge::{Edge, Grown};
use crate::ledger::hash::Hash;
use crate::ledger::tile::Tile;
use crate::ledger::tile::{Kind, levels};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// The tree has all entries that were committed.
    Current {
        size: u64,
        root: Hash,
    },
    Grown {
        size: u64,
        root: Hash,
    },
    /// Another replica was first: look again.
    Overtaken,
}

#[derive(Serialize)]
struct TileRow {
    level: u32,
    n: u64,
    hashes: String,
}

impl Store {
    /// Takes at most `limit` committed entries into the tree.
    ///
    /// # Errors
    /// [`LedgerError`]; [`LedgerError::Unsound`] where what is there is not what was built.
    pub async fn grow_ledger(&self, limit: u32) -> Result<Growth, LedgerError> {
        let mut reading = self.shared.database.read().await?;
        let edge = read_edge(&mut reading).await?;
        let (size, root) = (edge.size(), edge.root());
        let entries = entries_from(&mut reading, size, limit).await?;
        drop(reading);
        if entries.is_empty() {
            return Ok(Growth::Current { size, root });
        }
        let mut grown = edge;
        let mut tiles: Vec<Grown> =
            entries.iter().flat_map(|entry| grown.append(Hash::of_leaf(entry.as_bytes()))).collect();
        tiles.extend(grown.partial());
        let moved = self.put_down((size, root), (grown.size(), grown.root()), &tiles).await?;
        Ok(if moved { Growth::Grown { size: grown.size(), root: grown.root() } } else { Growth::Overtaken })
    }

    /// False where the tree is no longer what it was.
    async fn put_down(&self, from: (u64, Hash), to: (u64, Hash), tiles: &[Grown]) -> Result<bool, StoreError> {
        let mut tx = self.shared.database.write().await?;
        let moved = sql("UPDATE ledger_tree SET size = $1, root = $2 WHERE size = $3 AND root = $4")
            .bind(to_sql(to.0))
            .bind(to.1.to_string())
            .bind(to_sql(from.0))
            .bind(from.1.to_string())
            .execute(&mut tx)
            .await?;
        if moved == 0 {
            return Ok(false);
        }
        let row = |grown: &Grown| TileRow { level: grown.level, n: grown.n, hashes: text_of(&grown.tile) };
        let rows: Vec<TileRow> = tiles.iter().map(row).collect();
        sql_over_rows!(
            "INSERT INTO ledger_tiles (level, n, hashes) SELECT CAST(told.value ->> 'level' AS BIGINT), \
             CAST(told.value ->> 'n' AS BIGINT), told.value ->> 'hashes' FROM",
            "WHERE true ON CONFLICT (level, n) DO UPDATE SET hashes = excluded.hashes"
        )
        .bind(to_json("tiles", &rows)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether the newest tiles have the root that was put down with them.
    ///
    /// # Errors
    /// [`LedgerError::Unsound`] where they have not.
    pub async fn check_edge(&self) -> Result<(), LedgerError> {
        let mut reading = self.shared.database.read().await?;
        let size = read_edge(&mut reading).await?.size();
        let entries = sql("SELECT value FROM counters WHERE name = 'entry'").integer(&mut reading).await?;
        if from_sql(entries) < size {
            let what = format!("its tree has {size} entries, and there are {entries}");
            return Err(LedgerError::Unsound(what));
        }
        Ok(())
    }
}

/// The right edge of the tree, once it is shown to have the root that was put down.
async fn read_edge(reading: &mut Transaction) -> Result<Edge, LedgerError> {
    let row = sql("SELECT size, root FROM ledger_tree").fetch_one(&mut *reading).await?;
    let size = from_sql(row.try_get("size")?);
    let root: Hash = parsed("root of the ledger", row.try_get("root")?)?;
    let mut partial = vec![Tile::default(); usize::try_from(levels(size)).unwrap_or(0)];
    for path in Edge::places(size) {
        let Kind::Hashes(level) = path.kind else { continue };
        let found = read_tile(&mut *reading, level, path.n).await?;
        if let (Some(tile), Some(place)) = (found, partial.get_mut(usize::try_from(level).unwrap_or(usize::MAX))) {
            *place = tile;
        }
    }
    let edge = Edge::new(size, partial).map_err(|error| LedgerError::Unsound(error.to_string()))?;
    if edge.root() != root {
        let what = format!("the tiles at the end of its tree of {size} entries have another root than was put down");
        return Err(LedgerError::Unsound(what));
    }
    Ok(edge)
}

/// INVARIANT: dense from `from` on, or nothing is built.
async fn entries_from(reading: &mut Transaction, from: u64, limit: u32) -> Result<Vec<String>, LedgerError> {
    let rows = sql("SELECT entry_index, canonical FROM entries WHERE entry_index >= $1 ORDER BY entry_index LIMIT $2")
        .bind(to_sql(from))
        .bind(i64::from(limit))
        .fetch_all(reading)
        .await?;
    (from..)
        .zip(&rows)
        .map(|(expected, row)| {
            if from_sql(row.try_get("entry_index")?) != expected {
                return Err(LedgerError::Unsound(format!("entry {expected} is missing")));
            }
            Ok(row.try_get("canonical")?)
        })
        .collect()
}
