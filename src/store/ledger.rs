//! The ledger as it is served: its log and keys, its checkpoints, its tiles and bundles.
//!
//! INVARIANT: a checkpoint is kept once for a size, and never below another of its origin.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::database::Transaction;
use super::rows::{from_sql, parsed, to_sql};
use super::statement::{On, sql};
use super::transition::Transition;
use super::{Store, StoreError};
use crate::domain::WallTime;
use crate::ledger::entry::Draft;
use crate::ledger::hash::Hash;
use crate::ledger::note::KeyName;
use crate::ledger::tile::{Kind, TILE_WIDTH, Tile, TilePath, for_consistency, for_root, nodes};
use crate::ledger::tree;

/// How long a checkpoint that others followed is kept: whoever has read one finds it again meanwhile.
const CHECKPOINTS_KEPT_MS: i64 = 3_600_000;

/// Why the ledger in the database is not to be built on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the ledger of this database is the log {found}, and the configuration names {wanted}: an origin never changes"
    )]
    OtherOrigin { found: String, wanted: String },
    #[error("the ledger does not hold together: {0}; `breakglass-control check` says more")]
    Unsound(String),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// How far the ledger has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerStanding {
    /// Entries that are committed.
    pub entries: u64,
    /// Entries of the tree.
    pub size: u64,
    pub root: Hash,
    /// Entries of the newest checkpoint.
    pub signed: Option<u64>,
}

/// A checkpoint that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    pub size: u64,
    pub root: Hash,
    pub note: String,
    pub at: WallTime,
}

/// A witness's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    pub size: u64,
    pub witness: String,
    pub line: String,
    pub at: WallTime,
}

/// The log that begins with a restored backup.
pub(super) struct Begun {
    pub(super) before: String,
    /// Entries of the last checkpoint that the backup knows of it.
    pub(super) signed: Option<u64>,
    pub(super) origin: String,
}

impl Store {
    /// The origin in force. The first start makes it `base`; a restored backup has one of its own under that.
    ///
    /// # Errors
    /// [`LedgerError::OtherOrigin`]: the database holds another log than the one that was named.
    pub async fn establish_log(&self, base: &KeyName, is_named: bool) -> Result<KeyName, LedgerError> {
        let mut tx = self.shared.database.write().await?;
        sql("INSERT INTO ledger_logs (position, base, origin, at_ms) SELECT 1, $1, $1, $2 \
             WHERE NOT EXISTS (SELECT 1 FROM ledger_logs)")
        .bind(base.as_str())
        .bind(self.shared.clock.wall().unix_ms())
        .execute(&mut tx)
        .await?;
        let row = sql("SELECT base, origin FROM ledger_logs ORDER BY position DESC LIMIT 1").fetch_one(&mut tx).await?;
        let (found, origin): (String, &str) = (row.try_get("base")?, row.try_get("origin")?);
        let origin = parsed("origin", origin)?;
        tx.commit().await?;
        if is_named && found != base.as_str() {
            return Err(LedgerError::OtherOrigin { found, wanted: base.to_string() });
        }
        Ok(origin)
    }

