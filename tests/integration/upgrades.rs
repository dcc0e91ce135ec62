//! Another protocol on a client's connection (RFC 9110 §7.8), as ordinary traffic and under a grant.

use std::sync::Arc;
use std::time::Duration;

use breakglass::clock::{Clock, ManualClock};
use http::Method;
use serde_json::Value;

use crate::harness::{
    Ask, ByHand, Line, PATIENCE, Raw, Recorder, SERVICE, SidecarFile, Site, TestSidecar, raw_request, sha256_hex,
};

const STATEMENT: &str = "/v1/contracts/C-1042/statement";
const ASKING: [(&str, &str); 3] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nBreak-Glass-Role: forged\r\nContent-Length: 0\r\n\r\n";
/// What no HTTP parser would let through.
const OPAQUE: &[u8] = b"GET / HTTP/1.1\nContent-Length: x\r\n\x00\x81\x05hello\r\n\r\n";

/// The service with another protocol allowed where statements are read.
fn allowing() -> String {
    SERVICE.replace("action = \"statement.read\"\n", "action = \"statement.read\"\nupgrade = \"allow\"\n")
}

async fn before(site: &Site, upstream: &ByHand, service: String, limits: &str) -> TestSidecar {
    let file = SidecarFile {
        service,
        upstream: Some(upstream.url()),
        upstream_limits: limits.to_owned(),
        ..SidecarFile::default()
    };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    sidecar
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_upstream_agrees_bytes_pass_both_ways_unread() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, SERVICE.to_owned(), "").await;
    let mut raw = sidecar.raw().await;
    let mut request = raw_request("GET", "/v1/live", &ASKING, "");
    request.extend_from_slice(OPAQUE);
    raw.write(&request).await;
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.header("upgrade"), Some("websocket"), "{}", head.head);
    assert_eq!(head.header("connection"), Some("upgrade"), "{}", head.head);
    assert_eq!(head.header("sec-websocket-key"), Some(ASKING[2].1));
    line.write(&[SWITCHED, b"at once"].concat()).await;
    let (status, headers) = raw.head().await.unwrap();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((status, header("upgrade"), header("connection")), (101, Some("websocket"), Some("upgrade")));
    assert_eq!(header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(header("break-glass-role").is_none() && header("content-length").is_none(), "{headers:?}");
    assert_eq!(raw.take(7).await.unwrap(), b"at once");
    assert_eq!(line.take(OPAQUE.len()).await, OPAQUE, "what came with the head goes on as it is");
    let much = vec![7_u8; 1 << 20];
    let (mut line, mut raw) = both(line, raw, &much).await;
    raw.finish().await;
    assert!(line.rest().await.is_empty(), "the client's end is passed on");
    line.write(b"last words").await;
    assert_eq!(raw.take(10).await.unwrap(), b"last words", "and the upstream may still speak");
    line.finish().await;
    assert!(raw.ends_in_order().await);
    raw_request_on_a_new_line(&sidecar, &upstream).await;
}

/// Sends `much` in both directions at once.
async fn both(mut line: Line, mut raw: Raw, much: &[u8]) -> (Line, Raw) {
    let (sent, expected) = (much.to_vec(), much.to_vec());
    let upstream = tokio::spawn(async move {
        line.write(&sent).await;
        assert_eq!(line.take(sent.len()).await, sent);
        line
    });
    raw.write(&expected).await;
    assert_eq!(raw.take(expected.len()).await.unwrap(), expected);
    (tokio::time::timeout(PATIENCE, upstream).await.unwrap().unwrap(), raw)
}

