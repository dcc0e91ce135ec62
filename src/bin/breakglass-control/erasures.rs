//! `erase-again`: what a restored backup brought back is erased anew, by what a copy of the log says of earlier erasures.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use breakglass::clock::Clock;
use breakglass::config::database::DatabaseConfig;
use breakglass::domain::{ErasureId, Verdict, WallTime};
use breakglass::ledger::checkpoint::SignedCheckpoint;
use breakglass::ledger::tile::{Kind, TILE_WIDTH, TilePath, read_bundle};
use breakglass::store::{EarlierErasure, ErasureOutcome, Store, StoreError};
use serde_json::Value;

use crate::database::DatabaseFailure;

/// Why the copy of a log can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("{} can't be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no copy of a ledger: its checkpoint is not one", .0.display())]
    Checkpoint(PathBuf),
    #[error("entry {0} of the copy is missing or is no entry: verify it with `breakglass audit verify`")]
    Entry(u64),
}

/// Carries out again what the copy says was erased.
pub(crate) async fn again(database: &DatabaseConfig, held: &[Verdict], copy: &Path) -> Result<(), DatabaseFailure> {
    let earlier = earlier(copy)?;
    let store = Store::open_configured(database, Clock::System).await?;
    let others = store.others().await?;
    if others > 0 {
        return Err(DatabaseFailure::InUse(others));
    }
    let mut obstructed = 0_u64;
    for (erasure, earlier) in &earlier {
        let mut outcome = store.erase_again(earlier, held).await?;
        // One that was under way as the backup was taken, or as this was broken off, comes first.
        while let Some(ErasureOutcome::Stands(id)) = outcome {
            carry_out(&store, &id).await?;
            outcome = store.erase_again(earlier, held).await?;
        }
        match outcome {
            Some(ErasureOutcome::Ordered(id, progress)) => {
                if progress.open {
                    carry_out(&store, &id).await?;
                }
                told(&store, erasure, &id).await?;
            }
            Some(ErasureOutcome::Obstructed(obstacles)) => {
                obstructed = obstructed.saturating_add(1);
                let says: Vec<_> = obstacles.iter().map(|obstacle| obstacle.kind.says()).collect();
                writeln!(io::stdout(), "{erasure}: not erased again: {}", says.join("; "))?;
            }
            Some(ErasureOutcome::Stands(_) | ErasureOutcome::Kept(_) | ErasureOutcome::Unknown) | None => {}
        }
    }
    store.fold_erased().await?;
    // What could not be folded then is folded with the last connection.
    store.close().await;
    writeln!(io::stdout(), "{} earlier erasures looked at", earlier.len())?;
    if obstructed == 0 { Ok(()) } else { Err(DatabaseFailure::Obstructed(obstructed)) }
}

async fn carry_out(store: &Store, id: &ErasureId) -> Result<(), StoreError> {
    while store.carry_on_erasure(id).await?.open {}
    Ok(())
}

async fn told(store: &Store, earlier: &str, id: &ErasureId) -> Result<(), DatabaseFailure> {
    let record = store.erasure(id).await?.ok_or_else(|| StoreError::Corrupt("an erasure vanished".to_owned()))?;
    writeln!(io::stdout(), "{earlier}: erased again as {id}: {} values", record.values)?;
    Ok(())
}

/// The erasures that the log tells of, in its order, each once.
fn earlier(copy: &Path) -> Result<Vec<(String, EarlierErasure)>, CopyError> {
    let copy = Copy::open(copy)?;
    let mut found: Vec<(String, Earlier)> = Vec::new();
    let mut seen = BTreeSet::new();
    copy.each(|_, entry| {
        if let Some((erasure, earlier)) = Earlier::of(entry).filter(|(erasure, _)| seen.insert(erasure.clone())) {
            found.push((erasure, earlier));
        }
    })?;
    let wanted: BTreeSet<u64> = found.iter().filter_map(|(_, earlier)| earlier.named_at()).collect();
    let mut named = BTreeMap::new();
    copy.each(|index, entry| {
        if wanted.contains(&index) {
            named.insert(index, String::from_utf8_lossy(entry).into_owned());
        }
    })?;
    let whole = found.into_iter().filter_map(|(erasure, earlier)| Some((erasure, earlier.with(&named)?)));
    Ok(whole.collect())
}

/// What an entry says was erased.
enum Earlier {
    Person { entry: u64, field: String },
    Age { before: WallTime },
}

impl Earlier {
    fn of(entry: &[u8]) -> Option<(String, Self)> {
        let entry: Value = serde_json::from_slice(entry).ok()?;
        let facts =
            entry.get("facts").filter(|_| entry.get("kind").and_then(Value::as_str) == Some("personal_erased"))?;
        let erasure = facts.get("erasure")?.as_str()?.to_owned();
        let earlier = match facts.get("named_at") {
            Some(named) => {
                Self::Person { entry: named.get("entry")?.as_u64()?, field: named.get("field")?.as_str()?.to_owned() }
            }
            None => Self::Age { before: WallTime::from_unix_ms(facts.get("before")?.as_i64()?) },
        };
        Some((erasure, earlier))
    }

    const fn named_at(&self) -> Option<u64> {
        match self {
            Self::Person { entry, .. } => Some(*entry),
            Self::Age { .. } => None,
        }
    }

    fn with(self, named: &BTreeMap<u64, String>) -> Option<EarlierErasure> {
        Some(match self {
            Self::Person { entry, field } => {
                EarlierErasure::Person { entry, canonical: named.get(&entry)?.clone(), field }
            }
            Self::Age { before } => EarlierErasure::Age { before },
        })
    }
}

/// A folder that `breakglass audit verify --copy-to` has written.
struct Copy<'a> {
    folder: &'a Path,
    size: u64,
}

impl<'a> Copy<'a> {
    fn open(folder: &'a Path) -> Result<Self, CopyError> {
        let path = folder.join("checkpoint");
        let note = std::fs::read_to_string(&path).map_err(|source| CopyError::Read { path: path.clone(), source })?;
        let signed = SignedCheckpoint::read(&note).map_err(|_| CopyError::Checkpoint(path))?;
        Ok(Self { folder, size: signed.checkpoint.size })
    }

    fn each(&self, mut look: impl FnMut(u64, &[u8])) -> Result<(), CopyError> {
        let mut first = 0;
        while first < self.size {
            let width = self.size.saturating_sub(first).min(TILE_WIDTH);
            let n = first.checked_div(TILE_WIDTH).unwrap_or_default();
            let path = self.folder.join(TilePath { kind: Kind::Entries, n, width }.to_string());
            let bytes = std::fs::read(&path).map_err(|source| CopyError::Read { path, source })?;
            let (entries, _) = read_bundle(&bytes, width);
            if u64::try_from(entries.len()).unwrap_or_default() < width {
                return Err(CopyError::Entry(first));
            }
            (first..).zip(entries).for_each(|(index, entry)| look(index, entry));
            first = first.saturating_add(width);
        }
        Ok(())
    }
}
