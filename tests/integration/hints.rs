//! What an upstream says before its answer (1xx, RFC 9110 §15.2): passed to clients of HTTP/1.1, each before its own answer.

use crate::harness::{Answer, Ask, ByHand, Line, Raw, SidecarFile, Site, TestSidecar, h2_request, raw_request, whole};

const ECHO: &str = "/v1/contracts/C-1042/echo";
const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
    Break-Glass-Grant: forged\r\nbreak_glass_role: forged\r\nLink: </b>; rel=preload\r\n\r\n";
const PROCESSING: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

async fn before(site: &Site, upstream: &ByHand, limits: &str) -> TestSidecar {
    let file = SidecarFile {
        upstream: Some(upstream.url()),
        // One pool of upstream connections.
        workers: 1,
        upstream_limits: limits.to_owned(),
        ..SidecarFile::default()
    };
    site.sidecar_with(&file).await
}

fn get(path: &str) -> Vec<u8> {
    raw_request("GET", path, &[], "")
}

/// The next thing a client hears is [`HINT`], as a proxy passes it.
async fn hears_the_hint(raw: &mut Raw) {
    let (status, headers) = raw.head().await.unwrap();
    let link = |path: &str| ("link".to_owned(), format!("<{path}>; rel=preload"));
    assert_eq!((status, headers), (103, vec![link("/a"), link("/b")]));
}

fn is_ok(answer: &Answer) -> bool {
    answer.status == 200 && answer.header("link").is_none() && answer.body == b"ok"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_reach_a_client_while_its_answer_is_still_awaited() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&get("/v1/a")).await;
    let (mut line, _) = upstream.request().await;
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    line.write(PROCESSING).await;
    assert_eq!(raw.head().await.unwrap(), (102, vec![]));
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    line.write(OK).await;
    assert!(is_ok(&raw.answer().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_that_come_with_the_answer_go_before_it() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&get("/v1/a")).await;
    let (mut line, _) = upstream.request().await;
    for path in ["/v1/b", "/v1/c"] {
        line.write(&[HINT, PROCESSING, HINT, OK].concat()).await;
        hears_the_hint(&mut raw).await;
        assert_eq!(raw.head().await.unwrap(), (102, vec![]));
        hears_the_hint(&mut raw).await;
        assert!(is_ok(&raw.answer().await));
        raw.write(&get(path)).await;
        assert!(line.head().await.head.contains(path), "and both connections are used again");
    }
    line.write(NO_CONTENT).await;
    assert_eq!(raw.answer().await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pipelined_requests_each_hears_its_own() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&[get("/v1/a"), get("/v1/b"), get("/v1/c")].concat()).await;
    let (mut line, head) = upstream.request().await;
    assert!(head.head.contains("/v1/a"));
    // More than any buffer on the way, so that the next request's hint meets an answer not yet taken.
    let length = 16 << 20;
    let client = tokio::spawn(async move {
        let first = raw.answer().await;
        assert_eq!((first.status, first.body.len()), (200, length));
        hears_the_hint(&mut raw).await;
        assert!(is_ok(&raw.answer().await));
        assert_eq!(raw.answer().await.status, 204);
    });
    line.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await;
    line.write(&vec![b'x'; length]).await;
    assert!(line.head().await.head.contains("/v1/b"));
    line.write(&[HINT, OK].concat()).await;
    assert!(line.head().await.head.contains("/v1/c"));
    line.write(NO_CONTENT).await;
    client.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_reach_a_client_that_is_still_sending() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(b"POST /v1/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhalf").await;
    let (mut line, _) = upstream.request().await;
    assert_eq!(line.take(4).await, b"half");
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    raw.write(b"full").await;
    assert_eq!(line.take(4).await, b"full");
    line.write(OK).await;
    assert!(is_ok(&raw.answer().await));
}

