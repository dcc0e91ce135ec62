//! Starting, stopping, being watched.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::bench::{Bench, problem, request, write_files};
use crate::clock::Clock;
use crate::config::control::ControlConfig;
use crate::control::{Control, StartError};
use crate::wire::api::{GrantView, KeysView};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let grant = bench.granted(&alice, &request(json!({}))).await.grant.unwrap();
    let roots = bench.running.grant_roots();
    let policy = bench.folder().join("policy.toml");
    let changed = std::fs::read_to_string(&policy).unwrap().replace("maximum_s = 1800", "maximum_s = 1200");
    std::fs::write(&policy, changed).unwrap();
    let bench = bench.restart().await;
    assert_eq!(bench.running.grant_roots(), roots);
    let view: GrantView = bench.get(&alice, &format!("/v1/grants/{}", grant.id)).await.json().unwrap();
    assert_eq!(view.revision, grant.revision);
    let keys = bench.call(Method::GET, "/v1/keys", HeaderMap::new(), Bytes::new()).await;
    assert_eq!(keys.json::<KeysView>().unwrap().grant_roots, roots);
    let kinds = bench.entry_kinds().await;
    for (kind, count) in [("policy_applied", 1), ("key_created", 1), ("control_started", 2)] {
        assert_eq!(kinds.iter().filter(|known| *known == kind).count(), count, "{kind}");
    }
    bench.granted(&alice, &request(json!({ "duration_s": 1800 }))).await;
    bench.running.stop().await;
}

#[tokio::test]
async fn the_admin_port_shows_how_it_goes() {
    let bench = Bench::start().await;
    bench.granted(&bench.alice(), &request(json!({}))).await;
    bench.post(&bench.alice(), "/v1/elevations", &request(json!({"reason": "bored"}))).await;
    assert_eq!(bench.admin("/livez").await.status, 200);
    let ready = bench.admin("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json::<Value>().unwrap()["issuers"][0]["keys"], 1);
    let metrics = bench.admin("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "breakglass_control_grants_issued_total 1",
        "breakglass_control_elevations_refused_total{code=\"unknown_reason\"} 1",
        "breakglass_control_requests_total{method=\"POST\",route=\"/v1/elevations\",status=\"201\"} 1",
        "breakglass_control_newest_revision 2",
        "breakglass_control_sidecars_connected 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    bench.running.store().close().await;
    assert_eq!(bench.admin("/readyz").await.status, 503);
    let answer = bench.post(&bench.alice(), "/v1/elevations", &request(json!({}))).await;
    assert_eq!(problem(&answer).code, "store_unavailable");
    bench.running.stop().await;
}

#[tokio::test]
async fn a_start_that_can_not_work_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_files(folder.path(), "http://127.0.0.1:9");
    let start = async || Control::start(ControlConfig::load(&file).unwrap(), Clock::System).await;
    let running = start().await.unwrap();
    let second = start().await.unwrap_err();
    assert!(matches!(second, StartError::InUse { .. }), "{second}");
    running.stop().await;
    let root = folder.path().join("keys/grant-root.pk8");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(start().await.unwrap_err(), StartError::Keys(_)));
    std::fs::write(folder.path().join("server.key"), "garbage").unwrap();
    assert!(matches!(start().await.unwrap_err(), StartError::Tls(_)));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = ControlConfig::load(&write_files(folder.path(), "http://127.0.0.1:9")).unwrap();
    config.api.address = taken.local_addr().unwrap();
    let bind = Control::start(config, Clock::System).await.unwrap_err();
    assert!(matches!(bind, StartError::Bind { .. }), "{bind}");
}
