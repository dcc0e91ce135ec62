//! What HTTP allows and the API does not take: each is a problem document, whatever is wrong, and before it costs much.

use serde_json::{Value, json};

use crate::harness::{Answer, Raw, Site};

/// One request as it stands, on a connection of its own.
async fn send(site: &Site, request: &str) -> Answer {
    let mut raw = Raw::open(site.control().api_addr, &site.path().join("ca.pem")).await;
    raw.write(request.as_bytes()).await;
    raw.answer().await
}

fn head(site: &Site, method: &str, target: &str, lines: &str) -> String {
    let token = site.identity("alice");
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{lines}\r\n")
}

fn post(site: &Site, content_type: &str, body: &str) -> String {
    let lines = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
    head(site, "POST", "/v1/elevations", &lines) + body
}

fn code(answer: &Answer, status: u16) -> String {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, Some("application/problem+json")),
        "{answer:?}"
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    problem["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_is_said_as_a_problem() {
    let site = Site::start().await;
    let long = "x".repeat(9_000);
    let fields = |count: usize| format!("x-filler: {}\r\n", "y".repeat(900)).repeat(count);
    for (request, status, expected) in [
        (head(&site, "GET", "/v2/grants", ""), 404, "not_found"),
        (head(&site, "DELETE", "/v1/grants", ""), 405, "method_not_allowed"),
        (head(&site, "FROB", "/v1/grants", ""), 405, "method_not_allowed"),
        (head(&site, "GET", "/v1/grants", "accept: text/html\r\n"), 406, "not_acceptable"),
        (head(&site, "GET", &format!("/v1/grants?ticket={long}"), ""), 414, "uri_too_long"),
        (head(&site, "GET", "/v1/grants", &fields(40)), 431, "headers_too_large"),
        (post(&site, "text/json", "{}"), 415, "media_type"),
        (post(&site, "application/json; charset=utf-16", "{}"), 415, "media_type"),
        (post(&site, "application/json; charset=\"UTF-8\"", "{}"), 400, "malformed_request"),
    ] {
        assert_eq!(code(&send(&site, &request).await, status), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let site = Site::start().await;
    let lines = "content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 10485760\r\n";
    let answer = send(&site, &head(&site, "POST", "/v1/elevations", lines)).await;
    assert_eq!(code(&answer, 413), "body_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_body_is_refused_by_its_place_or_name() {
    let site = Site::start().await;
    let whole = json!({"service": "payments", "resources": ["contract/C-1042"], "actions": ["payment.release"],
        "reason": "stuck_payment", "ticket": "INC-2041"});
    let with = |name: &str, value: Value| {
        let mut body = whole.clone();
        body[name] = value;
        body.to_string()
    };
    let doubled = whole.to_string().replacen('{', r#"{"ticket":"INC-1","#, 1);
    for (body, said) in [
        ("{\n  \"service\": payments\n}".to_owned(), "it is not JSON (line 2, column 14)"),
        (with("role", json!("root")), "unknown field `role`"),
        (with("role", json!({"a": [{"b": 1}]})).replace(r#""b":1"#, r#""b":1,"b":2"#), "a member stands twice"),
        (doubled, "a member stands twice"),
        ("[]".to_owned(), "it is JSON, but not an object"),
        (format!("{}{}", "[".repeat(2_000), "]".repeat(2_000)), "nested deeper than 16 levels"),
        (with("duration_s", json!("600")), "expected u64"),
        (r#"{"service":"payments"}"#.to_owned(), "missing field `resources`"),
    ] {
        let answer = send(&site, &post(&site, "application/json", &body)).await;
        assert_eq!(code(&answer, 400), "malformed_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{detail:?} does not say {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_get_without_the_body_and_options_names_the_methods() {
    let site = Site::start().await;
    let get = send(&site, &head(&site, "GET", "/v1/keys", "")).await;
    let mut raw = Raw::open(site.control().api_addr, &site.path().join("ca.pem")).await;
    raw.write(head(&site, "HEAD", "/v1/keys", "connection: close\r\n").as_bytes()).await;
    let (status, fields) = raw.head().await.unwrap();
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((status, field("etag")), (200, get.header("etag")));
    assert_eq!(field("content-length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(raw.rest().await, b"");
    let options = send(&site, &head(&site, "OPTIONS", "/v1/elevations", "origin: https://elsewhere.test\r\n")).await;
    assert_eq!((options.status, options.header("access-control-allow-origin")), (204, None));
    assert_eq!(options.header("allow"), Some("POST,GET,HEAD"));
}
