//! The tree over all pieces, and the way down to the first entry that is wrong.

use std::collections::BTreeMap;

use super::piece::{Piece, Served};
use super::{ClockBack, How, Known, LogReport, Wrong};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::Edge;
use crate::ledger::hash::Hash;
use crate::ledger::tile::{Kind, TILE_WIDTH, Tile, TilePath, levels, span, tiles_at};

/// See the module. Pieces are put in in their order.
#[derive(Debug)]
pub struct Verification {
    checkpoint: Checkpoint,
    known: Vec<Known>,
    pieces: Vec<Piece>,
    /// The tiles above level 0 as they are served.
    served: BTreeMap<(u32, u64), Tile>,
    /// The same, as the entries have them.
    built: BTreeMap<(u32, u64), Tile>,
    /// `None` once entries are missing.
    edge: Option<Edge>,
    wrong: Vec<Wrong>,
    clock_back: ClockBack,
    last_at: Option<i64>,
}

impl Verification {
    pub fn new(checkpoint: Checkpoint, known: Vec<Known>) -> Self {
        let shorter = known.iter().filter(|known| known.size > checkpoint.size);
        let wrong = shorter.map(|known| Wrong { entry: None, how: How::Shorter { known: known.size } }).collect();
        Self {
            checkpoint,
            known,
            pieces: Vec::new(),
            served: BTreeMap::new(),
            built: BTreeMap::new(),
            edge: Some(Edge::default()),
            wrong,
            clock_back: ClockBack::default(),
            last_at: None,
        }
    }

    /// The tiles above level 0, which [`Verification::upper_tile`] is to be given.
    pub fn upper_tiles(size: u64) -> impl Iterator<Item = TilePath> {
        (1..levels(size)).flat_map(move |level| tiles_at(level, size))
    }

    /// Takes a tile above level 0 as it is served; `None` where there is none.
    pub fn upper_tile(&mut self, path: TilePath, bytes: Option<&[u8]>) {
        let Kind::Hashes(level) = path.kind else { return };
        match bytes.and_then(|bytes| Tile::read(bytes, path.width).ok()) {
            Some(tile) => drop(self.served.insert((level, path.n), tile)),
            None => self.wrong.push(no_tile(path)),
        }
    }

    /// Takes the next piece.
    pub fn piece(&mut self, piece: Piece) {
        self.note_clock(&piece);
        if piece.served.is_none() {
            self.wrong.push(no_tile(piece.tile()));
        }
        if piece.broken.is_some() {
            self.edge = None;
        }
        if let Some(edge) = &mut self.edge {
            check_known(&self.known, edge, &piece, &mut self.wrong);
            let grown = match (piece.root, &piece.leaves) {
                (Some(root), _) => edge.append_tile(root),
                (None, Some(leaves)) => leaves.iter().flat_map(|leaf| edge.append(*leaf)).collect(),
                (None, None) => Vec::new(),
            };
            self.built.extend(grown.into_iter().map(|grown| ((grown.level, grown.n), grown.tile)));
        }
        self.pieces.push(piece);
    }

    fn note_clock(&mut self, piece: &Piece) {
        let Some((first, last)) = piece.span else { return };
        if self.last_at.is_some_and(|before| first < before) {
            self.clock_back.times += 1;
            self.clock_back.first = self.clock_back.first.or(Some(piece.start()));
        }
        self.last_at = Some(last);
        self.clock_back.times += piece.clock_back.times;
        self.clock_back.first = self.clock_back.first.or(piece.clock_back.first);
    }

    /// What there is to say, once every piece was put in.
    pub fn finish(mut self) -> LogReport {
        if let Some(edge) = &self.edge {
            let whole = Known { size: edge.size(), root: edge.root() };
            let ended = self.known.iter().filter(|known| known.size == whole.size && known.root != whole.root);
            self.wrong.extend(ended.map(not_that_of));
            self.built.extend(edge.partial().map(|grown| ((grown.level, grown.n), grown.tile)));
        }
        let is_signed = self
            .edge
            .as_ref()
            .is_some_and(|edge| edge.size() == self.checkpoint.size && edge.root() == self.checkpoint.root);
        let found = if is_signed { self.wrong_tile() } else { self.first_unsigned() };
        self.wrong.extend(found);
        self.wrong.extend(self.pieces.iter().find_map(|piece| piece.misfit.clone()));
        // What names an entry says more than what does not, and the lowest entry is the first that is wrong.
        self.wrong.sort_by_key(|wrong| (wrong.entry.is_none(), wrong.entry, !matches!(wrong.how, How::Other { .. })));
        LogReport {
            entries: self.pieces.iter().map(|piece| piece.entries).sum(),
            wrong: self.wrong.into_iter().next(),
            clock_back: self.clock_back,
            checkpoint: self.checkpoint,
        }
    }

    /// The entries are what was signed: is every tile?
    fn wrong_tile(&self) -> Option<Wrong> {
        let low = self.pieces.iter().find_map(|piece| {
            let (entry, _) = piece.differs?;
            Some(Wrong { entry: Some(entry), how: How::Tile(piece.tile()) })
        });
        let high =
            self.served.iter().find(|(place, tile)| self.built.get(place) != Some(*tile)).map(|((level, n), tile)| {
                let path = TilePath { kind: Kind::Hashes(*level), n: *n, width: tile.width() };
                let built = self.built.get(&(*level, *n)).map(Tile::hashes).unwrap_or_default();
                let at = (n * TILE_WIDTH..).zip(tile.hashes().iter().zip(built)).find(|(_, (one, other))| one != other);
                Wrong { entry: at.map(|(at, _)| at * span(*level)), how: How::Tile(path) }
            });
        low.into_iter().chain(high).min_by_key(|wrong| wrong.entry)
    }

