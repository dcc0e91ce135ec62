//! Tiles and entry bundles (c2sp.org/tlog-tiles): the tree in pieces of 256 hashes, the entries in pieces of 256.
//!
//! A tile of level `l` holds hashes of perfect subtrees of 256^l entries. What is shorter than 256 is partial, and is how
//! the whole one begins: a tile only grows.

use std::fmt;
use std::str::FromStr;

use super::hash::{HASH_BYTES, Hash};
use super::tree::{self, Node, Nodes, ProofError};

/// Height of a tile: it holds `1 << 8` hashes.
pub const TILE_HEIGHT: u32 = 8;
/// Hashes of a whole tile, and entries of a whole bundle.
pub const TILE_WIDTH: u64 = 256;
/// The highest level of a tree of 2^63 entries.
pub const LEVEL_MAX: u32 = 7;
/// Greatest size of an entry: its length stands in two bytes.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Greatest size of a whole bundle.
pub const BUNDLE_BYTES_MAX: usize = 256 * (ENTRY_BYTES_MAX + 2);

/// What kind of resource a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Hashes, of this level.
    Hashes(u32),
    Entries,
}

/// The place of a tile or bundle: its path under the log's prefix, `tile/…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    pub kind: Kind,
    pub n: u64,
    /// 1 to 256; below 256 it is partial.
    pub width: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    #[error("this is not the path of a tile or of a bundle")]
    Path,
    #[error("the tile has {found} bytes, and should have {expected}")]
    Size { found: usize, expected: usize },
    #[error("the bundle ends within its entry {at}")]
    Torn { at: u64 },
    #[error("the bundle has more than {width} entries")]
    Longer { width: u64 },
    #[error("an entry of {bytes} bytes is larger than {ENTRY_BYTES_MAX}")]
    Entry { bytes: usize },
}

impl TilePath {
    pub const fn is_whole(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The smallest tree that has it all.
    pub fn size_min(&self) -> u64 {
        let level = match self.kind {
            Kind::Hashes(level) => level,
            Kind::Entries => 0,
        };
        let hashes = self.n.saturating_mul(TILE_WIDTH).saturating_add(self.width);
        hashes.saturating_mul(span(level))
    }
}

/// Entries under one hash of this level.
pub const fn span(level: u32) -> u64 {
    TILE_WIDTH.saturating_pow(level)
}

/// Every tile of hashes that a tree of `size` entries has at `level`, the partial one last.
pub fn tiles_at(level: u32, size: u64) -> impl Iterator<Item = TilePath> {
    tiles_between(level, 0, size)
}

/// The tiles of `level` that a tree of `new` entries has and one of `old` had not, or had shorter.
pub fn tiles_between(level: u32, old: u64, new: u64) -> impl Iterator<Item = TilePath> {
    let (old, hashes) = (old / span(level), new / span(level));
    let grown = if old == hashes { hashes.div_ceil(TILE_WIDTH) } else { old / TILE_WIDTH };
    (grown..hashes.div_ceil(TILE_WIDTH)).map(move |n| {
        let width = (hashes - n * TILE_WIDTH).min(TILE_WIDTH);
        TilePath { kind: Kind::Hashes(level), n, width }
    })
}

/// Levels that a tree of `size` entries has.
pub fn levels(size: u64) -> u32 {
    (0..=LEVEL_MAX).take_while(|level| span(*level) <= size).map(|level| level + 1).last().unwrap_or(0)
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.n % 1000];
        let mut rest = self.n / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().skip(1).rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", self.n % 1000)?;
        if self.is_whole() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = TileError;

    /// INVARIANT: exactly one path is taken for a place, the one that is written.
    fn from_str(path: &str) -> Result<Self, TileError> {
        let found = parse(path).ok_or(TileError::Path)?;
        if found.to_string() == path { Ok(found) } else { Err(TileError::Path) }
    }
}

fn parse(path: &str) -> Option<TilePath> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => Kind::Entries,
        level => Kind::Hashes(level.parse().ok().filter(|level| *level <= LEVEL_MAX)?),
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        None => (rest, TILE_WIDTH),
    };
    let n = number.split('/').try_fold(0_u64, |n, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        n.checked_mul(1000)?.checked_add(digits.parse().ok()?)
    })?;
    Some(TilePath { kind, n, width })
}

/// The hashes of one tile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tile(Vec<Hash>);

impl Tile {
    pub fn new(hashes: Vec<Hash>) -> Self {
        Self(hashes)
    }

