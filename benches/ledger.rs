//! How fast the ledger takes entries in, and how fast a whole log is verified. Printed as a table.
//!
//! `cargo bench --bench ledger [-- ENTRIES]`; by default a million. Entries go through the store in batches of a thousand, each
//! a durable transaction of its own, and the tree grows over them as the sequencer grows it; verification reads a folder as
//! `breakglass audit verify` does, by the same code. The database is a SQLite file under the system's folder for temporary files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that meets the unexpected ends there"
)]

use std::path::Path;
use std::time::Instant;

use breakglass::clock::Clock;
use breakglass::domain::GrantId;
use breakglass::ledger::checkpoint::Checkpoint;
use breakglass::ledger::entry::Draft;
use breakglass::ledger::note::{KeyKind, SignatureLine, VerifierKey};
use breakglass::ledger::tile::{Kind, TilePath, levels, tiles_at, write_bundle};
use breakglass::store::{Growth, Store};
use breakglass::token::SigningKey;

const ENTRIES: u64 = 1_000_000;
const BATCH: u64 = 1_000;
const STEP: u32 = 4_096;
const AIM_PER_S: f64 = 20_000.0;
const AIM_VERIFY_S: f64 = 10.0;

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let entries: u64 = asked.unwrap_or(ENTRIES);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = runtime.block_on(fill(folder.path(), entries));
    let began = Instant::now();
    let log = folder.path().join("log");
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_breakglass"))
        .args(["audit", "verify", log.to_str().unwrap(), "--key", &key.to_string()])
        .status()
        .unwrap();
    assert!(ended.success(), "the log does not verify");
    let took = began.elapsed().as_secs_f64();
    println!(
        "verified   {entries} entries in {took:.2} s, {:.0} a second (aim: a million in {AIM_VERIFY_S} s)",
        entries as f64 / took
    );
}

/// Takes entries in, and writes the log to a folder.
async fn fill(folder: &Path, entries: u64) -> VerifierKey {
    let store = Store::open(&folder.join("control.db"), Clock::System).await.unwrap();
    let began = Instant::now();
    let mut growing = 0.0;
    for batch in 0..entries.div_ceil(BATCH) {
        let count = BATCH.min(entries - batch * BATCH);
        let drafts = (0..count).map(|n| Draft::grant_used_up(&GrantId::from_random(batch * BATCH + n), n));
        store.record_all(drafts.collect()).await.unwrap();
        let step = Instant::now();
        while !matches!(store.grow_ledger(STEP).await.unwrap(), Growth::Current { .. }) {}
        growing += step.elapsed().as_secs_f64();
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "taken in   {entries} entries in {took:.2} s, {:.0} a second, {growing:.2} s of it for the tree (aim: {AIM_PER_S:.0} a second)",
        entries as f64 / took
    );
    write_log(&store, &folder.join("log"), entries).await
}

async fn write_log(store: &Store, folder: &Path, size: u64) -> VerifierKey {
    let write = |path: &str, bytes: &[u8]| {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    };
    for path in (0..levels(size)).flat_map(|level| tiles_at(level, size)) {
        let Kind::Hashes(level) = path.kind else { continue };
        write(&path.to_string(), &store.ledger_tile(level, &path).await.unwrap().unwrap().to_bytes());
        if level == 0 {
            let bundle = TilePath { kind: Kind::Entries, ..path };
            let entries = store.ledger_bundle(&bundle).await.unwrap().unwrap();
            write(&bundle.to_string(), &write_bundle(entries.iter().map(String::as_bytes)).unwrap());
        }
    }
    let signer = SigningKey::generate().unwrap();
    let key = VerifierKey::new("bench.test/ledger".parse().unwrap(), KeyKind::Note, *signer.public().as_bytes());
    let root = store.ledger_root_at(size).await.unwrap().unwrap();
    let checkpoint = Checkpoint { origin: key.name().clone(), size, root };
    let signature = signer.sign(checkpoint.text().as_bytes()).unwrap();
    write("checkpoint", checkpoint.signed(vec![SignatureLine::by(&key, signature)]).unwrap().to_string().as_bytes());
    key
}
