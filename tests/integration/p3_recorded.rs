//! P3: no override is forwarded before its intent is durable; its outcome follows; refused attempts are recorded.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::harness::{Ask, Recorder, SidecarFile, Site, lines, raw_request};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_sees_an_override_only_once_its_intent_is_on_disk() {
    let site = Site::start().await;
    let audit: PathBuf = site.path().join("audit-of-the-test");
    let seen: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let (folder, noted) = (audit.clone(), Arc::clone(&seen));
    let upstream = Recorder::start(OK, move |arrived| {
        let id = arrived.header("break-glass-request-id").unwrap_or_default().to_owned();
        let on_disk = lines(&folder).iter().any(|line| {
            let facts = &line["unmapped"]["break_glass"];
            facts["kind"] == "intent" && facts["request_id"] == id.as_str()
        });
        noted.lock().unwrap().push((id, on_disk));
    })
    .await;
    let file = SidecarFile { upstream: Some(upstream.url()), audit: Some(audit), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let mut raw = sidecar.raw().await;
    for _ in 0..20 {
        raw.write(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "body")).await;
        assert_eq!(raw.answer().await.status, 200);
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 20);
    assert!(seen.iter().all(|(id, on_disk)| *on_disk && !id.is_empty()), "{seen:?}");
    let outcomes = sidecar.until_facts("outcome", 20).await;
    assert!(outcomes.iter().all(|outcome| outcome["end"] == "completed" && outcome["status"] == 200), "{outcomes:?}");
    let report = sidecar.verified();
    assert_eq!((report.intents, report.outcomes, report.orphans), (20, 20, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_attempts_are_recorded_with_what_was_proven_and_no_more() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let (alice, bob) = (site.identity("alice"), site.identity("bob"));
    for identity in [&alice, &bob] {
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        sidecar.send(&raw_request("POST", "/v1/contracts/C-2077/echo", &headers, "")).await;
    }
    let refusals = sidecar.until_facts("refusal", 2).await;
    assert_eq!(refusals[0]["decision"], "resource_out_of_scope");
    assert_eq!((&refusals[0]["person"], &refusals[0]["grant"]["id"]), (&"alice".into(), &grant.id.as_str().into()));
    assert_eq!(refusals[1]["decision"], "grant_not_usable");
    assert!(refusals[1].get("grant").is_none(), "a grant that is not the caller's is not named: {}", refusals[1]);
    assert_eq!(refusals[1]["person"], "bob", "who has proven to be asking is");
    sidecar.verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_somebody_authenticated_is_in_every_line_about_them() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let (alice, bob) = (site.identity("alice"), site.identity("bob"));
    for (identity, path) in [(&alice, "C-1042"), (&alice, "C-2077"), (&bob, "C-1042")] {
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        sidecar.send(&raw_request("POST", &format!("/v1/contracts/{path}/echo"), &headers, "")).await;
    }
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", "x")];
    sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await;
    let refusals = sidecar.until_facts("refusal", 3).await;
    let (intent, outcome) = (&sidecar.facts("intent")[0], &sidecar.until_facts("outcome", 1).await[0]);
    for line in [intent, outcome, &refusals[0], &refusals[1]] {
        let authentication = &line["authentication"];
        assert_eq!(
            (&authentication["acr"], &authentication["amr"]),
            (&"mfa".into(), &serde_json::json!(["pwd", "hwk"]))
        );
        assert!(authentication["auth_time"].is_i64(), "{line}");
        assert_eq!(line["idp"], intent["idp"]);
    }
    assert_eq!(outcome["authentication"], intent["authentication"]);
    assert!(refusals[2].get("authentication").is_none() && refusals[2].get("person").is_none(), "nothing was proven");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_use_too_many_is_refused_and_each_use_is_an_intent() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask { max_uses: Some(3), ..Ask::default() }).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(sidecar.send(&request).await.code());
    }
    assert_eq!(codes, ["override", "override", "override", "grant_used_up", "grant_used_up"]);
    assert_eq!(sidecar.facts("intent").len(), 3);
    let sidecar = sidecar.restart().await;
    sidecar.until_overrides().await;
    assert_eq!(sidecar.send(&request).await.code(), "grant_used_up", "a restart gives no use back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_counted_over_all_sidecars() {
    let site = Site::start().await;
    let sidecars = [site.sidecar().await, site.sidecar().await];
    let grant = site.grant(&Ask { max_uses: Some(10), ..Ask::default() }).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
    let mut uses = 0;
    // Each asks for what lies with the other; at the end both know that all is spent.
    let mut over = [false, false];
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while over != [true, true] {
        assert!(tokio::time::Instant::now() < deadline, "{uses} uses, {over:?}");
        for (sidecar, over) in sidecars.iter().zip(&mut over) {
            match sidecar.send(&request).await.code().as_str() {
                "override" => uses += 1,
                "grant_used_up" => *over = true,
                other => assert_eq!(other, "uses_elsewhere"),
            }
        }
    }
    assert_eq!(uses, 10);
}
