//! P9: a refusal helps the holder and tells nobody else anything of the grant, not even that it exists.

use crate::harness::{Answer, Ask, Site, raw_request};

const NONCE: &str = "break-glass-dpop-nonce";

/// All that a client can see but the request's own id, and the nonce, which tells the time alone.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let document = answer.json();
    let instance = document["instance"].as_str().unwrap();
    let body = String::from_utf8(answer.body.clone()).unwrap();
    let mut headers = answer.headers.clone();
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == NONCE) {
        *value = format!("{} characters", value.len());
    }
    (answer.status, headers, body.replace(instance, "INSTANCE"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_and_a_thief_cannot_tell_whether_a_grant_exists() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let live = site.grant(&Ask::default()).await;
    let other_scope = site.grant(&Ask { resources: vec!["contract/C-2077".to_owned()], ..Ask::default() }).await;
    let revoked = site.grant(&Ask::default()).await;
    let used_up = site.grant(&Ask { max_uses: Some(1), ..Ask::default() }).await;
    let (alice, bob) = (site.identity("alice"), site.identity("bob"));
    let target = "/v1/contracts/C-1042/echo";
    let holder = [("Break-Glass", used_up.id.as_str()), ("Break-Glass-Identity", alice.as_str())];
    assert_eq!(sidecar.send(&raw_request("POST", target, &holder, "")).await.code(), "override");
    let (live_token, revoked_token) = (site.token(&live).await, site.token(&revoked).await);
    let foreign = site.grant(&Ask { service: "ledger".to_owned(), ..Ask::default() }).await;
    let foreign_token = site.token(&foreign).await;
    site.revoke(&revoked).await;
    let unsigned = format!("{}.{}", live_token.rsplit_once('.').unwrap().0, "A".repeat(86));
    let names = [
        ("one that exists", live.id.as_str()),
        ("one for another contract", other_scope.id.as_str()),
        ("one that was revoked", revoked.id.as_str()),
        ("one that is used up", used_up.id.as_str()),
        ("one of another service", foreign.id.as_str()),
        ("a live token", &live_token),
        ("a revoked token", &revoked_token),
        ("a token of another service", &foreign_token),
        ("a token nobody signed", &unsigned),
        ("no token at all", "aaaa.bbbb.cccc"),
    ];
    for (who, identity, code) in [
        ("a stranger", None, "identity_missing"),
        ("someone with garbage", Some("garbage"), "identity_invalid"),
        ("a thief", Some(bob.as_str()), "grant_not_usable"),
    ] {
        let request = |grant: &str| {
            let mut headers = vec![("Break-Glass", grant)];
            headers.extend(identity.map(|identity| ("Break-Glass-Identity", identity)));
            raw_request("POST", target, &headers, "")
        };
        let nothing = sidecar.send(&request("g-zzzzzzzzzzzz")).await;
        assert_eq!(nothing.code(), code);
        for (what, grant) in names {
            let answer = sidecar.send(&request(grant)).await;
            assert_eq!(seen(&answer), seen(&nothing), "{who}, {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_names_its_cause_a_next_step_and_the_way_to_a_grant() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let answer =
        sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &[("Break-Glass", "g-zzzzzzzzzzzz")], "")).await;
    assert_eq!((answer.status, answer.header("content-type")), (401, Some("application/problem+json")));
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    let said = answer.json();
    assert_eq!(said["type"], format!("https://break-glass.dev/problems/{}", said["code"].as_str().unwrap()));
    assert_eq!(
        (&said["status"], &said["resource"], &said["action"]),
        (&401.into(), &"contract/C-1042".into(), &"payment.release".into())
    );
    for member in ["title", "detail", "hint", "instance", "service", "request_url", "command"] {
        assert!(said[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {said}");
    }
}
