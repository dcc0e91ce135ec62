//! A client that waits to be asked for its body (RFC 9110 §10.1.1): the upstream decides, not the sidecar.

use crate::harness::{Ask, ByHand, Raw, SidecarFile, Site, TestSidecar, h2_request, raw_request, whole};

const ECHO: &str = "/v1/contracts/C-1042/echo";
const WAITING: &str = "Expect: 100-Continue\r\nContent-Length: 4\r\n";

async fn before(site: &Site, upstream: &ByHand, wait_ms: u32) -> TestSidecar {
    let file = SidecarFile {
        upstream: Some(upstream.url()),
        // One pool of upstream connections.
        workers: 1,
        upstream_limits: format!("continue_wait_ms_max = {wait_ms}"),
        ..SidecarFile::default()
    };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    sidecar
}

/// A head whose body is still with the client.
async fn announce(sidecar: &TestSidecar, fields: &str) -> Raw {
    let mut raw = sidecar.raw().await;
    raw.write(format!("POST {ECHO} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes()).await;
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_is_asked_when_the_upstream_asks() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, 60_000).await;
    let mut raw = announce(&sidecar, WAITING).await;
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.header("expect"), Some("100-Continue"));
    line.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(raw.head().await.unwrap().0, 100);
    raw.write(b"body").await;
    assert_eq!(line.take(4).await, b"body");
    line.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 204);
    raw.write(&raw_request("GET", "/v1/next", &[], "")).await;
    assert_eq!(line.head().await.request_line(), "GET /v1/next HTTP/1.1", "both connections are used again");
    line.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_answer_reaches_a_client_that_was_never_asked() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, 60_000).await;
    for (status, length) in [(417, 0), (413, 3), (401, 1 << 20)] {
        let mut raw = announce(&sidecar, WAITING).await;
        let (mut line, _) = upstream.request().await;
        line.write(format!("HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await;
        line.write(&vec![b'x'; length]).await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.body.len()), (status, length), "the first word is the final one");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(raw.ends_in_order().await);
        assert!(line.rest().await.is_empty(), "the upstream gets no body, and its connection is closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_nothing_is_not_waited_for_without_end() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, 10).await;
    let mut raw = announce(&sidecar, WAITING).await;
    let (mut line, _) = upstream.request().await;
    assert_eq!(raw.head().await.unwrap().0, 100);
    raw.write(b"body").await;
    assert_eq!(line.take(4).await, b"body");
    line.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 204);
    // A client that does not wait after all.
    raw.write(format!("POST {ECHO} HTTP/1.1\r\nHost: localhost\r\n{WAITING}\r\nbody").as_bytes()).await;
    assert_eq!(line.head().await.header("expect"), Some("100-Continue"));
    assert_eq!(line.take(4).await, b"body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_expectations_are_the_upstreams_to_refuse() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, 60_000).await;
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("POST", ECHO, &[("Expect", "the-unexpected")], "body")).await;
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.header("expect"), Some("the-unexpected"));
    assert_eq!(line.take(4).await, b"body");
    line.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 417);
    let mut raw = sidecar.raw().await;
    raw.write(format!("POST {ECHO} HTTP/1.0\r\nHost: localhost\r\n{WAITING}\r\nbody").as_bytes()).await;
    let head = line.head().await;
    assert_eq!(head.header("expect"), None, "HTTP/1.0 knows no expectations");
    assert_eq!(line.take(4).await, b"body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_the_body_is_taken_as_it_comes() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, 60_000).await;
    let mut h2 = sidecar.h2().await;
    let asking =
        tokio::spawn(async move { h2.begin(h2_request("POST", ECHO, &[("Expect", "100-continue")], "body")).await });
    let (mut line, head) = upstream.request().await;
    assert_eq!(head.header("expect"), Some("100-continue"));
    assert_eq!(line.take(4).await, b"body");
    line.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(whole(asking.await.unwrap().unwrap()).await.body, b"ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_grant_what_was_never_sent_is_not_recorded_as_sent() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, 60_000).await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let fields = format!("Break-Glass: {}\r\nBreak-Glass-Identity: {identity}\r\n{WAITING}", grant.id);
    let mut raw = announce(&sidecar, &fields).await;
    let (mut line, _) = upstream.request().await;
    line.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 413);
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_eq!((outcome["status"].as_u64(), outcome["request"]["bytes"].as_u64()), (Some(413), Some(0)), "{outcome}");
    assert_eq!(outcome["end"], "completed");
    let mut raw = announce(&sidecar, &fields).await;
    let (mut line, _) = upstream.request().await;
    site.revoke(&grant).await;
    let answer = raw.answer().await;
    assert_eq!(answer.code(), "grant_revoked", "the client is told at once, and never asked");
    assert!(raw.ends_in_order().await && line.rest().await.is_empty());
    let outcome = sidecar.until_facts("outcome", 2).await.remove(1);
    assert_eq!((outcome["end"].as_str(), outcome["request"]["bytes"].as_u64()), (Some("cut"), Some(0)), "{outcome}");
}
