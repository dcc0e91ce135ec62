//! Is a log whole and unchanged? Every entry is hashed anew, the tree is built from nothing, and what comes out is held
//! against the signed checkpoint and the tiles as they are served. What is wrong is named by the first entry it concerns.
//!
//! 1. `piece`: each bundle beside its tile, on its own, in any order and on any thread.
//! 2. `walk`: the tree over all of them; where its root is another than the signed one, down through the tiles that the
//!    signature still vouches for to the first entry that differs.
//!
//! Must never: take a tile for true because it is there.

mod piece;
mod walk;

use std::fmt;

use super::checkpoint::Checkpoint;
use super::hash::Hash;
use super::tile::{TILE_WIDTH, TilePath};

pub use piece::{Piece, examine};
pub use walk::Verification;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    pub checkpoint: Checkpoint,
    /// Entries that were read.
    pub entries: u64,
    /// The first thing that is wrong.
    pub wrong: Option<Wrong>,
    /// Entries that are older than the one before them: a clock that went back. No failure of the log.
    pub clock_back: ClockBack,
}

impl LogReport {
    pub fn is_sound(&self) -> bool {
        self.wrong.is_none()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockBack {
    pub times: u64,
    /// The first such entry.
    pub first: Option<u64>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The first entry that is not what it should be; `None` where nothing says which.
    pub entry: Option<u64>,
    pub how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// The bundle that should hold it is not there.
    Missing,
    /// The bundle ends within it, or before it.
    Torn,
    /// The bundle has more than it should, from this place on.
    TooMany,
    /// Another entry was signed at this place. `says`: which entry it says it is, if it says so.
    Other { says: Option<u64> },
    /// It fits the tree, but says that it is another one.
    Misplaced { says: u64 },
    /// It fits the tree, but is no entry of this format.
    NotAnEntry(&'static str),
    /// One of the entries up to, and without, `end`: their tile was altered with them.
    Within { end: u64 },
    /// The entries are what was signed; this tile is not.
    Tile(TilePath),
    /// This tile is missing, or has another size.
    NoTile(TilePath),
    /// Entries and tiles fit each other, but not the signed root.
    OtherRoot,
    /// The log does not begin with the tree of an earlier checkpoint.
    NotThatOf { known: u64 },
    /// The log is shorter than an earlier checkpoint says.
    Shorter { known: u64 },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |f: &mut fmt::Formatter<'_>| match self.entry {
            Some(entry) => write!(f, "entry {entry}: "),
            None => Ok(()),
        };
        entry(f)?;
        match &self.how {
            How::Missing => f.write_str("it is missing, and so is its bundle"),
            How::Torn => f.write_str("its bundle ends before it does"),
            How::TooMany => f.write_str("its bundle holds more than there are entries"),
            How::Other { says: Some(says) } if Some(*says) != self.entry => {
                write!(f, "another entry was signed here; this one says that it is entry {says}")?;
                f.write_str(if Some(*says) > self.entry { ": what stood before it is gone" } else { ": it was put in" })
            }
            How::Other { says: Some(_) } => f.write_str("it was altered after it was signed"),
            How::Other { says: None } => f.write_str("it was altered after it was signed, and is no entry any more"),
            How::Misplaced { says } => write!(f, "it says that it is entry {says}"),
            How::NotAnEntry(why) => write!(f, "it is signed, but {why}"),
            How::Within { end } => {
                write!(f, "it, or one after it and before entry {end}, was altered together with the tile over them")
            }
            How::Tile(path) => write!(f, "{path} is not the tile over the entries that were signed"),
            How::NoTile(path) => write!(f, "{path} is missing, or has not its size"),
            How::OtherRoot => f.write_str("the tree over the entries has another root than the one that was signed"),
            How::NotThatOf { known } => {
                write!(f, "the log does not begin with the {known} entries of the checkpoint that is known")
            }
            How::Shorter { known } => write!(f, "the log is shorter than the {known} entries that were signed before"),
        }
    }
}

/// An earlier tree of the same log, which must be how this one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub size: u64,
    pub root: Hash,
}

/// The bundles of a log of `size` entries, in order.
pub fn bundles(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(TILE_WIDTH)).map(move |n| (n, (size - n * TILE_WIDTH).min(TILE_WIDTH)))
}

#[cfg(test)]
mod tests;
