//! Requests that other humans must agree to: who may, what they see, what they may take off, and what ends it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::bench::{Bench, NOW_S, bearer, problem, request};
use crate::domain::{ElevationState, WallTime};
use crate::identity::Algorithm;
use crate::identity::test_issuer::{TestIssuer, TestKey};
use crate::token::claims::GrantClaims;
use crate::wire::api::{ElevationView, GrantState, GrantTokenView, Page};

/// A tier beside the example's: two must agree, one of each group.
pub(super) const FOUR_EYES: &str = r#"
[[tier]]
name = "four-eyes"
groups = ["payments-oncall"]
services = ["payments-demo"]
role = "payments.override"
resources = ["contract/*"]
actions = ["payment.release", "payment.cancel"]
default_s = 900
maximum_s = 1800
max_uses = { default = 5, maximum = 20 }
approvals = { count = 2, groups = ["leads", "risk"], every_group = true }
request_lapse_s = 3600
concurrent_max = 2
"#;

pub(super) async fn start() -> Bench {
    Bench::start_with(FOUR_EYES, "").await
}

pub(super) fn four_eyes(change: Value) -> Value {
    let mut body = request(json!({ "tier": "four-eyes", "actions": ["payment.release", "payment.cancel"] }));
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

impl Bench {
    pub(super) fn lead(&self) -> String {
        self.token("lea", &["leads"], json!({}))
    }

    fn risk(&self) -> String {
        self.token("rick", &["risk"], json!({}))
    }

    pub(super) async fn asked(&self, change: Value) -> ElevationView {
        let view = self.granted(&self.alice(), &four_eyes(change)).await;
        assert_eq!((view.state, &view.grant), (ElevationState::Requested, &None));
        view
    }

    /// A request as `token`'s holder sees it, and its tag.
    async fn look(&self, token: &str, view: &ElevationView) -> (ElevationView, String) {
        let answer = self.get(token, &format!("/v1/elevations/{}", view.id)).await;
        let tag = answer.headers[header::ETAG].to_str().unwrap().to_owned();
        (answer.json().unwrap(), tag)
    }

    /// Looks, and approves what it saw.
    async fn approve(&self, token: &str, view: &ElevationView, body: Value) -> crate::http::Answer {
        let (_, etag) = self.look(token, view).await;
        self.post_if(token, &format!("/v1/elevations/{}/approve", view.id), &etag, &body).await
    }

    pub(super) async fn approved(&self, token: &str, view: &ElevationView, body: Value) -> ElevationView {
        let answer = self.approve(token, view, body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json().unwrap()
    }

    async fn state(&self, view: &ElevationView) -> ElevationState {
        self.look(&self.alice(), view).await.0.state
    }
}

#[tokio::test]
async fn two_people_agree_and_the_clock_starts_there() {
    let bench = start().await;
    let (lead, risk) = (bench.lead(), bench.risk());
    let strong = bench.token(
        "alice",
        &["payments-oncall"],
        json!({ "acr": "phishing-resistant", "amr": ["hwk"], "auth_time": NOW_S - 30 }),
    );
    let asked = bench.granted(&strong, &four_eyes(json!({ "duration_s": 600, "max_uses": 4 }))).await;
    let (seen, _) = bench.look(&lead, &asked).await;
    assert_eq!(seen.person.as_str(), "alice");
    assert_eq!(seen.authentication.acr.as_deref(), Some("phishing-resistant"));
    assert_eq!(seen.authentication.auth_at, Some(WallTime::from_unix_s(NOW_S - 30)));
    let wanted = seen.wanted.unwrap();
    assert_eq!((wanted.count, wanted.every_group, wanted.policy_revision), (2, true, 1));
    assert_eq!(seen.past.unwrap().grants, 0);
    bench.clock.advance(Duration::from_secs(60));
    let one = bench.approved(&lead, &asked, json!({ "duration_s": 300, "max_uses": 3 })).await;
    assert_eq!((one.state, one.approvals.len(), one.grant), (ElevationState::Requested, 1, None));
    let bounds = one.would_grant.unwrap();
    assert_eq!((bounds.duration_s, bounds.max_uses, bounds.actions.len()), (300, Some(3), 2));
    bench.clock.advance(Duration::from_secs(60));
    let done = bench.approved(&risk, &asked, json!({ "actions": ["payment.release"], "max_uses": 2 })).await;
    assert_eq!((done.state, done.decided_by.unwrap().as_str()), (ElevationState::Approved, "rick"));
    let grant = done.grant.unwrap();
    assert_eq!((grant.state, grant.max_uses), (GrantState::Active, Some(2)));
    assert_eq!(grant.actions, ["payment.release".parse().unwrap()]);
    assert_eq!(grant.expires_at, WallTime::from_unix_s(NOW_S + 120 + 300));
    let answer = bench.get(&bench.alice(), &format!("/v1/grants/{}/token", grant.id)).await;
    let token: GrantTokenView = answer.json().unwrap();
    let claims: GrantClaims = claims_of(&token.token);
    assert_eq!(claims.exp, NOW_S + 120 + 300);
    assert_eq!(claims.bg.approvals, ["lea".parse().unwrap(), "rick".parse().unwrap()]);
    assert_eq!(claims.acr.as_deref(), Some("phishing-resistant"), "as the one who asked had logged in");
    let denied = problem(&bench.get(&lead, &format!("/v1/grants/{}/token", grant.id)).await);
    assert_eq!(denied.code, "not_permitted", "an approver never sees the token");
    let kinds = bench.entry_kinds().await;
    assert_eq!(kinds[5..], ["elevation_requested", "elevation_approved", "elevation_approved", "grant_issued"]);
    bench.running.stop().await;
}

fn claims_of(token: &str) -> GrantClaims {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn nobody_decides_on_their_own_request_under_any_login() {
    let key = TestKey::new(Algorithm::EdDSA, "other");
    let other = TestIssuer::start(&[&key]).await;
    // Both issuers name people by the same claim of the same people.
    let bench = Bench::start_on(FOUR_EYES, |file| {
        let text = std::fs::read_to_string(file).unwrap().replace("[groups]", "person_claim = \"uid\"\n[groups]");
        let other = format!("[[issuer]]\nurl = \"{}\"\nperson_claim = \"uid\"\n", other.url);
        std::fs::write(file, text + &other).unwrap();
    })
    .await;
    let uid = |person: &str| json!({ "uid": person });
    let alice = bench.token("alice", &["payments-oncall"], uid("alice"));
    let answer = bench.post(&alice, "/v1/elevations", &four_eyes(json!({}))).await;
    let asked: ElevationView = answer.json().unwrap();
    let claims = json!({
        "iss": other.url, "aud": "control", "sub": "one-more-subject", "uid": "alice", "client_id": "cli", "jti": "1", "iat": NOW_S,
        "exp": NOW_S + 1000, "groups": ["leads", "risk"],
    });
    let elsewhere = key.sign(&claims);
    let here = bench.token("alice", &["leads", "risk"], uid("alice"));
    for token in [&here, &elsewhere] {
        let refused = problem(&bench.approve(token, &asked, json!({})).await);
        assert_eq!((refused.status, refused.code.as_str()), (403, "own_request"), "{}", refused.detail);
        let denied = bench.post(token, &format!("/v1/elevations/{}/deny", asked.id), &json!({ "note": "n" })).await;
        assert_eq!(problem(&denied).code, "own_request");
    }
    // Nor does one person count twice, from two issuers and in two groups.
    let both = bench.token("bo", &["leads", "risk"], uid("bo"));
    bench.approved(&both, &asked, json!({})).await;
    let mut claims = claims;
    claims["uid"] = "bo".into();
    let again = problem(&bench.approve(&key.sign(&claims), &asked, json!({})).await);
    assert_eq!(
        (again.status, again.code.as_str(), again.state.as_deref()),
        (409, "already_approved", Some("requested"))
    );
    let second = bench.token("lu", &["leads"], uid("lu"));
    let done = bench.approved(&second, &asked, json!({})).await;
    assert_eq!(done.state, ElevationState::Approved, "bo stands for risk, lu for leads");
    bench.running.stop().await;
}

#[tokio::test]
async fn one_person_fills_one_place() {
    let bench = start().await;
    let asked = bench.asked(json!({})).await;
    for name in ["ann", "ben"] {
        let view = bench.approved(&bench.token(name, &["leads"], json!({})), &asked, json!({})).await;
        assert_eq!(view.state, ElevationState::Requested, "two leads are nobody of risk");
    }
    assert_eq!(bench.approved(&bench.risk(), &asked, json!({})).await.state, ElevationState::Approved);
    bench.running.stop().await;
}

#[tokio::test]
async fn machines_and_delegates_approve_nothing() {
    let bench = start().await;
    let asked = bench.asked(json!({})).await;
    let (_, etag) = bench.look(&bench.lead(), &asked).await;
    for token in [
        bench.token("lea", &["leads"], json!({ "act": { "sub": "bot" } })),
        bench.token("cli", &["leads"], json!({})),
        bench.token("lea", &["leads"], json!({ "gty": "client-credentials" })),
    ] {
        for (call, body) in [("approve", json!({})), ("deny", json!({ "note": "n" })), ("withdraw", json!({}))] {
            let path = format!("/v1/elevations/{}/{call}", asked.id);
            let refused = problem(&bench.post_if(&token, &path, &etag, &body).await);
            assert_eq!((refused.status, refused.code.as_str()), (403, "human_required"), "{call}");
        }
    }
    assert_eq!(bench.state(&asked).await, ElevationState::Requested);
    bench.running.stop().await;
}

#[tokio::test]
async fn who_may_not_approve_does_not_learn_that_it_exists() {
    let bench = start().await;
    let asked = bench.asked(json!({})).await;
    let (lead, other) = (bench.lead(), bench.token("oz", &["payments-oncall", "guests"], json!({})));
    let path = format!("/v1/elevations/{}", asked.id);
    let absent = problem(&bench.get(&other, "/v1/elevations/e-000000000000").await);
    let hidden = problem(&bench.get(&other, &path).await);
    assert_eq!((hidden.status, hidden.detail), (404, absent.detail));
    for (call, body) in [("approve", json!({})), ("deny", json!({ "note": "n" })), ("withdraw", json!({}))] {
        let refused = bench.post_if(&other, &format!("{path}/{call}"), "\"x\"", &body).await;
        assert_eq!(problem(&refused).code, "not_found", "{call}");
    }
    let auditor = bench.token("ann", &["auditors"], json!({}));
    let seen: ElevationView = bench.get(&auditor, &path).await.json().unwrap();
    assert_eq!(seen.past, None, "what the person did before is the approvers' to see here");
    assert_eq!(problem(&bench.approve(&auditor, &asked, json!({})).await).code, "not_permitted");
    let list = async |token: &str, query: &str| {
        let page: Page<ElevationView> = bench.get(token, &format!("/v1/elevations{query}")).await.json().unwrap();
        page.items.len()
    };
    assert_eq!(list(&lead, "").await, 0, "not one's own");
    assert_eq!(list(&lead, "?to_approve=true").await, 1);
    assert_eq!(list(&lead, "?to_approve=true&service=elsewhere").await, 0);
    assert_eq!(list(&other, "?to_approve=true").await, 0);
    assert_eq!(list(&bench.token("alice", &["leads"], json!({})), "?to_approve=true").await, 0, "never one's own");
    bench.approved(&lead, &asked, json!({})).await;
    assert_eq!(list(&lead, "?to_approve=true").await, 0, "once is enough");
    assert_eq!(list(&bench.risk(), "?to_approve=true").await, 1);
    assert_eq!(list(&bench.alice(), "?state=requested").await, 1);
    assert_eq!(list(&bench.alice(), "?state=approved").await, 0);
    bench.running.stop().await;
}

#[tokio::test]
async fn only_what_was_seen_is_approved() {
    let bench = start().await;
    let (lead, risk) = (bench.lead(), bench.risk());
    let asked = bench.asked(json!({})).await;
    let path = format!("/v1/elevations/{}/approve", asked.id);
    let (_, etag) = bench.look(&risk, &asked).await;
    let bare = problem(&bench.post(&risk, &path, &json!({})).await);
    assert_eq!((bare.status, bare.code.as_str()), (428, "precondition_required"));
    assert_eq!(problem(&bench.post_if(&risk, &path, "*", &json!({})).await).status, 428);
    assert_eq!(problem(&bench.post_if(&risk, &path, "\"made-up\"", &json!({})).await).status, 412);
    bench.approved(&lead, &asked, json!({ "duration_s": 60 })).await;
    let changed = problem(&bench.post_if(&risk, &path, &etag, &json!({})).await);
    assert_eq!((changed.status, changed.code.as_str()), (412, "precondition_failed"));
    assert_eq!(changed.current.unwrap()["approvals"][0]["by"], "lea", "it says what it is now");
    // A policy that was applied elsewhere is another thing to see, even where it still allows all of it.
    let (_, etag) = bench.look(&risk, &asked).await;
    let policy = std::fs::read_to_string(bench.folder().join("policy.toml")).unwrap();
    assert_eq!(bench.apply_elsewhere(&format!("{policy}\n# anew\n")).await, 2);
    assert_eq!(problem(&bench.post_if(&risk, &path, &etag, &json!({})).await).status, 412);
    let (seen, _) = bench.look(&risk, &asked).await;
    assert_eq!((seen.policy_revision, seen.wanted.unwrap().policy_revision), (1, 2));
    let grant = bench.approved(&risk, &asked, json!({})).await.grant.unwrap();
    assert_eq!(grant.policy_revision, 2);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_policy_that_no_longer_allows_it_stops_it() {
    let bench = start().await;
    let risk = bench.risk();
    let policy = std::fs::read_to_string(bench.folder().join("policy.toml")).unwrap();
    for (was, is, code) in [
        ("\"payment.release\", \"payment.cancel\"", "\"payment.release\"", "policy_changed"),
        ("default_s = 900\nmaximum_s = 1800", "default_s = 60\nmaximum_s = 60", "policy_changed"),
        ("groups = [\"payments-oncall\"]", "groups = [\"others\"]", "policy_changed"),
        ("name = \"four-eyes\"", "name = \"six-eyes\"", "not_found"),
    ] {
        let asked = bench.asked(json!({})).await;
        let path = format!("/v1/elevations/{}", asked.id);
        let (_, etag) = bench.look(&risk, &asked).await;
        bench.apply_elsewhere(&policy.replace(FOUR_EYES, &FOUR_EYES.replace(was, is))).await;
        let unseen = problem(&bench.post_if(&risk, &format!("{path}/approve"), &etag, &json!({})).await);
        let seen = bench.get(&risk, &path).await;
        let etag = seen.headers.get(header::ETAG).map_or("\"x\"", |tag| tag.to_str().unwrap());
        let refused = problem(&bench.post_if(&risk, &format!("{path}/approve"), etag, &json!({})).await);
        assert_eq!(refused.code, code, "{is}: {}", refused.detail);
        assert!([412, 404].contains(&unseen.status), "{unseen:?}");
        assert_eq!(bench.state(&asked).await, ElevationState::Requested, "{is}");
        bench.apply_elsewhere(&policy).await;
        let withdrawn = bench.post(&bench.alice(), &format!("{path}/withdraw"), &json!({})).await;
        assert_eq!(withdrawn.status, 200);
    }
    bench.running.stop().await;
}

#[tokio::test]
async fn what_stands_otherwise_is_a_conflict_that_names_it() {
    let bench = start().await;
    let (alice, lead) = (bench.alice(), bench.lead());
    let (denied, withdrawn, lapsed) = (bench.asked(json!({})).await, bench.asked(json!({})).await, {
        let own = bench.token("zoe", &["payments-oncall"], json!({}));
        bench.granted(&own, &four_eyes(json!({}))).await
    });
    let path = |view: &ElevationView, call: &str| format!("/v1/elevations/{}/{call}", view.id);
    let note = json!({ "note": "not tonight" });
    let answer: ElevationView = bench.post(&lead, &path(&denied, "deny"), &note).await.json().unwrap();
    assert_eq!((answer.state, answer.decided_note.as_deref()), (ElevationState::Denied, Some("not tonight")));
    assert_eq!(problem(&bench.post(&lead, &path(&withdrawn, "withdraw"), &json!({})).await).code, "not_permitted");
    let answer: ElevationView = bench.post(&alice, &path(&withdrawn, "withdraw"), &json!({})).await.json().unwrap();
    assert_eq!(answer.state, ElevationState::Withdrawn);
    bench.clock.advance(Duration::from_secs(3600));
    for (view, state) in [(&denied, "denied"), (&withdrawn, "withdrawn"), (&lapsed, "lapsed")] {
        let (seen, etag) = bench.look(&lead, view).await;
        assert_eq!(serde_json::to_value(seen.state).unwrap(), state, "as soon as its time is over");
        for answer in [
            bench.post_if(&lead, &path(view, "approve"), &etag, &json!({})).await,
            bench.post(&lead, &path(view, "deny"), &note).await,
        ] {
            let refused = problem(&answer);
            assert_eq!((refused.status, refused.code.as_str()), (409, "state_conflict"));
            assert_eq!(refused.state.as_deref(), Some(state));
        }
    }
    let refused = problem(&bench.post(&alice, &path(&denied, "withdraw"), &json!({})).await);
    assert_eq!((refused.code.as_str(), refused.state.as_deref()), ("state_conflict", Some("denied")));
    bench.running.stop().await;
}

#[tokio::test]
async fn a_frozen_service_is_not_approved() {
    let bench = start().await;
    let asked = bench.asked(json!({})).await;
    let service = "payments-demo".parse().unwrap();
    let by = "root".parse().unwrap();
    bench.running.store().set_frozen(Some(&service), true, &by).await.unwrap();
    let refused = problem(&bench.approve(&bench.lead(), &asked, json!({})).await);
    assert_eq!((refused.status, refused.code.as_str()), (409, "frozen"));
    let refused = problem(&bench.post(&bench.alice(), "/v1/elevations", &request(json!({ "tier": "on-call" }))).await);
    assert_eq!(refused.code, "frozen");
    assert_eq!(bench.entry_kinds().await.last().unwrap(), "elevation_refused");
    bench.running.store().set_frozen(Some(&service), false, &by).await.unwrap();
    bench.approved(&bench.lead(), &asked, json!({})).await;
    bench.running.stop().await;
}

#[tokio::test]
async fn limits_of_one_person_hold_against_two_requests_at_once() {
    let bench = start().await;
    let alice = bench.alice();
    let body = four_eyes(json!({}));
    let asks = (0..6).map(|_| bench.post(&alice, "/v1/elevations", &body));
    let answers = futures_util::future::join_all(asks).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused: Vec<_> =
        answers.iter().filter(|answer| answer.status != 201).map(|answer| problem(answer).code).collect();
    assert_eq!(made, 2, "{refused:?}");
    assert!(refused.iter().all(|code| code == "too_many_live"), "{refused:?}");
    bench.running.stop().await;
}

#[tokio::test]
async fn a_cool_down_counts_from_the_end_of_the_last_grant() {
    let tier = FOUR_EYES
        .replace("four-eyes", "calm")
        .replace("approvals = { count = 2, groups = [\"leads\", \"risk\"], every_group = true }", "cool_down_s = 600");
    let bench = Bench::start_with(&tier, "").await;
    let alice = bench.alice();
    let body = request(json!({ "tier": "calm" }));
    let grant = bench.granted(&alice, &body).await.grant.unwrap();
    bench.post(&alice, &format!("/v1/grants/{}/revoke", grant.id), &json!({})).await;
    bench.clock.advance(Duration::from_secs(100));
    let answer = bench.post(&alice, "/v1/elevations", &body).await;
    assert_eq!(
        (problem(&answer).code.as_str(), &answer.headers[header::RETRY_AFTER]),
        ("cool_down", &"500".parse().unwrap())
    );
    bench.granted(&alice, &request(json!({ "tier": "calm", "resources": ["contract/C-7"] }))).await;
    bench.clock.advance(Duration::from_secs(500));
    bench.granted(&alice, &body).await;
    bench.running.stop().await;
}

#[tokio::test]
async fn an_approver_sees_what_the_person_did_before() {
    let bench = start().await;
    let earlier = bench.granted(&bench.alice(), &request(json!({ "tier": "on-call" }))).await.grant.unwrap();
    bench.post(&bench.alice(), &format!("/v1/grants/{}/revoke", earlier.id), &json!({})).await;
    let asked = bench.asked(json!({})).await;
    let past = bench.look(&bench.lead(), &asked).await.0.past.unwrap();
    assert_eq!((past.grants, past.last.len()), (1, 1));
    let grant = &past.last[0];
    assert_eq!((&grant.id, grant.state, grant.spent), (&earlier.id, GrantState::Revoked, 0));
    assert_eq!(serde_json::to_value(grant.review).unwrap(), "due");
    assert_eq!(bench.look(&bench.alice(), &asked).await.0.past, None);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_key_makes_one_approval() {
    let bench = start().await;
    let (asked, other) = (bench.asked(json!({})).await, bench.asked(json!({})).await);
    let lead = bench.lead();
    let (_, etag) = bench.look(&lead, &asked).await;
    let send = async |view: &ElevationView, call: &str, body: Value| {
        let mut headers = bearer(&lead);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::IF_MATCH, HeaderValue::try_from(&etag).unwrap());
        headers.insert("idempotency-key", HeaderValue::from_static("k-1"));
        let path = format!("/v1/elevations/{}/{call}", view.id);
        bench.call(Method::POST, &path, headers, body.to_string().into()).await
    };
    let first = send(&asked, "approve", json!({ "max_uses": 1 })).await;
    let again = send(&asked, "approve", json!({ "max_uses": 1 })).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(first.body, again.body);
    for (view, call, body) in [
        (&asked, "approve", json!({ "max_uses": 2 })),
        (&other, "approve", json!({ "max_uses": 1 })),
        (&other, "deny", json!({ "note": "n" })),
    ] {
        assert_eq!(problem(&send(view, call, body).await).code, "idempotency_key_reused", "{call}");
    }
    assert_eq!(bench.state(&other).await, ElevationState::Requested);
    bench.running.stop().await;
}

#[tokio::test]
async fn each_bad_answer_has_its_own_code_and_changes_nothing() {
    let bench = start().await;
    let (lead, asked) = (bench.lead(), bench.asked(json!({})).await);
    let path = |call: &str| format!("/v1/elevations/{}/{call}", asked.id);
    let recorded = bench.entry_kinds().await.len();
    let (_, etag) = bench.look(&lead, &asked).await;
    let long = "x".repeat(501);
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        ("approve", json!({ "duration_s": 901 }), 422, "narrowing_widens"),
        ("approve", json!({ "duration_s": u64::MAX }), 422, "narrowing_widens"),
        ("approve", json!({ "duration_s": 0 }), 422, "duration_too_short"),
        ("approve", json!({ "max_uses": 6 }), 422, "narrowing_widens"),
        ("approve", json!({ "max_uses": 0 }), 422, "too_few_uses"),
        ("approve", json!({ "max_uses": -1 }), 400, "malformed_request"),
        ("approve", json!({ "actions": ["limit.set"] }), 422, "narrowing_widens"),
        ("approve", json!({ "actions": [] }), 422, "narrowing_empty"),
        ("approve", json!({ "actions": ["payment.*"] }), 422, "wildcard"),
        ("approve", json!({ "actions": ["p\u{0430}yment.release"] }), 422, "action_malformed"),
        ("approve", json!({ "actions": ["payment.release' OR '1'='1"] }), 422, "action_malformed"),
        ("approve", json!({ "actions": ["x".repeat(5000)] }), 422, "action_malformed"),
        ("approve", json!({ "resources": ["contract/C-1"] }), 400, "malformed_request"),
        ("approve", json!({ "note": "{{7*7}}" }), 400, "malformed_request"),
        ("deny", json!({}), 400, "malformed_request"),
        ("deny", json!({ "note": "  " }), 422, "note_missing"),
        ("deny", json!({ "note": long }), 422, "note_too_long"),
        ("deny", json!({ "note": 1 }), 400, "malformed_request"),
        ("withdraw", json!({ "force": true }), 400, "malformed_request"),
    ];
    for (call, body, status, code) in cases {
        let refused = problem(&bench.post_if(&lead, &path(call), &etag, &body).await);
        assert_eq!((refused.status, refused.code.as_str()), (status, code), "{call} {body}: {}", refused.detail);
        assert!(refused.detail.is_ascii() && refused.detail.len() < 600, "{}", refused.detail);
    }
    for call in ["approve", "deny", "withdraw"] {
        let mut headers = bearer(&lead);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::IF_MATCH, HeaderValue::try_from(&etag).unwrap());
        let huge = Bytes::from(vec![b' '; 10 * 1024 * 1024]);
        assert_eq!(problem(&bench.call(Method::POST, &path(call), headers, huge).await).code, "body_too_large");
        let nowhere = bench.post_if(&lead, &format!("/v1/elevations/'%20OR%201=1/{call}"), &etag, &json!({})).await;
        assert_eq!(problem(&nowhere).code, "not_found");
    }
    assert_eq!(bench.entry_kinds().await.len(), recorded, "nothing was written");
    bench.approved(&lead, &asked, json!({ "actions": ["payment.cancel"] })).await;
    let (_, etag) = bench.look(&bench.risk(), &asked).await;
    let empty = bench.post_if(&bench.risk(), &path("approve"), &etag, &json!({ "actions": ["payment.release"] })).await;
    assert_eq!(problem(&empty).code, "narrowing_empty");
    let note = json!({ "note": "'; DROP TABLE elevations; -- {{7*7}}" });
    let denied: ElevationView = bench.post(&bench.risk(), &path("deny"), &note).await.json().unwrap();
    assert_eq!(denied.decided_note.as_deref(), note["note"].as_str(), "kept as it was said");
    bench.running.stop().await;
}

#[tokio::test]
async fn nobody_answers_and_the_sweep_writes_it_down() {
    let bench = start().await;
    let asked = bench.asked(json!({})).await;
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(bench.state(&asked).await, ElevationState::Lapsed);
    let kinds = async || bench.entry_kinds().await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while kinds().await.last().unwrap() != "elevation_lapsed" {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let metrics = String::from_utf8(bench.admin("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("breakglass_control_elevations_total{state=\"requested\"} 1"), "{metrics}");
    bench.running.stop().await;
}
