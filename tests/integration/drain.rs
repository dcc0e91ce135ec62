//! Ending in order, by signals to a process of its own: what is in flight finishes or is cut at the limit and recorded,
//! and no connection that a client counts as made is reset.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use breakglass::audit::{Expectation, verify_folder};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{
    Ask, H2, PATIENCE, Program, Raw, SidecarFile, Site, Start, Target, ask, lines, raw_request, until,
};

const LIMIT: Duration = Duration::from_secs(4);
const EVENTS: &str = "/v1/contracts/C-1042/statement";
/// A second and a half.
const SLOW_PARTS: usize = 30;
const PAUSE: Duration = Duration::from_millis(50);

/// An upstream that takes its time: an answer to a body once it is whole, endless events, or parts with pauses.
async fn patient_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        while read.len() < end + length.unwrap_or(0) {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.drain(..end + length.unwrap_or(0));
        if head.contains("statement") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await?;
            loop {
                stream.write_all(b"9\r\ndata: x\n\n\r\n").await?;
                tokio::time::sleep(PAUSE).await;
            }
        } else if head.contains("/slow") {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SLOW_PARTS}\r\n\r\n").as_bytes()).await?;
            for _ in 0..SLOW_PARTS {
                tokio::time::sleep(PAUSE).await;
                stream.write_all(b".").await?;
            }
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        }
    }
}

struct Bench {
    site: Site,
    process: Program,
    ca: PathBuf,
    audit: PathBuf,
}

impl Bench {
    async fn start(drain_ms: u64) -> Self {
        let site = Site::start().await;
        let upstream = Some(format!("http://{}", patient_upstream().await));
        let listen = format!("drain_timeout_ms_max = {drain_ms}");
        let file = site.sidecar_file(&SidecarFile { upstream, listen, ..SidecarFile::default() });
        let process = Start::new(&file).serving().await;
        process.until_overrides().await;
        let (ca, audit) = (site.path().join("ca.pem"), file.parent().unwrap().join("audit"));
        Self { site, process, ca, audit }
    }

    async fn raw(&self) -> Raw {
        Raw::open(self.process.address(), &self.ca).await
    }

    /// An event stream that flows under a grant.
    async fn events(&self) -> (Raw, breakglass::wire::api::GrantView) {
        let grant = self.site.grant(&Ask { actions: vec!["statement.read".to_owned()], ..Ask::default() }).await;
        let identity = self.site.identity("alice");
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let mut raw = self.raw().await;
        raw.write(&raw_request("GET", EVENTS, &headers, "")).await;
        assert_eq!(raw.head().await.unwrap().0, 200);
        assert!(raw.some().await);
        (raw, grant)
    }

    fn facts(&self, kind: &str) -> Vec<Value> {
        facts(&self.audit, kind)
    }

    /// Waits for the process's end, which must be in order; how long after `since` it came.
    async fn ended_in_order(&mut self, since: Instant) -> Duration {
        let status = self.process.ended().await;
        assert!(status.success(), "{status}\n{}", self.process.said.text());
        let took = since.elapsed();
        let report = verify_folder(&self.audit, Expectation::default()).unwrap();
        assert!(report.is_sound() && report.orphans == 0, "{report:?}");
        assert_eq!(self.facts("log_ended").len(), 1);
        took
    }
}

