//! `max_uses` over three sidecars and three replicas, while replicas are killed, cut off and hung, and sidecars killed:
//! never one use too many, and all of them can be had.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;

use super::{Mishaps, granted, number};
use crate::harness::{Ask, Dice, Fleet, Process, Raw, Recorder, SidecarFile, raw_request, until};
use breakglass::wire::api::GrantView;

const MAX_USES: u32 = 5;
const SIDECARS: usize = 3;
const CLIENTS: usize = 2 * SIDECARS;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Run {
    fleet: Fleet,
    sidecars: Vec<Mutex<Option<Process>>>,
    /// By grant: how often the upstream saw it.
    seen: Arc<Mutex<HashMap<String, u32>>>,
    dice: Mutex<Dice>,
    passed: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_uses_are_five_whatever_befalls_replicas_and_sidecars() {
    let mut dice = Dice::from_environment();
    let rounds = number("BREAKGLASS_ROUNDS", 3);
    let fleet = Fleet::start(3).await;
    let seen: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let recorder = {
        let seen = Arc::clone(&seen);
        Recorder::start(ANSWER, move |arrived| {
            if let Some(grant) = arrived.header("break-glass-grant") {
                *seen.lock().unwrap().entry(grant.to_owned()).or_default() += 1;
            }
        })
        .await
    };
    let file = SidecarFile { upstream: Some(recorder.url()), ..SidecarFile::default() };
    let files: Vec<_> = (0..SIDECARS).map(|n| fleet.sidecar_file(&file, &format!("s-{n}"))).collect();
    let sidecars = files.iter().map(|file| Mutex::new(Some(Process::start(file)))).collect();
    let mut mishaps = Mishaps::new(dice.apart(), 3);
    let run = Run { fleet, sidecars, seen, dice: Mutex::new(dice), passed: AtomicUsize::new(0) };
    let mut sidecars_killed = 0;
    for round in 0..rounds {
        let ask = Ask { max_uses: Some(MAX_USES), ..Ask::default() };
        let key = format!("round-{round}");
        let grant = granted(&run.fleet, &run.dice, &ask, &key).await;
        run.passed.store(0, Ordering::Release);
        let clients = join_all((0..CLIENTS).map(|n| client(&run, &grant, n % SIDECARS)));
        // In the midst of it: a replica's mishap, or the end of a sidecar.
        let (after, killed) = {
            let mut dice = run.dice.lock().unwrap();
            (dice.below(MAX_USES as usize), (dice.below(2) == 0).then(|| dice.below(SIDECARS)))
        };
        let mishap = async {
            until("the midst", async || (run.passed.load(Ordering::Acquire) >= after).then_some(())).await;
            match killed {
                Some(at) => kill_and_restart(&run.sidecars[at], &files[at]).await,
                None => mishaps.next(&run.fleet).await,
            }
        };
        tokio::join!(clients, mishap);
        sidecars_killed += usize::from(killed.is_some());
        let upstream = run.seen.lock().unwrap().get(grant.id.as_str()).copied().unwrap_or(0);
        assert!(upstream <= MAX_USES, "round {round}: the upstream saw {upstream}");
        if killed.is_none() {
            assert_eq!(upstream, MAX_USES, "round {round}: all of them could be had");
        }
        is_used_up(&run, &grant).await;
    }
    mishaps.mend_all(&run.fleet).await;
    eprintln!("{rounds} rounds, {sidecars_killed} sidecars killed, mishaps (killed, cut, hung): {:?}", mishaps.counts);
}

async fn kill_and_restart(sidecar: &Mutex<Option<Process>>, file: &Path) {
    let killed = sidecar.lock().unwrap().take().unwrap();
    killed.kill();
    let file = file.to_owned();
    let started = tokio::task::spawn_blocking(move || Process::start(&file)).await.unwrap();
    *sidecar.lock().unwrap() = Some(started);
}

/// Uses the grant at one sidecar until it is told that nothing is left of it.
async fn client(run: &Run, grant: &GrantView, at: usize) {
    let (identity, ca) = (run.fleet.identity("alice"), run.fleet.path().join("ca.pem"));
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut last = None;
    loop {
        if tokio::time::Instant::now() >= deadline {
            panic!("at {at} nobody says that {} is used up: {last:?}; {}", grant.id, picture(run, grant).await);
        }
        let address = run.sidecars[at].lock().unwrap().as_ref().map(|process| process.address);
        let answer = match address {
            // One that was killed this moment takes no connection.
            Some(address) if tokio::net::TcpStream::connect(address).await.is_ok() => {
                once(address, &ca, &request).await
            }
            _ => None,
        };
        match answer.as_deref() {
            Some("override") => {
                run.passed.fetch_add(1, Ordering::AcqRel);
            }
            Some("grant_used_up") => return,
            // Not told of the grant yet, its uses elsewhere, starting, stale: all of that passes.
            other => last = other.map(str::to_owned),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What stands where, for whoever wants to know why a use is not had.
async fn picture(run: &Run, grant: &GrantView) -> String {
    let store = run.fleet.store().await;
    let (shares, recalls) = (store.shares_of(&grant.id).await, store.recalls().await);
    let sidecars = store.sidecars().await;
    let mut text = format!("shares {shares:#?}\nrecalls {recalls:#?}\nsidecars {sidecars:#?}\n");
    for sidecar in &run.sidecars {
        let admin = sidecar.lock().unwrap().as_ref().map(|process| process.admin);
        let Some(admin) = admin else { continue };
        for path in ["readyz", "grants"] {
            let out =
                std::process::Command::new("curl").args(["-s", "-m5", &format!("http://{admin}/{path}")]).output();
            text += &String::from_utf8_lossy(&out.unwrap().stdout);
        }
    }
    text
}

async fn once(address: std::net::SocketAddr, ca: &Path, request: &[u8]) -> Option<String> {
    let (ca, request) = (ca.to_owned(), request.to_vec());
    let asked = tokio::spawn(async move {
        let mut raw = Raw::open(address, &ca).await;
        raw.write(&request).await;
        raw.try_answer().await.map(|answer| match answer.status {
            200 => "override".to_owned(),
            _ => answer.json()["code"].as_str().unwrap().to_owned(),
        })
    });
    // The process may end at any moment of it.
    asked.await.ok().flatten()
}

async fn is_used_up(run: &Run, grant: &GrantView) {
    let path = format!("/v1/grants/{}", grant.id);
    until("the grant is used up", async || {
        let fleet = &run.fleet;
        for at in 0..fleet.replicas.len() {
            let asked = fleet.ask(at, Method::GET, &path, "alice", None, &Value::Null).await;
            if let Some((200, said)) = asked {
                assert!(said["spent"].as_u64().unwrap() <= u64::from(MAX_USES), "{said}");
                return (said["state"] == "used_up").then_some(());
            }
        }
        None
    })
    .await;
}
