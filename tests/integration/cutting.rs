//! P2: when a grant ends, whatever is in flight under it ends: uploads, downloads, event streams, over both versions of
//! HTTP. (Tunnels of other protocols are in `upgrades`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use breakglass::clock::{Clock, ManualClock};
use breakglass::wire::api::GrantView;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::{Ask, ByHand, PATIENCE, Raw, SidecarFile, Site, TestSidecar, h2_request, raw_request, whole};

const ECHO: &str = "/v1/contracts/C-1042/echo";
const STATEMENT: &str = "/v1/contracts/C-1042/statement";

/// Both planes on one clock that the test moves, before an upstream that the test plays.
struct Scene {
    clock: Arc<ManualClock>,
    site: Site,
    upstream: ByHand,
    sidecar: TestSidecar,
    identity: String,
}

impl Scene {
    async fn open() -> Self {
        let clock = ManualClock::starting_at(Clock::System.now());
        Self::on(Site::with_clock(Clock::Manual(Arc::clone(&clock))).await, clock).await
    }

    async fn on(site: Site, clock: Arc<ManualClock>) -> Self {
        let upstream = ByHand::start().await;
        let file = SidecarFile {
            upstream: Some(upstream.url()),
            upstream_limits: "outcome_wait_ms_max = 60000".to_owned(),
            workers: 1,
            ..SidecarFile::default()
        };
        let sidecar = site.sidecar_with(&file).await;
        sidecar.until_overrides().await;
        let identity = site.identity("alice");
        Self { clock, site, upstream, sidecar, identity }
    }

    async fn grant(&self) -> GrantView {
        let actions = vec!["payment.release".to_owned(), "statement.read".to_owned()];
        self.site.grant(&Ask { duration_s: 60, actions, ..Ask::default() }).await
    }

    fn headers<'a>(&'a self, grant: &'a GrantView) -> [(&'a str, &'a str); 2] {
        [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", self.identity.as_str())]
    }

    /// The `number`th outcome, counted from one.
    async fn outcome(&self, number: usize) -> Value {
        self.sidecar.until_facts("outcome", number).await.remove(number - 1)
    }

