//! What durability adds to an override: how long a request waits for its intent, p50 and p99, by how many are in flight.
//!
//! `cargo bench --bench intent_latency [-- ROUNDS FOLDER]`: the real writer of the audit log on a real folder (by default
//! under `target`, the disk that one builds on; another can be named). "each alone" submits one intent after the other, as a
//! log would that syncs for each line. Beside it, measured in the same run, what the folder itself takes to make as many
//! bytes durable (fdatasync(2)), and how often that is in the p99. Outcomes are recorded as they are in earnest. A second
//! table has memory instead of a disk, made to take as long for a sync as the aim says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that meets the unexpected ends there"
)]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use breakglass::audit::{End, Intent, LogIdentity, Outcome, Protocol, RequestFacts, SegmentName};
use breakglass::clock::Clock;
use breakglass::decision::{
    Assertion, Audit, Caller, Ceiling, Certificate, Credential, Decision, Facts, Feed, Framing, Freeze, GrantFact,
    GrantStanding, HeldGrant, Mode, NamedBy, Permit, Policy, Proof, Route, Target, Traits, Uses, decide,
};
use breakglass::domain::{Authentication, Binding, Deadline, Grant, GrantId, Justification, Origin, Resource, Scope};
use breakglass::sidecar::audit_log::{AuditLog, AuditLogConfig, FolderStorage, SegmentFile, Storage};

const ROUNDS: usize = 2_000;
const IN_FLIGHT: [usize; 3] = [1, 16, 256];
/// Bytes of one line, roughly.
const LINE_BYTES: usize = 1_200;
/// The disk that the aim speaks of.
const AIM_SYNC: Duration = Duration::from_millis(1);
const AIM_P99: Duration = Duration::from_millis(5);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let named = words.iter().find(|word| word.parse::<usize>().is_err()).map(PathBuf::from);
    let real = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("a disk: {}", real.display());
    runtime.block_on(table(&real, None, rounds));
    println!("memory, made to take {AIM_SYNC:?} for a sync (the aim: p99 under {AIM_P99:?} at 256 in flight)");
    runtime.block_on(table(Path::new("/dev/shm"), Some(AIM_SYNC), rounds));
}

async fn table(folder: &Path, sync: Option<Duration>, rounds: usize) {
    println!(
        "{:<14} {:>9} {:>8} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "", "in flight", "intents", "p50 ms", "p99 ms", "lines/sync", "sync p50 ms", "p99 / sync"
    );
    for is_group in [false, true] {
        for in_flight in IN_FLIGHT {
            row(folder, sync, is_group, in_flight, rounds).await;
        }
    }
}

async fn row(folder: &Path, sync: Option<Duration>, is_group: bool, in_flight: usize, rounds: usize) {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let disk = disk(folder.path(), sync);
    let (log, syncs) = open(folder.path(), sync);
    // More in flight, fewer rounds of each; enough of them that one slow round is not the p99. Without group commit a part.
    let each = if is_group { (rounds * 4 / in_flight).max(200) } else { (rounds / in_flight).max(4) };
    let (alone, permit) = (Arc::new(tokio::sync::Mutex::new(())), permit());
    let before = syncs.load(Ordering::Relaxed);
    let tasks: Vec<_> = (0..in_flight)
        .map(|task| {
            let (log, alone, permit) = (log.clone(), Arc::clone(&alone), permit.clone());
            tokio::spawn(async move {
                let mut spans = Vec::with_capacity(each);
                for n in 0..each {
                    let intent = intent(&format!("{task:04x}{n:04x}-0000-4000-8000-000000000000"), &permit);
                    let begun = Instant::now();
                    let turn = if is_group { None } else { Some(alone.lock().await) };
                    let receipt = log.intent(intent).await.expect("it is recorded");
                    spans.push(begun.elapsed());
                    drop(turn);
                    receipt.outcome(outcome());
                }
                spans
            })
        })
        .collect();
    let mut spans = Vec::new();
    for task in tasks {
        spans.extend(task.await.unwrap());
    }
    let lines = log.close().await.unwrap().sequence;
    let done = syncs.load(Ordering::Relaxed) - before;
    let (p50, p99) = (at(&mut spans, 0.5), at(&mut spans, 0.99));
    println!(
        "{:<14} {:>9} {:>8} {:>10.2} {:>10.2} {:>10.1} {:>12.2} {:>12.1}",
        if is_group { "group commit" } else { "each alone" },
        in_flight,
        spans.len(),
        ms(p50),
        ms(p99),
        lines as f64 / done as f64,
        ms(disk),
        p99.as_secs_f64() / disk.as_secs_f64()
    );
}

