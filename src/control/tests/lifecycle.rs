//! From request to end, and who may see it on the way.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use serde_json::json;

use super::bench::{Bench, NOW_S, bearer, problem, request};
use crate::domain::WallTime;
use crate::token::{KeyRing, PublicKey, verify_grant, verify_key_certificate};
use crate::wire::api::{Enforcement, GrantState, GrantTokenView, GrantView, Page, RequestOptions};

#[tokio::test]
async fn a_request_becomes_a_grant_whose_token_verifies() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let view = bench.granted(&alice, &request(json!({ "duration_s": 600, "max_uses": 2 }))).await;
    let grant = view.grant.unwrap();
    assert_eq!((grant.state, grant.max_uses, grant.spent), (GrantState::Active, Some(2), 0));
    assert_eq!(grant.expires_at, WallTime::from_unix_s(NOW_S + 600));
    let answer = bench.get(&alice, &format!("/v1/grants/{}/token", grant.id)).await;
    let token: GrantTokenView = answer.json().unwrap();
    let root: PublicKey = bench.running.grant_roots()[0].parse().unwrap();
    let now = WallTime::from_unix_s(NOW_S);
    let key = bench.running.state.workflow.keys.certificates(now).remove(0);
    let ring = KeyRing::new([verify_key_certificate(&key, &[root], now).unwrap()]);
    let signed = verify_grant(&token.token, &ring).unwrap();
    assert_eq!((signed.id, signed.person.as_str(), signed.role.as_str()), (grant.id, "alice", "payments.override"));
    assert_eq!(signed.idp.as_str(), bench.issuer.url);
    let kinds = bench.entry_kinds().await;
    assert_eq!(
        kinds,
        [
            "ledger_key_created",
            "policy_applied",
            "service_applied",
            "control_started",
            "key_created",
            "elevation_requested",
            "grant_issued",
        ]
    );
    bench.running.stop().await;
}

#[tokio::test]
async fn others_do_not_learn_that_a_grant_exists() {
    let bench = Bench::start().await;
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    let grant = view.grant.unwrap().id;
    let mallory = bench.token("mallory", &["payments-oncall"], json!({}));
    for path in [
        format!("/v1/grants/{grant}"),
        format!("/v1/grants/{grant}/token"),
        format!("/v1/grants/{grant}/enforcement"),
        format!("/v1/elevations/{}", view.id),
    ] {
        let foreign = problem(&bench.get(&mallory, &path).await);
        let absent = problem(&bench.get(&mallory, "/v1/grants/g-000000000000").await);
        assert_eq!((foreign.status, foreign.detail, foreign.code), (404, absent.detail, absent.code), "{path}");
    }
    let foreign = bench.post(&mallory, &format!("/v1/grants/{grant}/revoke"), &json!({})).await;
    assert_eq!(problem(&foreign).code, "not_found");
    let page: Page<GrantView> = bench.get(&mallory, "/v1/grants").await.json().unwrap();
    assert_eq!(page.items, vec![]);
    let page: Page<GrantView> = bench.get(&bench.alice(), "/v1/grants?state=active&mine=true").await.json().unwrap();
    assert_eq!(page.items.len(), 1);
    bench.running.stop().await;
}

#[tokio::test]
async fn an_auditor_sees_all_but_neither_token_nor_end() {
    let bench = Bench::start().await;
    let grant = bench.granted(&bench.alice(), &request(json!({}))).await.grant.unwrap().id;
    let auditor = bench.token("ann", &["auditors"], json!({}));
    assert_eq!(bench.get(&auditor, &format!("/v1/grants/{grant}")).await.status, 200);
    for path in ["token", "revoke"] {
        let path = format!("/v1/grants/{grant}/{path}");
        let answer = if path.ends_with("token") {
            bench.get(&auditor, &path).await
        } else {
            bench.post(&auditor, &path, &json!({})).await
        };
        assert_eq!(problem(&answer).code, "not_permitted", "{path}");
    }
    let admin = bench.token("root", &["admins"], json!({}));
    assert_eq!(problem(&bench.get(&admin, &format!("/v1/grants/{grant}/token")).await).code, "not_permitted");
    let lead = bench.token("lea", &["leads"], json!({}));
    let answer = bench.post(&lead, &format!("/v1/grants/{grant}/revoke"), &json!({ "note": "over" })).await;
    let view: GrantView = answer.json().unwrap();
    assert_eq!((view.state, view.ended_by.unwrap().as_str()), (GrantState::Revoked, "lea"));
    bench.running.stop().await;
}

