//! What is told of signing in, whom a token makes of its bearer, and the logins that are not strong or fresh enough.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};

use super::approval::{FOUR_EYES, four_eyes};
use super::bench::{Bench, NOW_S, problem};
use crate::domain::WallTime;
use crate::http::Answer;
use crate::wire::api::ElevationView;
use crate::wire::sign_in::{Indicator, SignInView, WhoamiView};

const SIGN_IN: &str = "[sign_in]\nclient_id = \"cli\"\naudience = \"urn:control\"\n\
                       service = [{ name = \"payments-demo\", audience = \"urn:payments\" }]\n";

#[tokio::test]
async fn anyone_is_told_how_to_sign_in() {
    for (lines, told) in [(SIGN_IN, true), ("", false)] {
        let bench = Bench::start_with("", lines).await;
        let answer = bench.call(Method::GET, "/v1/sign-in", HeaderMap::new(), Bytes::new()).await;
        let view: SignInView = answer.json().unwrap();
        assert_eq!(view.terms.is_some(), told);
        if let Some(terms) = view.terms {
            assert_eq!(terms.issuer.as_str(), bench.issuer.url);
            assert_eq!((terms.client_id.as_str(), terms.indicator), ("cli", Indicator::Resource));
            assert_eq!((terms.audience.as_str(), terms.services[0].audience.as_str()), ("urn:control", "urn:payments"));
        }
        bench.running.stop().await;
    }
}

#[tokio::test]
async fn who_am_i() {
    let bench = Bench::start().await;
    let change = json!({ "acr": "mfa", "amr": ["pwd", "otp"], "auth_time": NOW_S - 30 });
    let view: WhoamiView = bench.get(&bench.token("alice", &["a", "b"], change), "/v1/whoami").await.json().unwrap();
    assert_eq!((view.person.as_str(), view.subject.as_str(), view.groups.len()), ("alice", "alice", 2));
    assert_eq!((view.authentication.acr.as_deref(), view.authentication.amr.len()), (Some("mfa"), 2));
    assert_eq!(view.authentication.auth_at, Some(WallTime::from_unix_s(NOW_S - 30)));
    assert_eq!(view.expires_at, WallTime::from_unix_s(NOW_S + 100_000));
    bench.running.stop().await;
}

fn login(bench: &Bench, person: &str, groups: &[&str], acr: &str, age_s: i64) -> String {
    bench.token(person, groups, json!({ "acr": acr, "amr": ["hwk"], "auth_time": NOW_S - age_s }))
}

fn challenge(answer: &Answer) -> &str {
    assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(problem(answer).code, "insufficient_user_authentication");
    answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap()
}

#[tokio::test]
async fn a_weak_or_stale_login_is_challenged_by_the_servers_time() {
    let tier = FOUR_EYES
        .replace("request_lapse_s", "step_up = { acr = [\"urn:a\", \"urn:b\"], max_age_s = 300 }\nrequest_lapse_s");
    let bench = Bench::start_with(&tier, "").await;
    let asked = async |acr: &str, age_s: i64| {
        let token = login(&bench, "alice", &["payments-oncall"], acr, age_s);
        bench.post(&token, "/v1/elevations", &four_eyes(json!({}))).await
    };
    let wanted = "Bearer realm=\"break-glass\", error=\"insufficient_user_authentication\", \
                  acr_values=\"urn:a urn:b\", max_age=\"300\"";
    assert_eq!(challenge(&asked("weak", 0).await), wanted);
    assert_eq!(challenge(&asked("urn:a", 301).await), wanted);
    assert_eq!(challenge(&asked("urn:a", -61).await), wanted, "nobody has logged in in the future");
    assert_eq!(asked("urn:a", 300).await.status, 201);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(challenge(&asked("urn:a", 300).await), wanted);
    let entries = bench.entry_kinds().await;
    assert_eq!(entries.iter().filter(|kind| *kind == "elevation_refused").count(), 4, "{entries:?}");
    bench.running.stop().await;
}

#[tokio::test]
async fn who_approves_may_have_to_step_up_too() {
    let tier = FOUR_EYES
        .replace("every_group = true }", "every_group = true, step_up = { acr = [\"urn:a\"], max_age_s = 60 } }");
    let bench = Bench::start_with(&tier, "").await;
    let view: ElevationView = bench.granted(&bench.alice(), &four_eyes(json!({}))).await;
    let approve = async |acr: &str, age_s: i64| {
        let token = login(&bench, "lea", &["leads"], acr, age_s);
        let seen = bench.get(&token, &format!("/v1/elevations/{}", view.id)).await;
        let tag = seen.headers[header::ETAG].to_str().unwrap().to_owned();
        bench.post_if(&token, &format!("/v1/elevations/{}/approve", view.id), &tag, &json!({})).await
    };
    let wanted = "Bearer realm=\"break-glass\", error=\"insufficient_user_authentication\", acr_values=\"urn:a\", max_age=\"60\"";
    assert_eq!(challenge(&approve("weak", 0).await), wanted);
    assert_eq!(challenge(&approve("urn:a", 61).await), wanted);
    assert_eq!(approve("urn:a", 60).await.status, 200);
    let entries = bench.running.store().entries(0, 1000).await.unwrap();
    let entry = entries.into_iter().rfind(|entry| entry.kind == "elevation_approved").unwrap();
    let entry: Value = serde_json::from_str(&entry.canonical).unwrap();
    let facts = |name: &str| entry.pointer(&format!("/facts/{name}")).or(entry.get(name)).cloned().unwrap_or_default();
    assert_eq!((facts("acr"), facts("amr")), (json!("urn:a"), json!(["hwk"])), "{entry}");
    assert_eq!(facts("auth_time"), json!((NOW_S - 60) * 1000));
    bench.running.stop().await;
}
