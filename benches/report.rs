//! How long a period's report over a large ledger takes, and the memory it takes. Printed as a table.
//!
//! `cargo bench --bench report [-- ENTRIES]`; by default a million. Entries are those of incidents as they happen: a request, its
//! approval, the grant, overrides with intent and outcome, a refusal, the end, the account, a review, and looks at them. They go
//! through the store; the tree grows over them. The report is made in a process of its own, so that its memory is its own. The
//! database is a SQLite file under the system's folder for temporary files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that meets the unexpected ends there"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use breakglass::clock::Clock;
use breakglass::control::reporting::Signed;
use breakglass::domain::*;
use breakglass::ledger::entry::Draft;
use breakglass::ledger::note::KeyName;
use breakglass::ledger::{AuditLine, Closed, DataRead, Enforced, Issued, Ordered};
use breakglass::report::{csv, html, page};
use breakglass::store::{Growth, Store, StoredCheckpoint};
use breakglass::wire::reports::PeriodReport;
use serde_json::{Map, Value};

const ENTRIES: u64 = 1_000_000;
const BATCH: usize = 2_000;
const STEP: u32 = 4_096;
const PERSONS: u64 = 400;
const CONTRACTS: u64 = 20_000;
const AIM_S: f64 = 10.0;
const AIM_MIB: f64 = 200.0;
const DATABASE: &str = "BREAKGLASS_BENCH_REPORT";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(database) = std::env::var(DATABASE) {
        return runtime.block_on(report(Path::new(&database)));
    }
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("control.db");
    runtime.block_on(fill(&database, asked.unwrap_or(ENTRIES)));
    let ended = Command::new(std::env::current_exe().unwrap()).env(DATABASE, &database).status().unwrap();
    assert!(ended.success());
}

