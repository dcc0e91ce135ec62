//! P1: no override without a live grant for this very person, resource and action, and what was matched is what is
//! forwarded.

use crate::harness::{Ask, Recorder, SidecarFile, Site, raw_request};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_opens_one_contract_one_action_for_one_person() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let token = site.token(&grant).await;
    let (alice, bob) = (site.identity("alice"), site.identity("bob"));
    let (id, token) = (grant.id.as_str(), token.as_str());
    let forged = format!("{}A.{}", &token[..token.rfind('.').unwrap() - 1], &token[token.rfind('.').unwrap() + 1..]);
    for (method, target, credential, identity, expected) in [
        ("POST", "/v1/contracts/C-1042/echo", id, &alice, "override"),
        ("POST", "/v1/contracts/C-1042/echo", token, &alice, "override"),
        ("POST", "/v1/contracts/C-2077/echo", id, &alice, "resource_out_of_scope"),
        ("PUT", "/v1/contracts/C-1042/echo", id, &alice, "action_out_of_scope"),
        ("POST", "/v1/contracts/C-1042/echo", id, &bob, "grant_not_usable"),
        ("POST", "/v1/contracts/C-1042/echo", token, &bob, "grant_not_usable"),
        ("POST", "/v1/contracts/C-1042/echo", &forged, &alice, "grant_not_usable"),
        ("POST", "/v1/contracts/./C-1042/echo", id, &alice, "target_ambiguous"),
        ("POST", "/v1/contracts%2FC-1042/echo", id, &alice, "target_ambiguous"),
        ("POST", "/v1/statement", id, &alice, "route_not_overridable"),
    ] {
        let headers = [("Break-Glass", credential), ("Break-Glass-Identity", identity)];
        let answer = sidecar.send(&raw_request(method, target, &headers, "x")).await;
        assert_eq!(answer.code(), expected, "{method} {target}");
        let mut h2 = sidecar.h2().await;
        assert_eq!(h2.send(method, target, &headers, "x").await.code(), expected, "h2: {method} {target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_matched_is_byte_for_byte_what_is_forwarded() {
    let site = Site::start().await;
    let upstream = Recorder::start(OK, |_| {}).await;
    let file = SidecarFile { upstream: Some(upstream.url()), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let ours = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    for (target, with_grant, forwarded) in [
        ("/v1/contracts/C-1042/echo?dry_run=a%2Fb;c=%00", true, "/v1/contracts/C-1042/echo?dry_run=a%2Fb;c=%00"),
        ("/v1/%63ontracts/C%2D1042/echo", true, "/v1/contracts/C-1042/echo"),
        ("https://localhost/v1/contracts/C-1042/echo?dry_run", true, "/v1/contracts/C-1042/echo?dry_run"),
        // Without the header, what has two readings is the API's own affair and stays as it is.
        (
            "/v1/contracts/C-1042/../%2e%2E//x;y=1/%c0%af?q=%zz",
            false,
            "/v1/contracts/C-1042/../%2e%2E//x;y=1/%c0%af?q=%zz",
        ),
        ("/v1/%63ontracts/C%2d1042", false, "/v1/%63ontracts/C%2d1042"),
        ("/?", false, "/?"),
    ] {
        let headers = if with_grant { &ours[..] } else { &[] };
        let answer = sidecar.send(&raw_request("POST", target, headers, "x")).await;
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        let head = upstream.heads().pop().unwrap();
        assert_eq!(head.request_line(), format!("POST {forwarded} HTTP/1.1"));
        assert_eq!(head.header("break-glass-grant").is_some(), with_grant, "{}", head.head);
    }
}
