//! Keys that come, change, go, and outlive their issuer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn a_cached_token_expires_on_time_and_for_good() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let bench = Bench::with_keys(&[&key]).await.ready().await;
    let token = key.sign(&bench.claims(json!({})));
    let first = bench.verifier.verify(&token).unwrap();
    bench.clock.advance(Duration::from_millis(299_999));
    assert_eq!(bench.verifier.verify(&token).unwrap(), first);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.verifier.verify(&token).unwrap_err(), IdentityError::Expired);
    bench.clock.step_wall(-200_000);
    assert_eq!(bench.verifier.verify(&token).unwrap_err(), IdentityError::Expired, "set back, it stays expired");
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_cached_tokens_with_it() {
    let (old, new) = (TestKey::new(Algorithm::EdDSA, "k"), TestKey::new(Algorithm::EdDSA, "k"));
    let bench = Bench::with_keys(&[&old]).await.ready().await;
    let token = old.sign(&bench.claims(json!({})));
    bench.verifier.verify(&token).unwrap();
    bench.issuer.publish(&[&new]);
    assert!(bench.verifier.refresh().await.is_empty());
    let error = bench.verifier.verify(&token).unwrap_err();
    assert_eq!(error, IdentityError::BadSignature, "another key of the same name is another key");
    bench.issuer.publish(&[]);
    assert!(bench.verifier.refresh().await.is_empty());
    assert_eq!(bench.verifier.verify(&token).unwrap_err(), IdentityError::UnknownKey);
}

#[tokio::test]
async fn keys_outlive_their_issuer() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let bench = Bench::with_keys(&[&key]).await;
    let token = key.sign(&bench.claims(json!({})));
    assert_eq!(bench.verifier.verify(&token).unwrap_err(), IdentityError::Unverifiable);
    assert_eq!(bench.verifier.health()[0].keys, None);
    let bench = bench.ready().await;
    for document in [json!({"keys": 7}), json!([]), json!({})] {
        bench.issuer.publish_raw(document);
        assert_eq!(bench.verifier.refresh().await.len(), 1);
    }
    bench.issuer.set_metadata(json!({"issuer": "https://other.test", "jwks_uri": "https://other.test/k"}));
    assert!(matches!(bench.verifier.refresh().await[..], [(_, RefreshError::OtherIssuer)]));
    bench.issuer.set_down(true);
    let failures = bench.verifier.refresh().await;
    assert!(matches!(failures[..], [(_, RefreshError::Http { .. })]));
    bench.verifier.verify(&token).unwrap();
    let health = &bench.verifier.health()[0];
    assert_eq!((health.keys, health.refreshed), (Some(1), Some(WallTime::from_unix_s(NOW_S))));
    assert!(health.failure.as_ref().unwrap().contains("503"), "{health:?}");
}

#[tokio::test]
async fn unusable_keys_are_passed_over() {
    let good = TestKey::new(Algorithm::ES256, "good");
    let bench = Bench::with_keys(&[&good]).await;
    let with = |name: &str, value: Value| {
        let mut jwk = good.jwk.clone();
        jwk["kid"] = "bad".into();
        jwk[name] = value;
        jwk
    };
    bench.issuer.publish_raw(json!({"keys": [
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("HS256")),
        with("alg", json!("ES384")),
        with("alg", json!(7)),
        with("d", json!("AAAA")),
        with("x", json!("AAAA")),
        with("y", json!("not base64url!")),
        with("crv", json!("P-521")),
        with("kty", json!("oct")),
        with("kid", json!(7)),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "bad", "alg": "HS256"},
        {"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB", "kid": "bad"},
        {"kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([1; 32]), "kid": "bad"},
        7, null, good.jwk,
    ]}));
    let bench = bench.ready().await;
    assert_eq!(bench.verifier.health()[0].keys, Some(1));
    bench.verifier.verify(&good.sign(&bench.claims(json!({})))).unwrap();
}

#[tokio::test]
async fn without_a_key_id_only_a_single_fitting_key_will_do() {
    let (one, two) = (TestKey::new(Algorithm::EdDSA, "1"), TestKey::new(Algorithm::EdDSA, "2"));
    let bench = Bench::with_keys(&[&one, &two]).await.ready().await;
    let token = one.sign_text(r#"{"alg":"EdDSA"}"#, &bench.claims(json!({})).to_string());
    assert_eq!(bench.verifier.verify(&token).unwrap_err(), IdentityError::UnknownKey);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_however_often_it_is_named() {
    let (old, new) = (TestKey::new(Algorithm::EdDSA, "old"), TestKey::new(Algorithm::EdDSA, "new"));
    let gap_ms_min = 200;
    let times = RefreshTimes { gap_ms_min, ..RefreshTimes::DEFAULT };
    let bench = Bench::new(&[&old], times, |_| {}).await;
    let verifier = bench.verifier.clone();
    let mut attempts = verifier.attempts();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(async move { verifier.run(async { drop(stopped.await) }).await });
    attempts.wait_for(|count| *count == 1).await.unwrap();

    bench.issuer.publish(&[&old, &new]);
    let token = new.sign(&bench.claims(json!({})));
    let asked = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(bench.verifier.verify(&token).unwrap_err(), IdentityError::KeyAwaited);
    }
    attempts.wait_for(|count| *count == 2).await.unwrap();
    bench.verifier.verify(&token).unwrap();
    assert_eq!(bench.issuer.key_fetches(), 2, "a thousand tokens, one more fetch");

    let stranger = TestKey::new(Algorithm::EdDSA, "never").sign(&bench.claims(json!({})));
    assert_eq!(bench.verifier.verify(&stranger).unwrap_err(), IdentityError::KeyAwaited);
    attempts.wait_for(|count| *count == 3).await.unwrap();
    assert_eq!(bench.verifier.verify(&stranger).unwrap_err(), IdentityError::UnknownKey, "the issuer has no such key");
    assert!(asked.elapsed() >= Duration::from_millis(gap_ms_min), "the gap holds between fetches");
    stop.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_failed_start_is_repeated_until_the_issuer_is_there() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let times = RefreshTimes { retry_ms_min: 10, ..RefreshTimes::DEFAULT };
    let bench = Bench::new(&[&key], times, |_| {}).await;
    bench.issuer.set_down(true);
    let verifier = bench.verifier.clone();
    let mut attempts = verifier.attempts();
    let running = tokio::spawn(async move { verifier.run(std::future::pending()).await });
    attempts.wait_for(|count| *count == 2).await.unwrap();
    bench.issuer.set_down(false);
    while bench.verifier.health()[0].keys.is_none() {
        attempts.changed().await.unwrap();
    }
    bench.verifier.verify(&key.sign(&bench.claims(json!({})))).unwrap();
    running.abort();
}

#[test]
fn contradictions_in_the_configuration_are_named() {
    let config = |issuer: &str| IssuerConfig::new(issuer.parse().unwrap(), "control".parse().unwrap());
    let setup = |configs| Verifier::new(configs, &Client::new(None, Limits::DEFAULT), Clock::System).unwrap_err();
    let twice = vec![config("https://a.test"), config("https://a.test")];
    assert!(matches!(setup(twice), SetupError::Duplicate(_)));
    assert!(matches!(setup(vec![config("a.test")]), SetupError::Url(_)));
    let none = IssuerConfig { algorithms: [].into(), ..config("https://a.test") };
    assert!(matches!(setup(vec![none]), SetupError::NoAlgorithm(_)));
    let missing = IssuerConfig { ca: Some("/nowhere.pem".into()), ..config("https://a.test") };
    assert!(matches!(setup(vec![missing]), SetupError::Ca { .. }));
}
