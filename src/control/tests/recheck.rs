//! Issuers are asked whether tokens still stand, over real connections: what ends for which answer, and what never does.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::bench::{Bench, NOW_S, bearer, request};
use crate::identity::test_issuer::Introspected;
use crate::wire::api::ElevationView;

/// The table of the issuer in the control plane's file.
fn asks(file: &Path, lines: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let issuer = text.split("[[issuer]]\nurl = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let table = format!("[issuer.introspection]\n{}\n[groups]", lines.replace("ISSUER", &issuer));
    std::fs::write(file, text.replace("[groups]", &table)).unwrap();
    let secret = file.with_file_name("secret");
    std::fs::write(&secret, "s3 cret\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

const BASIC: &str = "client_id = \"us:all\"\nclient_secret_file = \"secret\"\nurl = \"ISSUER/introspect\"";

async fn bench(lines: &str) -> Bench {
    Bench::start_on("", |file| asks(file, lines)).await
}

async fn state(bench: &Bench, view: &ElevationView) -> String {
    let auditor = bench.token("ann", &["auditors"], json!({}));
    let path = format!("/v1/grants/{}", view.grant.as_ref().unwrap().id);
    bench.get(&auditor, &path).await.json::<Value>().unwrap()["state"].as_str().unwrap().to_owned()
}

async fn metric(bench: &Bench, name: &str, result: Option<&str>) -> f64 {
    let text = String::from_utf8(bench.admin("/metrics").await.body.to_vec()).unwrap();
    let result = result.map(|result| format!(",result=\"{result}\"")).unwrap_or_default();
    let line = format!("breakglass_control_identity_rechecks_{name}{{issuer=\"{}\"{result}}} ", bench.issuer.url);
    text.lines().find_map(|found| found.strip_prefix(&line)).unwrap().parse().unwrap()
}

async fn ended(bench: &Bench) {
    let store = bench.running.store();
    let mut revisions = store.subscribe();
    while !bench.entry_kinds().await.contains(&"token_inactive".to_owned()) {
        revisions.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_stands_no_more_ends_the_grant_and_is_in_the_ledger() {
    let bench = bench(BASIC).await;
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    let form = bench.issuer.asked_again(1).await;
    let expected = format!("token={}&token_type_hint=access_token", bench.alice());
    // RFC 6749 §2.3.1: us%3Aall:s3%20cret.
    assert_eq!(form, format!("POST Basic dXMlM0FhbGw6czMlMjBjcmV0 {expected}"));
    assert_eq!((metric(&bench, "held", None).await, state(&bench, &view).await.as_str()), (1.0, "active"));
    bench.issuer.set_introspected(Introspected::body(r#"{"active":false}"#));
    ended(&bench).await;
    assert_eq!(state(&bench, &view).await, "revoked");
    let entries = bench.running.store().entries(0, 1000).await.unwrap();
    let inactive = entries.iter().find(|entry| entry.kind == "token_inactive").unwrap();
    let signature = bench.alice().rsplit('.').next().unwrap().to_owned();
    assert!(inactive.canonical.contains("\"ended\":1") && !inactive.canonical.contains(&signature), "{inactive:?}");
    let refused = bench.get(&bench.alice(), "/v1/grants").await;
    assert_eq!(refused.status, 401, "the token itself is good for nothing any more");
    let fresh = bench.token("alice", &["payments-oncall"], json!({"iat": NOW_S + 1}));
    assert_eq!(bench.get(&fresh, "/v1/grants").await.status, 200);
    bench.running.stop().await;
}

#[tokio::test]
async fn no_other_answer_ends_anything() {
    let bench = bench(BASIC).await;
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    let said = |status, name, value: String| Introspected::Said {
        status,
        headers: vec![(name, value)],
        body: r#"{"active":false}"#.to_owned(),
    };
    let elsewhere = format!("{}/introspect", bench.issuer.url);
    let huge = format!(r#"{{"active":false,"x":"{}"}}"#, "x".repeat(600 * 1024));
    for (result, answer) in [
        ("active", Introspected::body(r#"{"active":true,"sub":"alice"}"#)),
        ("contradiction", Introspected::body(r#"{"active":false,"sub":"bob"}"#)),
        ("contradiction", Introspected::body(r#"{"active":true,"sub":7}"#)),
        ("contradiction", Introspected::body(r#"{"active":false,"iss":"https://other.test"}"#)),
        ("malformed", Introspected::body(r#"{"active":"false"}"#)),
        ("malformed", Introspected::body(r#"{"active":0}"#)),
        ("malformed", Introspected::body(r#"{"active":null}"#)),
        ("malformed", Introspected::body("{}")),
        ("malformed", Introspected::body(r#"{"active":true,"active":false}"#)),
        ("malformed", Introspected::body("[false]")),
        ("malformed", Introspected::body("<html>")),
        ("malformed", Introspected::body("")),
        ("malformed", Introspected::status(204)),
        ("too_large", Introspected::body(huge)),
        ("status", said(302, "location", elsewhere)),
        ("status", said(500, "x", String::new())),
        ("not_found", said(404, "x", String::new())),
        ("unauthorised", said(401, "www-authenticate", "Basic".to_owned())),
    ] {
        let before = metric(&bench, "total", Some(result)).await;
        let shown = format!("{answer:.200?}");
        bench.issuer.set_introspected(answer);
        // When it is asked the second time, what the first answer did is done.
        bench.issuer.asked_again(3).await;
        assert!(metric(&bench, "total", Some(result)).await > before, "{result}: {shown}");
        assert_eq!(state(&bench, &view).await, "active", "{shown}");
    }
    let readiness: Value = bench.admin("/readyz").await.json().unwrap();
    let shown = &readiness["issuers"][0]["introspection"];
    assert!(shown["failure"].as_str().unwrap().contains("401") && shown["answered_at"].is_string(), "{readiness}");
    assert!(!bench.entry_kinds().await.contains(&"token_inactive".to_owned()));
    // It is well again.
    bench.issuer.set_introspected(Introspected::body(r#"{"active":true}"#));
    bench.issuer.asked_again(3).await;
    let readiness: Value = bench.admin("/readyz").await.json().unwrap();
    assert_eq!(readiness["issuers"][0]["introspection"]["failure"], Value::Null);
    bench.issuer.set_introspected(Introspected::body(r#"{"active":false,"sub":"alice"}"#));
    ended(&bench).await;
    bench.running.stop().await;
}

#[tokio::test]
async fn a_question_that_is_never_answered_holds_up_nobody() {
    let bench = bench(BASIC).await;
    bench.issuer.set_introspected(Introspected::Silence);
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    bench.issuer.asked_again(1).await;
    assert_eq!(bench.get(&bench.alice(), "/v1/grants").await.status, 200);
    assert_eq!(state(&bench, &view).await, "active");
    // With the question still open.
    bench.running.stop().await;
}

#[tokio::test]
async fn of_a_person_the_newest_token_is_asked_about() {
    let bench = bench(BASIC).await;
    bench.granted(&bench.alice(), &request(json!({}))).await;
    let newer = bench.token("alice", &["payments-oncall"], json!({"iat": NOW_S + 2}));
    assert_eq!(bench.get(&newer, "/v1/grants").await.status, 200);
    bench.issuer.asked_again(1).await;
    assert!(bench.issuer.asked_again(1).await.contains(&newer));
    // The older one comes again, and changes nothing.
    assert_eq!(bench.get(&bench.alice(), "/v1/grants").await.status, 200);
    bench.issuer.asked_again(1).await;
    assert!(bench.issuer.asked_again(1).await.contains(&newer));
    assert_eq!(metric(&bench, "held", None).await, 1.0);
    bench.running.stop().await;
}

#[tokio::test]
async fn whoever_has_nothing_here_has_no_place_and_who_has_nothing_left_leaves() {
    let bench = bench(BASIC).await;
    let bob = bench.token("bob", &["payments-oncall"], json!({}));
    for _ in 0..3 {
        assert_eq!(bench.get(&bob, "/v1/grants").await.status, 200);
    }
    // A request that is refused opens no place either.
    let nobody = bench.token("nobody", &[], json!({}));
    assert_eq!(bench.post(&nobody, "/v1/elevations", &request(json!({}))).await.status, 403);
    assert_eq!(metric(&bench, "held", None).await, 0.0);
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    bench.issuer.asked_again(1).await;
    assert_eq!(metric(&bench, "held", None).await, 1.0);
    let path = format!("/v1/grants/{}/revoke", view.grant.unwrap().id);
    let revoked = bench.post(&bench.alice(), &path, &json!({})).await;
    assert!(revoked.status.is_success(), "{}", String::from_utf8_lossy(&revoked.body));
    bob_is_asked_about_alone(&bench, &bob).await;
    assert_eq!(metric(&bench, "held", None).await, 1.0, "bob alone");
    bench.running.stop().await;
}

async fn bob_is_asked_about_alone(bench: &Bench, bob: &str) {
    bench.granted(bob, &request(json!({"ticket": "INC-7"}))).await;
    for _ in 0..3 {
        bench.issuer.asked_again(2).await;
    }
    for _ in 0..4 {
        assert!(bench.issuer.asked_again(1).await.contains(bob));
    }
}

#[tokio::test]
async fn a_token_whose_time_is_over_ends_nothing() {
    let bench = bench(BASIC).await;
    let token = bench.token("alice", &["payments-oncall"], json!({"exp": NOW_S + 60}));
    let view = bench.granted(&token, &request(json!({}))).await;
    bench.issuer.asked_again(1).await;
    // Within the leeway of its end the issuer may already say that it is over.
    bench.clock.advance(Duration::from_secs(56));
    bench.granted(&bench.token("bob", &["payments-oncall"], json!({"exp": NOW_S + 60})), &request(json!({}))).await;
    // Bob's is not asked about either; carol's is, so a whole look has passed.
    let carol = bench.token("carol", &["payments-oncall"], json!({}));
    let other = bench.granted(&carol, &request(json!({"ticket": "INC-8"}))).await;
    until_it_stands(&bench, &carol).await;
    bench.issuer.set_introspected(Introspected::body(r#"{"active":false}"#));
    ended(&bench).await;
    assert_eq!(state(&bench, &other).await, "revoked");
    assert_eq!(state(&bench, &view).await, "active");
    let kinds = bench.entry_kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "token_inactive").count(), 1);
    assert!(metric(&bench, "total", Some("expired")).await >= 1.0);
    bench.running.stop().await;
}

#[tokio::test]
async fn what_is_not_set_up_right_shows_before_anybody_has_a_grant() {
    // The issuer's metadata name no place to ask.
    let bench = bench("token_file = \"secret\"").await;
    let shown = loop {
        let readiness: Value = bench.admin("/readyz").await.json().unwrap();
        if readiness["issuers"][0]["introspection"]["failure"].is_string() {
            break readiness["issuers"][0]["introspection"]["failure"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    };
    assert!(shown.contains("introspection.url"), "{shown}");
    assert!(metric(&bench, "total", Some("no_endpoint")).await >= 1.0);
    // It names one: the next look finds it, and shows the token of its own.
    bench.issuer.set_metadata(json!({
        "issuer": bench.issuer.url, "jwks_uri": format!("{}/keys", bench.issuer.url),
        "introspection_endpoint": format!("{}/introspect", bench.issuer.url),
    }));
    bench.granted(&bench.alice(), &request(json!({}))).await;
    assert!(bench.issuer.asked_again(1).await.starts_with("POST Bearer s3 cret token="));
    bench.running.stop().await;
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_not_shown() {
    let bench = Bench::start_on("", |file| {
        asks(file, &format!("{BASIC}\nmethod = \"post\""));
        let secret = file.with_file_name("secret");
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    })
    .await;
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    bench.issuer.set_introspected(Introspected::body(r#"{"active":false}"#));
    while metric(&bench, "total", Some("credential")).await < 3.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((bench.issuer.asked(), state(&bench, &view).await.as_str()), (0, "active"));
    let secret = bench.folder().join("secret");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    bench.issuer.set_introspected(Introspected::body(r#"{"active":true}"#));
    let form = bench.issuer.asked_again(1).await;
    bench.issuer.asked_again(1).await;
    bench.issuer.set_introspected(Introspected::body(r#"{"active":false}"#));
    assert!(
        form.starts_with("POST  token=") && form.ends_with("&client_id=us%3Aall&client_secret=s3%20cret"),
        "{form}"
    );
    ended(&bench).await;
    bench.running.stop().await;
}

/// Once it is asked about again, the answer has been taken in.
async fn until_it_stands(bench: &Bench, token: &str) {
    for _ in 0..2 {
        while !bench.issuer.asked_again(1).await.contains(token) {}
    }
}

/// A sign-in that was renewed just now, and an issuer that does not know it everywhere yet.
#[tokio::test]
async fn one_answer_alone_ends_nothing() {
    let bench = bench(BASIC).await;
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    bench.issuer.asked_again(2).await;
    bench.issuer.set_introspected(Introspected::Once(r#"{"active":false}"#.to_owned()));
    while metric(&bench, "total", Some("inactive_once")).await < 1.0 {
        bench.issuer.asked_again(1).await;
    }
    bench.issuer.asked_again(3).await;
    assert_eq!(state(&bench, &view).await, "active");
    assert!(!bench.entry_kinds().await.contains(&"token_inactive".to_owned()));
    // It was said to stand since: one answer is again none.
    bench.issuer.set_introspected(Introspected::Once(r#"{"active":false}"#.to_owned()));
    while metric(&bench, "total", Some("inactive_once")).await < 2.0 {
        bench.issuer.asked_again(1).await;
    }
    bench.issuer.asked_again(3).await;
    assert_eq!(state(&bench, &view).await, "active");
    bench.running.stop().await;
}

/// RFC 7662 §2.2: so does an issuer answer who may not ask, be it about the tokens of one client alone.
#[tokio::test]
async fn a_token_that_was_never_said_to_stand_ends_nothing() {
    let bench = bench(BASIC).await;
    bench.granted(&bench.token("bob", &["payments-oncall"], json!({})), &request(json!({"ticket": "INC-7"}))).await;
    bench.issuer.asked_again(2).await;
    bench.issuer.set_introspected(Introspected::body(r#"{"active":false,"sub":"alice"}"#));
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    while metric(&bench, "total", Some("never_active")).await < 3.0 {
        bench.issuer.asked_again(1).await;
    }
    assert_eq!(state(&bench, &view).await, "active");
    assert!(metric(&bench, "total", Some("never_active")).await >= 1.0);
    // The last failure of a look is shown, and bob's, of which the answer is about another, may be that.
    loop {
        let readiness: Value = bench.admin("/readyz").await.json().unwrap();
        let failure = readiness["issuers"][0]["introspection"]["failure"].as_str().unwrap().to_owned();
        if failure.contains("may this client ask") {
            break;
        }
        assert!(failure.contains("another sub"), "{failure}");
        bench.issuer.asked_again(1).await;
    }
    bench.running.stop().await;
}

/// Nobody but the issuer is asked, and no call of the API waits for it.
#[tokio::test]
async fn without_the_table_nobody_is_asked() {
    let bench = Bench::start().await;
    bench.granted(&bench.alice(), &request(json!({}))).await;
    bench.call(Method::GET, "/v1/grants", bearer(&bench.alice()), bytes::Bytes::new()).await;
    assert_eq!(bench.issuer.asked(), 0);
    let readiness: Value = bench.admin("/readyz").await.json().unwrap();
    assert_eq!(readiness["issuers"][0]["introspection"], Value::Null);
    bench.running.stop().await;
}
