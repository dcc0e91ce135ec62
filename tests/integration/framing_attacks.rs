//! What has no single reading is refused before anyone parses it, and the upstream never sees it.

use crate::harness::{Ask, Recorder, SidecarFile, Site, TestSidecar, raw_request, until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn before(upstream: &Recorder, site: &Site) -> TestSidecar {
    let file = SidecarFile { upstream: Some(upstream.url()), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    sidecar
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_refused_and_the_connection_closed_with_and_without_the_header() {
    let site = Site::start().await;
    let upstream = Recorder::start(OK, |_| {}).await;
    let sidecar = before(&upstream, &site).await;
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let heads = [
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer\x00-Encoding: chunked\r\n",
        "X-Folded: a\r\n b\r\n",
        "X-Folded: a\r\n\tContent-Length: 4\r\n",
        "X-Bare: a\nContent-Length: 4\r\n",
        "X-Bare: a\rContent-Length: 4\r\n",
        "X Space: a\r\n",
        ": empty\r\n",
        "no colon\r\n",
        "Host: elsewhere\r\n",
        "X-Nul: a\x00b\r\n",
    ];
    for head in heads {
        for ours in ["", "Break-Glass: g-zzzzzzzzzzzz\r\n"] {
            let mut raw = sidecar.raw().await;
            let bytes = format!("POST /v1/echo HTTP/1.1\r\nHost: localhost\r\n{ours}{head}\r\nabcd{SMUGGLED}");
            raw.write(bytes.as_bytes()).await;
            let answer = raw.answer().await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "framing_conflict"), "{head:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{head:?}");
            let rest = raw.rest().await;
            assert!(rest.is_empty(), "{head:?}: {}", String::from_utf8_lossy(&rest));
        }
    }
    for line in [
        "POST  /v1/echo HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /v1/echo HTTP/1.1\nHost: h\n\n",
        "POST /v1/e cho HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /v1/echo HTTP/1.2\r\nHost: h\r\n\r\n",
        "POST /v1/echo\r\nHost: h\r\n\r\n",
        "POST /v1/echo HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = sidecar.send(line.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "framing_conflict"), "{line:?}");
    }
    assert_eq!(upstream.heads().len(), 0, "{:?}", upstream.heads());
    let refusals = sidecar.until_facts("refusal", heads.len()).await;
    assert!(refusals.iter().all(|refusal| refusal["decision"] == "framing_conflict"), "{refusals:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunk_tricks_end_the_request_and_nothing_behind_them_is_served() {
    let site = Site::start().await;
    let upstream = Recorder::start(OK, |_| {}).await;
    let sidecar = before(&upstream, &site).await;
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3;ext\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
        "\r\nabc\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: a\n\r\n",
    ] {
        let mut raw = sidecar.raw().await;
        let head = "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        raw.write(format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        let answer = raw.try_answer().await.unwrap_or_else(|| panic!("no answer: {chunks:?}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "framing_conflict"), "{chunks:?}");
        let rest = raw.rest().await;
        assert!(rest.is_empty(), "{chunks:?}: {}", String::from_utf8_lossy(&rest));
    }
    let whole = upstream.bodies().into_iter().filter(|(whole, _)| *whole).count();
    assert_eq!(whole, 0, "no broken body arrives as if it were whole");
    assert!(upstream.heads().iter().all(|head| !head.request_line().contains("smuggled")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_shorter_than_its_length_is_no_whole_override() {
    let site = Site::start().await;
    let upstream = Recorder::start(OK, |_| {}).await;
    let sidecar = before(&upstream, &site).await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let head = format!(
        "POST /v1/contracts/C-1042/echo HTTP/1.1\r\nHost: localhost\r\nBreak-Glass: {}\r\n\
         Break-Glass-Identity: {identity}\r\nContent-Length: 100\r\n\r\nonly this",
        grant.id
    );
    let mut raw = sidecar.raw().await;
    raw.write(head.as_bytes()).await;
    until("the upstream has the head", async || upstream.heads().pop()).await;
    raw.finish().await;
    raw.is_closed().await;
    let (whole, body) = until("the upstream's side has ended", async || upstream.bodies().pop()).await;
    assert!(!whole && body == b"only this", "{whole} {:?}", String::from_utf8_lossy(&body));
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_ne!(outcome["end"], "completed", "{outcome}");
    sidecar.verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_each_by_its_own_framing() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let mut raw = sidecar.raw().await;
    let mut bytes = raw_request("POST", "/v1/echo?n=1", &[], "first");
    bytes.extend(
        b"POST /v1/echo?n=2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n",
    );
    bytes.extend(raw_request("POST", "/v1/echo?n=3", &[("Break-Glass", "nonsense")], "third"));
    bytes.extend(raw_request("POST", "/v1/echo?n=4", &[], "fourth"));
    raw.write(&bytes).await;
    for (n, length) in [(1, 5), (2, 6), (3, 0), (4, 6)] {
        let answer = raw.try_answer().await.unwrap_or_else(|| panic!("no answer to request {n}"));
        if n == 3 {
            assert_eq!(answer.code(), "header_malformed", "and the connection stays usable");
            continue;
        }
        let said = answer.json();
        assert_eq!((&said["target"], &said["body"]["bytes"]), (&format!("/v1/echo?n={n}").into(), &length.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_too_large_old_versions_and_odd_requests_are_answered_or_closed() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let big = "x".repeat(200_000);
    let many: String = (0..1_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    for head in [format!("X-Big: {big}\r\n"), many.clone(), format!("Break-Glass: {big}\r\n")] {
        let mut raw = sidecar.raw().await;
        raw.write(format!("GET /v1/echo HTTP/1.1\r\nHost: localhost\r\n{head}\r\n").as_bytes()).await;
        if let Some(answer) = raw.try_answer().await {
            assert!(matches!(answer.status, 400 | 414 | 431), "{}", answer.status);
        }
        raw.rest().await;
    }
    let answer = sidecar.send(b"GET /v1/echo HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(answer.status, 200, "HTTP/1.0 is served");
    let answer = sidecar.send(&raw_request("OPTIONS", "*", &[], "")).await;
    assert!(answer.status < 500, "{}", answer.status);
    for target in ["http://localhost/v1/echo", "/v1/echo?", "/%00", "/é"] {
        let mut raw = sidecar.raw().await;
        raw.write(&raw_request("GET", target, &[("Connection", "close")], "")).await;
        raw.rest().await;
    }
    // Half a head, and gone.
    let mut raw = sidecar.raw().await;
    raw.write(b"GET /v1/echo HTTP/1.1\r\nHost: lo").await;
    drop(raw);
    let mut h2 = sidecar.h2().await;
    let huge = [("x-big", big.as_str())];
    let refused = h2.begin(crate::harness::h2_request("GET", "/v1/echo", &huge, "")).await;
    assert!(refused.is_err() || refused.is_ok_and(|response| response.status() == 431));
    let mut h2 = sidecar.h2().await;
    for (method, headers) in [
        ("GET", &[("break-glass", "g-zzzzzzzzzzzz"), ("break-glass", "g-zzzzzzzzzzzz")][..]),
        ("GET", &[("host", "elsewhere"), ("break-glass", "g-zzzzzzzzzzzz")][..]),
        ("BREW", &[("break-glass", "\u{7f}")][..0]),
    ] {
        let answer = h2.send(method, "/v1/echo", headers, "").await;
        assert!(answer.status < 500, "{method} {headers:?}: {}", answer.status);
    }
    assert_eq!(sidecar.send(&raw_request("POST", "/v1/echo", &[], "x")).await.code(), "pass", "it is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_the_upstream_gets_one_host_and_an_override_has_one() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let own = [("break-glass", grant.id.as_str()), ("break-glass-identity", identity.as_str())];
    let mut h2 = sidecar.h2().await;
    for hosts in [&[("host", "elsewhere")][..], &[("host", "localhost"), ("host", "elsewhere")]] {
        let said = h2.send("POST", "/v1/echo", hosts, "x").await.json();
        let arrived = said["headers"].as_array().unwrap().iter().filter(|header| header[0] == "host");
        assert_eq!(arrived.map(|header| header[1].as_str().unwrap()).collect::<Vec<_>>(), ["localhost"]);
        let headers = [hosts, &own].concat();
        let answer = h2.send("POST", "/v1/contracts/C-1042/echo", &headers, "x").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "target_ambiguous"), "{hosts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let site = Site::start().await;
    let file = SidecarFile { listen: "head_timeout_ms_max = 300".to_owned(), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut silent = sidecar.silent(protocol).await;
        assert!(silent.is_closed().await, "{}", String::from_utf8_lossy(protocol));
    }
}