    /// Every origin that this database was signed under, the one in force last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn logs(&self) -> Result<Vec<String>, StoreError> {
        let rows = sql("SELECT origin FROM ledger_logs ORDER BY position").fetch_all(&self.shared.database).await?;
        Ok(rows.iter().map(|row| row.try_get("origin")).collect::<Result<_, _>>()?)
    }

    /// The public keys that sign checkpoints, or did, the newest last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ledger_keys(&self) -> Result<Vec<String>, StoreError> {
        let rows = sql("SELECT public FROM ledger_keys ORDER BY position").fetch_all(&self.shared.database).await?;
        Ok(rows.iter().map(|row| row.try_get("public")).collect::<Result<_, _>>()?)
    }

    /// Records that another key signs from now on. False where that is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_ledger_key(&self, public: &str, entry: Draft) -> Result<bool, StoreError> {
        let mut transition = self.transition().await?;
        let added = sql("INSERT INTO ledger_keys (position, public) \
             SELECT COALESCE(MAX(position), 0) + 1, $1 FROM ledger_keys WHERE true ON CONFLICT (public) DO NOTHING")
        .bind(public)
        .execute(transition.connection())
        .await?;
        if added == 0 {
            return Ok(false);
        }
        transition.entry(entry, None).await?;
        transition.commit().await?;
        Ok(true)
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn ledger_standing(&self, origin: &KeyName) -> Result<LedgerStanding, StoreError> {
        let row = sql("SELECT t.size, t.root, (SELECT value FROM counters WHERE name = 'entry') AS entries, \
             (SELECT MAX(size) FROM ledger_checkpoints WHERE origin = $1) AS signed FROM ledger_tree t")
        .bind(origin.as_str())
        .fetch_one(&self.shared.database)
        .await?;
        Ok(LedgerStanding {
            entries: from_sql(row.try_get("entries")?),
            size: from_sql(row.try_get("size")?),
            root: parsed("root of the ledger", row.try_get("root")?)?,
            signed: row.try_get::<Option<i64>>("signed")?.map(from_sql),
        })
    }

    /// Keeps a checkpoint that was signed for what the tree was once. False where there is one of that size, or of more
    /// entries: that one stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_checkpoint(&self, origin: &KeyName, kept: &StoredCheckpoint) -> Result<bool, StoreError> {
        let mut tx = self.shared.database.write().await?;
        let added = sql("INSERT INTO ledger_checkpoints (origin, size, root, note, at_ms) SELECT $1, $2, $3, $4, $5 \
             WHERE NOT EXISTS (SELECT 1 FROM ledger_checkpoints WHERE origin = $1 AND size >= $2) \
             AND EXISTS (SELECT 1 FROM ledger_tree WHERE size >= $2)")
        .bind(origin.as_str())
        .bind(to_sql(kept.size))
        .bind(kept.root.to_string())
        .bind(&kept.note)
        .bind(kept.at.unix_ms())
        .execute(&mut tx)
        .await?;
        if added > 0 {
            forget_old(&mut tx, origin, kept).await?;
        }
        tx.commit().await?;
        Ok(added > 0)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_checkpoint(&self, origin: &KeyName) -> Result<Option<StoredCheckpoint>, StoreError> {
        let row = sql("SELECT size, root, note, at_ms FROM ledger_checkpoints WHERE origin = $1 \
             ORDER BY size DESC LIMIT 1")
        .bind(origin.as_str())
        .fetch_optional(&self.shared.database)
        .await?;
        row.map(|row| {
            Ok(StoredCheckpoint {
                size: from_sql(row.try_get("size")?),
                root: parsed("root of a checkpoint", row.try_get("root")?)?,
                note: row.try_get("note")?,
                at: WallTime::from_unix_ms(row.try_get("at_ms")?),
            })
        })
        .transpose()
    }

    /// A tile of hashes as wide as `path` says; `None` where it has not grown so far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ledger_tile(&self, level: u32, path: &TilePath) -> Result<Option<Tile>, StoreError> {
        let tile = read_tile(&self.shared.database, level, path.n).await?;
        let width = usize::try_from(path.width).unwrap_or(usize::MAX);
        Ok(tile.and_then(|tile| tile.hashes().get(..width).map(|hashes| Tile::new(hashes.to_vec()))))
    }

    /// The entries of a bundle; `None` where not all of them are there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ledger_bundle(&self, path: &TilePath) -> Result<Option<Vec<String>>, StoreError> {
        let width = u32::try_from(path.width).unwrap_or(0);
        let entries = self.entries(path.n.saturating_mul(TILE_WIDTH), width).await?;
        let is_whole = super::rows::to_u64(entries.len()) == path.width;
        Ok(is_whole.then(|| entries.into_iter().map(|entry| entry.canonical).collect()))
    }

    /// Hashes of the nodes that `wanted` names, out of the tiles.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tiles(&self, wanted: &[TilePath]) -> Result<BTreeMap<(u32, u64), Tile>, StoreError> {
        let mut found = BTreeMap::new();
        for path in wanted {
            let Kind::Hashes(level) = path.kind else { continue };
            if let Some(tile) = read_tile(&self.shared.database, level, path.n).await? {
                found.insert((level, path.n), tile);
            }
        }
        Ok(found)
    }

    /// The proof that the tree of `old` entries is how that of `new` begins.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn prove_growth(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        let unsound = |error: tree::ProofError| LedgerError::Unsound(error.to_string());
        let tiles = self.tiles(&for_consistency(old, new).map_err(unsound)?).await?;
        let nodes = nodes(|level, n| tiles.get(&(level, n)).cloned().map(Box::new));
        tree::prove_consistency(&nodes, old, new).map_err(unsound)
    }

    /// The root of the tree as it was at `size`, from its tiles; `None` where they do not reach so far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ledger_root_at(&self, size: u64) -> Result<Option<Hash>, StoreError> {
        if size == 0 {
            return Ok(Some(Hash::of_nothing()));
        }
        let tiles = self.tiles(&for_root(size)).await?;
        let nodes = nodes(|level, n| tiles.get(&(level, n)).cloned().map(Box::new));
        Ok(tree::root(&nodes, size).ok())
    }

    /// Keeps what a witness answered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_cosignature(&self, origin: &KeyName, cosigned: &Cosigned) -> Result<(), StoreError> {
        let mut tx = self.shared.database.write().await?;
        sql("INSERT INTO ledger_cosignatures (origin, size, witness, line, at_ms) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (origin, size, witness) DO UPDATE SET line = excluded.line, at_ms = excluded.at_ms")
        .bind(origin.as_str())
        .bind(to_sql(cosigned.size))
        .bind(&cosigned.witness)
        .bind(&cosigned.line)
        .bind(cosigned.at.unix_ms())
        .execute(&mut tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// The cosignatures of the newest checkpoint that each witness cosigned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_cosignatures(&self, origin: &KeyName) -> Result<Vec<Cosigned>, StoreError> {
        let rows = sql("SELECT c.size, c.witness, c.line, c.at_ms FROM ledger_cosignatures c \
             WHERE c.origin = $1 AND c.size = (SELECT MAX(size) FROM ledger_cosignatures \
             WHERE origin = $1 AND witness = c.witness) ORDER BY c.witness")
        .bind(origin.as_str())
        .fetch_all(&self.shared.database)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Cosigned {
                    size: from_sql(row.try_get("size")?),
                    witness: row.try_get("witness")?,
                    line: row.try_get("line")?,
                    at: WallTime::from_unix_ms(row.try_get("at_ms")?),
                })
            })
            .collect()
    }
}

