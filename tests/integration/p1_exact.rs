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
