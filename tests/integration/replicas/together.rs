//! What replicas do together when all is well: they count each other's sidecars, and work through one's end.

use http::Method;
use serde_json::{Value, json};

use super::{code, wish};
use crate::harness::{Ask, Dice, Fleet, Follower, SidecarFile, TestSidecar, raw_request, until};
use breakglass::clock::Clock;
use breakglass::wire::api::{ElevationView, Enforcement};

async fn grant(fleet: &Fleet, at: usize) -> breakglass::wire::api::GrantView {
    let ask = Ask::default();
    let asked = fleet.ask(at, Method::POST, "/v1/elevations", ask.person, None, &wish(&ask)).await;
    let (status, said) = asked.expect("an answer");
    assert_eq!(status, 201, "{said}");
    serde_json::from_value::<ElevationView>(said).unwrap().grant.unwrap()
}

/// Sidecars on different replicas; whoever is asked, at whichever replica, counts them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_revokes_at_one_replica_counts_the_sidecars_of_all() {
    let fleet = Fleet::start(3).await;
    let mut followers: Vec<_> = (0..6)
        .map(|n| {
            let replica = fleet.replicas[n % 3].feed();
            Follower::start(fleet.path(), &format!("f-{n}"), vec![replica], Dice::of(7))
        })
        .collect();
    let connected = async |fleet: &Fleet, at: usize| {
        let (_, said) = fleet.ask(at, Method::GET, "/v1/sidecars", "dave", None, &Value::Null).await?;
        let items = said["items"].as_array().unwrap();
        Some(items.iter().filter(|sidecar| sidecar["connected"] == true).count())
    };
    for at in 0..3 {
        until("six sidecars", async || (connected(&fleet, at).await? == 6).then_some(())).await;
    }
    let granted = grant(&fleet, 0).await;
    let path = format!("/v1/grants/{}/revoke", granted.id);
    let (status, said) = fleet.ask(1, Method::POST, &path, "alice", None, &json!({})).await.unwrap();
    assert_eq!(status, 200, "{said}");
    let path = format!("/v1/grants/{}/enforcement?wait_ms=10000", granted.id);
    for at in [1, 2, 0] {
        let (_, said) = fleet.ask(at, Method::GET, &path, "alice", None, &Value::Null).await.unwrap();
        let enforcement: Enforcement = serde_json::from_value(said).unwrap();
        assert_eq!((enforcement.sidecars, enforcement.enforced), (6, 6), "replica {at}: {enforcement:?}");
        assert!(enforcement.elapsed_ms.is_some_and(|ms| ms < 5_000), "replica {at}: {enforcement:?}");
    }
    // The sidecars of a replica that died are silent, and named with the time by which they stop.
    fleet.kill(2);
    let granted = grant(&fleet, 0).await;
    let path = format!("/v1/grants/{}/enforcement?wait_ms=500", granted.id);
    let (_, said) = fleet.ask(0, Method::GET, &path, "alice", None, &Value::Null).await.unwrap();
    assert_eq!((&said["sidecars"], &said["enforced"]), (&6.into(), &4.into()), "{said}");
    let silent: Vec<_> = said["silent"].as_array().unwrap().iter().map(|s| s["instance"].as_str().unwrap()).collect();
    assert_eq!(silent, ["f-2", "f-5"], "{said}");
    let now = Clock::System.wall().unix_ms();
    let stops_by = said["silent"][0]["stops_by"].as_i64().unwrap();
    assert!(stops_by <= now + 3_000 + 5_000, "its replica may have called itself fresh for five seconds more: {said}");
    // Once they are long silent they count no more.
    followers.retain({
        let mut n = 0;
        move |_| {
            n += 1;
            n % 3 != 0
        }
    });
    until("the silent have stopped by themselves", async || {
        let (_, said) = fleet.ask(1, Method::GET, &path, "alice", None, &Value::Null).await?;
        (said["sidecars"] == 4 && said["enforced"] == 4).then_some(())
    })
    .await;
}

/// A sidecar goes on at another replica, and what its old stream says counts no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_goes_on_at_another_replica_when_its_own_dies() {
    let fleet = Fleet::start(2).await;
    let sidecar = fleet.sidecar("s-0").await;
    let identity = fleet.identity("alice");
    for round in 0..3 {
        let granted = grant(&fleet, 0).await;
        let headers = [("Break-Glass", granted.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
        until("an override", async || (code(&sidecar, &request).await == "override").then_some(())).await;
        fleet.kill(round % 2);
        let after = grant(&fleet, (round + 1) % 2).await;
        let headers = [("Break-Glass", after.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
        until("an override of the other replica's grant", async || {
            (code(&sidecar, &request).await == "override").then_some(())
        })
        .await;
        fleet.restart(round % 2).await;
    }
}

/// One expiry is one entry, however many replicas sweep; and what a start makes is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_sweep_at_once_end_each_grant_once() {
    let fleet = Fleet::start(3).await;
    let ask = Ask { duration_s: 1, ..Ask::default() };
    for n in 0..10 {
        let asked = fleet.ask(n % 3, Method::POST, "/v1/elevations", "alice", None, &wish(&ask)).await;
        assert_eq!(asked.map(|(status, _)| status), Some(201));
    }
    let store = fleet.store().await;
    until("ten ends", async || {
        let ends = kinds(&store).await.iter().filter(|kind| *kind == "grant_expired").count();
        assert!(ends <= 10, "{ends} ends of ten grants");
        (ends == 10).then_some(())
    })
    .await;
    // Each replica has swept once more by then: it does so every second, and a start comes after it has.
    fleet.kill(0);
    fleet.restart(0).await;
    let kinds = kinds(&store).await;
    let count = |wanted: &str| kinds.iter().filter(|kind| *kind == wanted).count();
    assert_eq!((count("grant_expired"), count("control_started")), (10, 4));
    assert_eq!((count("policy_applied"), count("key_created")), (1, 1));
    store.close().await;
}

async fn kinds(store: &breakglass::store::Store) -> Vec<String> {
    store.entries(0, 1_000).await.unwrap().into_iter().map(|entry| entry.kind).collect()
}

/// Sidecars of two services on one control plane: neither hears of the other's grants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_names_another_service_is_refused_at_every_replica() {
    let fleet = Fleet::start(2).await;
    // The certificate is of "payments"; the file says "ledger".
    let service = SidecarFile::default().service.replacen("name = \"payments\"", "name = \"ledger\"", 1);
    let file = fleet.sidecar_file(&SidecarFile { service, ..SidecarFile::default() }, "foreign");
    let sidecar = TestSidecar::start(file, Clock::System).await;
    until("it was refused", async || {
        let refused = sidecar.metric("breakglass_sidecar_feed_connected").await;
        let text = fleet.said(0) + &fleet.said(1);
        (refused == 0.0 && text.contains("the client certificate is of another service")).then_some(())
    })
    .await;
    assert!(!sidecar.readyz().await["overrides"].as_bool().unwrap());
}