/// Checkpoints that were followed long ago, and cosignatures that were. Nothing is proven by them that the newest do not
/// prove.
async fn forget_old(tx: &mut Transaction, origin: &KeyName, kept: &StoredCheckpoint) -> Result<(), sqlx::Error> {
    let before = kept.at.unix_ms().saturating_sub(CHECKPOINTS_KEPT_MS);
    sql("DELETE FROM ledger_cosignatures WHERE origin = $1 AND at_ms < $2 AND size < (SELECT MAX(c.size) \
         FROM ledger_cosignatures c WHERE c.origin = $1 AND c.witness = ledger_cosignatures.witness)")
    .bind(origin.as_str())
    .bind(before)
    .execute(&mut *tx)
    .await?;
    sql("DELETE FROM ledger_checkpoints WHERE origin = $1 AND at_ms < $2 AND size < $3 \
         AND size NOT IN (SELECT size FROM ledger_cosignatures WHERE origin = $1)")
    .bind(origin.as_str())
    .bind(before)
    .bind(to_sql(kept.size))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

pub(super) async fn read_tile(on: impl Into<On<'_>>, level: u32, n: u64) -> Result<Option<Tile>, StoreError> {
    let row = sql("SELECT hashes FROM ledger_tiles WHERE level = $1 AND n = $2")
        .bind(i64::from(level))
        .bind(to_sql(n))
        .fetch_optional(on)
        .await?;
    row.map(|row| tile_of(row.try_get("hashes")?)).transpose()
}

pub(super) fn tile_of(hashes: &str) -> Result<Tile, StoreError> {
    let corrupt = || StoreError::Corrupt("a tile of the ledger".to_owned());
    let bytes = STANDARD.decode(hashes).map_err(|_| corrupt())?;
    let width = super::rows::to_u64(bytes.len() / 32);
    Tile::read(&bytes, width).map_err(|_| corrupt())
}

pub(super) fn text_of(tile: &Tile) -> String {
    STANDARD.encode(tile.to_bytes())
}

/// A backup does not know what was signed after it: the log that goes on from it is another one.
pub(super) async fn begin_another(transition: &mut Transition<'_>, epoch: &str) -> Result<Option<Begun>, StoreError> {
    let at = transition.at().unix_ms();
    let row = sql("SELECT base, origin FROM ledger_logs ORDER BY position DESC LIMIT 1")
        .fetch_optional(transition.connection())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (base, before): (String, String) = (row.try_get("base")?, row.try_get("origin")?);
    let signed = sql("SELECT MAX(size) AS signed FROM ledger_checkpoints WHERE origin = $1")
        .bind(&before)
        .fetch_one(transition.connection())
        .await?
        .try_get::<Option<i64>>("signed")?;
    let origin = format!("{base}/{}", epoch.get(..16).unwrap_or(epoch));
    sql("INSERT INTO ledger_logs (position, base, origin, at_ms) \
         SELECT MAX(position) + 1, $1, $2, $3 FROM ledger_logs")
    .bind(&base)
    .bind(&origin)
    .bind(at)
    .execute(transition.connection())
    .await?;
    Ok(Some(Begun { before, signed: signed.map(from_sql), origin }))
}
