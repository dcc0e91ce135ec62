//! A log for tests: real entries, its tiles, its signed checkpoint, and what becomes of it in bad hands.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::checkpoint::Checkpoint;
use super::entry::Draft;
use super::hash::Hash;
use super::note::{KeyKind, SignatureLine, VerifierKey};
use super::proof::LogProof;
use super::tile::{Kind, TILE_WIDTH, Tile, TilePath, nodes, span, tiles_at, write_bundle};
use super::tree;
use crate::domain::{GrantId, WallTime};

pub(crate) const ORIGIN: &str = "breakglass.example/ledger";

pub(crate) struct SampleLog {
    pub(crate) entries: Vec<String>,
    leaves: Vec<Hash>,
    pair: Ed25519KeyPair,
}

impl SampleLog {
    pub(crate) fn of(size: u64) -> Self {
        let entry = |index: u64| {
            let at = WallTime::from_unix_s(1_795_313_580).plus(std::time::Duration::from_secs(index));
            let draft = Draft::grant_expired(&GrantId::from_random(index / 3));
            draft.seal(index, at, None, || Ok([7; 32])).unwrap().canonical
        };
        Self::over((0..size).map(entry).collect(), Ed25519KeyPair::generate().unwrap())
    }

    /// The same key over other entries.
    pub(crate) fn with(&self, entries: Vec<String>) -> Self {
        let document = self.pair.to_pkcs8v1().unwrap();
        Self::over(entries, Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn over(entries: Vec<String>, pair: Ed25519KeyPair) -> Self {
        let leaves = entries.iter().map(|entry| Hash::of_leaf(entry.as_bytes())).collect();
        Self { entries, leaves, pair }
    }

    pub(crate) fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn key(&self) -> VerifierKey {
        let public = self.pair.public_key().as_ref().try_into().unwrap();
        VerifierKey::new(ORIGIN.parse().unwrap(), KeyKind::Note, public)
    }

    pub(crate) fn root(&self, size: u64) -> Hash {
        tree::root_over(&self.leaves[..usize::try_from(size).unwrap()])
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.checkpoint_of(self.size())
    }

    pub(crate) fn checkpoint_of(&self, size: u64) -> Checkpoint {
        Checkpoint { origin: ORIGIN.parse().unwrap(), size, root: self.root(size) }
    }

    pub(crate) fn note(&self) -> String {
        self.note_of(self.size())
    }

    pub(crate) fn note_of(&self, size: u64) -> String {
        let checkpoint = self.checkpoint_of(size);
        let signature = self.pair.sign(checkpoint.text().as_bytes()).as_ref().to_vec();
        checkpoint.signed(vec![SignatureLine::by(&self.key(), signature)]).unwrap().to_string()
    }

    fn tile_of(&self, level: u32, n: u64) -> Tile {
        let under = usize::try_from(span(level)).unwrap();
        let leaves = self.leaves.chunks_exact(under).skip(usize::try_from(n * TILE_WIDTH).unwrap()).take(256);
        Tile::new(leaves.map(|leaves| tree::perfect(leaves).unwrap()).collect())
    }

    /// Every tile and bundle, by its path.
    pub(crate) fn resources(&self) -> BTreeMap<TilePath, Vec<u8>> {
        let levels = 0..super::tile::levels(self.size());
        let tiles = levels.flat_map(|level| tiles_at(level, self.size()));
        let mut all = BTreeMap::new();
        for path in tiles {
            let Kind::Hashes(level) = path.kind else { continue };
            all.insert(path, self.tile_of(level, path.n).to_bytes());
            if level == 0 {
                all.insert(TilePath { kind: Kind::Entries, ..path }, self.bundle(path.n));
            }
        }
        all
    }

    pub(crate) fn bundle(&self, n: u64) -> Vec<u8> {
        let entries = self.entries.iter().skip(usize::try_from(n * TILE_WIDTH).unwrap()).take(256);
        write_bundle(entries.map(String::as_bytes)).unwrap()
    }

    pub(crate) fn prove(&self, index: u64) -> LogProof {
        let nodes = nodes(|level, n| Some(Box::new(self.tile_of(level, n))));
        let hashes = tree::prove_inclusion(&nodes, index, self.size()).unwrap();
        let entry = self.entries[usize::try_from(index).unwrap()].clone();
        LogProof { extra: Some(entry.into_bytes()), index, hashes, checkpoint: self.note() }
    }

    pub(crate) fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        let nodes = nodes(|level, n| Some(Box::new(self.tile_of(level, n))));
        tree::prove_consistency(&nodes, old, new).unwrap()
    }

    /// Writes it as a folder that a file server could serve.
    pub(crate) fn write(&self, folder: &std::path::Path) {
        write_resources(folder, &self.note(), &self.resources());
    }
}

pub(crate) fn write_resources(folder: &std::path::Path, note: &str, resources: &BTreeMap<TilePath, Vec<u8>>) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("checkpoint"), note).unwrap();
    for (path, bytes) in resources {
        let file = folder.join(path.to_string());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}
