//! The right edge of a tree: the partial tiles that the next entries go into, and all that its root needs.
//!
//! Whole tiles never change again, so a tree grows with its edge alone in memory: at most 255 hashes a level.

use super::hash::Hash;
use super::tile::{Kind, TILE_WIDTH, Tile, TilePath, levels, span, tiles_at};
use super::tree::{self, fold};

/// See the module. Level 0 first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    partial: Vec<Tile>,
}

/// The edge of a tree of that size would be of another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tile of level {level} has {found} hashes, and should have {expected}")]
pub struct EdgeError {
    pub level: u32,
    pub found: u64,
    pub expected: u64,
}

/// A tile that an entry completed, or that has more hashes than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    pub level: u32,
    pub n: u64,
    pub tile: Tile,
}

impl Edge {
    /// The edge of the tree of `size` entries. `partial` are its partial tiles, level 0 first, empty where there is none.
    ///
    /// # Errors
    /// [`EdgeError`].
    pub fn new(size: u64, mut partial: Vec<Tile>) -> Result<Self, EdgeError> {
        for (level, tile) in (0..).zip(&partial) {
            let (found, expected) = (tile.width(), size / span(level) % TILE_WIDTH);
            if found != expected {
                return Err(EdgeError { level, found, expected });
            }
        }
        let missing = (0..levels(size)).skip(partial.len());
        for level in missing {
            let expected = size / span(level) % TILE_WIDTH;
            if expected > 0 {
                return Err(EdgeError { level, found: 0, expected });
            }
            partial.push(Tile::default());
        }
        Ok(Self { size, partial })
    }

    /// The partial tiles of a tree of `size` entries, the lowest level first.
    pub fn places(size: u64) -> Vec<TilePath> {
        (0..levels(size)).filter_map(|level| tiles_at(level, size).last()).filter(|tile| !tile.is_whole()).collect()
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The partial tile of a level.
    pub fn tile(&self, level: u32) -> Option<&Tile> {
        self.partial.get(usize::try_from(level).ok()?).filter(|tile| tile.width() > 0)
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut roots = Vec::new();
        // The highest level spans the leftmost entries.
        for tile in self.partial.iter().rev() {
            let mut rest = tile.hashes();
            for height in (0..u8::BITS).rev().filter(|height| tile.width() & (1 << height) != 0) {
                let Some((under, others)) = rest.split_at_checked(1 << height) else { continue };
                roots.extend(tree::perfect(under));
                rest = others;
            }
        }
        fold(roots.into_iter()).unwrap_or_else(Hash::of_nothing)
    }

    /// Adds an entry by its leaf's hash. Answers the tiles that it completed.
    pub fn append(&mut self, leaf: Hash) -> Vec<Grown> {
        self.push(0, leaf)
    }

    /// Adds a whole tile of entries by its root, to an edge without a partial tile of level 0.
    pub fn append_tile(&mut self, root: Hash) -> Vec<Grown> {
        self.push(1, root)
    }

    fn push(&mut self, level: u32, hash: Hash) -> Vec<Grown> {
        self.size += span(level);
        let (mut carried, mut whole) = (hash, Vec::new());
        for level in level.. {
            let Ok(at) = usize::try_from(level) else { break };
            if self.partial.len() <= at {
                self.partial.resize_with(at + 1, Tile::default);
            }
            let Some(tile) = self.partial.get_mut(at) else { break };
            tile.push(carried);
            let Some(root) = tile.root() else { break };
            let n = (self.size / span(level)).div_ceil(TILE_WIDTH) - 1;
            whole.push(Grown { level, n, tile: std::mem::take(tile) });
            carried = root;
        }
        whole
    }

    /// The partial tiles as they stand.
    pub fn partial(&self) -> impl Iterator<Item = Grown> + '_ {
        let standing = (0..).zip(&self.partial).filter(|(_, tile)| tile.width() > 0);
        standing.map(|(level, tile)| Grown { level, n: self.size / span(level) / TILE_WIDTH, tile: tile.clone() })
    }
}

impl Grown {
    pub fn path(&self) -> TilePath {
        TilePath { kind: Kind::Hashes(self.level), n: self.n, width: self.tile.width() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ledger::tile::tiles_between;

    fn leaf(n: u64) -> Hash {
        Hash::of_leaf(&n.to_be_bytes())
    }

    #[test]
    fn an_edge_grows_into_exactly_the_tiles_and_root_of_the_tree() {
        const SIZE: u64 = 66_000;
        let leaves: Vec<Hash> = (0..SIZE).map(leaf).collect();
        let (mut edge, mut tiles) = (Edge::default(), BTreeMap::new());
        for (size, hash) in (1_u64..).zip(&leaves) {
            for grown in edge.append(*hash) {
                tiles.insert((grown.level, grown.n), grown.tile);
            }
            if size < 600 || size % 9_973 == 0 || size > SIZE - 3 {
                assert_eq!(edge.root(), tree::root_over(&leaves[..usize::try_from(size).unwrap()]), "{size}");
                let partial = edge.partial().map(|grown| grown.path()).collect::<Vec<_>>();
                assert_eq!(partial, Edge::places(size), "{size}");
            }
        }
        tiles.extend(edge.partial().map(|grown| ((grown.level, grown.n), grown.tile)));
        let expected: Vec<_> = (0..levels(SIZE))
            .flat_map(|level| tiles_between(level, 0, SIZE).map(move |path| (level, path.n, path.width)))
            .collect();
        let found: Vec<_> = tiles.iter().map(|((level, n), tile)| (*level, *n, tile.width())).collect();
        assert_eq!(found, expected);
        for ((level, n), tile) in &tiles {
            let under = usize::try_from(span(*level)).unwrap();
            let expected =
                leaves.chunks_exact(under).skip(usize::try_from(*n).unwrap() * 256).map(|l| tree::perfect(l).unwrap());
            assert_eq!(tile.hashes(), expected.take(256).collect::<Vec<_>>(), "{level} {n}");
        }
    }

    #[test]
    fn whole_tiles_append_as_their_entries_would() {
        let (mut one, mut other) = (Edge::default(), Edge::default());
        for n in 0..256 * 300 {
            for grown in one.append(leaf(n)).into_iter().filter(|grown| grown.level == 0) {
                other.append_tile(grown.tile.root().unwrap());
            }
        }
        assert_eq!((one.root(), one.size()), (other.root(), other.size()));
    }

    #[test]
    fn an_edge_of_another_shape_is_refused() {
        let tile = |width| Tile::new(vec![leaf(0); width]);
        assert!(Edge::new(258, vec![tile(2), tile(1)]).is_ok());
        assert!(Edge::new(256, vec![tile(0), tile(1)]).is_ok());
        assert_eq!(Edge::new(258, vec![tile(1), tile(1)]), Err(EdgeError { level: 0, found: 1, expected: 2 }));
        assert_eq!(Edge::new(258, vec![tile(2)]), Err(EdgeError { level: 1, found: 0, expected: 1 }));
        assert_eq!(Edge::new(2, vec![tile(2), tile(1)]), Err(EdgeError { level: 1, found: 1, expected: 0 }));
        assert_eq!(Edge::new(0, vec![]).unwrap().root(), Hash::of_nothing());
    }
}
