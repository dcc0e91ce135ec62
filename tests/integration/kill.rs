//! A sidecar's process is killed under load, again and again: nothing that was acknowledged is missing from its log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use breakglass::audit::{Expectation, verify_folder};
use serde_json::Value;

use crate::harness::{Ask, Process, Raw, SidecarFile, Site, lines, raw_request, until};

const ROUNDS: usize = 10;
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_under_load_the_log_verifies_and_nothing_acknowledged_is_missing() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let audit = file.parent().unwrap().join("audit");
    let ca = site.path().join("ca.pem");
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "body");
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut orphans = 0;
    for round in 0..ROUNDS {
        let process = Process::start(&file);
        let address = process.address;
        until("overrides work", async || {
            let mut raw = Raw::open(address, &ca).await;
            raw.write(&request).await;
            raw.try_answer().await.filter(|answer| answer.status == 200)
        })
        .await;
        let before = acknowledged.lock().unwrap().len();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (ca, request, acknowledged) = (ca.clone(), request.clone(), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    let mut raw = Raw::open(address, &ca).await;
                    loop {
                        raw.write(&request).await;
                        let Some(answer) = raw.try_answer().await else { return };
                        assert_eq!(answer.status, 200);
                        acknowledged.lock().unwrap().insert(answer.echoed("break-glass-request-id").unwrap());
                    }
                })
            })
            .collect();
        // Each round is killed at another moment of the load.
        let wanted = before + 20 + round * 3;
        until("load", async || (acknowledged.lock().unwrap().len() >= wanted).then_some(())).await;
        process.kill();
        for client in clients {
            client.await.unwrap();
        }
        let report = verify_folder(&audit, Expectation::default()).unwrap();
        assert!(report.is_sound(), "round {round}: {:?}", report.first_problem);
        orphans += report.orphans;
        let intents: BTreeSet<String> = of_kind(&audit, "intent").map(|facts| id(&facts)).collect();
        let missing: Vec<_> = acknowledged.lock().unwrap().difference(&intents).cloned().collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
    }
    // One last start accounts for what the last kill left.
    let process = Process::start(&file);
    process.kill();
    let report = verify_folder(&audit, Expectation::default()).unwrap();
    assert!(report.is_sound() && report.orphans == 0, "{report:?}");
    assert_eq!(report.unknown_outcomes, orphans, "each intent without an outcome is reported as unknown");
    assert_eq!(report.intents, report.outcomes, "{report:?}");
    eprintln!("{} acknowledged, {orphans} unknown after {ROUNDS} kills", acknowledged.lock().unwrap().len());
}

fn id(facts: &Value) -> String {
    facts["request_id"].as_str().unwrap().to_owned()
}

fn of_kind(folder: &std::path::Path, kind: &'static str) -> impl Iterator<Item = Value> {
    let all = lines(folder).into_iter().map(|line| line["unmapped"]["break_glass"].clone());
    all.filter(move |facts| facts["kind"] == kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_it_closes_its_log_in_order() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let mut process = Process::start(&file);
    process.signal("TERM");
    let status = process.ended().await;
    assert!(status.success(), "{status}");
    let audit = file.parent().unwrap().join("audit");
    let kinds: Vec<_> = lines(&audit).iter().map(|line| line["unmapped"]["break_glass"]["kind"].clone()).collect();
    assert_eq!(kinds, ["log_started", "log_ended"]);
}
