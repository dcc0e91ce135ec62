//! From the sidecar's log to the ledger: every line once, whatever goes down meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use breakglass::store::Store;
use serde_json::Value;

use crate::harness::{
    Ask, Dice, Fleet, Process, Raw, SidecarFile, Site, TestSidecar, raw_request, until, until_within,
};

/// A control plane that has to catch up on a busy machine; longer after a long absence.
fn catching_up() -> Duration {
    Duration::from_secs(60 + away_s())
}

/// The entries of that kind.
async fn entries(store: &Store, kind: &str) -> Vec<Value> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = store.entries(from, 1_000).await.unwrap();
        let Some(last) = page.last() else { return found };
        from = last.index + 1;
        let of_kind = page.iter().filter(|entry| entry.kind == kind);
        found.extend(of_kind.map(|entry| serde_json::from_str::<Value>(&entry.canonical).unwrap()["facts"].clone()));
    }
}

/// How often each line (log id, sequence) is in the ledger.
async fn shipped(store: &Store) -> BTreeMap<(String, u64), u32> {
    let mut counts = BTreeMap::new();
    for facts in entries(store, "audit_line").await {
        *counts.entry((facts["log_id"].as_str().unwrap().to_owned(), facts["seq"].as_u64().unwrap())).or_insert(0) += 1;
    }
    counts
}

/// Every line of a folder's log, once.
fn written(folder: &Path) -> BTreeMap<(String, u64), u32> {
    let facts = crate::harness::lines(folder).into_iter().map(|line| line["unmapped"]["break_glass"].clone());
    facts.map(|facts| ((facts["log_id"].as_str().unwrap().to_owned(), facts["seq"].as_u64().unwrap()), 1)).collect()
}

/// Waits until the ledger holds every line of the folder once, and nothing else.
async fn until_all_shipped(store: &Store, folder: &Path) {
    let shipped = until_within(catching_up(), "the ledger holds every line", async || {
        // What is written meanwhile need not be there.
        let written = written(folder);
        let shipped = shipped(store).await;
        written.keys().all(|line| shipped.contains_key(line)).then_some(shipped)
    })
    .await;
    let written = written(folder);
    let odd: Vec<_> = shipped.iter().filter(|(line, count)| **count != 1 || !written.contains_key(*line)).collect();
    assert!(odd.is_empty(), "twofold or of nobody: {odd:?}");
}

async fn nothing_is_wrong(store: &Store) {
    for kind in ["audit_fork", "audit_lost"] {
        assert_eq!(entries(store, kind).await, Vec::<Value>::new(), "{kind}");
    }
    let report = store.check().await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

/// For how long the control plane is away; tests/long/shipping says ten minutes.
fn away_s() -> u64 {
    std::env::var("BREAKGLASS_AWAY_S").map_or(0, |text| text.parse().expect("BREAKGLASS_AWAY_S"))
}

fn override_request(site: &Site, grant: &str) -> Vec<u8> {
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant), ("Break-Glass-Identity", identity.as_str())];
    raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "body")
}

async fn overrides(sidecar: &TestSidecar, request: &[u8], count: usize) {
    let mut raw = sidecar.raw().await;
    for _ in 0..count {
        raw.write(request).await;
        assert_eq!(raw.answer().await.status, 200);
    }
}