/// A connection that was switched is never used for another request.
async fn raw_request_on_a_new_line(sidecar: &TestSidecar, upstream: &ByHand) {
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", "/v1/next", &[], "")).await;
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.request_line(), "GET /v1/next HTTP/1.1");
    line.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_other_answer_what_came_behind_the_request_is_judged() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, SERVICE.to_owned(), "").await;
    let mut raw = sidecar.raw().await;
    let forged = raw_request("GET", "/v1/second", &[("Break-Glass-Role", "forged"), ("X-Kept", "1")], "");
    let smuggled = "POST /v1/third HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw.write(&[raw_request("GET", "/v1/live", &ASKING, ""), forged, smuggled.into()].concat()).await;
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.header("upgrade"), Some("websocket"));
    line.write(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.body.as_slice()), (426, b"no".as_slice()));
    let second = line.head().await;
    assert_eq!(second.request_line(), "GET /v1/second HTTP/1.1");
    assert_eq!((second.header("break-glass-role"), second.header("x-kept")), (None, Some("1")));
    line.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 204);
    let third = raw.answer().await;
    assert_eq!((third.status, third.code().as_str()), (400, "framing_conflict"));
    assert!(raw.ends_in_order().await, "and the connection is closed in order");
    drop(sidecar);
    let behind = line.rest().await;
    assert!(behind.is_empty(), "{}", String::from_utf8_lossy(&behind));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_asked_for_is_left_out() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let site = Site::start().await;
    let upstream = Recorder::start(OK, |_| {}).await;
    let file = SidecarFile { upstream: Some(upstream.url()), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    let asking: [&[(&str, &str)]; 6] = [
        &[
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ],
        &[("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")],
        &[("Connection", "upgrade"), ("Upgrade", "TLS/1.0")],
        &[("Connection", "upgrade"), ("Upgrade", "HTTP/2.0")],
        &[("Connection", "upgrade"), ("Upgrade", "something-new")],
        &[("Upgrade", "websocket")],
    ];
    for headers in asking {
        let answer = sidecar.send(&raw_request("GET", "/v1/live", headers, "")).await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
    let bodied = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    assert_eq!(sidecar.send(&raw_request("POST", "/v1/live", &bodied, "body")).await.status, 200);
    let old = b"GET /v1/live HTTP/1.0\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(sidecar.send(old).await.status, 200);
    assert_eq!(upstream.heads().len(), 8);
    for head in upstream.heads() {
        for name in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(head.header(name), None, "{}", head.head);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_nobody_asked_for_is_a_failure_of_the_upstream() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, allowing(), "").await;
    let other = [("Connection", "upgrade"), ("Upgrade", "websocket, something-new")];
    let wrong: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: something-new\r\n\r\n";
    let silent: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    for (headers, said) in [(&[][..], SWITCHED), (&other[..], wrong), (&ASKING[..], silent)] {
        let mut raw = sidecar.raw().await;
        raw.write(&raw_request("GET", "/v1/live", headers, "")).await;
        let (mut line, _) = upstream.request().await;
        line.write(said).await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"), "{headers:?}");
        assert!(line.rest().await.is_empty(), "the upstream's connection is closed");
    }
    let grant = site.grant(&reading()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", STATEMENT, &headers, "")).await;
    let (mut line, _) = upstream.request().await;
    line.write(SWITCHED).await;
    assert_eq!(raw.answer().await.status, 502);
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_eq!((outcome["end"].as_str(), outcome["status"].as_u64()), (Some("upstream_failed"), Some(101)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_tunnel_ends() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, SERVICE.to_owned(), "tunnel_idle_timeout_ms_max = 100").await;
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", "/v1/live", &ASKING, "")).await;
    let (mut line, _) = upstream.request().await;
    line.write(SWITCHED).await;
    assert_eq!(raw.head().await.unwrap().0, 101);
    assert!(raw.is_closed().await && line.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_seal_another_protocol_needs_the_routes_word() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sealed = include_str!("../cases/services/sealed.toml").to_owned();
    let sidecar = before(&site, &upstream, sealed.clone(), "").await;
    let refused = sidecar.send(&raw_request("GET", STATEMENT, &ASKING, "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "upgrade_not_allowed"));
    let refused = sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &ASKING, "")).await;
    assert_eq!(refused.code(), "grant_required");
    let refused = sidecar.send(&raw_request("GET", "/v1/live", &ASKING, "")).await;
    assert_eq!(refused.code(), "route_unknown");
    let allowed = sealed.replace("pause_ms\"]\n", "pause_ms\"]\nupgrade = \"allow\"\n");
    let sidecar = before(&site, &upstream, allowed, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", STATEMENT, &ASKING, "")).await;
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.header("upgrade"), Some("websocket"));
    line.write(SWITCHED).await;
    assert_eq!(raw.head().await.unwrap().0, 101);
}

fn reading() -> Ask {
    Ask { actions: vec!["statement.read".to_owned()], ..Ask::default() }
}

/// A tunnel under a grant of a minute, with `up` and `down` passed on it.
struct Tunnel {
    clock: Arc<ManualClock>,
    site: Site,
    sidecar: TestSidecar,
    grant: breakglass::wire::api::GrantView,
    raw: Raw,
    line: Line,
}

const UP: &[u8] = b"from the client";
const DOWN: &[u8] = b"from the upstream, more";

impl Tunnel {
    async fn open() -> Self {
        let clock = ManualClock::starting_at(Clock::System.now());
        let site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
        let upstream = ByHand::start().await;
        let sidecar = before(&site, &upstream, allowing(), "").await;
        let grant = site.grant(&Ask { duration_s: 60, ..reading() }).await;
        let identity = site.identity("alice");
        let mut headers = vec![("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        headers.extend(ASKING);
        let mut raw = sidecar.raw().await;
        raw.write(&raw_request("GET", STATEMENT, &headers, "")).await;
        let (mut line, head) = upstream.request().await;
        assert_eq!(head.header("break-glass-grant"), Some(grant.id.as_str()));
        assert_eq!(sidecar.facts("intent").len(), 1, "the intent is durable before the upstream hears anything");
        line.write(SWITCHED).await;
        let (status, headers) = raw.head().await.unwrap();
        assert_eq!(status, 101, "{headers:?}");
        assert!(headers.iter().all(|(name, _)| name != "cache-control"), "{headers:?}");
        raw.write(UP).await;
        assert_eq!(line.take(UP.len()).await, UP);
        line.write(DOWN).await;
        assert_eq!(raw.take(DOWN.len()).await.unwrap(), DOWN);
        Self { clock, site, sidecar, grant, raw, line }
    }

    async fn outcome(&self) -> Value {
        let outcome = self.sidecar.until_facts("outcome", 1).await.remove(0);
        assert_eq!(outcome["status"], 101, "{outcome}");
        for (side, bytes) in [("request", UP), ("response", DOWN)] {
            assert_eq!(outcome[side]["bytes"], bytes.len(), "{outcome}");
            assert_eq!(outcome[side]["sha256"], sha256_hex(bytes), "{outcome}");
        }
        self.sidecar.verified();
        outcome
    }

    /// Both sides were ended, and nothing more came to the upstream.
    async fn ends_cut_by(mut self, cause: &str) {
        assert!(self.line.rest().await.is_empty());
        assert!(!self.raw.ends_in_order().await, "what was cut must not look like an end in order");
        let outcome = self.outcome().await;
        assert_eq!((outcome["end"].as_str(), outcome["cause"].as_str()), (Some("cut"), Some(cause)), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_grant_it_is_recorded_who_ended_it() {
    let mut tunnel = Tunnel::open().await;
    tunnel.raw.finish().await;
    assert!(tunnel.line.rest().await.is_empty());
    tunnel.line.finish().await;
    assert_eq!(tunnel.outcome().await["end"], "client_closed");
    let mut tunnel = Tunnel::open().await;
    tunnel.line.finish().await;
    assert!(tunnel.raw.ends_in_order().await);
    tunnel.raw.finish().await;
    assert_eq!(tunnel.outcome().await["end"], "upstream_closed");
    let Tunnel { site, sidecar, raw, line, .. } = Tunnel::open().await;
    line.reset();
    assert_eq!(sidecar.until_facts("outcome", 1).await[0]["end"], "upstream_failed");
    drop((site, raw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_grant_it_is_cut_by_whatever_ends_the_grant() {
    let tunnel = Tunnel::open().await;
    tunnel.site.revoke(&tunnel.grant).await;
    tunnel.ends_cut_by("grant_revoked").await;
    let tunnel = Tunnel::open().await;
    tunnel.clock.advance(Duration::from_secs(60));
    tunnel.ends_cut_by("grant_expired").await;
    let tunnel = Tunnel::open().await;
    tunnel.sidecar.admin(Method::PUT, "/freeze").await;
    tunnel.ends_cut_by("frozen").await;
    let mut tunnel = Tunnel::open().await;
    tunnel.site.stop_control().await;
    tunnel.clock.advance(Duration::from_secs(4));
    tunnel.ends_cut_by("feed_stale").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_grant_a_client_that_reads_nothing_is_cut_too() {
    let Tunnel { site, sidecar, grant, raw, mut line, .. } = Tunnel::open().await;
    let writing = tokio::spawn(async move { line.write_without_end().await });
    site.revoke(&grant).await;
    tokio::time::timeout(PATIENCE, writing).await.expect("the upstream's side is closed").unwrap();
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_eq!(outcome["cause"], "grant_revoked", "{outcome}");
    drop(raw);
}