fn at(spans: &mut [Duration], share: f64) -> Duration {
    spans.sort_unstable();
    spans[((spans.len() - 1) as f64 * share) as usize]
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// What the disk takes to make a line durable, by itself: p50.
fn disk(folder: &Path, sync: Option<Duration>) -> Duration {
    let path = folder.join("by-itself");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut spans: Vec<_> = (0..200)
        .map(|_| {
            file.write_all(&[b'x'; LINE_BYTES]).unwrap();
            let begun = Instant::now();
            file.sync_data().unwrap();
            lasting(begun, sync);
            begun.elapsed()
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    at(&mut spans, 0.5)
}

/// Waits until so long has passed.
fn lasting(begun: Instant, at_least: Option<Duration>) {
    if let Some(rest) = at_least.and_then(|span| span.checked_sub(begun.elapsed())) {
        std::thread::sleep(rest);
    }
}

fn open(folder: &Path, sync: Option<Duration>) -> (AuditLog, Arc<AtomicU64>) {
    let config = AuditLogConfig {
        directory: folder.join("audit"),
        write_deadline_ms_max: 60_000,
        override_reserve_bytes: 0,
        ..AuditLogConfig::default()
    };
    let identity = LogIdentity {
        service: "payments".parse().unwrap(),
        instance: "s-0".parse().unwrap(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let syncs = Arc::new(AtomicU64::new(0));
    let inner = FolderStorage::open(&config.directory).unwrap();
    let storage = Counting { inner, sync, syncs: Arc::clone(&syncs) };
    (AuditLog::open_with(config, identity, Clock::System, Box::new(storage)).unwrap().0, syncs)
}

/// The real folder, whose syncs are counted and can be made to take longer.
#[derive(Debug)]
struct Counting {
    inner: FolderStorage,
    sync: Option<Duration>,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingSegment {
    inner: Box<dyn SegmentFile>,
    sync: Option<Duration>,
    syncs: Arc<AtomicU64>,
}

impl Storage for Counting {
    fn create(&mut self, name: &SegmentName) -> io::Result<Box<dyn SegmentFile>> {
        let inner = self.inner.create(name)?;
        Ok(Box::new(CountingSegment { inner, sync: self.sync, syncs: Arc::clone(&self.syncs) }))
    }

    fn remove(&mut self, name: &SegmentName) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.inner.put(name, content)
    }

    fn take_away(&mut self, name: &str) -> io::Result<()> {
        self.inner.take_away(name)
    }

    fn note(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.note(name, offset, bytes)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

impl SegmentFile for CountingSegment {
    fn reserve(&mut self, from: u64, end: u64) -> io::Result<()> {
        self.inner.reserve(from, end)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        self.inner.sync()?;
        lasting(begun, self.sync);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn release_after(&mut self, len: u64) {
        self.inner.release_after(len);
    }
}

fn intent(request: &str, permit: &Permit) -> Intent {
    let facts = RequestFacts {
        request_id: request.to_owned(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        at: Clock::System.wall(),
        method: "POST".to_owned(),
        path: "/contracts/C-1042/payments/P-7/release".to_owned(),
        query_names: vec!["dry_run".to_owned()],
        query_digests: None,
        protocol: Protocol::Http2,
        client: "10.1.2.3:40112".parse().unwrap(),
        host: Some("payments.example".to_owned()),
        resource: Some(permit.resource().clone()),
        action: Some(permit.action().clone()),
        mode: Mode::Enforce,
    };
    Intent::new(facts, permit)
}

/// What the decision makes of a request under the grant.
fn permit() -> Permit {
    let (now, grant) = (Clock::System.now(), Arc::new(grant()));
    let ceiling = Ceiling {
        roles: [grant.role.clone()].into(),
        actions: grant.scope.actions().iter().cloned().collect(),
        lifetime_max: Duration::from_secs(3600),
        bindings: [grant.binding].into(),
        staleness_max: Duration::from_secs(30),
    };
    let policy = Policy { service: grant.service.clone(), ceiling, any_seal: false };
    let (resource, action) = ("contract/C-1042".parse().unwrap(), "payment.release".parse().unwrap());
    let deadline = Deadline::from_ping(grant.expires, now.boot, now.wall);
    let facts = Facts {
        now,
        framing: Framing::Sound,
        target: Target::Canonical,
        route: Route::Overridable { resource: &resource, action: &action, sealed: false, upgrade: false },
        traits: Traits::default(),
        credential: Credential::Presented(NamedBy::Id),
        caller: Caller::Proven(&grant.person),
        certificate: Certificate::Absent,
        proof: Proof::Absent,
        grant: GrantFact::Held(HeldGrant { grant: &grant, deadline, standing: GrantStanding::Live }),
        freeze: Freeze::None,
        feed: Feed::AsOf(now.boot),
        uses: Uses::Unlimited,
        audit: Audit::Ready,
        assertion: Assertion::Ready,
    };
    match decide(&policy, &facts) {
        Decision::Override(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn grant() -> Grant {
    let now = Clock::System.wall();
    let resource: Resource = "contract/C-1042".parse().unwrap();
    Grant {
        id: GrantId::from_random(7),
        service: "payments".parse().unwrap(),
        person: "ada".parse().unwrap(),
        idp: "https://id.example".parse().unwrap(),
        authentication: Authentication {
            acr: Some("phr".to_owned()),
            amr: vec!["hwk".to_owned()],
            auth_time: Some(now),
        },
        role: "payments.override".parse().unwrap(),
        scope: Scope::new([resource], ["payment.release".parse().unwrap()]).unwrap(),
        binding: Binding::Identity,
        confirmation: None,
        justification: Justification { reason: "stuck_payment".parse().unwrap(), ticket: "INC-2041".parse().unwrap() },
        issued: now,
        not_before: now,
        expires: now.plus(Duration::from_secs(600)),
        max_uses: None,
        staleness_max: Duration::from_secs(30),
        policy_revision: 1,
        approvals: vec!["bob".parse().unwrap()],
        origin: Origin::ControlPlane,
    }
}

fn outcome() -> Outcome {
    Outcome {
        at: Clock::System.wall(),
        status: Some(200),
        assertion: Some(1),
        request_bytes: 17,
        response_bytes: 211,
        request_sha256: Some([0x11; 32]),
        response_sha256: Some([0x22; 32]),
        duration: Duration::from_millis(41),
        end: End::Completed,
        captured: None,
    }
}
