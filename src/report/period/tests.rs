//! Numbers by hand: entries as they are sealed, and what they add up to.

use std::collections::BTreeMap;

use super::*;
use crate::ledger::entry::{Draft, Entry};

pub(in crate::report) fn placed() -> Placed {
    let at = WallTime::EPOCH;
    let tree = SignedTree::default();
    Placed { since: at, before: at, made: at, begin: TreeAt::default(), end: TreeAt::default(), tree }
}