async fn fill(database: &Path, entries: u64) {
    let store = Store::open(database, Clock::System).await.unwrap();
    let began = Instant::now();
    let (mut batch, mut made, mut n) = (Vec::with_capacity(BATCH + 64), 0, 0);
    while made < entries {
        batch.extend(incident(n));
        n += 1;
        if batch.len() >= BATCH || made + batch.len() as u64 >= entries {
            batch.truncate(usize::try_from(entries - made).unwrap());
            made += batch.len() as u64;
            store.record_all(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    let (size, root) = loop {
        if let Growth::Current { size, root } = store.grow_ledger(STEP).await.unwrap() {
            break (size, root);
        }
    };
    let origin = origin();
    store.establish_log(&origin, false).await.unwrap();
    let kept = StoredCheckpoint { size, root, note: "not signed\n".to_owned(), at: Clock::System.wall() };
    assert!(store.keep_checkpoint(&origin, &kept).await.unwrap());
    println!("filled     {size} entries of {n} incidents in {:.1} s", began.elapsed().as_secs_f64());
    store.close().await;
}

fn origin() -> KeyName {
    "bench.test/ledger".parse().unwrap()
}

async fn report(database: &Path) {
    let store = Store::open(database, Clock::System).await.unwrap();
    let now = Clock::System.wall();
    let began = Instant::now();
    let signed = Signed { store: &store, origin: &origin(), now };
    let report = signed.period(WallTime::EPOCH, now.plus(Duration::from_secs(1))).await.unwrap();
    told("period", began, &report);
    let began = Instant::now();
    let html = html::render(&page::of_period(&report)).unwrap();
    let csv = csv::of_period(&report).unwrap();
    println!(
        "documents  {} bytes of HTML, {} of CSV, in {:.3} s; peak {:.0} MiB",
        html.len(),
        csv.len(),
        began.elapsed().as_secs_f64(),
        peak_mib()
    );
    let grant = GrantId::from_random(7);
    let began = Instant::now();
    let story = signed.grant(&grant).await.unwrap();
    println!("grant      {} events in {:.3} s", story.events.len(), began.elapsed().as_secs_f64());
}

fn told(what: &str, began: Instant, report: &PeriodReport) {
    let took = began.elapsed().as_secs_f64();
    let whole = &report.whole;
    println!(
        "{what:<10} {} entries, {} grants, {} overrides in {took:.2} s, {:.0} a second (aim: a million in {AIM_S} s); peak {:.0} \
         MiB (aim: {AIM_MIB})",
        report.entries,
        whole.grants,
        whole.overrides,
        report.entries as f64 / took,
        peak_mib()
    );
}

/// Greatest resident memory as the kernel counts it (proc(5)).
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// What one incident writes.
fn incident(n: u64) -> Vec<Draft> {
    let elevation = elevation(n);
    let grant = grant(n, &elevation);
    let lead: Person = format!("lead-{}@example.test", n % 40).parse().unwrap();
    let team = format!("team-{}", n % 25);
    let approval = Approval {
        person: lead.clone(),
        idp: elevation.idp.clone(),
        groups: ["payments-leads".to_owned()].into(),
        at: elevation.requested,
        narrowing: Narrowing::default(),
    };
    let mut drafts = vec![
        Draft::elevation_requested(&elevation, "oncall", None).of_team(Some(&team)),
        Draft::elevation_approved(&elevation.id, &approval, 1, true, "etag"),
        Draft::grant_issued(
            &grant,
            Issued {
                elevation: &elevation.id,
                tier: "oncall",
                token_sha256: Some("5f1c9a02"),
                review_due: Some(Duration::from_secs(86_400)),
            },
        ),
    ];
    let overrides = n % 8;
    for number in 1..=overrides {
        drafts.push(line(&grant, n, number, "intent"));
        drafts.push(line(&grant, n, number, "outcome"));
    }
    drafts.push(line(&grant, n, 9, "refusal"));
    drafts.extend(end(n, &grant, &lead));
    let ends = Map::from_iter([("completed".to_owned(), Value::from(overrides))]);
    drafts.push(Draft::grant_closed(Closed {
        grant: &grant.id,
        overrides,
        ends: &ends,
        open: 0,
        refusals: 1,
        spent: Some(overrides),
        missing: &[],
        assertions: overrides,
        signed: overrides,
        differences: &[],
        reconciled: true,
        amends: None,
    }));
    drafts.push(Draft::grant_reviewed(&grant.id, &lead, Verdict::Justified, "as it should be", n.is_multiple_of(30)));
    drafts.extend((0..n % 4).map(|_| {
        let filter = Map::from_iter([("id".to_owned(), Value::from(grant.id.as_str()))]);
        let by = &lead;
        Draft::data_read(DataRead { view: "grant", filter, records: 1, covers_s: 600, by, person: None, ticket: None })
    }));
    drafts
}

fn end(n: u64, grant: &Grant, by: &Person) -> Vec<Draft> {
    if !n.is_multiple_of(5) {
        return vec![Draft::grant_expired(&grant.id)];
    }
    let revocation = RevocationId::from_random(n);
    let selector = Selector::Grant { grant: grant.id.clone() };
    let ordered = Ordered { revocation: &revocation, selector: &selector, grants: 1 };
    let enforced = Enforced { enforced: 14, stopped: 0, rejected: 0, elapsed_ms: Some(20 + n % 300) };
    vec![
        Draft::revocation_ordered(ordered, by, Some("done")),
        Draft::grant_revoked(&grant.id, &revocation, by),
        Draft::revocation_enforced(&revocation, enforced),
    ]
}

fn elevation(n: u64) -> Elevation {
    let now = Clock::System.wall();
    let reason = ["stuck_payment", "limit_change", "data_fix", "incident"][usize::try_from(n % 4).unwrap()];
    Elevation {
        id: ElevationId::from_random(n),
        service: format!("payments-{}", n % 12).parse().unwrap(),
        person: format!("person-{}@example.test", n * 7 % PERSONS).parse().unwrap(),
        idp: "https://issuer.test".parse().unwrap(),
        authentication: Authentication::default(),
        role: "payments.override".parse().unwrap(),
        scope: Scope::new(
            [format!("contract/C-{}", n * 13 % CONTRACTS).parse().unwrap()],
            ["payment.release".parse().unwrap()],
        )
        .unwrap(),
        justification: Justification { reason: reason.parse().unwrap(), ticket: format!("INC-{n}").parse().unwrap() },
        binding: Binding::Identity,
        confirmation: None,
        duration: Duration::from_secs(900),
        max_uses: std::num::NonZeroU32::new(10),
        staleness_max: Duration::from_secs(30),
        policy_revision: 1,
        requested: now,
        state: ElevationState::Requested,
        grant: None,
    }
}

fn grant(n: u64, elevation: &Elevation) -> Grant {
    let now = elevation.requested;
    Grant {
        id: GrantId::from_random(n),
        service: elevation.service.clone(),
        person: elevation.person.clone(),
        idp: elevation.idp.clone(),
        authentication: elevation.authentication.clone(),
        role: elevation.role.clone(),
        scope: elevation.scope.clone(),
        binding: elevation.binding,
        confirmation: None,
        justification: elevation.justification.clone(),
        issued: now,
        not_before: now,
        expires: now.plus(elevation.duration),
        max_uses: elevation.max_uses,
        staleness_max: elevation.staleness_max,
        policy_revision: 1,
        approvals: Vec::new(),
        origin: Origin::ControlPlane,
    }
}

/// About as long as a real line is; it lies beside the entry.
fn line(grant: &Grant, n: u64, number: u64, kind: &'static str) -> Draft {
    let instance: InstanceName = format!("s-{}", n % 14).parse().unwrap();
    let seq = n * 32 + number * 2 + u64::from(kind == "outcome");
    let log_id = format!("{:032x}", n % 14);
    let is = |wanted: &str| kind == wanted;
    let told = AuditLine {
        service: &grant.service,
        instance: &instance,
        log_id: log_id.clone(),
        seq,
        line: kind,
        recorded_at: grant.not_before.plus(Duration::from_secs(number * 10)),
        decision: if is("intent") {
            Some("override")
        } else if is("refusal") {
            Some("grant_expired")
        } else {
            None
        },
        resource: grant.scope.resources().iter().next(),
        action: grant.scope.actions().iter().next(),
        grant: Some(&grant.id),
        number: is("intent").then_some(number),
        log_number: is("intent").then_some(number),
        assertion: is("outcome").then_some(number),
        end: is("outcome").then_some("completed"),
        cause: None,
        status: is("outcome").then_some(200),
        intent: is("outcome").then(|| (log_id, seq - 1)),
        counts: Vec::new(),
    };
    Draft::audit_line(told, &"x".repeat(1_000))
}
