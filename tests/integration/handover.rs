//! Handing over to a new process on SIGUSR2: nobody is refused, nothing is lost, and what fails leaves the old one as it was.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use breakglass::audit::{Expectation, verify_folder};
use serde_json::Value;

use crate::harness::{
    Ask, Load, Orphan, PROGRAM, Program, Raw, Said, SidecarFile, Site, Start, Target, lines, raw_request, signal,
    until, until_overrides,
};

const HANDED_OVER: &str = "handed over: the successor serves";
const FAILED: &str = "the hand-over failed; this process goes on";

async fn code(site: &Site, process: &Program, request: &[u8]) -> String {
    let mut raw = Raw::open(process.address(), &site.path().join("ca.pem")).await;
    raw.write(request).await;
    raw.answer().await.code()
}

/// Signals `process` and waits until its successor serves.
async fn hand_over(process: u32, said: &Said, before: usize) -> Orphan {
    signal(process, "USR2");
    let fields = said.until(HANDED_OVER, before).await;
    Orphan(fields["process"].as_u64().unwrap().try_into().unwrap())
}

/// A program of its own, to be replaced.
fn installed(folder: &Path) -> PathBuf {
    let program = folder.join("breakglass-sidecar");
    std::fs::copy(PROGRAM, &program).unwrap();
    program
}