/// The same, whether they are allowed or not.
async fn attempts(sidecar: &TestSidecar, request: &[u8], count: usize) {
    let mut raw = sidecar.raw().await;
    for _ in 0..count {
        raw.write(request).await;
        // One that is in flight as its grant ends is cut, and its connection with it.
        if raw.try_answer().await.is_none() {
            raw = sidecar.raw().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_and_refusals_become_entries_and_the_grants_account_is_closed() {
    let site = Site::start().await;
    let mut sidecar = site.sidecar().await;
    let grant = site.grant(&Ask { max_uses: Some(9), ..Ask::default() }).await;
    let request = override_request(&site, grant.id.as_str());
    overrides(&sidecar, &request, 3).await;
    site.revoke(&grant).await;
    assert_eq!(sidecar.send(&request).await.status, 403);
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    let closed = until_within(catching_up(), "the account is closed", async || {
        entries(site.control().store(), "grant_closed").await.pop()
    })
    .await;
    assert_eq!((&closed["grant"], &closed["overrides"]), (&grant.id.as_str().into(), &3.into()), "{closed}");
    assert_eq!((&closed["ends"]["completed"], &closed["open"]), (&3.into(), &0.into()), "{closed}");
    assert_eq!((&closed["spent"], &closed["reconciled"]), (&3.into(), &true.into()), "{closed}");
    assert_eq!((&closed["assertions"], &closed["signed"]), (&3.into(), &3.into()), "{closed}");
    let lines = entries(site.control().store(), "audit_line").await;
    let numbers: Vec<_> = lines.iter().filter_map(|facts| facts["number"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(lines.iter().any(|facts| facts["line"] == "refusal" && facts["decision"] == "grant_revoked"));
    // Stopped in order, its last line arrives before the process is gone.
    sidecar.stop().await;
    let last = entries(site.control().store(), "audit_line").await.pop().unwrap();
    assert_eq!(last["line"], "log_ended");
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    nothing_is_wrong(site.control().store()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_control_plane_is_away_lines_wait_and_then_the_ledger_holds_each_once() {
    let mut site = Site::start().await;
    let mut sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let request = override_request(&site, grant.id.as_str());
    overrides(&sidecar, &request, 5).await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    site.stop_control().await;
    // The grant goes on until its staleness runs out; what is refused after that is recorded just the same.
    attempts(&sidecar, &request, 200).await;
    let stranger = raw_request("POST", "/v1/contracts/C-1042/echo", &[("Break-Glass", "g-0123456789ab")], "body");
    // As long as it is said, or as much: it is the number of lines that counts.
    let away = Instant::now() + Duration::from_secs(away_s());
    let (mut raw, mut asked) = (sidecar.raw().await, 0);
    while asked < 300 || Instant::now() < away {
        raw.write(&stranger).await;
        assert!(raw.answer().await.status >= 400);
        asked += 1;
    }
    eprintln!("{asked} requests while the control plane was away");
    until("lines wait", async || {
        let waiting = sidecar.metric("breakglass_sidecar_audit_unshipped_lines").await;
        (waiting >= 500.0).then_some(())
    })
    .await;
    assert!(sidecar.metric("breakglass_sidecar_audit_unshipped_bytes").await > 100_000.0);
    assert!(sidecar.metric("breakglass_sidecar_audit_ship_attempts_total{result=\"unreached\"}").await > 0.0);
    site.start_control().await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    until("none waits", async || {
        let waiting = sidecar.metric("breakglass_sidecar_audit_unshipped_lines").await;
        (waiting == 0.0).then_some(())
    })
    .await;
    sidecar.stop().await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    nothing_is_wrong(site.control().store()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_planes_killed_at_random_the_ledger_holds_every_line_once() {
    const ROUNDS: usize = 8;
    let mut dice = Dice::from_environment();
    let fleet = Fleet::start(2).await;
    let file = fleet.sidecar_file(&SidecarFile::default(), "s-killed");
    let (audit, ca) = (file.parent().unwrap().join("audit"), fleet.path().join("ca.pem"));
    let stranger = raw_request("POST", "/v1/contracts/C-1042/echo", &[("Break-Glass", "g-0123456789ab")], "body");
    for _ in 0..ROUNDS {
        let process = Process::start(&file);
        let mut raw = Raw::open(process.address, &ca).await;
        let (killed_at, replica) = (dice.below(150), dice.below(2));
        for n in 0..150 {
            raw.write(&stranger).await;
            assert!(raw.answer().await.status >= 400);
            // A control plane ends in the middle of what is shipped to it, perhaps.
            if n == killed_at {
                fleet.kill(replica);
            }
        }
        process.kill();
        fleet.restart(replica).await;
        if dice.below(2) == 0 {
            // Whatever the bookmark was worth.
            let _perhaps_none = std::fs::remove_file(audit.join("shipped"));
        }
    }
    let store = fleet.store().await;
    let mut process = Process::start(&file);
    until_all_shipped(&store, &audit).await;
    process.signal("TERM");
    assert!(process.ended().await.success());
    until_all_shipped(&store, &audit).await;
    nothing_is_wrong(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_set_back_is_brought_up_again() {
    let mut site = Site::start().await;
    let mut sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let request = override_request(&site, grant.id.as_str());
    overrides(&sidecar, &request, 3).await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    // The database is lost, and begins anew: the sidecar notices by the first answer, and ships from the beginning.
    site.stop_control().await;
    site.database = "data/another.db".to_owned();
    site.start_control().await;
    let stranger = raw_request("POST", "/v1/contracts/C-1042/echo", &[("Break-Glass", "g-0123456789ab")], "body");
    sidecar.send(&stranger).await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    assert!(sidecar.metric("breakglass_sidecar_audit_ship_attempts_total{result=\"gap\"}").await > 0.0);
    sidecar.stop().await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    nothing_is_wrong(site.control().store()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_vanished_unshipped_is_named_with_its_last_line() {
    let mut site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let audit = file.parent().unwrap().join("audit");
    let process = Process::start(&file);
    until_all_shipped(site.control().store(), &audit).await;
    let before = written(&audit);
    site.stop_control().await;
    process.kill();
    std::fs::remove_dir_all(&audit).unwrap();
    site.start_control().await;
    let mut process = Process::start(&file);
    let lost = until_within(catching_up(), "the loss is named", async || {
        entries(site.control().store(), "audit_lost").await.pop()
    })
    .await;
    let ((log_id, seq), _) = before.last_key_value().unwrap();
    assert_eq!((&lost["after"]["log_id"], &lost["after"]["seq"]), (&log_id.as_str().into(), &(*seq).into()), "{lost}");
    assert_eq!(lost["cause"], "vanished");
    process.signal("TERM");
    process.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_folder_is_a_fork_that_is_named() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let audit = file.parent().unwrap().join("audit");
    let mut process = Process::start(&file);
    until_all_shipped(site.control().store(), &audit).await;
    process.signal("TERM");
    process.ended().await;
    // A copy is taken, the sidecar goes on, and then the copy is put in its place.
    let copy = file.parent().unwrap().join("copy");
    copy_folder(&audit, &copy);
    let mut process = Process::start(&file);
    until_all_shipped(site.control().store(), &audit).await;
    process.signal("TERM");
    process.ended().await;
    std::fs::remove_dir_all(&audit).unwrap();
    std::fs::rename(&copy, &audit).unwrap();
    let mut process = Process::start(&file);
    let fork = until_within(catching_up(), "the fork is named", async || {
        entries(site.control().store(), "audit_fork").await.pop()
    })
    .await;
    assert!(fork["by_log"].is_string(), "{fork}");
    process.signal("TERM");
    process.ended().await;
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_ledger_is_required_an_override_waits_for_it_or_is_refused() {
    let mut site = Site::start().await;
    let file = SidecarFile { audit_lines: "required = [\"ledger\"]".to_owned(), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask { max_uses: Some(50), ..Ask::default() }).await;
    let request = override_request(&site, grant.id.as_str());
    for n in 1..=5_u64 {
        overrides(&sidecar, &request, 1).await;
        // It is there by the time the answer is, not only soon after.
        let intents = entries(site.control().store(), "audit_line")
            .await
            .into_iter()
            .filter(|facts| facts["line"] == "intent")
            .count();
        assert_eq!(intents as u64, n);
    }
    site.stop_control().await;
    let refused = until("overrides are refused", async || {
        let answer = sidecar.send(&request).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    // On a slow machine the feed may have grown stale by now.
    assert!(["audit_unavailable", "feed_stale"].contains(&refused.code().as_str()), "{refused:?}");
    sidecar.until_lacking("audit_ledger").await;
    assert_eq!(sidecar.readyz().await["ready"], true, "ordinary traffic flows");
    site.start_control().await;
    until("overrides work again", async || (sidecar.send(&request).await.status == 200).then_some(())).await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    // What was refused for want of the ledger reached nobody, and the log says so.
    let ends: Vec<_> = sidecar.facts("outcome").iter().map(|facts| facts["end"].as_str().unwrap().to_owned()).collect();
    let intents = sidecar.facts("intent").len();
    let not_forwarded = ends.iter().filter(|end| *end == "not_forwarded").count();
    assert_eq!(intents - not_forwarded, 6, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_spools_limit_overrides_are_refused_and_ordinary_traffic_flows() {
    let mut site = Site::start().await;
    let file = SidecarFile { audit_lines: "spool_bytes_max = 1048576".to_owned(), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let request = override_request(&site, grant.id.as_str());
    overrides(&sidecar, &request, 1).await;
    site.stop_control().await;
    let stranger = raw_request("POST", "/v1/contracts/C-1042/echo", &[("Break-Glass", "g-0123456789ab")], "body");
    let mut raw = sidecar.raw().await;
    for _ in 0..1500 {
        raw.write(&stranger).await;
        raw.answer().await;
    }
    sidecar.until_lacking("audit_spool").await;
    let refused = sidecar.send(&request).await;
    assert_eq!(refused.status, 503);
    let ordinary = sidecar.send(&raw_request("GET", "/v1/contracts/C-1042/echo", &[], "")).await;
    assert!(ordinary.status != 503, "{}", ordinary.status);
    site.start_control().await;
    until("overrides work again", async || (sidecar.send(&request).await.status == 200).then_some(())).await;
    until_all_shipped(site.control().store(), &sidecar.audit).await;
    nothing_is_wrong(site.control().store()).await;
}