    /// The entries are not what was signed: which is the first that is not?
    fn first_unsigned(&self) -> Option<Wrong> {
        let size = self.checkpoint.size;
        let edge: Option<Vec<Tile>> = (0..levels(size)).map(|level| self.edge_tile(level, size)).collect();
        let edge =
            edge.and_then(|tiles| Edge::new(size, tiles).ok()).filter(|edge| edge.root() == self.checkpoint.root);
        let Some(edge) = edge else { return Some(self.unvouched(0, size).unwrap_or(OTHER_ROOT)) };
        // The highest level spans the leftmost entries.
        let vouched = (0..levels(size)).rev().filter_map(|level| Some((level, edge.tile(level)?)));
        let mut found = vouched.filter_map(|(level, tile)| self.below(level, size / span(level) / TILE_WIDTH, tile));
        Some(found.next().unwrap_or(OTHER_ROOT))
    }

    /// The partial tile of a level as it is served; an empty one where the tree has none.
    fn edge_tile(&self, level: u32, size: u64) -> Option<Tile> {
        let (hashes, is_partial) = (size / span(level), !(size / span(level)).is_multiple_of(TILE_WIDTH));
        match (is_partial, level) {
            (false, _) => Some(Tile::default()),
            (true, 0) => match self.pieces.last()?.served.as_ref()? {
                Served::Partial(tile) => Some(tile.clone()),
                Served::Whole(_) => None,
            },
            (true, _) => self.served.get(&(level, hashes / TILE_WIDTH)).cloned(),
        }
    }

    /// `tile` is vouched for: the first wrong entry under it.
    fn below(&self, level: u32, n: u64, tile: &Tile) -> Option<Wrong> {
        if level == 0 {
            return self.in_piece(n);
        }
        (n * TILE_WIDTH..).zip(tile.hashes()).find_map(|(child, hash)| {
            if self.built_root(level - 1, child) == Some(*hash) {
                return None;
            }
            self.under(level - 1, child, *hash)
        })
    }

    /// `hash` is vouched for, and the entries under it have another: down to the first of them.
    fn under(&self, level: u32, n: u64, hash: Hash) -> Option<Wrong> {
        let vouched = match level {
            0 => matches!(self.piece_at(n)?.served, Some(Served::Whole(root)) if root == hash).then(Tile::default),
            _ => self.served.get(&(level, n)).filter(|tile| tile.root() == Some(hash)).cloned(),
        };
        if let Some(tile) = vouched {
            return self.below(level, n, &tile);
        }
        let (start, end) = (n * span(level + 1), (n + 1) * span(level + 1));
        let entry = Some(self.unvouched(start, end).and_then(|wrong| wrong.entry).unwrap_or(start));
        Some(Wrong { entry, how: How::Within { end } })
    }

    fn in_piece(&self, n: u64) -> Option<Wrong> {
        let piece = self.piece_at(n)?;
        let other = piece.differs.map(|(entry, says)| Wrong { entry: Some(entry), how: How::Other { says } });
        other.or_else(|| piece.broken.clone())
    }

    /// The first entry from `start` to `end` that something speaks against, though nothing vouches for what does.
    fn unvouched(&self, start: u64, end: u64) -> Option<Wrong> {
        let pieces = self.pieces.iter().filter(|piece| (start..end).contains(&piece.start()));
        let found = pieces.flat_map(|piece| [self.in_piece(piece.n), piece.misfit.clone()]).flatten();
        found.min_by_key(|wrong| wrong.entry)
    }

    fn piece_at(&self, n: u64) -> Option<&Piece> {
        self.pieces.get(usize::try_from(n).ok()?)
    }

    /// The root of a whole tile, as the entries have it.
    fn built_root(&self, level: u32, n: u64) -> Option<Hash> {
        match level {
            0 => self.piece_at(n)?.root,
            _ => self.built.get(&(level, n))?.root(),
        }
    }
}

const OTHER_ROOT: Wrong = Wrong { entry: None, how: How::OtherRoot };

fn no_tile(path: TilePath) -> Wrong {
    Wrong { entry: Some(path.n * TILE_WIDTH * level_span(path)), how: How::NoTile(path) }
}

fn level_span(path: TilePath) -> u64 {
    match path.kind {
        Kind::Hashes(level) => span(level),
        Kind::Entries => 1,
    }
}

fn not_that_of(known: &Known) -> Wrong {
    Wrong { entry: None, how: How::NotThatOf { known: known.size } }
}

/// Earlier trees that ended before this piece, or within it.
fn check_known(known: &[Known], edge: &Edge, piece: &Piece, wrong: &mut Vec<Wrong>) {
    for known in known.iter().filter(|known| known.size / TILE_WIDTH == piece.n && known.size > 0) {
        let width = usize::try_from(known.size % TILE_WIDTH).unwrap_or(usize::MAX);
        let Some(leaves) = piece.leaves.as_deref().unwrap_or_default().get(..width) else { continue };
        let mut then = edge.clone();
        leaves.iter().for_each(|leaf| drop(then.append(*leaf)));
        if then.root() != known.root {
            wrong.push(not_that_of(known));
        }
    }
}
