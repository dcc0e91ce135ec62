//! How long a client under a grant goes on after the grant has ended: p50, p99 and the greatest of a thousand, for every
//! kind of exchange and every cause.
//!
//! `cargo bench --bench cut_latency [-- STREAMS ROUNDS]`: in each round so many exchanges run at once under one grant,
//! which then ends. Real TLS on loopback, a real feed, a real audit log. A deadline and a stale feed are produced by a
//! clock that is moved by hand; they are noticed by the same look every 50 ms that notices them in earnest.
//!
//! "revoked" counts from the moment at which the revocation has arrived at the sidecar, "revoked, from the call" from
//! the moment at which somebody asked the control plane for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    unused_imports,
    reason = "a benchmark that meets the unexpected ends there, and uses a part of the tests' harness"
)]

#[path = "../tests/integration/harness/mod.rs"]
mod harness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use breakglass::clock::{Clock, ManualClock};
use breakglass::decision::GrantStanding;
use breakglass::wire::api::GrantView;
use harness::{Ask, Raw, SidecarFile, Site, TestSidecar, h2_request, raw_request, until};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SERVICE: &str = r#"
name = "payments"
mode = "enforce"

[ceiling]
roles = ["payments.override"]
actions = ["payment.release"]
lifetime_max_s = 3600
staleness_max_s = 3

[[route]]
method = "GET"
path = "/download/{contract}"
resource = "contract/{contract}"
action = "payment.release"

[[route]]
method = "POST"
path = "/upload/{contract}"
resource = "contract/{contract}"
action = "payment.release"

[[route]]
method = "GET"
path = "/events/{contract}"
resource = "contract/{contract}"
action = "payment.release"

[[route]]
method = "GET"
path = "/socket/{contract}"
resource = "contract/{contract}"
action = "payment.release"
upgrade = "allow"
"#;

const LIFETIME: Duration = Duration::from_secs(60);
/// Between two pieces of what flows.
const PACE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Download,
    Upload,
    Events,
    Socket,
    Http2,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Download, Self::Upload, Self::Events, Self::Socket, Self::Http2];

    const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Events => "server-sent events",
            Self::Socket => "WebSocket",
            Self::Http2 => "HTTP/2 stream",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Revoked,
    RevokedByCall,
    Deadline,
    Stale,
}

impl Cause {
    const ALL: [Self; 4] = [Self::Revoked, Self::RevokedByCall, Self::Deadline, Self::Stale];

    const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::RevokedByCall => "revoked, from the call",
            Self::Deadline => "deadline",
            Self::Stale => "stale feed",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Revoked | Self::RevokedByCall => "grant_revoked",
            Self::Deadline => "grant_expired",
            Self::Stale => "feed_stale",
        }
    }
}

/// An upstream whose answers never end by themselves.
async fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    url
}

async fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut byte = [0; 1024];
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&byte[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (start, piece): (&[u8], &[u8]) = match path.split('/').nth(1).unwrap_or_default() {
        "upload" => {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            return;
        }
        "socket" => {
            (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"\x82\x04tick")
        }
        "events" => (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"c\r\ndata: tick\n\n\r\n",
        ),
        _ => (b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n", &[b'x'; 16 * 1024]),
    };
    if stream.write_all(start).await.is_ok() {
        while stream.write_all(piece).await.is_ok() {
            tokio::time::sleep(PACE).await;
        }
    }
}

struct Bench {
    clock: Arc<ManualClock>,
    site: Site,
    sidecar: TestSidecar,
    streams: usize,
}

impl Bench {
    async fn start(streams: usize) -> Self {
        let clock = ManualClock::starting_at(Clock::System.now());
        let site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
        let file =
            SidecarFile { service: SERVICE.to_owned(), upstream: Some(upstream().await), ..SidecarFile::default() };
        let sidecar = site.sidecar_with(&file).await;
        sidecar.until_overrides().await;
        Self { clock, site, sidecar, streams }
    }

    /// One round: how long each exchange went on after the end.
    async fn round(&mut self, kind: Kind, cause: Cause) -> Vec<Duration> {
        let grant = self.site.grant(&Ask { duration_s: LIFETIME.as_secs(), ..Ask::default() }).await;
        let identity = self.site.identity("alice");
        let mut running = Vec::with_capacity(self.streams);
        for _ in 0..self.streams {
            running.push(begin(&self.sidecar, kind, &grant, &identity).await);
        }
        if cause == Cause::Stale {
            self.site.stop_control().await;
        }
        let ended = self.end(&grant, cause).await;
        let mut spans = Vec::with_capacity(self.streams);
        for exchange in running {
            let cut = tokio::time::timeout(harness::PATIENCE, exchange).await.expect("it is cut").unwrap();
            spans.push(cut.saturating_duration_since(ended));
        }
        if cause == Cause::Stale {
            self.site.start_control().await;
        }
        let audit = &self.sidecar.shared().audit;
        until("every outcome", async || (audit.open_intents() == 0).then_some(())).await;
        // After time was moved on, the feed is as old as that until the next heartbeat.
        self.sidecar.until_overrides().await;
        spans
    }

    /// Ends the grant; the moment from which is counted.
    async fn end(&self, grant: &GrantView, cause: Cause) -> Instant {
        match cause {
            Cause::Revoked => {
                let live = self.sidecar.shared().grants.by_id(&grant.id).unwrap();
                let now = Instant::now();
                live.end(GrantStanding::Revoked);
                now
            }
            Cause::RevokedByCall => {
                let path = format!("/v1/grants/{}/revoke", grant.id);
                let now = Instant::now();
                let (status, said) = self.site.api(Method::POST, &path, "alice", json!({})).await;
                assert_eq!(status, 200, "{said}");
                now
            }
            Cause::Deadline => {
                let now = Instant::now();
                self.clock.advance(LIFETIME);
                now
            }
            Cause::Stale => {
                let now = Instant::now();
                self.clock.advance(Duration::from_millis(3_100));
                now
            }
        }
    }
}

/// Begins one exchange and returns once bytes flow; the task ends when the client notices the cut.
async fn begin(sidecar: &TestSidecar, kind: Kind, grant: &GrantView, identity: &str) -> JoinHandle<Instant> {
    let own = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity)];
    match kind {
        Kind::Http2 => return begin_http2(sidecar, &own).await,
        Kind::Upload => return begin_upload(sidecar, &own).await,
        Kind::Download | Kind::Events | Kind::Socket => {}
    }
    let (path, expected, upgrade): (_, _, &[(&str, &str)]) = match kind {
        Kind::Socket => (
            "/socket/C-1042",
            101,
            &[
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        ),
        Kind::Events => ("/events/C-1042", 200, &[]),
        Kind::Download | Kind::Upload | Kind::Http2 => ("/download/C-1042", 200, &[]),
    };
    let headers: Vec<_> = own.iter().chain(upgrade).copied().collect();
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", path, &headers, "")).await;
    let (status, headers) = raw.head().await.unwrap();
    assert_eq!(status, expected, "{headers:?}");
    assert!(raw.some().await, "bytes flow");
    tokio::spawn(async move {
        raw.tail().await;
        Instant::now()
    })
}

