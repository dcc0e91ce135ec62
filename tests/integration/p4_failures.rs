//! P4: whatever is broken, ordinary traffic flows untouched, and an override is refused with a reason.

use std::time::{Duration, Instant};

use crate::harness::{Ask, SidecarFile, Site, SmallDisk, TestSidecar, raw_request, until};

const ECHO: &str = "/v1/contracts/C-1042/echo";

async fn code(sidecar: &TestSidecar, request: &[u8]) -> String {
    sidecar.send(request).await.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_plane_grants_go_on_until_they_are_too_stale_and_come_back_with_it() {
    let mut site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let (with_grant, ordinary) = (raw_request("POST", ECHO, &headers, ""), raw_request("POST", ECHO, &[], ""));

    site.stop_control().await;
    assert_eq!(code(&sidecar, &with_grant).await, "override", "a live grant goes on");
    assert_eq!(code(&sidecar, &ordinary).await, "pass");

    let stopped = Instant::now();
    sidecar.until_lacking("feed_stale").await;
    assert!(stopped.elapsed() < Duration::from_secs(6), "{:?}", stopped.elapsed());
    let refused = sidecar.send(&with_grant).await;
    assert_eq!((refused.code().as_str(), refused.status), ("feed_stale", 503));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(code(&sidecar, &ordinary).await, "pass");
    assert_eq!(sidecar.readyz().await["ready"], true, "ordinary traffic can flow");

    // Long enough for the pauses between attempts to have grown to their greatest.
    until("a few attempts", async || (stopped.elapsed() > Duration::from_secs(8)).then_some(())).await;
    site.start_control().await;
    let returned = Instant::now();
    until("the same grant works again", async || (code(&sidecar, &with_grant).await == "override").then_some(())).await;
    // Two heartbeats, and what a busy machine may need.
    assert!(returned.elapsed() < Duration::from_secs(3), "{:?}", returned.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_audit_folder_refuses_overrides_in_time_and_nothing_else_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let site = Site::start().await;
    let file = SidecarFile { audit: Some(disk.path().to_owned()), write_deadline_ms: 500, ..SidecarFile::default() };
    let mut sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let (with_grant, ordinary) = (raw_request("POST", ECHO, &headers, ""), raw_request("POST", ECHO, &[], ""));
    disk.fill();
    // Space that was set aside before is used up first; no answer may take longer than the deadline.
    let mut done = 0;
    let refused = until("an override is refused", async || {
        let began = Instant::now();
        let answer = sidecar.send(&with_grant).await;
        assert!(began.elapsed() < Duration::from_millis(500 + 1_500), "{:?}", began.elapsed());
        if answer.status == 200 {
            done += 1;
        }
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "audit_unavailable"));
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(code(&sidecar, &ordinary).await, "pass");
        assert!(began.elapsed() < Duration::from_secs(1), "ordinary traffic waits for no disk");
    }
    disk.make_room();
    until("overrides work again", async || {
        let answer = sidecar.send(&with_grant).await;
        (answer.status == 200).then_some(())
    })
    .await;
    sidecar.stop().await;
    let report = sidecar.verified();
    assert_eq!(report.orphans, 0);
    assert!(report.intents > done, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_garbage_does_not_use_the_room_kept_for_overrides() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let site = Site::start().await;
    let reserve = 2 << 20;
    let file =
        SidecarFile { audit: Some(disk.path().to_owned()), override_reserve_bytes: reserve, ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let garbage = raw_request("POST", ECHO, &[("Break-Glass", "garbage!"), ("X-Padding", &"x".repeat(200))], "");
    let mut raw = sidecar.raw().await;
    let mut sent = 0_u32;
    while sidecar.metric("breakglass_sidecar_audit_summarised_total").await == 0.0 {
        for _ in 0..100 {
            raw.write(&garbage).await;
            assert_eq!(raw.answer().await.code(), "header_malformed");
        }
        sent += 100;
        assert!(sent < 20_000, "the stranger's records never stop");
    }
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    for _ in 0..50 {
        assert_eq!(code(&sidecar, &raw_request("POST", ECHO, &headers, "")).await, "override", "after {sent} attempts");
    }
    sidecar.verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_garbage_is_recorded_within_a_budget_and_counted_beyond_it() {
    let site = Site::start().await;
    let file = SidecarFile { stranger_records_per_s: 5, ..SidecarFile::default() };
    let mut sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let garbage = raw_request("POST", ECHO, &[("Break-Glass", "garbage!")], "");
    let began = Instant::now();
    let mut raw = sidecar.raw().await;
    for _ in 0..500 {
        raw.write(&garbage).await;
        assert_eq!(raw.answer().await.code(), "header_malformed");
    }
    let seconds = began.elapsed().as_secs() + 2;
    sidecar.stop().await;
    let report = sidecar.verified();
    assert!(report.refusals <= 5 * seconds, "{report:?} in {seconds} s");
    assert_eq!(report.refusals + report.summarised, 500, "each is either written or counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_issuer_verified_identities_and_cached_keys_go_on() {
    let mut site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    site.stop_issuer().await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    assert_eq!(code(&sidecar, &raw_request("POST", ECHO, &headers, "")).await, "override");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_upstream_an_override_is_told_so_and_its_outcome_is_recorded() {
    let site = Site::start().await;
    let file = SidecarFile { upstream: Some("http://127.0.0.1:1".to_owned()), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let answer = sidecar.send(&raw_request("POST", ECHO, &headers, "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"));
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_eq!(outcome["end"], "upstream_failed", "{outcome}");
    assert_eq!(sidecar.send(&raw_request("GET", "/v1/echo", &[], "")).await.status, 502);
}
