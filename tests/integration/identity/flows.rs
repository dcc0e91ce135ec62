//! The provider's real flows, each ending in what the planes make of its tokens.

use http::Method;
use serde_json::{Value, json};

use super::{claims, elevation, granted, header, used};
use crate::harness::{Browser, Landed, Provider, Settings, Site, Tokens, Wish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_in_makes_an_override_with_the_tokens_of_two_audiences() {
    let provider = Provider::start().await;
    let site = Site::of_provider(&provider).await;
    let sidecar = site.sidecar().await;
    let tokens = provider.sign_in("alice", &["control", "payments"]).await;
    let grant = granted(&site, &tokens.access).await;
    let for_payments = provider.refresh(&tokens, "payments").await.unwrap().access;
    assert_eq!(used(&sidecar, &grant, &for_payments).await, "override");
    // Each plane takes what is for it, and nothing else.
    assert_eq!(used(&sidecar, &grant, &tokens.access).await, "identity_invalid");
    let (status, said) = site.api_by(Method::GET, "/v1/grants", &for_payments, Value::Null).await;
    assert_eq!((status, &said["code"]), (401, &"identity_invalid".into()), "{said}");
    // An ID token is for the client alone.
    let id_token = tokens.id.unwrap();
    assert_eq!(claims(&id_token)["sub"], "alice");
    assert_eq!(used(&sidecar, &grant, &id_token).await, "identity_invalid");
    assert_eq!(site.api_by(Method::GET, "/v1/grants", &id_token, Value::Null).await.0, 401);
    // Another person's good token opens nothing, and says nothing.
    let bob = provider.identity("bob", "payments").await;
    assert_eq!(used(&sidecar, &grant, &bob).await, "grant_not_usable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_signs_in_by_another_ones_browser_over_tls() {
    let mut site = Site::without_control(breakglass::clock::Clock::System).await;
    let provider = Provider::over_tls(Settings { alg: "EdDSA", ..Settings::default() }, site.path()).await;
    site.issuers =
        format!("[[issuer]]\nurl = \"{}\"\nca = \"{}\"\n", provider.issuer, site.path().join("ca.pem").display());
    site.start_control().await;
    let tokens = provider.browser("alice").device_flow(&Wish::default()).await.unwrap();
    let (status, said) = site.api_by(Method::POST, "/v1/elevations", &tokens.access, elevation()).await;
    assert_eq!(status, 201, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_signs_in_and_is_taken_for_one() {
    let provider = Provider::with_settings(Settings { alg: "RS256", ..Settings::default() }).await;
    let site = Site::of_provider(&provider).await;
    let token = provider.machine("control").await;
    assert_eq!(claims(&token)["sub"], claims(&token)["client_id"]);
    let (status, said) = site.api_by(Method::POST, "/v1/elevations", &token, elevation()).await;
    assert_eq!((status, &said["code"]), (403, &"human_required".into()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stepping_up_is_a_sign_in_anew_and_refreshing_is_none() {
    let provider = Provider::start().await;
    let mut browser = provider.browser("alice");
    let plain = browser.code_flow(&Wish::default()).await.unwrap();
    assert_eq!((&claims(&plain.access)["acr"], &claims(&plain.access)["amr"]), (&"pwd".into(), &json!(["pwd"])));
    let again = browser.code_flow(&Wish::default()).await.unwrap();
    assert_eq!(browser.sign_ins, 1, "the session is known");
    assert_eq!(claims(&again.access)["auth_time"], claims(&plain.access)["auth_time"]);
    let wish = Wish { acr_values: Some("mfa"), ..Wish::default() };
    let strong = browser.code_flow(&wish).await.unwrap();
    assert_eq!((browser.sign_ins, &claims(&strong.access)["acr"]), (2, &"mfa".into()));
    assert_eq!(claims(&strong.access)["amr"], json!(["pwd", "otp"]));
    let refreshed = provider.refresh(&strong, "control").await.unwrap();
    assert_eq!(claims(&refreshed.access)["auth_time"], claims(&strong.access)["auth_time"]);
    assert_eq!(claims(&refreshed.access)["acr"], "mfa");
    let fresh = browser.code_flow(&Wish { max_age_s: Some(0), ..wish.clone() }).await.unwrap();
    assert_eq!((browser.sign_ins, &claims(&fresh.access)["acr"]), (3, &"mfa".into()));
    // Who has lost the second factor does not get past the form.
    let mut thief = provider.browser("alice");
    thief.otp = "000000";
    assert!(thief.code_flow(&wish).await.unwrap_err().starts_with("401 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_says_what_became_of_a_token() {
    let provider = Provider::start().await;
    let (alice, bob) = (provider.sign_in("alice", &["control"]).await, provider.sign_in("bob", &["control"]).await);
    let active = async |tokens: &Tokens| provider.introspect(&tokens.access).await["active"] == true;
    assert!(active(&alice).await && active(&bob).await);
    provider.disable("alice").await;
    assert!(!active(&alice).await && active(&bob).await);
    assert_eq!(provider.refresh(&alice, "control").await.unwrap_err(), "invalid_grant");
    let refused: Landed = provider.browser("alice").open(&format!("{}/session/end", provider.issuer)).await;
    assert!(matches!(refused, Landed::Page(..)), "there is no session to end: {refused:?}");
    provider.enable("alice").await;
    provider.regroup("alice", &["payments-leads"]).await;
    let mut browser: Browser = provider.browser("alice");
    assert_eq!(claims(&browser.code_flow(&Wish::default()).await.unwrap().access)["groups"], json!(["payments-leads"]));
    provider.revoke("bob").await;
    assert!(!active(&bob).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_rotates_its_keys_goes_down_and_comes_back_at_its_address() {
    let provider = Provider::start().await;
    let kid = |token: &str| header(token)["kid"].clone();
    let tokens = provider.sign_in("alice", &["control", "payments"]).await;
    let kids = provider.rotate().await;
    assert_eq!((kids.len(), kid(&tokens.access)), (2, kids[1].as_str().into()));
    let newer = provider.refresh(&tokens, "payments").await.unwrap();
    assert_eq!(kid(&newer.access), kids[0]);
    assert_eq!(provider.withdraw().await, kids[..1]);
    provider.go_down().await;
    let url = format!("{}/jwks", provider.issuer).parse().unwrap();
    provider.client.get_json::<Value>(&url, None).await.unwrap_err();
    provider.come_up().await;
    let set: Value = provider.client.get_json(&url, None).await.unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    assert_eq!(provider.asked("/jwks").await, 1);
    provider.refresh(&newer, "control").await.unwrap();
}