fn facts(audit: &Path, kind: &str) -> Vec<Value> {
    let all = lines(audit).into_iter().map(|line| line["unmapped"]["break_glass"].clone());
    all.filter(|facts| facts["kind"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_lets_requests_finish_and_cuts_at_the_limit_what_does_not() {
    let mut bench = Bench::start(LIMIT.as_millis().try_into().unwrap()).await;
    let ordinary = raw_request("GET", "/v1/echo", &[], "");
    let (mut idle, mut idle_h2) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        let mut raw = bench.raw().await;
        raw.write(&ordinary).await;
        assert_eq!(raw.answer().await.status, 200);
        idle.push(raw);
        let mut h2 = H2::open(bench.process.address(), &bench.ca).await;
        assert_eq!(h2.send("GET", "/v1/echo", &[], "").await.status, 200);
        idle_h2.push(h2);
    }
    let mut upload = bench.raw().await;
    upload.write(b"POST /v1/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhalf").await;
    let mut download = bench.raw().await;
    download.write(&raw_request("GET", "/v1/slow", &[], "")).await;
    let (events, _) = bench.events().await;

    let told = Instant::now();
    bench.process.signal("TERM");
    bench.process.said.until("draining: waiting for what is in flight", 0).await;
    let (status, ready) = bench.process.readyz().await;
    assert_eq!((status, &ready["ready"], &ready["draining"]), (503, &false.into(), &true.into()));
    // Idle connections are closed long before the limit, in order.
    for mut raw in idle {
        assert!(raw.rest().await.is_empty());
    }
    for mut h2 in idle_h2 {
        until("HTTP/2 has ended", async || h2.is_closed().await.then_some(())).await;
    }
    assert!(told.elapsed() < LIMIT, "{:?}", told.elapsed());
    upload.write(b"full").await;
    let answer = upload.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let answer = download.answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, SLOW_PARTS));
    let mut events = events;
    assert!(events.some().await, "the override goes on");
    events.tail().await;
    let took = bench.ended_in_order(told).await;
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(3), "{took:?}");
    let outcomes = bench.facts("outcome");
    assert_eq!((outcomes.len(), &outcomes[0]["end"], &outcomes[0]["status"]), (1, &"stopped".into(), &200.into()));
    let cut = bench.process.said.until("the drain was over: what was still in flight was cut", 0).await;
    assert_eq!((&cut["connections"], &cut["requests"], &cut["overrides"]), (&1.into(), &1.into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_ends_at_once_and_still_records() {
    let mut bench = Bench::start(600_000).await;
    let (mut events, _) = bench.events().await;
    bench.process.signal("INT");
    bench.process.said.until("draining: waiting for what is in flight", 0).await;
    assert!(events.some().await);
    let told = Instant::now();
    bench.process.signal("TERM");
    let took = bench.ended_in_order(told).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(bench.facts("outcome")[0]["end"], "stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_is_still_watched_while_it_drains() {
    let mut bench = Bench::start(600_000).await;
    let (mut events, grant) = bench.events().await;
    bench.process.signal("TERM");
    bench.process.said.until("draining: waiting for what is in flight", 0).await;
    let told = Instant::now();
    let path = format!("/v1/grants/{}/revoke", grant.id);
    let (status, said) = bench.site.api(http::Method::POST, &path, "alice", serde_json::json!({})).await;
    assert_eq!(status, 200, "{said}");
    events.tail().await;
    let took = bench.ended_in_order(told).await;
    assert!(took < Duration::from_secs(8), "nothing else was in flight: {took:?}");
    let outcome = &bench.facts("outcome")[0];
    assert_eq!((&outcome["end"], &outcome["cause"]), (&"cut".into(), &"grant_revoked".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_free_for_others_as_soon_as_no_override_is_open() {
    let mut bench = Bench::start(20_000).await;
    let mut download = bench.raw().await;
    download.write(&raw_request("GET", "/v1/slow", &[], "")).await;
    assert_eq!(download.head().await.unwrap().0, 200);
    let told = Instant::now();
    bench.process.signal("TERM");
    bench.process.said.until("the audit log is closed and its folder free", 0).await;
    assert!(!bench.process.has_ended());
    breakglass::sidecar::audit_log::FolderStorage::open(&bench.audit).expect("the folder is free");
    while download.some().await {}
    bench.ended_in_order(told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_that_was_made_is_reset_and_no_request_on_a_kept_one_is_lost() {
    for round in 0..3 {
        let mut bench = Bench::start(20_000).await;
        let target = Target::new(bench.process.address(), &bench.ca);
        let request = raw_request("GET", "/v1/echo", &[], "");
        let connecting: Vec<_> = (0..4)
            .map(|_| {
                let (target, request) = (target.clone(), request.clone());
                tokio::spawn(async move {
                    let mut served = 0;
                    // A connection that is refused or not taken any more is the end; one that was made is answered.
                    while let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, target.connect()).await {
                        let mut stream = target.secure(stream, false).await.expect("a handshake");
                        assert_eq!(ask(&mut stream, &request).await.expect("an answer").status, 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        let keeping = {
            let (target, request) = (target.clone(), request.clone());
            tokio::spawn(async move {
                let mut stream = target.secure(target.connect().await.unwrap(), false).await.unwrap();
                while !ask(&mut stream, &request).await.expect("an answer").closes {}
            })
        };
        tokio::time::sleep(Duration::from_millis(200 + 50 * round)).await;
        let told = Instant::now();
        bench.process.signal("TERM");
        keeping.await.unwrap();
        for client in connecting {
            assert!(client.await.unwrap() > 0);
        }
        bench.ended_in_order(told).await;
    }
}
