//! A replica that has lost its database, by a cut or by silence: it says so, gives up in bounded time, hides no
//! revocation, and works again once the database is back.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::{code, wish};
use crate::harness::{Ask, Fleet, raw_request, until};
use breakglass::wire::api::ElevationView;

/// No call may take longer, and none may wait for the network's own patience, which is a quarter of an hour.
const ANSWER_MAX: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_database_hangs_gives_up_in_time_and_recovers() {
    let fleet = Fleet::start(2).await;
    fleet.until_ready(0, true).await;
    for way in ["hung", "cut"] {
        let wire = &fleet.replicas[0].wire;
        if way == "hung" {
            wire.hang()
        } else {
            wire.cut()
        }
        fleet.until_ready(0, false).await;
        for (method, path, body) in [
            (Method::GET, "/v1/grants", Value::Null),
            (Method::POST, "/v1/elevations", wish(&Ask::default())),
            (Method::GET, "/v1/grants", Value::Null),
        ] {
            let began = Instant::now();
            let answer = fleet.answer(0, method, path, "alice", None, &body).await.expect("an answer in time");
            assert!(began.elapsed() < ANSWER_MAX, "{way}: {:?}", began.elapsed());
            assert_eq!(answer.status, 503, "{way}: {:?}", answer.json::<Value>());
            assert!(answer.headers.contains_key("retry-after"), "{way}");
        }
        let (status, _) = fleet.ask(1, Method::GET, "/v1/grants", "alice", None, &Value::Null).await.unwrap();
        assert_eq!(status, 200, "the other does not notice");
        wire.mend();
        let back = Instant::now();
        fleet.until_ready(0, true).await;
        // Readiness is asked of a reader; what was to write may still hold a connection that is dead.
        until("a grant", async || {
            let asked = fleet.ask(0, Method::POST, "/v1/elevations", "alice", None, &wish(&Ask::default())).await?;
            assert!(matches!(asked.0, 201 | 503), "{way}: {asked:?}");
            (asked.0 == 201).then_some(())
        })
        .await;
        assert!(back.elapsed() < Duration::from_secs(8), "{way}: {:?}", back.elapsed());
    }
}

/// The sidecar's own replica hangs, while another revokes: nothing passes once that is older than `staleness_max`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hangs_hides_no_revocation_and_its_sidecar_leaves_it() {
    let fleet = Fleet::start(2).await;
    let sidecar = fleet.sidecar("s-0").await;
    let identity = fleet.identity("alice");
    for _ in 0..2 {
        let asked = fleet.ask(0, Method::POST, "/v1/elevations", "alice", None, &wish(&Ask::default())).await;
        let grant = serde_json::from_value::<ElevationView>(asked.unwrap().1).unwrap().grant.unwrap();
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
        until("an override", async || (code(&sidecar, &request).await == "override").then_some(())).await;
        let on = until("its replica", async || {
            for at in 0..2 {
                let text = metrics(&fleet, at).await;
                if text.contains("\nbreakglass_control_sidecars_connected 1\n") {
                    return Some(at);
                }
            }
            None
        })
        .await;
        fleet.replicas[on].wire.hang();
        let path = format!("/v1/grants/{}/revoke", grant.id);
        let (status, said) = fleet.ask(1 - on, Method::POST, &path, "alice", None, &json!({})).await.unwrap();
        assert_eq!(status, 200, "{said}");
        let revoked = Instant::now();
        let refused = until("no override any more", async || {
            let began = Instant::now();
            let said = code(&sidecar, &request).await;
            assert!(said != "override" || began.duration_since(revoked) <= Duration::from_secs(3), "it outlives it");
            (said != "override").then_some(said)
        })
        .await;
        assert!(["feed_stale", "grant_revoked", "cut"].contains(&refused.as_str()), "{refused}");
        // Its heartbeats have grown old: it goes to the other replica, and hears of the revocation there.
        until("the other replica's word", async || (code(&sidecar, &request).await == "grant_revoked").then_some(()))
            .await;
        assert!(metrics(&fleet, 1 - on).await.contains("\nbreakglass_control_sidecars_connected 1\n"));
        fleet.replicas[on].wire.mend();
        fleet.until_ready(on, true).await;
        sidecar.until_overrides().await;
    }
}

async fn metrics(fleet: &Fleet, at: usize) -> String {
    let url = format!("http://{}/metrics", fleet.replicas[at].admin()).parse().unwrap();
    let client = breakglass::http::Client::new(None, breakglass::http::Limits::DEFAULT)
        .with_cleartext(breakglass::http::Cleartext::LoopbackOnly);
    let answer = client.send(Method::GET, &url, http::HeaderMap::new(), bytes::Bytes::new()).await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap()
}
