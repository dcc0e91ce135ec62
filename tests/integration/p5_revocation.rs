//! P5: each sidecar acknowledges what it enforces, and whoever revokes sees how far it has come.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Ask, Site, raw_request};
use breakglass::clock::{Clock, ManualClock};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_is_counted_sidecar_by_sidecar_and_holds_at_once() {
    let site = Site::start().await;
    let sidecars = [site.sidecar().await, site.sidecar().await, site.sidecar().await];
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
    for sidecar in &sidecars {
        assert_eq!(sidecar.send(&request).await.code(), "override", "no sidecar has yet to hear of the grant");
    }
    let enforcement = site.revoke(&grant).await;
    assert_eq!((enforcement.sidecars, enforcement.enforced), (3, 3), "{enforcement:?}");
    assert!(enforcement.elapsed_ms.is_some() && enforcement.silent.is_empty(), "{enforcement:?}");
    for sidecar in &sidecars {
        assert_eq!(sidecar.send(&request).await.code(), "grant_revoked", "what was acknowledged holds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_sidecar_is_named_with_the_time_by_which_it_stops() {
    let clock = ManualClock::starting_at(Clock::System.now());
    let site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
    let sidecar = site.sidecar().await;
    let mut silent = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    silent.stop().await;
    let path = format!("/v1/grants/{}/revoke", grant.id);
    let (status, said) = site.api(http::Method::POST, &path, "alice", serde_json::json!({})).await;
    assert_eq!(status, 200, "{said}");
    let path = format!("/v1/grants/{}/enforcement?wait_ms=500", grant.id);
    let (_, said) = site.api(http::Method::GET, &path, "alice", serde_json::Value::Null).await;
    assert_eq!((&said["sidecars"], &said["enforced"]), (&2.into(), &1.into()), "{said}");
    let stops_by = said["silent"][0]["stops_by"].as_i64().unwrap();
    let now = clock.now().wall.unix_ms();
    assert!(stops_by >= now && stops_by <= now + 3_000 + 60_000, "{said}");
    clock.advance(Duration::from_secs(120));
    sidecar.until_overrides().await;
}