/// Replaces a program in place as a package manager does.
fn replace(program: &Path, with: &str) {
    let new = program.with_extension("new");
    std::fs::write(&new, with).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, program).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_program_at_the_old_path_takes_over_and_overrides_follow() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let audit = file.parent().unwrap().join("audit");
    let program = installed(site.path());
    let mut process = Start::new(&file).program(&program).serving().await;
    process.until_overrides().await;
    let grant = site.grant(&Ask { max_uses: Some(3), ..Ask::default() }).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x");
    assert_eq!(code(&site, &process, &request).await, "override");
    // Removed and put there anew: another file at the same path.
    std::fs::remove_file(&program).unwrap();
    installed(site.path());
    let (address, admin) = (process.address(), process.admin());
    let successor = hand_over(process.id(), &process.said, 0).await;
    assert!(process.ended().await.success(), "{}", process.said.text());
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", successor.0)).unwrap(), program);
    assert_eq!((process.address(), process.admin()), (address, admin), "the same sockets");
    until_overrides(admin).await;
    assert_eq!(code(&site, &process, &request).await, "override");
    assert_eq!(code(&site, &process, &request).await, "override");
    assert_eq!(code(&site, &process, &request).await, "grant_used_up", "what its predecessor spent is spent");
    signal(successor.0, "TERM");
    until("the successor's end", async || successor.is_gone().then_some(())).await;
    let report = verify_folder(&audit, Expectation::default()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.intents, report.outcomes, report.orphans), (3, 3, 0));
    let ends = lines(&audit).iter().filter(|line| line["unmapped"]["break_glass"]["kind"] == "log_ended").count();
    assert_eq!(ends, 2, "both ended in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_leaves_the_old_process_as_it_was_and_is_told() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let program = installed(site.path());
    let mut process = Start::new(&file).program(&program).serving().await;
    process.until_overrides().await;
    let ordinary = raw_request("POST", "/v1/echo", &[], "x");
    let sound = std::fs::read_to_string(&file).unwrap();
    let mut before = 0;
    let mut fails = async |process: &Program, expected: &str| {
        process.signal("USR2");
        let fields = process.said.until(FAILED, before).await;
        before += 1;
        let error = fields["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error}");
        let (status, ready) = process.readyz().await;
        assert_eq!((status, ready["ready"].as_bool(), ready["overrides"].as_bool()), (200, Some(true), Some(true)));
        assert_eq!(ready["handover"]["error"], error);
        assert_eq!(code(&site, process, &ordinary).await, "pass");
    };
    std::fs::write(&file, "service = 1\n").unwrap();
    fails(&process, "ended before it served (exit status: 2)").await;
    std::fs::write(&file, sound).unwrap();
    replace(&program, "#!/bin/sh\nexit 3\n");
    fails(&process, "ended before it served (exit status: 3)").await;
    std::fs::remove_file(&program).unwrap();
    fails(&process, "").await;
    installed(site.path());
    let successor = hand_over(process.id(), &process.said, 0).await;
    assert!(process.ended().await.success(), "{}", process.said.text());
    assert_eq!(code(&site, &process, &ordinary).await, "pass");
    drop(successor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_order_is_ignored_and_told_to_stop_it_takes_its_successor_along() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let program = installed(site.path());
    let mut process = Start::new(&file).program(&program).serving().await;
    replace(&program, "#!/bin/sh\nexec sleep 600\n");
    process.signal("USR2");
    let started = process.said.until("a successor was started", 0).await;
    let successor = Orphan(started["process"].as_u64().unwrap().try_into().unwrap());
    process.signal("USR2");
    process.said.until("a hand-over is under way: SIGUSR2 is ignored", 0).await;
    process.signal("TERM");
    assert!(process.ended().await.success(), "{}", process.said.text());
    assert!(successor.is_gone());
    assert!(process.said.all(HANDED_OVER).is_empty());
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn ids(audit: &Path, kind: &str) -> BTreeSet<String> {
    let facts = lines(audit).into_iter().map(|line| line["unmapped"]["break_glass"].clone());
    let ids = facts.filter(|facts| facts["kind"] == kind).map(|facts| facts["request_id"].clone());
    ids.filter_map(|id: Value| id.as_str().map(str::to_owned)).collect()
}

/// Hand-overs and reloads under load; tests/long/handover runs many more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handed_over_and_reloaded_under_load_no_request_fails_and_no_line_is_lost() {
    let (handovers, reloads) = (setting("BREAKGLASS_HANDOVERS", 5), setting("BREAKGLASS_RELOADS", 50));
    let site = Site::start().await;
    let listen = "drain_timeout_ms_max = 20000".to_owned();
    let file = site.sidecar_file(&SidecarFile { listen, ..SidecarFile::default() });
    let audit = file.parent().unwrap().join("audit");
    let mut first = Start::new(&file).serving().await;
    let said = first.said.clone();
    first.until_overrides().await;
    let admin = first.admin();
    let grant = site.grant(&Ask { duration_s: 3600, ..Ask::default() }).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x");
    let ordinary = raw_request("GET", "/v1/echo", &[], "");
    let (load, target) = (Arc::new(Load::default()), Target::new(first.address(), &site.path().join("ca.pem")));
    let clients = vec![
        tokio::spawn(Arc::clone(&load).connecting(target.clone(), ordinary.clone())),
        tokio::spawn(Arc::clone(&load).connecting(target.clone(), ordinary.clone())),
        tokio::spawn(Arc::clone(&load).keeping(target.clone(), ordinary)),
        tokio::spawn(Arc::clone(&load).multiplexing(target.clone(), "/v1/echo")),
        tokio::spawn(Arc::clone(&load).overriding(target, request)),
    ];
    let began = Instant::now();
    let mut current = Orphan(first.id());
    let (mut reloaded, mut table) = (0, Vec::new());
    for round in 0..handovers {
        for _ in 0..reloads * (round + 1) / handovers - reloads * round / handovers {
            signal(current.0, "HUP");
            said.until("the configuration was reloaded", reloaded).await;
            reloaded += 1;
        }
        let successor = hand_over(current.0, &said, round).await;
        if round == 0 {
            assert!(first.ended().await.success(), "{}", said.text());
        } else {
            until("the predecessor's end", async || current.is_gone().then_some(())).await;
        }
        current = successor;
        until_overrides(admin).await;
        let acknowledged = load.acknowledged().len();
        until("an override", async || (load.acknowledged().len() > acknowledged).then_some(())).await;
        table.push((current.resident_kib(), current.descriptors()));
    }
    load.stop();
    for client in clients {
        client.await.unwrap();
    }
    signal(current.0, "TERM");
    until("the last one's end", async || current.is_gone().then_some(())).await;
    let took = began.elapsed();
    let acknowledged = load.acknowledged();
    let (intents, outcomes) = (ids(&audit, "intent"), ids(&audit, "outcome"));
    let report = verify_folder(&audit, Expectation::default()).unwrap();
    eprintln!("hand-overs {handovers}, reloads {reloaded}, {took:.1?}");
    eprintln!("ordinary requests  {:>8}", load.ordinary.load(Ordering::Relaxed));
    eprintln!("connections        {:>8}", load.connections.load(Ordering::Relaxed));
    eprintln!("failures           {:>8}", load.failures().len());
    eprintln!("forestalled        {:>8}   (not sent: a GOAWAY came first)", load.forestalled.load(Ordering::Relaxed));
    eprintln!(
        "overrides          {:>8}   (and {} told \"not now\")",
        acknowledged.len(),
        load.not_now.load(Ordering::Relaxed)
    );
    eprintln!(
        "audit lines        {:>8}   intents {}, outcomes {}, orphans {}",
        report.records, report.intents, report.outcomes, report.orphans
    );
    eprintln!("{:>10} {:>14} {:>12}", "hand-over", "resident KiB", "descriptors");
    for (round, (resident, descriptors)) in table.iter().enumerate() {
        eprintln!("{:>10} {resident:>14} {descriptors:>12}", round + 1);
    }
    assert!(load.failures().is_empty(), "{:#?}", load.failures());
    assert_eq!(reloaded, reloads);
    assert!(report.is_sound() && report.orphans == 0, "{report:?}");
    assert!(acknowledged.is_subset(&intents) && acknowledged.is_subset(&outcomes));
    assert_eq!(report.intents, report.outcomes);
    level(&table);
}

/// Neither memory nor descriptors grow from one process to the next.
fn level(table: &[(u64, usize)]) {
    let half = table.len() / 2;
    let mean = |rows: &[(u64, usize)]| rows.iter().map(|row| row.0).sum::<u64>() / rows.len().max(1) as u64;
    let (early, late) = (mean(&table[..half.max(1)]), mean(&table[half..]));
    assert!(late < early + early / 5 + 4096, "resident memory grew from {early} to {late} KiB");
    let most = |rows: &[(u64, usize)]| rows.iter().map(|row| row.1).max().unwrap_or(0);
    let (early, late) = (most(&table[..half.max(1)]), most(&table[half..]));
    assert!(late <= early + 16, "descriptors grew from {early} to {late}");
}
