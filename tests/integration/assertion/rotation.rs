//! Keys follow each other while overrides go on, by the injected clock.

use std::collections::BTreeMap;
use std::time::Duration;

use breakglass::domain::WallTime;
use breakglass::token::assertion::jwks::{JwkSet, MAX_AGE};

use super::*;
use crate::harness::until;

/// By how much the clock is moved; then a heartbeat is awaited.
const STEP: Duration = Duration::from_secs(10);
/// Requests between two steps.
const REQUESTS: usize = 5;
/// Shortly before a third of the first key's time is left.
const BEFORE_RENEWAL: Duration = Duration::from_secs(380);
/// When the first key's last assertion is over, and the reader's copy of its set with it.
const AFTER_RENEWAL: Duration = Duration::from_secs(530);

/// The key sets as they were served, with their times.
struct Served(Vec<(WallTime, JwkSet)>);

impl Served {
    /// What a reader may hold at `now` that keeps a set for as long as it may: the oldest still fresh.
    fn kept(&self, now: WallTime, roots: &[PublicKey]) -> AssertionKeys {
        let fresh = self.0.iter().find(|(at, _)| now.since(*at) <= MAX_AGE).expect("a fresh set");
        AssertionKeys::read(&serde_json::to_vec(&fresh.1).unwrap(), roots, now).unwrap()
    }
}

async fn staged() -> (Stage, Arc<breakglass::clock::ManualClock>) {
    let (clock, hands) = clock_apart(0);
    let mut site = Site::with_clock(clock).await;
    site.stop_control().await;
    site.control_lines = "assertion_key_validity_s = 600".to_owned();
    site.start_control().await;
    (Stage::set(site).await, hands)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_under_traffic_and_no_reader_meets_one_it_could_not_know() {
    let (stage, hands) = staged().await;
    let roots = stage.roots();
    let grant = stage.site.grant(&Ask { duration_s: 1_800, ..Ask::default() }).await;
    let identity = stage.site.identity("alice");
    let mut served = Served(Vec::new());
    let mut signed_by = BTreeMap::new();
    let began = hands.now().wall;
    while hands.now().wall.since(began) < AFTER_RENEWAL {
        served.0.push((hands.now().wall, key_set(&stage.sidecar).await));
        for _ in 0..REQUESTS {
            let answer = stage.sidecar.send(&raw_request("POST", RELEASE, &own(&grant, &identity), "")).await;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            let arrived = stage.last();
            let keys = served.kept(hands.now().wall, &roots);
            assert!(stage.verified(&arrived, &keys).is_ok(), "with a set that may still be kept");
            assert!(stage.verified(&arrived, &stage.keys().await).is_ok(), "with the newest set");
            let header = arrived.assertion.unwrap().split('.').next().unwrap().to_owned();
            *signed_by.entry(header).or_insert(0) += 1;
        }
        hands.advance(if served.0.len() == 1 { BEFORE_RENEWAL } else { STEP });
        // One that answers a ping from before the step would leave the feed as old as the step is long.
        until("a heartbeat after the step", async || {
            let age = hands.now().boot.since(stage.sidecar.shared().standing.as_of());
            (age < Duration::from_secs(1)).then_some(())
        })
        .await;
    }
    assert_eq!(signed_by.len(), 2, "{signed_by:?}");
    assert!(signed_by.values().all(|count| *count > 20), "{signed_by:?}");
    assert_eq!(served.0.last().unwrap().1.keys.len(), 1, "the first is gone once nothing of it can be under way");
    assert!(served.0.iter().any(|(_, set)| set.keys.len() == 2), "they overlapped");
    let entries = stage.site.control().store().entries(0, 10_000).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "assertion_key_certified").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_could_not_be_renewed_ends_and_overrides_wait_for_another() {
    let (mut stage, hands) = staged().await;
    stage.site.stop_control().await;
    hands.advance(Duration::from_secs(580));
    assert_eq!(stage.sidecar.shared().assertions.signs_until(), None, "it could not outlive its last assertion");
    stage.sidecar.until_lacking("assertion_key").await;
    let ordinary = stage.sidecar.send(&raw_request("POST", RELEASE, &[], "")).await;
    assert_eq!(ordinary.status, 200, "ordinary traffic goes on");
    stage.site.start_control().await;
    stage.sidecar.until_overrides().await;
    let grant = stage.site.grant(&Ask::default()).await;
    let identity = stage.site.identity("alice");
    let answer = stage.sidecar.send(&raw_request("POST", RELEASE, &own(&grant, &identity), "")).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let keys = stage.keys().await;
    assert!(stage.verified(&stage.last(), &keys).is_ok());
}
