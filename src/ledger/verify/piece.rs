//! One bundle of entries beside the tile of their hashes.

use serde_json::Value;

use super::{ClockBack, How, Known, Wrong};
use crate::ledger::entry::FORMAT_VERSION;
use crate::ledger::hash::Hash;
use crate::ledger::tile::{Kind, TILE_WIDTH, Tile, TileError, TilePath, read_bundle};
use crate::ledger::tree;

/// What one bundle and its tile say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub(super) n: u64,
    pub(super) width: u64,
    /// Hashes of its entries, where they are needed later: of a partial bundle, and where an earlier tree ended in it.
    pub(super) leaves: Option<Vec<Hash>>,
    /// The root over its entries; `None` where they are not all there, or not 256.
    pub(super) root: Option<Hash>,
    /// The tile as it is served, where it is partial; else its root.
    pub(super) served: Option<Served>,
    /// The first entry whose hash in the tile is another, and which entry it says it is.
    pub(super) differs: Option<(u64, Option<u64>)>,
    /// Why entries are missing.
    pub(super) broken: Option<Wrong>,
    /// The first entry that is not what an entry here must be.
    pub(super) misfit: Option<Wrong>,
    pub(super) entries: u64,
    pub(super) clock_back: ClockBack,
    /// Times of the first and last entry.
    pub(super) span: Option<(i64, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Served {
    Whole(Hash),
    Partial(Tile),
}

/// Reads a bundle and its tile; `None` where there is none.
pub fn examine((n, width): (u64, u64), bundle: Option<&[u8]>, tile: Option<&[u8]>, known: &[Known]) -> Piece {
    let start = n * TILE_WIDTH;
    let (entries, torn) = bundle.map_or((Vec::new(), None), |bytes| read_bundle(bytes, width));
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::of_leaf(entry)).collect();
    let served = tile.and_then(|bytes| Tile::read(bytes, width).ok());
    let read: Vec<Read> = (start..).zip(&entries).map(|(index, entry)| Read::of(index, entry)).collect();
    let is_complete = bundle.is_some() && torn.is_none();
    let root = (is_complete && width == TILE_WIDTH).then(|| tree::perfect(&leaves)).flatten();
    let ends_inside = |known: &Known| known.size / TILE_WIDTH == n && !known.size.is_multiple_of(TILE_WIDTH);
    let keeps = width < TILE_WIDTH || known.iter().any(ends_inside);
    let end = start + count(entries.len());
    Piece {
        n,
        width,
        root,
        differs: served.as_ref().and_then(|tile| first_difference(start, tile.hashes(), &leaves, &read)),
        served: served.map(|tile| match tile.root() {
            Some(root) => Served::Whole(root),
            None => Served::Partial(tile),
        }),
        leaves: keeps.then_some(leaves),
        broken: match (bundle, torn) {
            (None, _) => Some(Wrong { entry: Some(start), how: How::Missing }),
            (Some(_), Some(TileError::Longer { .. })) => Some(Wrong { entry: Some(end), how: How::TooMany }),
            (Some(_), Some(_)) => Some(Wrong { entry: Some(end), how: How::Torn }),
            (Some(_), None) => None,
        },
        misfit: read.iter().find_map(|read| read.misfit.clone()),
        entries: count(entries.len()),
        clock_back: clock_back(start, &read),
        span: read.iter().find_map(|read| read.at).zip(read.iter().rev().find_map(|read| read.at)),
    }
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

fn first_difference(start: u64, served: &[Hash], leaves: &[Hash], read: &[Read]) -> Option<(u64, Option<u64>)> {
    let mut pairs = (start..).zip(served.iter().zip(leaves)).zip(read);
    let differs = pairs.find(|((_, (served, leaf)), _)| served != leaf);
    differs.map(|((index, _), read)| (index, read.says))
}

fn clock_back(start: u64, read: &[Read]) -> ClockBack {
    let mut found = ClockBack::default();
    for (index, pair) in (start + 1..).zip(read.windows(2)) {
        if let [Read { at: Some(before), .. }, Read { at: Some(at), .. }] = pair
            && at < before
        {
            found.times += 1;
            found.first = found.first.or(Some(index));
        }
    }
    found
}

impl Piece {
    /// The place of the tile over it.
    pub(super) fn tile(&self) -> TilePath {
        TilePath { kind: Kind::Hashes(0), n: self.n, width: self.width }
    }

    pub(super) fn start(&self) -> u64 {
        self.n * TILE_WIDTH
    }
}

/// What one entry says of itself.
struct Read {
    /// Its own index.
    says: Option<u64>,
    at: Option<i64>,
    misfit: Option<Wrong>,
}

impl Read {
    fn of(index: u64, entry: &[u8]) -> Self {
        let unfit = |why| Some(Wrong { entry: Some(index), how: How::NotAnEntry(why) });
        let Ok(document) = serde_json::from_slice::<Value>(entry) else {
            return Self { says: None, at: None, misfit: unfit("it is not JSON") };
        };
        let says = document.get("index").and_then(Value::as_u64);
        let misfit = match says {
            None => unfit("it names no index"),
            Some(says) if says != index => Some(Wrong { entry: Some(index), how: How::Misplaced { says } }),
            Some(_) if document.get("format") != Some(&Value::from(FORMAT_VERSION)) => {
                unfit("its format is of another version")
            }
            Some(_) if !is_canonical(&document, entry) => unfit("it is not in canonical form (RFC 8785)"),
            Some(_) => None,
        };
        Self { says, at: document.get("at").and_then(Value::as_i64), misfit }
    }
}

fn is_canonical(document: &Value, entry: &[u8]) -> bool {
    serde_json_canonicalizer::to_vec(document).is_ok_and(|canonical| canonical == entry)
}
