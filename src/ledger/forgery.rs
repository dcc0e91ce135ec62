//! What a forger does to a log that was signed. Only for tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::sample::SampleLog;
use super::tile::{Kind, TILE_WIDTH, TilePath, write_bundle};
use super::verify::bundles;

pub(crate) type Resources = BTreeMap<TilePath, Vec<u8>>;

/// What becomes of the entries. Places are taken modulo their number.
#[derive(Debug, Clone)]
pub(crate) enum Forgery {
    /// One byte of one entry.
    Alter(u64, u64),
    Drop(u64),
    Swap(u64, u64),
    /// A copy of one entry in front of another.
    Insert(u64, u64),
    /// An entry twice in a row.
    Duplicate(u64),
    /// Everything from here on is gone.
    Truncate(u64),
    /// A run of entries, from one place, stands in place of those at another.
    Splice(u64, u64, u64),
}

pub(crate) fn forgeries() -> impl Strategy<Value = Forgery> {
    let two = (any::<u64>(), any::<u64>());
    prop_oneof![
        two.prop_map(|(at, byte)| Forgery::Alter(at, byte)),
        any::<u64>().prop_map(Forgery::Drop),
        two.prop_map(|(one, other)| Forgery::Swap(one, other)),
        two.prop_map(|(from, to)| Forgery::Insert(from, to)),
        any::<u64>().prop_map(Forgery::Duplicate),
        any::<u64>().prop_map(Forgery::Truncate),
        (two, 1_u64..300).prop_map(|((from, to), length)| Forgery::Splice(from, to, length)),
    ]
}

/// The entries after the forgery.
pub(crate) fn forged(entries: &[String], forgery: &Forgery) -> Vec<String> {
    let mut forged = entries.to_vec();
    let at = |place: u64| usize::try_from(place % entries.len() as u64).unwrap();
    match forgery {
        Forgery::Alter(place, byte) => {
            let entry = &mut forged[at(*place)];
            let mut bytes = entry.clone().into_bytes();
            let index = usize::try_from(byte % bytes.len() as u64).unwrap();
            bytes[index] = if bytes[index] == b'x' { b'y' } else { b'x' };
            *entry = String::from_utf8(bytes).unwrap();
        }
        Forgery::Drop(place) => drop(forged.remove(at(*place))),
        Forgery::Swap(one, other) => forged.swap(at(*one), at(*other)),
        Forgery::Insert(from, to) => forged.insert(at(*to), entries[at(*from)].clone()),
        Forgery::Duplicate(place) => forged.insert(at(*place), entries[at(*place)].clone()),
        Forgery::Truncate(place) => forged.truncate(at(*place)),
        Forgery::Splice(from, to, length) => {
            let (from, to) = (at(*from), at(*to));
            let length = usize::try_from(*length).unwrap().min(entries.len() - from.max(to));
            forged.splice(to..to + length, entries[from..from + length].to_vec());
        }
    }
    forged
}

/// The first entry of the signed log that is another in the forged one.
pub(crate) fn first_changed(entries: &[String], forged: &[String]) -> Option<u64> {
    let same = entries.iter().zip(forged).take_while(|(one, other)| one == other).count();
    (same < entries.len() || forged.len() > entries.len()).then_some(same as u64)
}

/// The signed log's tiles over forged entries.
pub(crate) fn bundles_of(log: &SampleLog, forged: Vec<String>) -> Resources {
    let mut resources = log.resources();
    let size = log.size();
    let forged = log.with(forged);
    for (n, width) in bundles(size) {
        let is_last = n == (size - 1) / TILE_WIDTH;
        let mut bundle = forged.bundle(n);
        if is_last && forged.size() > size {
            // What is too many stands at the end of the last bundle, where it has room.
            for entry in forged.entries.iter().skip(usize::try_from((n + 1) * TILE_WIDTH).unwrap()) {
                bundle.extend(write_bundle([entry.as_bytes()]).unwrap());
            }
        }
        resources.insert(TilePath { kind: Kind::Entries, n, width }, bundle);
    }
    resources
}
