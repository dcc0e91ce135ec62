//! P7: through the sidecar a client can set no header that the upstream takes for ours, and sees none in a response.

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::harness::{Ask, Recorder, SidecarFile, Site, raw_request, whole};

const SPOOFS: [(&str, &str); 10] = [
    ("Break-Glass-Grant", "g-000000000000"),
    ("break-glass-subject", "root"),
    ("BREAK-GLASS-ROLE", "spoof"),
    ("Break_Glass_Role", "spoof"),
    ("break-glass_resource", "spoof"),
    ("Break_Glass-Action", "spoof"),
    ("Break.Glass.Ticket", "spoof"),
    ("Break~Glass!Expires", "spoof"),
    ("Break-Glass-Assertion", "spoof"),
    ("Break-Glass-Request-Id", "spoof"),
];

/// As a server sees it that makes one of all that is no letter or digit.
fn is_ours(name: &str) -> bool {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-").to_ascii_lowercase().starts_with("break-glass")
}

/// Names of the upstream's headers or trailers that could be taken for ours.
fn ours(said: &Value, part: &str) -> Vec<(String, String)> {
    let pair = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
    let all = said[part].as_array().unwrap().iter().map(pair);
    all.filter(|(name, _)| is_ours(name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sets_in_our_name_does_not_arrive_with_or_without_a_grant() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let own = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let with_grant: Vec<_> = SPOOFS.into_iter().chain(own).collect();
    let mut h2 = sidecar.h2().await;
    for _ in 0..2 {
        for target in ["/v1/echo", "/v1/contracts/C-1042/echo"] {
            let answer = sidecar.send(&raw_request("POST", target, &SPOOFS, "x")).await;
            assert_eq!(ours(&answer.json(), "headers"), [], "{target}");
            let answer = h2.send("POST", target, &SPOOFS, "x").await;
            assert_eq!(ours(&answer.json(), "headers"), [], "h2 {target}");
        }
    }
    let target = "/v1/contracts/C-1042/echo";
    let answers = [
        sidecar.send(&raw_request("POST", target, &with_grant, "x")).await,
        h2.send("POST", target, &with_grant, "x").await,
    ];
    for answer in answers {
        assert_eq!(answer.code(), "override");
        let mut arrived = ours(&answer.json(), "headers");
        arrived.sort();
        let names: Vec<_> = arrived.iter().map(|(name, _)| name.as_str()).collect();
        let told = [
            "action",
            "assertion",
            "expires",
            "grant",
            "reason",
            "request-id",
            "resource",
            "role",
            "subject",
            "ticket",
        ];
        assert_eq!(names, told.map(|name| format!("break-glass-{name}")), "each once, and the client's not at all");
        let find = |wanted: &str| arrived.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
        assert_eq!(find("break-glass-grant"), grant.id.as_str());
        assert_eq!(find("break-glass-subject"), "alice");
        assert_eq!(find("break-glass-role"), "payments.override");
        assert_eq!(find("break-glass-resource"), "contract/C-1042");
        assert_eq!(find("break-glass-action"), "payment.release");
        assert_ne!(find("break-glass-request-id"), "spoof");
        assert_ne!(find("break-glass-assertion"), "spoof");
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_in_our_name_do_not_arrive_over_chunked_or_http_2() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let head = "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
                Trailer: X-Sum, Break-Glass-Role, Break_Glass_Grant\r\n\r\n";
    let body = "3\r\nabc\r\n0\r\nX-Sum: 1\r\nBreak-Glass-Role: spoof\r\nBreak_Glass_Grant: spoof\r\n\r\n";
    let answer = sidecar.send(format!("{head}{body}").as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(ours(&answer.json(), "trailers"), []);
    assert_eq!(ours(&answer.json(), "headers"), []);
    assert_eq!(answer.json()["body"]["bytes"], 3);

    let mut trailers = http::HeaderMap::new();
    for (name, value) in [("x-sum", "1"), ("break-glass-role", "spoof"), ("break_glass_grant", "spoof")] {
        trailers.insert(name, value.parse().unwrap());
    }
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let request = http::Request::post("https://localhost/v1/echo").header("trailer", "x-sum, break-glass-role");
    let response = sidecar.h2().await.begin(request.body(body).unwrap()).await.unwrap();
    let said = whole(response).await.json();
    assert_eq!(ours(&said, "trailers"), []);
    assert_eq!(said["body"]["bytes"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_sets_in_our_name_does_not_reach_the_client() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nBreak-Glass-Grant: spoof\r\nbreak_glass_role: spoof\r\nX-Kept: 1\r\n\
        Trailer: Break-Glass-Subject, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nok\r\n0\r\nBreak-Glass-Subject: spoof\r\nX-Sum: 1\r\n\r\n";
    let site = Site::start().await;
    let upstream = Recorder::start(ANSWER, |_| {}).await;
    let file = SidecarFile { upstream: Some(upstream.url()), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    let mut raw = sidecar.raw().await;
    raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n").await;
    let bytes = raw.rest().await;
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    assert!(text.contains("x-kept: 1") && text.contains("ok"), "{text}");
    let named: Vec<_> = text.lines().filter(|line| !line.starts_with("trailer:")).collect();
    assert!(!named.join("\n").contains("spoof"), "{text}");
    let mut h2 = sidecar.h2().await;
    let response = h2.begin(crate::harness::h2_request("GET", "/", &[("te", "trailers")], "")).await.unwrap();
    assert!(response.headers().keys().all(|name| !name.as_str().starts_with("break")), "{:?}", response.headers());
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    assert!(trailers.keys().all(|name| !name.as_str().starts_with("break")), "{trailers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_ordinary_requests_leave_no_line_and_change_no_header_but_the_documented_ones() {
    const REQUESTS: usize = 10_000;
    const CONNECTIONS: usize = 4;
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let lines_before = sidecar.lines();
    let sent = [
        ("User-Agent", "curl/8.5"),
        ("Accept", "*/*"),
        ("X-Request-Id", "r-1"),
        ("x-odd_name", "kept"),
        ("Cookie", "a=1; b=2"),
        ("Authorization", "Bearer upstream-own"),
        ("Breakglass", "kept"),
        ("Forwarded", "for=192.0.2.1"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "removed"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "removed"),
        ("Break-Glass-Role", "removed"),
    ];
    let expected = json!([
        ["host", "localhost"],
        ["user-agent", "curl/8.5"],
        ["accept", "*/*"],
        ["x-request-id", "r-1"],
        ["x-odd_name", "kept"],
        ["cookie", "a=1; b=2"],
        ["authorization", "Bearer upstream-own"],
        ["breakglass", "kept"],
        ["content-length", "4"],
        ["forwarded", "for=192.0.2.1"],
        ["forwarded", "for=127.0.0.1;host=\"localhost\";proto=https"],
        ["via", "1.1 breakglass"],
    ]);
    let sorted = |headers: &Value| {
        let mut texts: Vec<_> = headers.as_array().unwrap().iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    let expected = sorted(&expected);
    let request = raw_request("POST", "/v1/echo", &sent, "body");
    let one = async || {
        let mut raw = sidecar.raw().await;
        for _ in 0..REQUESTS / CONNECTIONS {
            raw.write(&request).await;
            let answer = raw.answer().await;
            assert_eq!(answer.status, 200);
            assert_eq!(sorted(&answer.json()["headers"]), expected);
            let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["content-type", "content-length", "date"], "the upstream's own, and nothing else");
        }
    };
    tokio::join!(one(), one(), one(), one());
    assert_eq!(sidecar.lines(), lines_before);
    let passed = sidecar.metric("breakglass_sidecar_requests_total{outcome=\"passed\"}").await;
    assert_eq!(passed, 10_000.0);
}