    /// Reads a tile that must be `width` hashes wide.
    ///
    /// # Errors
    /// [`TileError::Size`].
    pub fn read(bytes: &[u8], width: u64) -> Result<Self, TileError> {
        let expected = usize::try_from(width).unwrap_or(usize::MAX).saturating_mul(HASH_BYTES);
        if bytes.len() != expected {
            return Err(TileError::Size { found: bytes.len(), expected });
        }
        let hashes = bytes.chunks_exact(HASH_BYTES).filter_map(|chunk| chunk.try_into().ok());
        Ok(Self(hashes.map(Hash::from_bytes).collect()))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }

    pub fn push(&mut self, hash: Hash) {
        self.0.push(hash);
    }

    pub fn width(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    pub fn is_whole(&self) -> bool {
        self.width() == TILE_WIDTH
    }

    /// The hash that stands for the whole tile one level up.
    pub fn root(&self) -> Option<Hash> {
        tree::perfect(&self.0).filter(|_| self.is_whole())
    }

    /// The node `height` above this tile's hashes, `index` counted from its left.
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let start = usize::try_from(index << height).ok()?;
        tree::perfect(self.0.get(start..start + (1_usize << height))?)
    }
}

/// Level and number of the tile that a node is made of.
const fn holder(node: Node) -> (u32, u64) {
    let (level, height) = (node.height / TILE_HEIGHT, node.height % TILE_HEIGHT);
    (level, node.index / (TILE_WIDTH >> height))
}

/// Nodes of the tree, out of its tiles: `tile` gives the tile of a level and number, as wide as it has it.
pub fn nodes<'a, T>(tile: impl Fn(u32, u64) -> Option<T> + 'a) -> impl Nodes + 'a
where
    T: std::ops::Deref<Target = Tile> + 'a,
{
    move |node: Node| {
        let (level, n) = holder(node);
        let height = node.height % TILE_HEIGHT;
        tile(level, n)?.node(height, node.index % (TILE_WIDTH >> height))
    }
}

/// The places of the tiles that a proof about entry `index`, in the tree of `size` entries, is made of.
///
/// # Errors
/// [`ProofError::Outside`].
pub fn for_inclusion(index: u64, size: u64) -> Result<Vec<TilePath>, ProofError> {
    wanted(size, |nodes| tree::prove_inclusion(&nodes, index, size).map(drop))
}

/// The same, for a proof that the tree of `new` entries began as that of `old`.
///
/// # Errors
/// [`ProofError::Shrinks`].
pub fn for_consistency(old: u64, new: u64) -> Result<Vec<TilePath>, ProofError> {
    wanted(new, |nodes| tree::prove_consistency(&nodes, old, new).map(drop))
}

/// The same, for the root of the tree of `size` entries.
pub fn for_root(size: u64) -> Vec<TilePath> {
    wanted(size, |nodes| tree::root(&nodes, size).map(drop)).unwrap_or_default()
}

fn wanted(
    size: u64,
    prove: impl FnOnce(&dyn Fn(Node) -> Option<Hash>) -> Result<(), ProofError>,
) -> Result<Vec<TilePath>, ProofError> {
    let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let note = |node: Node| {
        let (level, n) = holder(node);
        let width = (size / span(level)).saturating_sub(n * TILE_WIDTH).min(TILE_WIDTH);
        asked.borrow_mut().insert(TilePath { kind: Kind::Hashes(level), n, width });
        Some(Hash::of_nothing())
    };
    prove(&note)?;
    Ok(asked.into_inner().into_iter().collect())
}