#[tokio::test]
async fn an_ended_grant_ends_once() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let grant = bench.granted(&alice, &request(json!({}))).await.grant.unwrap();
    let revoke = format!("/v1/grants/{}/revoke", grant.id);
    let long = json!({ "note": "x".repeat(501) });
    assert_eq!(problem(&bench.post(&alice, &revoke, &long).await).code, "note_too_long");
    let view: GrantView = bench.post(&alice, &revoke, &json!({ "note": "<b>'; --" })).await.json().unwrap();
    assert!(view.revision > grant.revision);
    assert_eq!(view.end_note.as_deref(), Some("<b>'; --"));
    let again = problem(&bench.post(&alice, &revoke, &json!({})).await);
    assert_eq!((again.status, again.code.as_str()), (409, "grant_ended"));
    assert!(again.detail.starts_with("the grant was revoked at 2026-11-22T"), "{}", again.detail);
    let wait = bench.get(&alice, &format!("/v1/grants/{}/enforcement?wait_ms=1", grant.id)).await;
    let enforcement: Enforcement = wait.json().unwrap();
    assert_eq!((enforcement.revision, enforcement.sidecars), (view.revision, 0));
    bench.running.stop().await;
}

#[tokio::test]
async fn time_ends_a_grant_and_the_sweep_writes_it_down() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let grant = bench.granted(&alice, &request(json!({ "duration_s": 1 }))).await.grant.unwrap();
    let mut wake = bench.running.store().subscribe();
    bench.clock.advance(Duration::from_secs(1));
    wake.wait_for(|revision| *revision > grant.revision).await.unwrap();
    let view: GrantView = bench.get(&alice, &format!("/v1/grants/{}", grant.id)).await.json().unwrap();
    assert_eq!((view.state, view.ended_by), (GrantState::Expired, None));
    assert_eq!(bench.entry_kinds().await.last().unwrap(), "grant_expired");
    bench.running.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_makes_one_grant() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let send = async |body: serde_json::Value, key: &'static str| {
        let mut headers = bearer(&alice);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert("idempotency-key", HeaderValue::from_static(key));
        bench.call(Method::POST, "/v1/elevations", headers, body.to_string().into()).await
    };
    let first = send(request(json!({})), "k-1").await;
    let second = send(request(json!({})), "k-1").await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.body, second.body);
    assert_eq!(first.headers[header::LOCATION], second.headers[header::LOCATION]);
    let other = send(request(json!({ "duration_s": 5 })), "k-1").await;
    assert_eq!(problem(&other).code, "idempotency_key_reused");
    assert_eq!(problem(&send(request(json!({})), "two words").await).code, "idempotency_key_malformed");
    let page: Page<GrantView> = bench.get(&alice, "/v1/grants").await.json().unwrap();
    assert_eq!(page.items.len(), 1);
    bench.running.stop().await;
}

#[tokio::test]
async fn options_name_what_the_caller_may_ask_for() {
    let bench = Bench::start().await;
    let options = |token: String| {
        let bench = &bench;
        async move {
            let answer = bench.get(&token, "/v1/services/payments-demo/options").await;
            answer.json::<RequestOptions>().unwrap()
        }
    };
    let own = options(bench.alice()).await;
    assert_eq!((own.tiers[0].name.as_str(), own.tiers[0].resources[0].as_str()), ("on-call", "contract/*"));
    assert_eq!(own.reasons.len(), 3);
    assert_eq!(options(bench.token("eve", &[], json!({}))).await.tiers, vec![]);
    let unknown = bench.get(&bench.alice(), "/v1/services/nowhere/options").await;
    assert_eq!(problem(&unknown).code, "unknown_service");
    bench.running.stop().await;
}
