//! `audit prove`: the proof that one entry is in the ledger.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::Source;
use super::{Asked, trusted_checkpoint, unverified};
use crate::cli::args::TrustArgs;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::hash::Hash;
use crate::ledger::proof::LogProof;
use crate::ledger::tile::{Kind, TILE_WIDTH, Tile, TilePath, for_inclusion, nodes, read_bundle};
use crate::ledger::tree;

/// # Errors
/// When the entry is not there, or the ledger does not prove it.
pub(in crate::cli) async fn prove(
    entry: u64,
    log: &Path,
    trust: &TrustArgs,
    file: Option<&Path>,
    asked: &Asked<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let source = Source::open(log, asked)?;
    let signed = trusted_checkpoint(&source, trust).await?;
    let proof = Prover::new(&source, &signed).prove(entry).await?;
    match file {
        None => out.bytes(proof.to_string().as_bytes()),
        Some(file) => {
            write(file, &proof)?;
            out.note(&format!("{}: entry {entry} of {}", file.display(), signed.checkpoint.origin));
            Ok(())
        }
    }
}

pub(super) fn write(file: &Path, proof: &LogProof) -> Result<(), Failure> {
    std::fs::write(file, proof.to_string()).map_err(|error| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()), "name a file that can be written")
    })
}

/// Makes proofs in one checkpoint's tree. Tiles are fetched once.
pub(super) struct Prover<'a> {
    source: &'a Source,
    signed: &'a SignedCheckpoint,
    tiles: BTreeMap<(u32, u64), Tile>,
}

impl<'a> Prover<'a> {
    pub(super) fn new(source: &'a Source, signed: &'a SignedCheckpoint) -> Self {
        Self { source, signed, tiles: BTreeMap::new() }
    }

    /// A proof that holds, with the entry in it.
    ///
    /// # Errors
    /// When there is no such entry, or what the ledger gives does not prove it.
    pub(super) async fn prove(&mut self, index: u64) -> Result<LogProof, Failure> {
        let (size, root) = (self.signed.checkpoint.size, self.signed.checkpoint.root);
        let wanted = for_inclusion(index, size)
            .map_err(|error| Failure::new(Exit::Failed, error.to_string(), "entries count from 0"))?;
        for path in wanted {
            self.fetch(path).await?;
        }
        let nodes = nodes(|level, n| self.tiles.get(&(level, n)).cloned().map(Box::new));
        let hashes = tree::prove_inclusion(&nodes, index, size).map_err(|error| unverified(error.to_string()))?;
        let entry = self.entry(index).await?;
        tree::check_inclusion(&hashes, index, size, Hash::of_leaf(&entry), root).map_err(|error| {
            unverified(format!("what {} gives does not prove entry {index}: {error}; verify it", self.source))
        })?;
        Ok(LogProof { extra: Some(entry), index, hashes, checkpoint: self.signed.note.to_string() })
    }

    async fn fetch(&mut self, path: TilePath) -> Result<(), Failure> {
        let Kind::Hashes(level) = path.kind else { return Ok(()) };
        if self.tiles.contains_key(&(level, path.n)) {
            return Ok(());
        }
        let tile = self.source.piece(path).await?.and_then(|bytes| Tile::read(&bytes, path.width).ok());
        let tile = tile.ok_or_else(|| unverified(format!("{path} is missing, or has not its size")))?;
        self.tiles.insert((level, path.n), tile);
        Ok(())
    }

    async fn entry(&self, index: u64) -> Result<Vec<u8>, Failure> {
        let n = index / TILE_WIDTH;
        let width = (self.signed.checkpoint.size - n * TILE_WIDTH).min(TILE_WIDTH);
        let path = TilePath { kind: Kind::Entries, n, width };
        let missing = || unverified(format!("entry {index} is missing: {path} is not whole"));
        let bundle = self.source.piece(path).await?.ok_or_else(missing)?;
        let (entries, _) = read_bundle(&bundle, width);
        let place = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        entries.get(place).map(|entry| entry.to_vec()).ok_or_else(missing)
    }
}