/// The entries of a bundle, each with two bytes of length before it.
///
/// # Errors
/// [`TileError::Entry`].
pub fn write_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TileError> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| TileError::Entry { bytes: entry.len() })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle, as far as they are whole, and what is wrong with what follows.
pub fn read_bundle(bytes: &[u8], width: u64) -> (Vec<&[u8]>, Option<TileError>) {
    let (mut rest, mut entries) = (bytes, Vec::new());
    for at in 0..width {
        let whole = rest
            .split_first_chunk::<2>()
            .and_then(|(length, after)| after.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        let Some((entry, after)) = whole else { return (entries, Some(TileError::Torn { at })) };
        entries.push(entry);
        rest = after;
    }
    (entries, (!rest.is_empty()).then_some(TileError::Longer { width }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(level: u32, n: u64, width: u64) -> TilePath {
        TilePath { kind: Kind::Hashes(level), n, width }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(hashes(0, 1_234_067, 256).to_string(), "tile/0/x001/x234/067");
        assert_eq!(hashes(1, 0, 17).to_string(), "tile/1/000.p/17");
        assert_eq!(TilePath { kind: Kind::Entries, n: 1000, width: 1 }.to_string(), "tile/entries/x001/000.p/1");
        for bad in [
            "tile/0/0",
            "tile/0/x000/000",
            "tile/00/000",
            "tile/8/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/entries/",
            "tile/data/000",
            "tile/0/+01",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(bad.parse::<TilePath>(), Err(TileError::Path), "{bad}");
        }
    }

    #[test]
    fn a_tree_of_seventy_thousand_has_the_tiles_of_the_specifications_example() {
        let at = |level| {
            let tiles: Vec<_> = tiles_at(level, 70_000).collect();
            (tiles.len(), tiles.last().map(|tile| tile.width))
        };
        assert_eq!([at(0), at(1), at(2)], [(274, Some(112)), (2, Some(17)), (1, Some(1))]);
        assert_eq!((levels(70_000), levels(256), levels(255), levels(0)), (3, 2, 1, 0));
        assert_eq!(tiles_at(3, 70_000).count(), 0);
        let grown: Vec<_> = tiles_between(0, 250, 520).collect();
        assert_eq!(grown, [hashes(0, 0, 256), hashes(0, 1, 256), hashes(0, 2, 8)]);
        assert_eq!(tiles_between(1, 250, 255).count(), 0);
        assert_eq!(tiles_between(0, 256, 256).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn a_path_reads_back(level in 0..=LEVEL_MAX, n in 0..u64::MAX >> 8, width in 1..=TILE_WIDTH, bundle: bool) {
            let kind = if bundle { Kind::Entries } else { Kind::Hashes(level) };
            let path = TilePath { kind, n, width };
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn proofs_out_of_tiles_hold(size in 1_u64..1500, index: u64, old: u64) {
            let (index, old) = (index % size, old % (size + 1));
            let leaves: Vec<Hash> = (0..size).map(|n| Hash::of_leaf(&n.to_be_bytes())).collect();
            let tile = |level: u32, n: u64| {
                let under = usize::try_from(span(level)).unwrap();
                let leaves = leaves.chunks_exact(under).skip(usize::try_from(n).unwrap() * 256).take(256);
                Some(Box::new(Tile::new(leaves.map(|leaves| tree::perfect(leaves).unwrap()).collect())))
            };
            let root = tree::root_over(&leaves);
            let nodes = nodes(tile);
            prop_assert_eq!(tree::root(&nodes, size), Ok(root));
            let proof = tree::prove_inclusion(&nodes, index, size).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            prop_assert_eq!(tree::check_inclusion(&proof, index, size, leaf, root), Ok(()));
            let proof = tree::prove_consistency(&nodes, old, size).unwrap();
            let old_root = tree::root_over(&leaves[..usize::try_from(old).unwrap()]);
            prop_assert_eq!(tree::check_consistency(&proof, (old, old_root), (size, root)), Ok(()));
            for path in for_inclusion(index, size).unwrap().into_iter().chain(for_consistency(old, size).unwrap()) {
                prop_assert!(path.size_min() <= size && path.width > 0, "{path}");
            }
        }
    }

    #[test]
    fn a_bundle_reads_back_and_says_where_it_is_torn() {
        let entries: Vec<&[u8]> = vec![b"one", b"", b"three"];
        let bytes = write_bundle(entries.iter().copied()).unwrap();
        assert_eq!(read_bundle(&bytes, 3), (entries.clone(), None));
        assert_eq!(read_bundle(&bytes, 2), (entries[..2].to_vec(), Some(TileError::Longer { width: 2 })));
        assert_eq!(read_bundle(&bytes, 4).1, Some(TileError::Torn { at: 3 }));
        assert_eq!(read_bundle(&bytes[..bytes.len() - 1], 3), (entries[..2].to_vec(), Some(TileError::Torn { at: 2 })));
        let large = vec![0; ENTRY_BYTES_MAX + 1];
        assert_eq!(write_bundle([large.as_slice()]), Err(TileError::Entry { bytes: ENTRY_BYTES_MAX + 1 }));
        assert!(write_bundle([&large[1..]]).is_ok());
    }

    #[test]
    fn a_tile_of_another_width_is_refused() {
        let tile = Tile::new(vec![Hash::of_nothing(); 3]);
        assert_eq!(Tile::read(&tile.to_bytes(), 3), Ok(tile.clone()));
        assert_eq!(Tile::read(&tile.to_bytes(), 4), Err(TileError::Size { found: 96, expected: 128 }));
        assert_eq!(tile.root(), None);
    }
}
