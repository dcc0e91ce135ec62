//! P8: no token, credential, query value or body in any log, metric, audit line or refusal.

use breakglass::http::{Cleartext, Client, Limits};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::json;

use crate::harness::{Ask, Log, Site, raw_request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_in_any_log_metric_line_or_refusal_of_a_whole_run() {
    let log = Log::of_this_process();
    let mut site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let token = site.token(&grant).await;
    let (alice, bob) = (site.identity("alice"), site.identity("bob"));
    let forged = format!("{}.{}", alice.rsplit_once('.').unwrap().0, "B".repeat(86));
    const QUERY: &str = "qv-7d1f3c9e";
    const BODY: &str = "body-5ab0f2d4";
    const COOKIE: &str = "cookie-91c4e7aa";
    const GARBAGE: &str = "garbage-2f6b8d13!";
    let mut told = String::new();
    let mut h2 = sidecar.h2().await;
    for identity in [&alice, &bob, &forged, GARBAGE, ""] {
        for credential in [grant.id.as_str(), &token, &forged, GARBAGE, ""] {
            for target in ["C-1042/echo", "C-2077/echo", "C-1042;x/echo", "C-1042/nowhere"] {
                let target = format!("/v1/contracts/{target}?dry_run={QUERY}");
                let headers = [
                    ("break-glass", credential),
                    ("break-glass-identity", identity),
                    ("cookie", COOKIE),
                    ("authorization", COOKIE),
                ];
                for answer in [
                    sidecar.send(&raw_request("POST", &target, &headers, BODY)).await,
                    h2.send("POST", &target, &headers, BODY).await,
                ] {
                    // What the upstream says of an ordinary or allowed request is its own affair.
                    if answer.header("content-type") == Some("application/problem+json") && answer.status != 404 {
                        told.push_str(&String::from_utf8_lossy(&answer.body));
                        told.push_str(&format!("{:?}", answer.headers));
                    }
                }
            }
        }
    }
    for (path, credential) in
        [("/v1/grants", GARBAGE), ("/v1/grants", &forged), ("/v1/nowhere", &alice), ("/v1/grants/g-0", &bob)]
    {
        let path = format!("{path}?note={QUERY}");
        let (status, answer) = site.api_by(Method::POST, &path, credential, json!({ "reason": BODY })).await;
        assert!((400..500).contains(&status), "{status}");
        told.push_str(&answer.to_string());
    }
    site.revoke(&grant).await;
    told.push_str(&sidecar.admin(Method::GET, "/metrics").await);
    told.push_str(&sidecar.admin(Method::GET, "/grants").await);
    told.push_str(&sidecar.admin(Method::GET, "/readyz").await);
    let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
    let url = format!("http://{}/metrics", site.control().admin_addr).parse().unwrap();
    told.push_str(&format!("{:?}", client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap().body));
    site.stop_control().await;
    let audit = sidecar.audit.clone();
    drop(sidecar);
    for entry in std::fs::read_dir(audit).unwrap() {
        told.push_str(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    let logged = log.text();
    for plane in ["sidecar", "control"] {
        assert!(logged.contains(&format!("\"target\":\"breakglass::{plane}::")), "{plane} logged something to search");
    }
    assert!(told.contains("dry_run"), "there was something to search");
    told.push_str(&logged);
    // Of a token, its signature and its claims are what must not be told.
    let tokens = [&token, &alice, &bob, &forged];
    let parts = tokens.iter().flat_map(|token| token.split('.').skip(1).map(str::to_owned));
    for secret in parts.chain([QUERY, BODY, COOKIE, GARBAGE].map(str::to_owned)) {
        if let Some(at) = told.find(&secret) {
            let around = &told[at.saturating_sub(200)..at];
            panic!("{secret} is told after: {around}");
        }
    }
}
