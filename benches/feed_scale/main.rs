//! How one control plane bears many sidecars: how long a revocation takes to arrive at all of them, what each costs in
//! memory, and how long all of them take to come back at once. Printed as a table.
//!
//! `cargo bench --bench feed_scale [-- postgres] [FEEDS REVOCATIONS]…`; by default 100 feeds with 200 revocations, then
//! 5,000 with 50. The control plane is in this process, with its database, its API and somebody who watches each
//! revocation arrive; the feeds are in another, so that the memory measured is the control plane's own. Both share the
//! machine: what the feeds take of it, sidecars elsewhere would not.
//!
//! All feeds are of one service, so that every revocation concerns all of them. Times come from the control plane: the
//! last acknowledgement is when it has arrived there, in whole milliseconds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    unused_imports,
    reason = "a benchmark that meets the unexpected ends there, and uses a part of the tests' harness"
)]

mod crowd;
#[path = "../../tests/integration/harness/mod.rs"]
mod harness;
mod memory;
mod sidecars;

use std::time::{Duration, Instant};

use breakglass::wire::api::GrantView;
use harness::{Ask, Dice, Site};
use http::Method;
use memory::Memory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use sidecars::{Return, Sidecars};

/// Feeds and revocations.
const RUNS: [(usize, usize); 2] = [(100, 200), (5_000, 50)];
/// The greatest p99 from the call to the last acknowledgement, by feeds.
const AIMS_MS: [(usize, u64); 2] = [(100, 50), (5_000, 1_000)];
const AIM_BYTES_PER_FEED: u64 = 64 * 1024;
/// Pauses between revocations are of any length up to this, so that they fall into each other's work no more than chance
/// has it, and into the control plane's own rounds as often as that.
const PAUSE_MS_MAX: usize = 500;
/// How long all are left alone before what they hold is counted.
const REST: Duration = Duration::from_secs(5);
const STORMS: usize = 3;

/// Of each revocation, in milliseconds.
#[derive(Default)]
struct Spans {
    /// From the call to the last acknowledgement.
    called: Vec<u64>,
    /// From the commit to the last acknowledgement.
    committed: Vec<u64>,
    /// From the call until the watcher is told that all have answered.
    told: Vec<u64>,
}

async fn measure(postgres: bool, feeds: usize, revocations: usize) {
    let mut site = Site::start().await;
    if postgres {
        site.stop_control().await;
        site.database = tokio::task::spawn_blocking(harness::postgres::fresh_database).await.unwrap();
        site.start_control().await;
    }
    eprintln!("{feeds} feeds: {revocations} grants are issued");
    let mut grants = Vec::with_capacity(revocations);
    for _ in 0..revocations {
        grants.push(site.grant(&Ask { duration_s: 3_600, ..Ask::default() }).await);
    }
    let before = Memory::now();
    eprintln!("{feeds} feeds: they begin");
    let mut sidecars = Sidecars::start(site.path(), site.feed, feeds);
    sidecars.until_there().await;
    assert_eq!(site.control().hub().connected(), feeds);
    tokio::time::sleep(REST).await;
    let resting = Memory::now();
    let spans = revoke_all(&site, feeds, &grants).await;
    print_spans(feeds, &spans);
    let mut storms = Vec::with_capacity(STORMS);
    Memory::forget_peak();
    for number in 1..=STORMS {
        eprintln!("{feeds} feeds: storm {number}");
        storms.push(sidecars.storm().await);
        tokio::time::sleep(REST).await;
    }
    let storm_peak = Memory::peak();
    drop(sidecars);
    site.stop_control().await;
    print_memory(feeds, before, resting, storm_peak);
    print_storms(feeds, &storms);
}

async fn revoke_all(site: &Site, feeds: usize, grants: &[GrantView]) -> Spans {
    let (mut spans, mut dice) = (Spans::default(), Dice::of(feeds as u64));
    for (number, grant) in grants.iter().enumerate() {
        if number % 10 == 0 {
            eprintln!("{feeds} feeds: {number} of {} revocations", grants.len());
        }
        tokio::time::sleep(Duration::from_millis(dice.below(PAUSE_MS_MAX) as u64)).await;
        revoke(site, feeds, grant, &mut spans).await;
    }
    spans
}

async fn revoke(site: &Site, feeds: usize, grant: &GrantView, spans: &mut Spans) {
    let (called, began) = (site.clock.wall(), Instant::now());
    let path = format!("/v1/grants/{}/revoke", grant.id);
    let (status, said) = site.api(Method::POST, &path, grant.person.as_str(), json!({})).await;
    assert_eq!(status, 200, "{said}");
    let told = site.enforcement(grant, grant.person.as_str()).await;
    spans.told.push(began.elapsed().as_millis() as u64);
    assert_eq!((told.enforced as usize, told.silent.len()), (feeds, 0), "{told:?}");
    spans.committed.push(told.elapsed_ms.unwrap());
    let from_the_call = site.control().hub().enforcement(&grant.service, told.revision, called);
    spans.called.push(from_the_call.elapsed_ms.unwrap());
}

fn print_spans(feeds: usize, spans: &Spans) {
    println!("{:<48} {:>6} {:>8} {:>8} {:>8}", format!("{feeds} feeds, milliseconds"), "n", "p50", "p99", "max");
    let rows = [
        ("revoke called -> last acknowledgement", &spans.called),
        ("revoke committed -> last acknowledgement", &spans.committed),
        ("revoke called -> watcher told", &spans.told),
    ];
    for (what, spans) in rows {
        println!("{what:<48} {:>6} {:>8} {:>8} {:>8}", spans.len(), at(spans, 0.5), at(spans, 0.99), at(spans, 1.0));
    }
    if let Some((_, aim)) = AIMS_MS.iter().find(|(of, _)| *of == feeds) {
        let met = if at(&spans.called, 0.99) < *aim { "met" } else { "missed" };
        println!("{:<48} {met}", format!("aim: p99 from the call under {aim}"));
    }
}

fn at(spans: &[u64], share: f64) -> u64 {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * share).ceil() as usize]
}

fn print_memory(feeds: usize, before: Memory, resting: Memory, storm_peak: Memory) {
    let per_feed = resting.bytes.saturating_sub(before.bytes) / feeds as u64;
    let met = if per_feed < AIM_BYTES_PER_FEED { "met" } else { "missed" };
    println!("memory before {before}, with all at rest {resting}, greatest in a storm {storm_peak}");
    println!("memory of one feed {:.1} KiB (aim: under 64, {met})", per_feed as f64 / 1024.0);
}

fn print_storms(feeds: usize, storms: &[Return]) {
    for storm in storms {
        let Return { took_ms, put_off, failed } = storm;
        println!(
            "storm: all {feeds} left at once, all back after {took_ms} ms; 503 with Retry-After: {put_off}, failed otherwise: {failed}"
        );
    }
    println!();
}

/// Each connection is a descriptor, in each of the two processes.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

fn main() {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [mode, folder, replica, count] = words.as_slice()
        && mode == sidecars::MODE
    {
        runtime.block_on(crowd::run(folder.as_ref(), replica.parse().unwrap(), count.parse().unwrap()));
        return;
    }
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let asked: Vec<_> = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let postgres = words.iter().any(|word| word == "postgres");
    println!("database: {}", if postgres { "PostgreSQL (fsync off)" } else { "SQLite" });
    for (feeds, revocations) in if asked.is_empty() { RUNS.to_vec() } else { asked } {
        runtime.block_on(measure(postgres, feeds, revocations));
    }
}
