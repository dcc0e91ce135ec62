//! What callers send wrong: a precise answer each, and nothing stored but the record of a refused attempt.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::bench::{Bench, NOW_S, bearer, problem, request};

#[tokio::test]
async fn each_bad_request_has_its_own_code() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    // change, status, code, whether the attempt is recorded
    let cases: Vec<(Value, u16, &str, bool)> = vec![
        (json!({"service": "nowhere"}), 422, "unknown_service", true),
        (json!({"service": "x".repeat(5000)}), 422, "unknown_service", false),
        (json!({"service": "payments-demo' OR '1'='1"}), 422, "unknown_service", false),
        (json!({"reason": "bored"}), 422, "unknown_reason", true),
        (json!({"reason": "{{7*7}}"}), 422, "unknown_reason", false),
        (json!({"ticket": "OPS-1"}), 422, "ticket_malformed", true),
        (json!({"ticket": "INC-2041'; DROP TABLE grants; --"}), 422, "ticket_malformed", false),
        (json!({"ticket": "INC-${jndi:ldap://x}"}), 422, "ticket_malformed", true),
        (json!({"ticket": "INC-1\nINC-2"}), 422, "ticket_malformed", false),
        (json!({"resources": ["contract/*"]}), 422, "wildcard", false),
        (json!({"actions": ["payment.*"]}), 422, "wildcard", false),
        (json!({"resources": ["contract/C-1042\u{0430}"]}), 422, "resource_malformed", false),
        (json!({"resources": ["\u{0441}ontract/C-1042"]}), 422, "resource_malformed", false),
        (json!({"resources": [format!("contract/{}", "C".repeat(129))]}), 422, "resource_malformed", false),
        (json!({"resources": ["contract/../x"]}), 422, "resource_malformed", false),
        (json!({"resources": ["account/1"]}), 422, "resource_not_served", true),
        (json!({"resources": []}), 422, "scope_size", true),
        (json!({"actions": []}), 422, "scope_size", true),
        (json!({"actions": ["payment.steal"]}), 422, "action_not_served", true),
        (json!({"actions": ["Payment.Release"]}), 422, "action_malformed", false),
        (json!({"tier": "root"}), 403, "no_tier_fits", true),
        (json!({"duration_s": 0}), 422, "duration_too_short", true),
        (json!({"duration_s": 1801}), 422, "duration_too_long", true),
        (json!({"duration_s": u64::MAX}), 422, "duration_too_long", true),
        (json!({"max_uses": 0}), 422, "too_few_uses", true),
        (json!({"max_uses": 21}), 422, "too_many_uses", true),
        (json!({"max_uses": 1u64 << 40}), 400, "malformed_request", false),
        (json!({"duration_s": -1}), 400, "malformed_request", false),
        (json!({"duration_s": "600"}), 400, "malformed_request", false),
        (json!({"role": "root"}), 400, "malformed_request", false),
        (json!({"ticket": null}), 400, "malformed_request", false),
        (json!({"resources": "contract/C-1042"}), 400, "malformed_request", false),
    ];
    let mut recorded = bench.entry_kinds().await.len();
    for (change, status, code, is_recorded) in cases {
        let answer = bench.post(&alice, "/v1/elevations", &request(change.clone())).await;
        let problem = problem(&answer);
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{change}: {}", problem.detail);
        assert!(problem.detail.is_ascii() && problem.detail.len() < 600, "{change}: {}", problem.detail);
        recorded += usize::from(is_recorded);
        assert_eq!(bench.entry_kinds().await.len(), recorded, "{change}");
    }
    assert_eq!(bench.entry_kinds().await.last().unwrap(), "elevation_refused");
    let listing = crate::store::Listing { limit: 10, ..Default::default() };
    assert!(bench.running.store().grants(&listing).await.unwrap().items.is_empty());
    assert!(bench.running.store().elevations(&listing).await.unwrap().items.is_empty());
    bench.granted(&alice, &request(json!({}))).await;
    bench.running.stop().await;
}

#[tokio::test]
async fn a_refused_attempt_is_recorded_without_a_personal_value() {
    let bench = Bench::start().await;
    bench.post(&bench.alice(), "/v1/elevations", &request(json!({"ticket": "OPS-4711"}))).await;
    let entry = bench.running.store().entries(0, 100).await.unwrap().pop().unwrap();
    assert_eq!(entry.kind, "elevation_refused");
    let canonical: Value = serde_json::from_str(&entry.canonical).unwrap();
    assert_eq!(canonical["facts"]["code"], "ticket_malformed");
    assert!(canonical["personal"]["person"].as_str().unwrap().len() == 64);
    assert!(!entry.canonical.contains("alice") && !entry.canonical.contains("OPS"), "{}", entry.canonical);
    bench.running.stop().await;
}