async fn begin_upload(sidecar: &TestSidecar, own: &[(&str, &str)]) -> JoinHandle<Instant> {
    let before = sidecar.shared().audit.open_intents();
    let mut raw: Raw = sidecar.raw().await;
    let headers: Vec<_> = own.iter().copied().chain([("Transfer-Encoding", "chunked")]).collect();
    raw.write(&raw_request("POST", "/upload/C-1042", &headers, "")).await;
    raw.write(b"4\r\nsome\r\n").await;
    until("the intent", async || (sidecar.shared().audit.open_intents() > before).then_some(())).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                // An answer, or the end of the connection.
                _ = raw.some() => return Instant::now(),
                () = tokio::time::sleep(PACE) => raw.write(b"4\r\nmore\r\n").await,
            }
        }
    })
}

async fn begin_http2(sidecar: &TestSidecar, own: &[(&str, &str)]) -> JoinHandle<Instant> {
    let mut h2 = sidecar.h2().await;
    let beside = h2.begin(h2_request("GET", "/events/C-1042", &[], "")).await.unwrap();
    let response = h2.begin(h2_request("GET", "/download/C-1042", own, "")).await.unwrap();
    assert_eq!((beside.status().as_u16(), response.status().as_u16()), (200, 200));
    let (mut body, mut beside) = (response.into_body(), beside.into_body());
    assert!(body.frame().await.unwrap().is_ok());
    tokio::spawn(async move {
        while let Some(Ok(_)) = body.frame().await {}
        let cut = Instant::now();
        for _ in 0..3 {
            assert!(beside.frame().await.unwrap().is_ok(), "the stream beside it goes on");
        }
        cut
    })
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

async fn measure(streams: usize, rounds: usize) {
    println!("{streams} exchanges at once, {rounds} rounds; milliseconds until the client is cut");
    println!("{:<24} {:<20} {:>6} {:>8} {:>8} {:>8} {:>10}", "cause", "exchange", "n", "p50", "p99", "max", "over 100");
    for cause in Cause::ALL {
        let mut bench = Bench::start(streams).await;
        for kind in Kind::ALL {
            let mut spans = Vec::with_capacity(streams * rounds);
            for _ in 0..rounds {
                spans.extend(bench.round(kind, cause).await);
            }
            spans.sort_unstable();
            let at = |share: f64| milliseconds(spans[((spans.len() - 1) as f64 * share) as usize]);
            let late = spans.iter().filter(|span| **span > Duration::from_millis(100)).count();
            println!(
                "{:<24} {:<20} {:>6} {:>8.2} {:>8.2} {:>8.2} {:>10}",
                cause.name(),
                kind.name(),
                spans.len(),
                at(0.5),
                at(0.99),
                at(1.0),
                late
            );
        }
        let expected = streams * rounds * Kind::ALL.len();
        let outcomes = bench.sidecar.facts("outcome");
        // An upload whose grant ended between its intent and its first byte was not forwarded, for the same cause.
        let told = outcomes.iter().filter(|outcome| outcome["cause"] == cause.code()).count();
        println!("{:<24} outcome records that say so: {told} of {expected}", cause.name());
        bench.sidecar.verified();
    }
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (streams, rounds) = (numbers.first().copied().unwrap_or(50), numbers.get(1).copied().unwrap_or(20));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(streams, rounds));
}
