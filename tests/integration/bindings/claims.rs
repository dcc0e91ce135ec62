//! Enrolment: what is proven with the request is bound to its grant; what was approved unbound is claimed, once, before
//! its first use, by its requester alone. And by `breakglass`, as a person types it.

use breakglass::domain::Confirmation;
use breakglass::token::dpop::Making;
use breakglass::wire::api::{ElevationView, GrantView};
use http::Method;
use serde_json::{Value, json};

use super::{KeyHolder, call, client, code, origin, request};
use crate::harness::clients::Shows;
use crate::harness::{Site, breakglass, raw_request};

/// Alice asks in a browser, which proves no key.
async fn unbound(site: &Site, resource: &str, binding: &str) -> GrantView {
    let (status, said) = site.api(Method::POST, "/v1/elevations", "alice", request(resource, binding)).await;
    assert_eq!(status, 201, "{said}");
    let grant = serde_json::from_value::<ElevationView>(said).unwrap().grant.unwrap();
    assert!(grant.is_unclaimed(), "{grant:?}");
    grant
}

async fn entries(site: &Site, grant: &GrantView) -> Vec<String> {
    let all = site.control().store().entries(0, 1000).await.unwrap();
    all.into_iter().filter(|entry| entry.canonical.contains(grant.id.as_str())).map(|entry| entry.kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unbound_grant_is_claimed_once_by_its_requester_and_used_then() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = unbound(&site, "contract/K-1", "dpop").await;
    let path = format!("/v1/grants/{}", grant.id);
    let (claim, token) = (format!("{path}/claim"), format!("{path}/token"));
    let (status, said) = site.api(Method::GET, &token, "alice", Value::Null).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("grant_unbound")));
    assert!(sidecar.shared().grants.by_id(&grant.id).is_none(), "no sidecar knows it");
    let holder = KeyHolder::new();
    for (person, expected) in [("bob", 404), ("carol", 403), ("dave", 403)] {
        let answer = holder.post(&site, &claim, &site.identity(person), &json!({})).await;
        assert_eq!(answer.status.as_u16(), expected, "{person}");
    }
    let (status, said) = site.api(Method::POST, &claim, "alice", json!({})).await;
    assert_eq!((status, said["code"].as_str()), (400, Some("binding_proof_missing")));
    let identity = site.identity("alice");
    let answer = holder.post(&site, &claim, &identity, &json!({})).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let claimed: GrantView = answer.json().unwrap();
    assert_eq!(claimed.confirmation, Some(Confirmation::Key(holder.key.thumbprint().clone())));
    assert_eq!(claimed.expires_at, grant.expires_at, "its clock started at the approval");
    let enforcement = site.enforcement(&claimed, "alice").await;
    assert_eq!((enforcement.enforced, enforcement.sidecars), (1, 1));
    for again in [&holder, &KeyHolder::new()] {
        let answer = again.post(&site, &claim, &identity, &json!({})).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (409, "grant_bound"));
    }
    assert_eq!(entries(&site, &grant).await, ["grant_issued", "grant_claimed"]);
    for person in ["carol", "dave"] {
        let (status, said) = site.api(Method::GET, &token, person, Value::Null).await;
        assert!(matches!(status, 403 | 404), "{person} may not have the token: {status} {said}");
    }
    let token = site.token(&claimed).await;
    let nonce = sidecar.shared().possession.nonce(sidecar.shared().clock.boot());
    let url = origin().with_path("/v1/contracts/K-1/echo").unwrap();
    let now = site.clock.wall();
    let making = Making { method: "POST", url: &url, token: Some(&token), nonce: Some(&nonce), now };
    let proof = holder.key.prove(&making).unwrap();
    let headers = [("Break-Glass", token.as_str()), ("Break-Glass-DPoP", proof.as_str())];
    let answer = sidecar.send(&raw_request("POST", "/v1/contracts/K-1/echo", &headers, "")).await;
    assert_eq!(answer.code(), "override");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_bound_only_where_it_is_believed() {
    let site = Site::start().await;
    let grant = unbound(&site, "contract/K-2", "mtls").await;
    let (path, identity) = (format!("/v1/grants/{}/claim", grant.id), site.identity("alice"));
    let claim = async |shows| {
        let client = client(&site, shows);
        call(&client, &site, (Method::POST, &path, &identity), &[], &json!({})).await
    };
    assert_eq!(code(&claim(None).await), "binding_proof_missing");
    for shows in [Shows::OtherAuthority, Shows::Expired, Shows::ForServers] {
        let answer = claim(Some(shows)).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (401, "certificate_untrusted"), "{shows:?}");
        // It breaks nothing that hangs on no certificate.
        let client = client(&site, Some(shows));
        let list = call(&client, &site, (Method::GET, "/v1/grants", &identity), &[], &Value::Null).await;
        assert_eq!(list.status, 200, "{shows:?}");
    }
    let answer = KeyHolder::new().post(&site, &path, &identity, &json!({})).await;
    assert_eq!(code(&answer), "binding_proof_missing", "a key is no certificate");
    assert_eq!(claim(Some(Shows::Own)).await.status, 200);
    assert_eq!(code(&claim(Some(Shows::SameName)).await), "grant_bound");
    let asked = request("contract/K-3", "mtls");
    let client = client(&site, Some(Shows::OtherAuthority));
    let answer = call(&client, &site, (Method::POST, "/v1/elevations", &identity), &[], &asked).await;
    assert_eq!(code(&answer), "certificate_untrusted", "a request that shows one wants it bound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tier_does_not_accept_is_not_asked_for() {
    let site = Site::start().await;
    for (tier, binding) in [("keys", "identity"), ("keys", "bearer"), ("on-call", "dpop"), ("pipeline", "mtls")] {
        let resource = if tier == "pipeline" { "contract/B-7" } else { "contract/K-1" };
        let mut asked = request(resource, binding);
        asked["tier"] = tier.into();
        let (status, said) = site.api(Method::POST, "/v1/elevations", "alice", asked).await;
        assert_eq!((status, said["code"].as_str()), (422, Some("binding_not_in_tier")), "{tier} {binding}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_ended_unclaimed_stays_so() {
    let site = Site::start().await;
    let grant = unbound(&site, "contract/K-1", "dpop").await;
    let path = format!("/v1/grants/{}", grant.id);
    let (status, said) = site.api(Method::POST, &format!("{path}/revoke"), "alice", json!({})).await;
    assert_eq!(status, 200, "{said}");
    let answer = KeyHolder::new().post(&site, &format!("{path}/claim"), &site.identity("alice"), &json!({})).await;
    assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (409, "grant_ended"));
    let (status, said) = site.api(Method::GET, &format!("{path}/token"), "alice", Value::Null).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("grant_unbound")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakglass_proves_a_key_of_its_own() {
    let mut site = Site::start().await;
    site.keep_api_address().await;
    let _sidecar = site.sidecar().await;
    let key = site.path().join("state").join("dpop.key");
    let key = key.to_str().unwrap();
    let words = [
        "request",
        "--service",
        "payments",
        "--resource",
        "contract/K-1",
        "--action",
        "payment.release",
        "--reason",
        "stuck_payment",
        "--ticket",
        "INC-2041",
        "--tier",
        "keys",
        "--binding",
        "dpop",
        "--dpop-key",
        key,
    ];
    let (ended, said, talk) = breakglass(&site, "alice", &words).await;
    assert_eq!(ended.unwrap(), 0, "{talk}");
    let first: Value = serde_json::from_str(&said).unwrap();
    let thumbprint = first["grant"]["confirmation"]["jkt"].as_str().unwrap().to_owned();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let grant = unbound(&site, "contract/K-1", "dpop").await;
    let (ended, said, talk) = breakglass(&site, "alice", &["claim", grant.id.as_str(), "--dpop-key", key]).await;
    assert_eq!(ended.unwrap(), 0, "{talk}");
    let claimed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(claimed["confirmation"]["jkt"].as_str(), Some(thumbprint.as_str()), "the same key");
    let (ended, _, _) = breakglass(&site, "alice", &["claim", grant.id.as_str(), "--dpop-key", key]).await;
    assert!(ended.unwrap_err().message.contains("grant_bound"));
    // Where the tier's first binding is to a key, and nothing was said of one, it is claimed by itself.
    let words: Vec<&str> = words.iter().copied().filter(|word| !["--binding", "dpop"].contains(word)).collect();
    let (ended, said, talk) = breakglass(&site, "alice", &words).await;
    assert_eq!(ended.unwrap(), 0, "{talk}");
    let third: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(third["grant"]["confirmation"]["jkt"].as_str(), Some(thumbprint.as_str()), "{third}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakglass_shows_a_certificate() {
    let site = Site::start().await;
    let _sidecar = site.sidecar().await;
    let (certificate, key) = (Shows::Own.certificate(site.path()), Shows::Own.key(site.path()));
    let own = ["--client-cert", certificate.to_str().unwrap(), "--client-key", key.to_str().unwrap()];
    let words = [
        "request",
        "--service",
        "payments",
        "--resource",
        "contract/K-2",
        "--action",
        "payment.release",
        "--reason",
        "stuck_payment",
        "--ticket",
        "INC-2041",
        "--tier",
        "keys",
        "--binding",
        "mtls",
    ];
    let (ended, said, talk) = breakglass(&site, "alice", &[&words[..], &own].concat()).await;
    assert_eq!(ended.unwrap(), 0, "{talk}");
    let asked: Value = serde_json::from_str(&said).unwrap();
    assert!(asked["grant"]["confirmation"]["x5t#S256"].is_string(), "{asked}");
    let grant = unbound(&site, "contract/K-3", "mtls").await;
    let (ended, _, talk) = breakglass(&site, "alice", &[&["claim", grant.id.as_str()][..], &own].concat()).await;
    assert_eq!(ended.unwrap(), 0, "{talk}");
}