#[tokio::test]
async fn people_without_a_tier_learn_nothing_of_it() {
    let bench = Bench::start().await;
    let eve = bench.token("eve", &["guests"], json!({}));
    let answer = problem(&bench.post(&eve, "/v1/elevations", &request(json!({"duration_s": 999_999}))).await);
    assert_eq!((answer.status, answer.code.as_str()), (403, "no_tier_fits"));
    assert!(!answer.detail.contains("on-call"), "{}", answer.detail);
    bench.running.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded_typed_and_whole() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let send = async |kind: Option<&'static str>, body: Bytes| {
        let mut headers = bearer(&alice);
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let answer = bench.call(Method::POST, "/v1/elevations", headers, body).await;
        problem(&answer).code
    };
    let json = Some("application/json");
    assert_eq!(send(json, vec![b' '; 10 * 1024 * 1024].into()).await, "body_too_large");
    assert_eq!(send(json, vec![b'['; 60 * 1024].into()).await, "malformed_request", "nesting is bounded");
    assert_eq!(send(json, Bytes::new()).await, "malformed_request");
    assert_eq!(send(json, b"\xff\xfe{}"[..].into()).await, "malformed_request");
    assert_eq!(send(None, request(json!({})).to_string().into()).await, "media_type");
    assert_eq!(send(Some("text/plain"), request(json!({})).to_string().into()).await, "media_type");
    let doubled = request(json!({})).to_string().replacen('{', r#"{"ticket":"INC-1","#, 1);
    assert_eq!(send(json, doubled.into()).await, "malformed_request");
    let trailing = format!("{} {{}}", request(json!({})));
    assert_eq!(send(json, trailing.into()).await, "malformed_request");
    bench.granted(&alice, &request(json!({}))).await;
    bench.running.stop().await;
}

#[tokio::test]
async fn only_a_human_s_own_token_is_taken() {
    let bench = Bench::start().await;
    let cases = [
        (bench.token("alice", &[], json!({"exp": NOW_S - 1})), 401, "identity_expired"),
        (bench.token("alice", &[], json!({"aud": "other"})), 401, "identity_invalid"),
        (bench.token("alice", &[], json!({"iss": "https://elsewhere.test"})), 401, "identity_invalid"),
        (bench.token("alice", &[], json!({"act": {"sub": "bot"}})), 403, "human_required"),
        (bench.token("cli", &[], json!({})), 403, "human_required"),
        ("not.a.token".to_owned(), 401, "identity_invalid"),
        (format!("{}x", bench.alice()), 401, "identity_invalid"),
        ("a".repeat(20_000), 401, "identity_invalid"),
    ];
    for (token, status, code) in cases {
        let answer = bench.post(&token, "/v1/elevations", &request(json!({}))).await;
        let problem = problem(&answer);
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{}", problem.detail);
        let challenge = answer.headers.get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(challenge.is_some_and(|text| text.contains("invalid_token")), status == 401);
    }
    let bare = bench.call(Method::GET, "/v1/grants", HeaderMap::new(), Bytes::new()).await;
    assert_eq!(bare.headers[header::WWW_AUTHENTICATE], r#"Bearer realm="break-glass""#);
    let mut twice = bearer(&bench.alice());
    twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    let twice = bench.call(Method::GET, "/v1/grants", twice, Bytes::new()).await;
    assert_eq!(problem(&twice).code, "identity_invalid");
    assert_eq!(bench.entry_kinds().await.len(), 5, "nothing was stored");
    bench.running.stop().await;
}

#[tokio::test]
async fn unknown_paths_methods_ids_and_parameters_are_problems_too() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    for (path, status, code) in [
        ("/", 404, "not_found"),
        ("/v1/grants/g-0", 404, "not_found"),
        ("/v1/grants/%ff", 404, "not_found"),
        ("/v1/grants/'%20OR%201=1", 404, "not_found"),
        ("/v1/elevations/g-000000000000", 404, "not_found"),
        ("/v1/grants?state=borrowed", 400, "malformed_request"),
        ("/v1/grants?role=root", 400, "malformed_request"),
        ("/v1/grants?resource=contract/*", 400, "malformed_request"),
        ("/v1/grants?ticket=INC-1%20OR%201=1", 400, "malformed_request"),
        ("/v1/grants?cursor=x", 400, "malformed_request"),
        ("/v1/grants/g-000000000000/revoke", 405, "method_not_allowed"),
    ] {
        let answer = problem(&bench.get(&alice, path).await);
        assert_eq!((answer.status, answer.code.as_str()), (status, code), "{path}");
    }
    let overlong = bench.get(&alice, &format!("/v1/grants/g-{}", "0".repeat(4000))).await;
    assert_eq!(problem(&overlong).code, "not_found");
    let keys = bench.call(Method::GET, "/v1/keys", HeaderMap::new(), Bytes::new()).await;
    assert_eq!(keys.status, StatusCode::OK);
    bench.running.stop().await;
}