/// One exchange, with every hint before its answer.
async fn asked(raw: &mut Raw, line: &mut Line, request: &[u8]) -> Answer {
    raw.write(request).await;
    line.head().await;
    line.write(&[HINT, PROCESSING, OK].concat()).await;
    raw.answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_other_versions_hear_none() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&get("/v1/first")).await;
    let (mut line, _) = upstream.request().await;
    line.write(NO_CONTENT).await;
    assert_eq!(raw.answer().await.status, 204);
    let old = b"GET /v1/a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
    assert!(is_ok(&asked(&mut raw, &mut line, old).await));
    let mut h2 = sidecar.h2().await;
    let (response, ()) = tokio::join!(h2.begin(h2_request("GET", "/v1/b", &[], "")), async {
        line.head().await;
        line.write(&[HINT, PROCESSING, OK].concat()).await;
    });
    assert!(is_ok(&whole(response.unwrap()).await));
    raw.write(&get("/v1/c")).await;
    line.head().await;
    line.write(&[HINT, OK].concat()).await;
    hears_the_hint(&mut raw).await;
    assert!(is_ok(&raw.answer().await), "on the connection that spoke HTTP/1.0 before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_drop_them() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "informational = \"drop\"\ncontinue_wait_ms_max = 60000").await;
    let mut raw = sidecar.raw().await;
    raw.write(&get("/v1/first")).await;
    let (mut line, _) = upstream.request().await;
    line.write(NO_CONTENT).await;
    assert_eq!(raw.answer().await.status, 204);
    assert!(is_ok(&asked(&mut raw, &mut line, &get("/v1/a")).await));
    raw.write(b"POST /v1/b HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    line.head().await;
    line.write(&[HINT, b"HTTP/1.1 100 Continue\r\n\r\n"].concat()).await;
    assert_eq!(raw.head().await.unwrap().0, 100, "which is no hint");
    raw.write(b"body").await;
    assert_eq!(line.take(4).await, b"body");
    line.write(OK).await;
    assert!(is_ok(&raw.answer().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_dies_after_a_hint_is_a_failure_like_any_other() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&get("/v1/a")).await;
    let (mut line, _) = upstream.request().await;
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    line.reset();
    assert_eq!(raw.answer().await.status, 502);
    raw.write(&get("/v1/b")).await;
    let (mut line, _) = upstream.request().await;
    line.write(b"HTTP/1.1 103 Early Hints\r\nLink: </half").await;
    line.finish().await;
    assert_eq!(raw.answer().await.status, 502, "half a hint is none");
    raw.write(&get("/v1/c")).await;
    let (mut line, _) = upstream.request().await;
    line.write(NO_CONTENT).await;
    assert_eq!(raw.answer().await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_to_be_asked_hears_hints_too() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "continue_wait_ms_max = 60000").await;
    let announce = b"POST /v1/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut raw = sidecar.raw().await;
    raw.write(announce).await;
    let (mut line, _) = upstream.request().await;
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    line.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(raw.head().await.unwrap().0, 100);
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    raw.write(b"body").await;
    assert_eq!(line.take(4).await, b"body");
    line.write(OK).await;
    assert!(is_ok(&raw.answer().await));
    raw.write(announce).await;
    line.head().await;
    line.write(&[HINT, b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"].concat()).await;
    hears_the_hint(&mut raw).await;
    assert_eq!(raw.answer().await.status, 417, "a hint asks for nothing");
    assert!(raw.ends_in_order().await && line.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_before_a_switch_go_before_it_and_none_after() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "").await;
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", "/v1/live", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], "")).await;
    let (mut line, _) = upstream.request().await;
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    line.write(&[HINT, switch, HINT].concat()).await;
    hears_the_hint(&mut raw).await;
    assert_eq!(raw.head().await.unwrap().0, 101);
    assert_eq!(raw.take(HINT.len()).await.unwrap(), HINT, "which are bytes of the other protocol");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_grant_hints_pass_until_it_ends() {
    let (site, upstream) = (Site::start().await, ByHand::start().await);
    let sidecar = before(&site, &upstream, "outcome_wait_ms_max = 60000").await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("POST", ECHO, &headers, "")).await;
    let (mut line, _) = upstream.request().await;
    line.write(&[HINT, OK].concat()).await;
    hears_the_hint(&mut raw).await;
    let answer = raw.answer().await;
    assert!(is_ok(&answer) && answer.header("cache-control") == Some("private, no-store"));
    raw.write(&raw_request("POST", ECHO, &headers, "")).await;
    line.head().await;
    line.write(HINT).await;
    hears_the_hint(&mut raw).await;
    site.revoke(&grant).await;
    assert_eq!(raw.answer().await.code(), "grant_revoked");
    raw.write(&get("/v1/next")).await;
    let (mut next, _) = upstream.request().await;
    // Heard only to record the answer behind it, while another exchange is open on the client's connection.
    line.write(&[HINT, OK].concat()).await;
    let outcomes = sidecar.until_facts("outcome", 2).await;
    assert_eq!((outcomes[1]["end"].as_str(), outcomes[1]["status"].as_u64()), (Some("cut"), Some(200)));
    next.write(NO_CONTENT).await;
    assert_eq!(raw.answer().await.status, 204);
}
