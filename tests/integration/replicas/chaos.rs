//! Requests and revocations while replicas are killed, cut off and hung at random: no revision is missing or doubled at
//! any sidecar, and no override passes once its revocation is older than `staleness_max`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use breakglass::store::ChangeBody;
use futures_util::future::join_all;
use http::Method;
use serde_json::Value;

use super::{Mishaps, code, granted, number, revoked};
use crate::harness::{Ask, Dice, Fleet, Follower, TestSidecar, raw_request, until};

const WORKERS: usize = 4;
const SIDECARS: usize = 3;
/// Of the tests' policy.
const STALENESS_MAX: Duration = Duration::from_secs(3);

struct Run {
    fleet: Fleet,
    sidecars: Vec<TestSidecar>,
    dice: Mutex<Dice>,
    wanted: usize,
    begun: AtomicUsize,
    done: AtomicUsize,
    passed: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revision_is_lost_or_doubled_and_no_revocation_outlived_whatever_befalls_replicas() {
    let mut dice = Dice::from_environment();
    let wanted = number("BREAKGLASS_REQUESTS", 25);
    let fleet = Fleet::start(3).await;
    let mut sidecars = Vec::new();
    for number in 0..SIDECARS {
        sidecars.push(fleet.sidecar(&format!("s-{number}")).await);
    }
    let follower = |n: usize, dice| Follower::start(fleet.path(), &format!("f-{n}"), fleet.feeds(), dice);
    let followers: Vec<_> = (0..SIDECARS).map(|n| follower(n, dice.apart())).collect();
    until("followers", async || followers.iter().all(|f| f.followed().since.is_some()).then_some(())).await;
    let mut mishaps = Mishaps::new(dice.apart(), 3);
    let run = Run {
        fleet,
        sidecars,
        dice: Mutex::new(dice),
        wanted,
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        passed: AtomicUsize::new(0),
    };
    tokio::join!(join_all((0..WORKERS).map(|_| work(&run))), befall(&run, &mut mishaps));
    let passed = run.passed.load(Ordering::Relaxed);
    eprintln!("{wanted} grants, {passed} overrides, mishaps (killed, cut, hung): {:?}", mishaps.counts);
    assert!(passed > 0, "grants are usable meanwhile");
    every_revision_came_once(&run.fleet, &followers, wanted).await;
    all_count_alike(&run.fleet).await;
}

/// After every few requests something happens; at the end all is well again.
async fn befall(run: &Run, mishaps: &mut Mishaps) {
    let mut next = 2;
    while next < run.wanted {
        while run.done.load(Ordering::Acquire) < next {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        mishaps.next(&run.fleet).await;
        next += 1 + run.dice.lock().unwrap().below(4);
    }
    while run.done.load(Ordering::Acquire) < run.wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mishaps.mend_all(&run.fleet).await;
}

async fn work(run: &Run) {
    loop {
        let number = run.begun.fetch_add(1, Ordering::Relaxed);
        if number >= run.wanted {
            return;
        }
        let ask = Ask { person: if number.is_multiple_of(2) { "alice" } else { "bob" }, ..Ask::default() };
        let grant = granted(&run.fleet, &run.dice, &ask, &format!("request-{number}")).await;
        let identity = run.fleet.identity(ask.person);
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
        let at = run.dice.lock().unwrap().below(SIDECARS);
        if code(&run.sidecars[at], &request).await == "override" {
            run.passed.fetch_add(1, Ordering::Relaxed);
        }
        revoked(&run.fleet, &run.dice, &grant).await;
        let revoked_at = Instant::now();
        for sidecar in &run.sidecars {
            is_over(sidecar, &request, revoked_at).await;
        }
        if (run.done.fetch_add(1, Ordering::Release) + 1).is_multiple_of(100) {
            eprintln!("{} requests", run.done.load(Ordering::Relaxed));
        }
    }
}

/// Tries until the sidecar says that the grant was revoked. It may pass before `staleness_max` is over, and never after.
async fn is_over(sidecar: &TestSidecar, request: &[u8], revoked: Instant) {
    loop {
        let began = Instant::now();
        let code = code(sidecar, request).await;
        let late = began.duration_since(revoked);
        match code.as_str() {
            "override" => assert!(late <= STALENESS_MAX, "an override {late:?} after the revocation"),
            "grant_revoked" => return,
            // Whatever else keeps it from passing, after that time it must.
            _ if late > STALENESS_MAX => return,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn every_revision_came_once(fleet: &Fleet, followers: &[Follower], wanted: usize) {
    let store = fleet.store().await;
    let newest = store.newest_revision().await.unwrap();
    let (service, mut committed, mut after) = ("payments".parse().unwrap(), Vec::new(), 0);
    loop {
        let page = store.changes_after(&service, after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.revision;
        let told = |body: &ChangeBody| matches!(body, ChangeBody::Put { .. } | ChangeBody::Tombstone { .. });
        committed.extend(page.iter().filter(|change| told(&change.body)).map(|change| change.revision));
    }
    assert_eq!(committed.len(), 2 * wanted, "each request made one grant, and each ended once");
    for (number, follower) in followers.iter().enumerate() {
        let followed = until(&format!("follower {number} at {newest}"), async || {
            Some(follower.followed()).filter(|followed| followed.last >= newest)
        })
        .await;
        let since = followed.since.unwrap();
        let expected: Vec<_> = committed.iter().copied().filter(|revision| *revision > since).collect();
        assert_eq!(followed.revisions, expected, "follower {number}, after {} streams", followed.streams);
        assert_eq!(followed.begun_anew, 0, "whoever comes back goes on where he was");
    }
    let entries = entries(&store).await;
    let started = entries.iter().filter(|kind| *kind == "control_started").count();
    assert!(started >= 3, "each start of each replica is an entry: {started}");
    store.close().await;
}

/// The kinds of all entries; their indices must be dense.
async fn entries(store: &breakglass::store::Store) -> Vec<String> {
    let mut kinds = Vec::new();
    loop {
        let page = store.entries(kinds.len() as u64, 1_000).await.unwrap();
        if page.is_empty() {
            return kinds;
        }
        for entry in page {
            assert_eq!(entry.index, kinds.len() as u64);
            kinds.push(entry.kind);
        }
    }
}

/// Once all is well, whoever is asked says the same.
async fn all_count_alike(fleet: &Fleet) {
    let dice = Mutex::new(Dice::of(1));
    let grant = granted(fleet, &dice, &Ask::default(), "the-last").await;
    revoked(fleet, &dice, &grant).await;
    let path = format!("/v1/grants/{}/enforcement?wait_ms=2000", grant.id);
    for at in 0..fleet.replicas.len() {
        let all = 2 * SIDECARS;
        until(&format!("replica {at} counts {all} of {all}"), async || {
            let (status, said) = fleet.ask(at, Method::GET, &path, "alice", None, &Value::Null).await?;
            (status == 200 && said["enforced"] == all && said["sidecars"] == all).then_some(())
        })
        .await;
    }
}
