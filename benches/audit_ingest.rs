//! How many audit lines a second the ledger takes in, on SQLite and on PostgreSQL.
//!
//! `cargo bench --bench audit_ingest [-- LINES]`: real lines (an intent and its outcome in turn, about a kilobyte each, of
//! a few grants), in batches of a thousand as a sidecar ships them, read and held to each other as the control plane does,
//! each batch one durable transaction. The folder of the SQLite file is TMPDIR's: name a real disk. PostgreSQL is the
//! tests' own (`tests/postgres`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a benchmark that meets the unexpected ends there"
)]

#[path = "../tests/integration/harness/postgres.rs"]
mod postgres;

use std::time::Instant;

use breakglass::audit::{Chain, Event, LineHash, LogEnd, LogId, LogIdentity, LogStart, ToldLine, encode};
use breakglass::clock::Clock;
use breakglass::config::database::PostgresConfig;
use breakglass::domain::WallTime;
use breakglass::store::Store;
use breakglass::store::audit::{AuditBatch, BatchLine, Ingested};
use breakglass::wire::audit::BATCH_LINES_MAX;
use serde_json::Value;

const AT: WallTime = WallTime::from_unix_ms(1_795_313_580_123);
const GRANTS: usize = 16;

fn main() {
    let lines: usize = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(100_000);
    let log = log(lines);
    let bytes: usize = log.iter().map(|line| line.len() + 1).sum();
    println!("{lines} lines, {} bytes each", bytes / lines);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        measure("SQLite", &Store::open(&folder.path().join("db"), Clock::System).await.unwrap(), &log).await;
        let url = postgres::fresh_database();
        measure("PostgreSQL", &Store::connect(&PostgresConfig::new(url), Clock::System).await.unwrap(), &log).await;
    });
}

/// A chain of intents and outcomes. The frame is the log's own, the facts are written in as they would stand.
fn log(lines: usize) -> Vec<Vec<u8>> {
    let identity = LogIdentity {
        service: "payments".parse().unwrap(),
        instance: "s-0".parse().unwrap(),
        version: "0.1.0".to_owned(),
    };
    let mut chain = Chain::start(LogId::from_bytes([7; 16]), None);
    let start = LogStart { at: AT, previous: None, torn_bytes: 0, orphans: 0, previous_damaged: false };
    let mut log = Vec::with_capacity(lines);
    for n in 0..lines {
        let mut line = Vec::new();
        if n == 0 {
            encode(&chain.next(), &identity, &Event::LogStarted(&start), &mut line).unwrap();
        } else {
            let end = LogEnd { at: AT, open_intents: 0 };
            encode(&chain.next(), &identity, &Event::LogEnded(&end), &mut line).unwrap();
            line = with_facts(&line, n, chain.next().seq);
        }
        chain.advance(&line);
        log.push(line);
    }
    log
}

/// The line as an intent, or as the outcome of the one before.
fn with_facts(line: &[u8], n: usize, seq: u64) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(line).unwrap();
    let facts = &mut document["unmapped"]["break_glass"];
    let grant = serde_json::json!({ "id": format!("g-{:012x}", (n / 2) % GRANTS), "role": "payments.override",
        "reason": "stuck_payment", "ticket": "INC-2041", "binding": "identity", "policy_revision": 1, "approvals": [],
        "expires": 1_795_314_180_123_i64 });
    let request = format!("{n:08x}-0000-4000-8000-000000000000");
    facts["request_id"] = request.as_str().into();
    facts["resource"] = "contract/C-1042".into();
    facts["action"] = "payment.release".into();
    facts["person"] = "alice@example.test".into();
    facts["grant"] = grant;
    if n % 2 == 1 {
        facts["kind"] = "intent".into();
        facts["decision"] = "override".into();
        facts["query_names"] = serde_json::json!(["dry_run"]);
        facts["authentication"] =
            serde_json::json!({ "acr": "phr", "amr": ["hwk"], "auth_time": 1_795_313_000_000_i64 });
    } else {
        facts["kind"] = "outcome".into();
        facts["end"] = "completed".into();
        facts["status"] = 200.into();
        let log_id = facts["log_id"].clone();
        facts["intent"] = serde_json::json!({ "log_id": log_id, "seq": seq - 1 });
        let digest = LineHash::of(request.as_bytes()).to_string();
        facts["response"] = serde_json::json!({ "bytes": 211, "sha256": digest });
    }
    serde_json::to_vec(&document).unwrap()
}

async fn measure(what: &str, store: &Store, log: &[Vec<u8>]) {
    let (began, mut slowest) = (Instant::now(), 0.0_f64);
    for lines in log.chunks(BATCH_LINES_MAX) {
        let begun = Instant::now();
        // Read as they come over the wire.
        let batch = batch(lines);
        let count = batch.lines.len() as u64;
        match store.ingest_audit(&batch).await.unwrap() {
            Ingested::Taken { new, forks: 0, lost: 0, .. } if new == count => {}
            other => panic!("{other:?}"),
        }
        slowest = slowest.max(begun.elapsed().as_secs_f64());
    }
    let took = began.elapsed().as_secs_f64();
    println!("{what:>12}: {:8.0} lines/s, slowest batch {:.0} ms", log.len() as f64 / took, slowest * 1e3);
}

fn batch(lines: &[Vec<u8>]) -> AuditBatch {
    let line = |line: &Vec<u8>| BatchLine {
        told: ToldLine::parse(line).unwrap(),
        text: String::from_utf8(line.clone()).unwrap(),
    };
    let lines: Vec<_> = lines.iter().map(line).collect();
    for pair in lines.windows(2) {
        let [before, after] = pair else { unreachable!() };
        assert!(after.told.follows(Some(&before.told.position())));
    }
    AuditBatch {
        service: "payments".parse().unwrap(),
        instance: "s-0".parse().unwrap(),
        lineage: "bench".to_owned(),
        after: lines.first().and_then(|line| line.told.before()),
        lost: None,
        settled: None,
        signed: None,
        lines,
    }
}
