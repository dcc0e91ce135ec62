//! Whatever is done to a log is seen, and the first entry that it was done to is named.

use proptest::prelude::*;

use super::*;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::forgery::{Resources, bundles_of, first_changed, forged, forgeries};
use crate::ledger::sample::SampleLog;
use crate::ledger::tile::Kind;

fn verify(checkpoint: Checkpoint, resources: &Resources, known: &[Known]) -> LogReport {
    let size = checkpoint.size;
    let mut verification = Verification::new(checkpoint, known.to_vec());
    for path in Verification::upper_tiles(size) {
        verification.upper_tile(path, resources.get(&path).map(Vec::as_slice));
    }
    for (n, width) in bundles(size) {
        let at = |kind| resources.get(&TilePath { kind, n, width }).map(Vec::as_slice);
        verification.piece(examine((n, width), at(Kind::Entries), at(Kind::Hashes(0)), known));
    }
    verification.finish()
}

fn of(log: &SampleLog) -> LogReport {
    verify(log.checkpoint(), &log.resources(), &[])
}

#[test]
fn a_whole_log_of_any_size_is_sound() {
    for size in [1, 2, 255, 256, 257, 511, 512, 700] {
        let report = of(&SampleLog::of(size));
        assert_eq!((report.wrong.clone(), report.entries), (None, size), "{report:?}");
        assert_eq!(report.clock_back, ClockBack::default());
    }
    let empty = SampleLog::of(0);
    assert!(of(&empty).is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_first_forged_entry_is_named(size in 1_u64..700, forgery in forgeries()) {
        let log = SampleLog::of(size);
        let entries = forged(&log.entries, &forgery);
        let Some(first) = first_changed(&log.entries, &entries) else { return Ok(()) };
        let report = verify(log.checkpoint(), &bundles_of(&log, entries), &[]);
        let wrong = report.wrong.expect("the forgery was not seen");
        prop_assert_eq!(wrong.entry, Some(first), "{:?}: {}", forgery, wrong);
    }

    /// Who also rewrites every tile can't sign another root. Where the entries still count, nothing says which it was.
    #[test]
    fn a_forger_who_rewrites_all_tiles_is_seen(size in 1_u64..700, forgery in forgeries()) {
        let log = SampleLog::of(size);
        let entries = forged(&log.entries, &forgery);
        let Some(first) = first_changed(&log.entries, &entries) else { return Ok(()) };
        let other = log.with(entries);
        let checkpoint = Checkpoint { size: other.size(), ..log.checkpoint() };
        if checkpoint.size == 0 { return Ok(()) }
        let report = verify(checkpoint, &other.resources(), &[]);
        let wrong = report.wrong.expect("the forgery was not seen");
        prop_assert!(wrong.entry.is_none_or(|entry| entry == first), "{:?}: {}", forgery, wrong);
    }

    /// Tiles of one level, or of all but the highest, are rewritten with the entries.
    #[test]
    fn a_forger_who_rewrites_some_tiles_is_seen_nearby(size in 600_u64..1300, forgery in forgeries()) {
        let log = SampleLog::of(size);
        let entries = forged(&log.entries, &forgery);
        let Some(first) = first_changed(&log.entries, &entries) else { return Ok(()) };
        let mut resources = bundles_of(&log, entries.clone());
        for (path, bytes) in log.with(entries).resources() {
            if path.kind == Kind::Hashes(0) && resources.contains_key(&path) {
                resources.insert(path, bytes);
            }
        }
        let report = verify(log.checkpoint(), &resources, &[]);
        let wrong = report.wrong.expect("the forgery was not seen");
        let place = wrong.entry.map(|entry| entry / TILE_WIDTH);
        prop_assert!(place.is_none_or(|place| place <= first / TILE_WIDTH), "{forgery:?}: {wrong}");
        prop_assert!(wrong.entry.is_some() || first >= size / TILE_WIDTH * TILE_WIDTH, "{forgery:?}: {wrong}");
    }

    #[test]
    fn one_bit_of_one_tile_is_seen_and_the_tile_named(size in 1_u64..700, which: u64, bit: u64) {
        let log = SampleLog::of(size);
        let mut resources = log.resources();
        let tiles: Vec<TilePath> =
            resources.keys().filter(|path| path.kind != Kind::Entries).copied().collect();
        let path = tiles[usize::try_from(which % tiles.len() as u64).unwrap()];
        let bytes = resources.get_mut(&path).unwrap();
        let place = usize::try_from(bit % (bytes.len() as u64 * 8)).unwrap();
        bytes[place / 8] ^= 1 << (place % 8);
        let report = verify(log.checkpoint(), &resources, &[]);
        prop_assert_eq!(report.wrong.expect("it was not seen").how, How::Tile(path));
    }
}

#[test]
fn what_is_missing_or_torn_is_named() {
    let log = SampleLog::of(600);
    let path = |kind, n, width| TilePath { kind, n, width };
    let without = |path: TilePath| {
        let mut resources = log.resources();
        resources.remove(&path).unwrap();
        verify(log.checkpoint(), &resources, &[]).wrong.unwrap()
    };
    let missing = without(path(Kind::Entries, 1, 256));
    assert_eq!(missing, Wrong { entry: Some(256), how: How::Missing });
    let tile = path(Kind::Hashes(0), 1, 256);
    assert_eq!(without(tile), Wrong { entry: Some(256), how: How::NoTile(tile) });
    let upper = path(Kind::Hashes(1), 0, 2);
    assert_eq!(without(upper), Wrong { entry: Some(0), how: How::NoTile(upper) });
    let mut resources = log.resources();
    let bundle = resources.get_mut(&path(Kind::Entries, 2, 88)).unwrap();
    bundle.pop();
    let torn = verify(log.checkpoint(), &resources, &[]).wrong.unwrap();
    assert_eq!(torn, Wrong { entry: Some(599), how: How::Torn });
    assert_eq!(torn.to_string(), "entry 599: its bundle ends before it does");
}

#[test]
fn an_entry_that_is_signed_and_is_none_is_named() {
    let log = SampleLog::of(5);
    let with = |index: usize, entry: &str| {
        let mut entries = log.entries.clone();
        entry.clone_into(&mut entries[index]);
        of(&log.with(entries)).wrong.unwrap().to_string()
    };
    assert_eq!(with(3, "no JSON"), "entry 3: it is signed, but it is not JSON");
    assert_eq!(with(3, &log.entries[2]), "entry 3: it says that it is entry 2");
    assert_eq!(with(1, "{}"), "entry 1: it is signed, but it names no index");
    let spaced = log.entries[4].replace(':', ": ");
    assert_eq!(with(4, &spaced), "entry 4: it is signed, but it is not in canonical form (RFC 8785)");
    let format = log.entries[4].replace(r#""format":1"#, r#""format":2"#);
    assert_eq!(with(4, &format), "entry 4: it is signed, but its format is of another version");
}

#[test]
fn a_log_is_how_it_was_known_to_begin() {
    let log = SampleLog::of(700);
    let known = |size| Known { size, root: log.root(size) };
    for size in [0, 1, 255, 256, 300, 512, 699, 700] {
        let report = verify(log.checkpoint(), &log.resources(), &[known(size)]);
        assert_eq!(report.wrong, None, "{size}");
        let other = Known { size, root: Hash::of_leaf(b"fork") };
        let report = verify(log.checkpoint(), &log.resources(), &[other]);
        let expected = (size > 0).then_some(How::NotThatOf { known: size });
        assert_eq!(report.wrong.map(|wrong| wrong.how), expected, "{size}");
    }
    let report = verify(log.checkpoint(), &log.resources(), &[Known { size: 701, root: Hash::of_nothing() }]);
    assert_eq!(report.wrong.unwrap().how, How::Shorter { known: 701 });
}

#[test]
fn a_clock_that_went_back_is_told() {
    let log = SampleLog::of(300);
    let mut entries = log.entries.clone();
    for place in [100, 256] {
        let at = format!(r#""at":{}"#, 1_795_313_580_000_i64 + i64::try_from(place).unwrap() * 1000);
        assert!(entries[place].contains(&at), "{}", entries[place]);
        entries[place] = entries[place].replace(&at, r#""at":1795313580000"#);
    }
    let report = of(&log.with(entries));
    assert!(report.is_sound());
    assert_eq!(report.clock_back, ClockBack { times: 2, first: Some(100) });
}