    async fn is_cut(&self, number: usize, cause: &str, status: Option<u16>, sent: usize, received: Option<usize>) {
        let outcome = self.outcome(number).await;
        assert_eq!((outcome["end"].as_str(), outcome["cause"].as_str()), (Some("cut"), Some(cause)), "{outcome}");
        assert_eq!(outcome["status"].as_u64(), status.map(u64::from), "{outcome}");
        assert_eq!(outcome["request"]["bytes"], sent, "{outcome}");
        if let Some(received) = received {
            assert_eq!(outcome["response"]["bytes"], received, "{outcome}");
        }
        self.sidecar.verified();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_upload_is_cut_between_two_chunks() {
    let scene = Scene::open().await;
    let grant = scene.grant().await;
    let mut raw = scene.sidecar.raw().await;
    let mut headers = scene.headers(&grant).to_vec();
    headers.push(("Transfer-Encoding", "chunked"));
    raw.write(&raw_request("POST", ECHO, &headers, "")).await;
    raw.write(b"6\r\nbefore\r\n").await;
    let (mut line, _) = scene.upstream.request().await;
    assert_eq!(line.until(b"before\r\n").await, b"6\r\nbefore\r\n");
    scene.site.revoke(&grant).await;
    scene.outcome(1).await;
    raw.write(b"5\r\nafter\r\n0\r\n\r\n").await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "grant_revoked"));
    assert!(raw.is_closed().await);
    assert!(line.rest().await.is_empty(), "no further byte, and no end as if it were whole");
    scene.is_cut(1, "grant_revoked", None, 6, Some(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_cut_while_its_answer_is_already_on_its_way() {
    let scene = Scene::open().await;
    let grant = scene.grant().await;
    let mut raw = scene.sidecar.raw().await;
    let mut headers = scene.headers(&grant).to_vec();
    headers.push(("Transfer-Encoding", "chunked"));
    raw.write(&raw_request("POST", ECHO, &headers, "")).await;
    raw.write(b"6\r\nbefore\r\n").await;
    let (mut line, _) = scene.upstream.request().await;
    line.until(b"before\r\n").await;
    line.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n").await;
    assert_eq!(raw.head().await.unwrap().0, 200);
    assert_eq!(raw.take(9).await.unwrap(), b"4\r\npart\r\n");
    scene.site.revoke(&grant).await;
    scene.outcome(1).await;
    raw.write(b"5\r\nafter\r\n0\r\n\r\n").await;
    assert!(line.rest().await.is_empty() && raw.rest().await.is_empty());
    scene.is_cut(1, "grant_revoked", Some(200), 6, Some(4)).await;
}

/// A request whose body the test sends piece by piece.
fn piecemeal(
    target: &str,
    headers: &[(&str, &str)],
) -> (Sender<Bytes, std::io::Error>, http::Request<crate::harness::Sent>) {
    let (sender, body) = Channel::new(8);
    (sender, h2_request("POST", target, headers, "").map(|_| body.boxed()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_an_upload_is_cut_and_the_stream_beside_it_goes_on() {
    let scene = Scene::open().await;
    let grant = scene.grant().await;
    let h2 = scene.sidecar.h2().await;
    let (mut under_grant, request) = piecemeal(ECHO, &scene.headers(&grant));
    under_grant.send_data(Bytes::from_static(b"before")).await.unwrap();
    let cut = tokio::spawn(h2.start(request));
    let (mut line, head) = scene.upstream.request().await;
    assert!(head.header("break-glass-grant").is_some());
    line.until(b"before\r\n").await;
    let (mut ordinary, request) = piecemeal("/v1/echo", &[]);
    ordinary.send_data(Bytes::from_static(b"one")).await.unwrap();
    let beside = tokio::spawn(h2.start(request));
    let (mut other, _) = scene.upstream.request().await;
    other.until(b"one\r\n").await;
    scene.site.revoke(&grant).await;
    scene.outcome(1).await;
    let _ = under_grant.send_data(Bytes::from_static(b"after")).await;
    let answer = whole(cut.await.unwrap().unwrap()).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "grant_revoked"));
    assert!(line.rest().await.is_empty());
    ordinary.send_data(Bytes::from_static(b"two")).await.unwrap();
    drop(ordinary);
    other.until(b"3\r\ntwo\r\n0\r\n\r\n").await;
    other.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
    let answer = beside.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "done");
    scene.is_cut(1, "grant_revoked", None, 6, Some(0)).await;
}

/// Begins a download under the grant; the upstream says `said`, of which `body` reaches the client.
async fn downloading(scene: &Scene, grant: &GrantView, said: &str, body: &[u8]) -> (Raw, crate::harness::Line) {
    let mut raw = scene.sidecar.raw().await;
    raw.write(&raw_request("GET", STATEMENT, &scene.headers(grant), "")).await;
    let (mut line, _) = scene.upstream.request().await;
    line.write(said.as_bytes()).await;
    assert_eq!(raw.head().await.unwrap().0, 200);
    assert_eq!(raw.take(body.len()).await.unwrap(), body);
    (raw, line)
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_and_a_sized_download_are_cut_by_whatever_ends_the_grant() {
    for (said, body, count) in [(EVENTS, &b"9\r\ndata: 1\n\n\r\n"[..], 9), (SIZED, b"half.", 5)] {
        for cause in ["grant_revoked", "grant_expired", "frozen", "feed_stale"] {
            let mut scene = Scene::open().await;
            let grant = scene.grant().await;
            let (mut raw, mut line) = downloading(&scene, &grant, said, body).await;
            match cause {
                "grant_revoked" => drop(scene.site.revoke(&grant).await),
                "grant_expired" => scene.clock.advance(Duration::from_secs(60)),
                "frozen" => drop(scene.sidecar.admin(Method::PUT, "/freeze").await),
                _ => {
                    scene.site.stop_control().await;
                    scene.clock.advance(Duration::from_secs(4));
                }
            }
            assert!(line.rest().await.is_empty(), "{cause}: the upstream's connection is closed");
            let rest = raw.rest().await;
            assert!(rest.is_empty(), "{cause}: nothing that could look like an end: {rest:?}");
            scene.is_cut(1, cause, Some(200), 0, Some(count)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_request_that_was_whole_is_recorded_after_the_cut() {
    let scene = Scene::open().await;
    let grant = scene.grant().await;
    let mut raw = scene.sidecar.raw().await;
    raw.write(&raw_request("POST", ECHO, &scene.headers(&grant), "whole")).await;
    let (mut line, _) = scene.upstream.request().await;
    assert_eq!(line.take(5).await, b"whole");
    scene.site.revoke(&grant).await;
    let answer = raw.answer().await;
    assert_eq!(answer.code(), "grant_revoked");
    assert!(answer.json()["detail"].as_str().unwrap().contains("may have taken effect"));
    assert!(scene.sidecar.facts("outcome").is_empty(), "the upstream is still listened to");
    line.write(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\ndone").await;
    scene.is_cut(1, "grant_revoked", Some(201), 5, None).await;
}

/// Passes bytes between sidecars and the control plane, until told to swallow what sidecars say.
struct OneWay {
    swallowing: AtomicBool,
    swallowed: Notify,
}

impl OneWay {
    async fn before(control: std::net::SocketAddr) -> (Arc<Self>, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Self { swallowing: AtomicBool::new(false), swallowed: Notify::new() });
        let own = Arc::clone(&way);
        tokio::spawn(async move {
            while let Ok((sidecar, _)) = listener.accept().await {
                let control = TcpStream::connect(control).await.unwrap();
                tokio::spawn(Arc::clone(&own).pass(sidecar, control));
            }
        });
        (way, address)
    }

    async fn pass(self: Arc<Self>, sidecar: TcpStream, control: TcpStream) {
        let (mut from_sidecar, mut to_sidecar) = sidecar.into_split();
        let (mut from_control, mut to_control) = control.into_split();
        let down = tokio::spawn(async move { tokio::io::copy(&mut from_control, &mut to_sidecar).await });
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from_sidecar.read(&mut buffer).await {
            if self.swallowing.load(Ordering::SeqCst) {
                self.swallowed.notify_one();
            } else if to_control.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        down.abort();
    }
}

/// Freshness is counted from the sidecar's own pings that were answered. So a feed on which everything still arrives, but
/// nothing the sidecar says gets through (no ping, no acknowledgement), keeps no override alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_only_listens_keeps_nothing_alive() {
    let clock = ManualClock::starting_at(Clock::System.now());
    let mut site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
    let (way, address) = OneWay::before(site.feed).await;
    site.feed = address;
    let scene = Scene::on(site, clock).await;
    let grant = scene.grant().await;
    let (mut raw, mut line) = downloading(&scene, &grant, EVENTS, b"9\r\ndata: 1\n\n\r\n").await;
    way.swallowing.store(true, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, way.swallowed.notified()).await.expect("the sidecar speaks");
    scene.clock.advance(Duration::from_secs(4));
    assert!(line.rest().await.is_empty() && raw.rest().await.is_empty());
    scene.is_cut(1, "feed_stale", Some(200), 0, Some(9)).await;
    scene.sidecar.until_lacking("feed_stale").await;
}
