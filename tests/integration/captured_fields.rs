//! Members of bodies that a route names are kept in the outcome's line, and what is forwarded stays what it was.

use breakglass::config::sidecar::SidecarConfig;
use serde_json::{Value, json};

use crate::harness::{Ask, Dice, Recorder, SERVICE, SidecarFile, Site, TestSidecar, raw_request, sha256_hex};

const ECHO: &str = "/v1/contracts/C-1042/echo";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n\
    {\"released\":true,\"payment\":{\"id\":\"P-7\"}}";
const FIELDS: &str = r#"
[[route.capture]]
body = "request"
field = "/amount"
as = "value"

[[route.capture]]
body = "request"
field = "/payee/iban"
as = "digest"

[[route.capture]]
body = "request"
field = "/lines/*/note"
as = "redacted"

[[route.capture]]
body = "response"
field = "/payment/id"
as = "value"
"#;

/// The service with fields named where payments are released.
fn capturing(fields: &str) -> String {
    SERVICE.replacen("query = [\"dry_run\"]\n", &format!("query = [\"dry_run\"]\n{fields}"), 1)
}

async fn before(site: &Site, upstream: &Recorder, limits: &str) -> TestSidecar {
    std::fs::write(site.path().join("capture.key"), [7; 32]).unwrap();
    let file = SidecarFile {
        service: capturing(FIELDS),
        upstream: Some(upstream.url()),
        audit_lines: format!("capture = {{ key_file = \"../capture.key\"{limits} }}\n"),
        ..SidecarFile::default()
    };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    sidecar
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_members_are_in_the_outcome_over_both_protocols_and_nothing_else_is() {
    let site = Site::start().await;
    let upstream = Recorder::start(ANSWER, |_| {}).await;
    let sidecar = before(&site, &upstream, "").await;
    let (grant, identity) = (site.grant(&Ask::default()).await, site.identity("alice"));
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let body = r#"{ "amount" : 1250.00, "payee": {"iban": "DE8937", "name": "Mallory"}, "lines": [{"note": "n0te"}] }"#;
    sidecar.send(&raw_request("POST", ECHO, &headers, body)).await;
    sidecar.h2().await.send("POST", ECHO, &headers, body).await;
    sidecar.send(&raw_request("POST", ECHO, &[], body)).await;
    let outcomes = sidecar.until_facts("outcome", 2).await;
    let hmac = outcomes[0]["captured"]["request"]["fields"][1]["hmac_sha256"].clone();
    for outcome in &outcomes {
        let captured = &outcome["captured"];
        assert_eq!(captured["key"].as_str().unwrap().len(), 16);
        assert_eq!(
            captured["request"],
            json!({"fields": [
                {"field": "/amount", "type": "number", "value": "1250.00"},
                {"field": "/payee/iban", "type": "string", "hmac_sha256": hmac},
                {"field": "/lines/0/note", "type": "string"},
            ], "whole": true})
        );
        assert_eq!(
            captured["response"],
            json!({"fields": [{"field": "/payment/id", "type": "string", "value": "P-7"}], "whole": true})
        );
        assert_eq!(outcome["request"]["sha256"], sha256_hex(body.as_bytes()).as_str());
    }
    let all = Value::from(sidecar.lines()).to_string();
    for hidden in ["DE8937", "Mallory", "n0te", "released"] {
        assert!(!all.contains(hidden), "{hidden} is in {all}");
    }
    assert!(sidecar.facts("intent").iter().all(|intent| intent.get("captured").is_none()));
    assert_eq!(sidecar.facts("outcome").len(), 2, "ordinary traffic leaves nothing");
    assert!(upstream.bodies().iter().all(|(whole, seen)| *whole && seen == body.as_bytes()));
    assert_eq!(sidecar.shared().capture.held_bytes(), 0);
    sidecar.verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_captured_is_said_so_and_forwarded_all_the_same() {
    let site = Site::start().await;
    let upstream = Recorder::start(ANSWER, |_| {}).await;
    let sidecar = before(&site, &upstream, ", body_bytes_max = 1024").await;
    let (grant, identity) = (site.grant(&Ask::default()).await, site.identity("alice"));
    let own = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let large = format!(r#"{{"amount":"{}"}}"#, "9".repeat(100_000));
    let cases = [
        (large.as_str(), "too_large", None),
        ("amount=12", "not_json", None),
        (r#"{"amount":1,"amount":2}"#, "name_twice", None),
        (r#"{"amount":1}"#, "encoded", Some(("Content-Encoding", "gzip"))),
        ("", "empty", None),
    ];
    for (body, _, header) in &cases {
        let headers: Vec<_> = own.iter().copied().chain(*header).collect();
        assert_eq!(sidecar.send(&raw_request("POST", ECHO, &headers, body)).await.status, 200);
    }
    let outcomes = sidecar.until_facts("outcome", cases.len()).await;
    for ((body, why, _), (outcome, seen)) in cases.iter().zip(outcomes.iter().zip(upstream.bodies())) {
        assert_eq!(outcome["captured"]["request"], json!({"not_captured": why}));
        assert_eq!(seen, (true, body.as_bytes().to_vec()), "{why}");
    }
    let mut raw = sidecar.raw().await;
    let begun = raw_request("POST", ECHO, &own, &large);
    raw.write(&begun[..begun.len() - 99_900]).await;
    drop(raw);
    let outcomes = sidecar.until_facts("outcome", cases.len() + 1).await;
    let last = outcomes.last().unwrap();
    assert_eq!(
        (&last["end"], &last["captured"]["request"]),
        (&"client_aborted".into(), &json!({"not_captured": "incomplete"}))
    );
    assert_eq!(sidecar.shared().capture.held_bytes(), 0);
}

/// Bodies of any bytes and lengths, in pieces of any length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forwarded_is_what_was_sent() {
    let site = Site::start().await;
    let upstream = Recorder::start(ANSWER, |_| {}).await;
    let sidecar = before(&site, &upstream, "").await;
    let (grant, identity) = (site.grant(&Ask::default()).await, site.identity("alice"));
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let mut dice = Dice::of(42);
    let mut sent = Vec::new();
    for round in 0..40 {
        let size = [0, 1, 500, 70_000][round % 4] + dice.below(60);
        let body: String = match round % 3 {
            0 => (0..size).map(|_| char::from(32 + u8::try_from(dice.below(90)).unwrap())).collect(),
            1 => json!({"amount": round, "pad": "ä".repeat(size / 2)}).to_string(),
            _ => "[".repeat(size),
        };
        if round % 2 == 0 {
            let request = raw_request("POST", ECHO, &headers, &body);
            let mut raw = sidecar.raw().await;
            let mut rest = request.as_slice();
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.len().min(1 + dice.below(9_000)));
                raw.write(piece).await;
                rest = left;
            }
            assert_eq!(raw.answer().await.status, 200);
        } else {
            assert_eq!(sidecar.h2().await.send("POST", ECHO, &headers, &body).await.status, 200);
        }
        sent.push(body);
    }
    let outcomes = sidecar.until_facts("outcome", sent.len()).await;
    let seen = upstream.bodies();
    for (at, body) in sent.iter().enumerate() {
        assert!(seen[at] == (true, body.as_bytes().to_vec()), "body {at} was changed");
        assert_eq!(outcomes[at]["request"]["sha256"], sha256_hex(body.as_bytes()).as_str());
        assert!(outcomes[at]["captured"]["request"].is_object());
    }
    sidecar.verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_needs_a_key() {
    let site = Site::start().await;
    let load = |fields: &str, audit_lines: &str| {
        let file =
            SidecarFile { service: capturing(fields), audit_lines: audit_lines.to_owned(), ..SidecarFile::default() };
        SidecarConfig::load(&site.sidecar_file(&file)).map_err(|error| error.to_string())
    };
    let wanted = "audit.capture.key_file: is missing, and POST /v1/contracts/{contract}/echo captures a digest";
    for audit_lines in ["", "capture = { body_bytes_max = 2048 }\n"] {
        let said = load(FIELDS, audit_lines).unwrap_err();
        assert!(said.contains(wanted), "{said}");
    }
    assert!(load(FIELDS, "capture = { key_file = \"../capture.key\" }\n").is_ok());
    assert!(load(&FIELDS.replace("digest", "redacted"), "").is_ok());
}
