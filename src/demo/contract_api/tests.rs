//! The API over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::config::assertion::UpstreamFacing;
use crate::http::{Client, Limits};
use crate::token::assertion::certificate::{CertifiedAssertionKey, certify_assertion_key};
use crate::token::assertion::jwks::{self, Jwk, JwkSet};
use crate::token::assertion::target_sha256;
use crate::token::{AssertionClaims, SigningKey, mint_assertion};

/// The API, and a sidecar's key by which it lets itself be told.
struct Bench {
    address: SocketAddr,
    key: SigningKey,
    served: Arc<Mutex<JwkSet>>,
    root: SigningKey,
}

fn certified(key: &SigningKey, root: &SigningKey) -> Jwk {
    let now = Clock::System.wall();
    let subject = CertifiedAssertionKey {
        key: key.public().clone(),
        service: "payments-demo".parse().unwrap(),
        instance: "s-1".parse().unwrap(),
        not_before: now.minus(Duration::from_secs(60)),
        not_after: now.plus(Duration::from_secs(3600)),
    };
    Jwk::of(&subject, &certify_assertion_key(&subject, root).unwrap())
}

async fn start() -> Bench {
    let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let served = Arc::new(Mutex::new(JwkSet { keys: vec![certified(&key, &root)] }));
    let own = Arc::clone(&served);
    let set = Router::new().route(jwks::PATH, get(async move || axum::Json(own.lock().unwrap().clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = UpstreamFacing::Tcp(listener.local_addr().unwrap());
    tokio::spawn(serve(listener.into(), set, std::future::pending()));
    let trust = Trust::new("payments-demo".parse().unwrap(), vec![place], vec![root.public().clone()], Clock::System);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_contracts(listener, World::demo(), trust, std::future::pending()));
    Bench { address, key, served, root }
}

impl Bench {
    fn claims(&self, line: &str, resource: &str, action: &str) -> AssertionClaims {
        let (method, target) = line.split_once(' ').unwrap();
        let now = Clock::System.wall().unix_s();
        AssertionClaims {
            iss: "urn:breakglass:sidecar:payments-demo:s-1".to_owned(),
            aud: "payments-demo".parse().unwrap(),
            jti: "r-1".to_owned(),
            iat: now,
            nbf: now,
            exp: now + 30,
            grant: "g-0123456789ab".parse().unwrap(),
            sub: "alice".parse().unwrap(),
            role: "payments.override".parse().unwrap(),
            binding: crate::domain::Binding::Identity,
            cnf: None,
            resource: resource.parse().unwrap(),
            action: action.parse().unwrap(),
            reason: "stuck_payment".parse().unwrap(),
            ticket: "INC-2041".parse().unwrap(),
            method: method.to_owned(),
            target_sha256: target_sha256(target),
            record: "00000000000000000000000000000001-2".to_owned(),
            number: 1,
        }
    }

    fn told(&self, claims: &AssertionClaims) -> HeaderMap {
        let values = [
            claims.grant.as_str(),
            claims.sub.as_str(),
            claims.role.as_str(),
            claims.resource.as_ref(),
            claims.action.as_str(),
            claims.reason.as_str(),
            claims.ticket.as_str(),
            &claims.jti,
        ];
        let named = permit::HEADERS.iter().zip(values);
        let mut headers: HeaderMap =
            named.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        headers.insert(permit::ASSERTION, mint_assertion(claims, &self.key).unwrap().parse().unwrap());
        headers
    }

    fn permit(&self, line: &str, resource: &str, action: &str) -> HeaderMap {
        self.told(&self.claims(line, resource, action))
    }
}

async fn send(address: SocketAddr, line: &str, headers: HeaderMap, body: &str) -> (u16, HeaderMap, Bytes) {
    let (method, path) = line.split_once(' ').unwrap();
    let url = format!("http://{address}{path}").parse().unwrap();
    let client = Client::new(None, Limits::DEFAULT);
    let answer = client.send(method.parse().unwrap(), &url, headers, Bytes::from(body.to_owned())).await.unwrap();
    (answer.status.as_u16(), answer.headers, answer.body)
}

async fn call(address: SocketAddr, line: &str, headers: HeaderMap) -> (u16, Value) {
    let (status, _, body) = send(address, line, headers, "").await;
    (status, serde_json::from_slice(&body).unwrap())
}

const LIMIT: &str = "POST /v1/contracts/C-2077/limit";
const RELEASE: &str = "POST /v1/contracts/C-1042/payments/P-7/release";

#[tokio::test]
async fn the_story_of_a_stuck_payment() {
    let bench = start().await;
    let address = bench.address;
    let (status, headers, body) = send(address, RELEASE, HeaderMap::new(), "").await;
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &said["rule"]), (423, &"frozen".into()));
    assert_eq!(headers["content-type"], "application/problem+json");

    let (status, said) = call(address, RELEASE, bench.permit(RELEASE, "contract/C-1042", "payment.release")).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["released"], true);
    for (member, value) in [
        ("grant", "g-0123456789ab"),
        ("role", "payments.override"),
        ("subject", "alice"),
        ("resource", "contract/C-1042"),
        ("action", "payment.release"),
        ("ticket", "INC-2041"),
    ] {
        assert_eq!(said["override"][member], value);
    }
    let (_, seen) = call(address, "GET /v1/contracts/C-1042/payments/P-7", HeaderMap::new()).await;
    assert_eq!((&seen["state"], &seen["override"]["grant"]), (&"released".into(), &"g-0123456789ab".into()));
    let (status, said) = call(address, RELEASE, bench.permit(RELEASE, "contract/C-1042", "payment.release")).await;
    assert_eq!((status, &said["code"]), (409, &"already_released".into()));
}

#[tokio::test]
async fn an_override_for_something_else_changes_nothing() {
    let bench = start().await;
    let address = bench.address;
    for (resource, action) in [
        ("contract/C-2077", "payment.release"),
        ("contract/c-1042", "payment.release"),
        ("contract/C-10", "payment.release"),
        ("payment/C-1042", "payment.release"),
        ("contract/C-1042", "payment.cancel"),
    ] {
        let (status, said) = call(address, RELEASE, bench.permit(RELEASE, resource, action)).await;
        assert_eq!((status, &said["code"]), (409, &"override_mismatch".into()), "{resource} {action}");
    }
    let whole = bench.permit(RELEASE, "contract/C-1042", "payment.release");
    for name in permit::HEADERS.into_iter().chain([permit::ASSERTION]) {
        let mut missing = whole.clone();
        missing.remove(name);
        let mut doubled = whole.clone();
        doubled.append(name, "x".parse().unwrap());
        for headers in [missing, doubled] {
            let (status, said) = call(address, RELEASE, headers).await;
            assert_eq!((status, &said["code"]), (400, &"override_incomplete".into()), "{name}");
        }
    }
    let (_, seen) = call(address, "GET /v1/contracts/C-1042/payments/P-7", HeaderMap::new()).await;
    assert_eq!(seen["state"], "pending");
}

#[tokio::test]
async fn what_is_not_proven_is_no_override() {
    let bench = start().await;
    let good = bench.claims(RELEASE, "contract/C-1042", "payment.release");
    let changed = |change: &dyn Fn(&mut AssertionClaims)| {
        let mut claims = good.clone();
        change(&mut claims);
        bench.told(&claims)
    };
    let mut plain = bench.told(&good);
    plain.remove(permit::ASSERTION);
    let mut only = HeaderMap::new();
    only.insert(permit::ASSERTION, bench.told(&good)[permit::ASSERTION].clone());
    for headers in [plain, only] {
        let (status, said) = call(bench.address, RELEASE, headers).await;
        assert_eq!((status, &said["code"]), (400, &"override_incomplete".into()), "{said}");
    }
    let mut differs = bench.told(&good);
    differs.insert("break-glass-subject", "mallory".parse().unwrap());
    let mut garbage = bench.told(&good);
    garbage.insert(permit::ASSERTION, "a.b.c".parse().unwrap());
    let cancel = "/v1/contracts/C-1042/payments/P-7/cancel";
    for headers in [
        differs,
        garbage,
        changed(&|claims| claims.method = "GET".to_owned()),
        changed(&|claims| claims.target_sha256 = target_sha256(cancel)),
        changed(&|claims| claims.aud = "payments".parse().unwrap()),
        changed(&|claims| (claims.iat, claims.nbf, claims.exp) = (good.iat - 60, good.nbf - 60, good.exp - 60)),
    ] {
        let (status, said) = call(bench.address, RELEASE, headers).await;
        assert_eq!((status, &said["code"]), (403, &"override_unproven".into()), "{said}");
    }
    let stranger = SigningKey::generate().unwrap();
    let mut foreign = bench.told(&good);
    foreign.insert(permit::ASSERTION, mint_assertion(&good, &stranger).unwrap().parse().unwrap());
    let (status, said) = call(bench.address, RELEASE, foreign).await;
    assert_eq!((status, &said["code"]), (503, &"keys_unavailable".into()), "it looked a moment ago: {said}");
    assert_eq!(call(bench.address, RELEASE, bench.told(&good)).await.0, 200);
}

#[tokio::test]
async fn the_body_must_name_what_the_override_is_for() {
    let bench = start().await;
    let post = async |headers: HeaderMap, body: &str| {
        let (status, _, body) = send(bench.address, RELEASE, headers, body).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap()["code"].clone())
    };
    let own = || bench.permit(RELEASE, "contract/C-1042", "payment.release");
    assert_eq!(post(own(), r#"{"contract":"C-2077"}"#).await, (409, "override_mismatch".into()));
    assert_eq!(post(own(), r#"{"payment":"P-8"}"#).await, (409, "body_mismatch".into()));
    assert_eq!(post(HeaderMap::new(), r#"{"contract":"C-2077"}"#).await, (409, "body_mismatch".into()));
    for body in ["[]", "{", r#"{"contract":"C-1042","contract":"C-2077"}"#, r#"{"other":1}"#] {
        assert_eq!(post(own(), body).await, (400, "body".into()), "{body}");
    }
    assert_eq!(post(own(), r#"{"contract":"C-1042","payment":"P-7"}"#).await, (200, Value::Null));
}

#[tokio::test]
async fn a_new_key_is_fetched_once_it_is_met_and_an_uncertified_one_never_taken() {
    let mut bench = start().await;
    let line = "GET /v1/contracts/C-1042";
    let ask =
        async |bench: &Bench| call(bench.address, line, bench.permit(line, "contract/C-1042", "contract.read")).await.0;
    assert_eq!(ask(&bench).await, 200);
    bench.key = SigningKey::generate().unwrap();
    bench.served.lock().unwrap().keys.push(certified(&bench.key, &bench.root));
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while ask(&bench).await != 200 {
        assert!(tokio::time::Instant::now() < end, "the new key is never fetched");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.key = SigningKey::generate().unwrap();
    let forged = certified(&bench.key, &SigningKey::generate().unwrap());
    bench.served.lock().unwrap().keys.push(forged);
    let refused = loop {
        let status = ask(&bench).await;
        if status != 503 {
            break status;
        }
        assert!(tokio::time::Instant::now() < end, "it never looks again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused, 403);
    assert_eq!(ask(&bench).await, 503, "and not more than once a second");
}

#[tokio::test]
async fn limits_and_cancellations_have_rules_too() {
    let bench = start().await;
    let address = bench.address;
    let set = async |contract: &str, mut headers: HeaderMap, body: &str| {
        headers.insert("content-type", "application/json".parse().unwrap());
        let (status, _, body) = send(address, &format!("POST /v1/contracts/{contract}/limit"), headers, body).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, said) = set("C-2077", HeaderMap::new(), r#"{"amount":10000001}"#).await;
    assert_eq!((status, &said["rule"]), (423, &"limit_too_high".into()));
    let (status, said) =
        set("C-2077", bench.permit(LIMIT, "contract/C-2077", "limit.set"), r#"{"amount":10000001}"#).await;
    assert_eq!((status, &said["limit"], &said["override"]["subject"]), (200, &10_000_001.into(), &"alice".into()));
    for body in ["", "{}", r#"{"amount":-1}"#, r#"{"amount":1,"more":2}"#, "[", r#"{"amount":1e99}"#] {
        let (status, said) = set("C-2077", HeaderMap::new(), body).await;
        assert!((400..500).contains(&status), "{body}: {status}");
        assert_eq!(said["code"], "body");
    }
    let cancel = "POST /v1/contracts/C-1042/payments/P-8/cancel";
    assert_eq!(call(address, cancel, HeaderMap::new()).await.0, 423);
    let (status, said) = call(address, cancel, bench.permit(cancel, "contract/C-1042", "payment.cancel")).await;
    assert_eq!((status, &said["state"]), (200, &"cancelled".into()));
}

#[tokio::test]
async fn the_rest_answers_as_it_should() {
    let bench = start().await;
    let address = bench.address;
    for (line, expected) in [
        ("GET /healthz", 200),
        ("GET /v1/contracts/C-1042", 200),
        ("GET /v1/contracts/C-9999", 404),
        ("GET /v1/contracts/C-1042/payments/P-99", 404),
        ("GET /v1/elsewhere", 404),
        ("DELETE /healthz", 405),
        ("GET /v1/contracts/C-1042/payments/P-7/release", 405),
        ("GET /v1/statement", 400),
        ("GET /v1/statement?contract=C-9999", 404),
        ("GET /v1/statement?contract=C-1042&bytes=-1", 400),
        ("GET /v1/statement?contract=C-1042&bytes=17179869185", 400),
        ("GET /v1/contracts/C-1042/statement?pause_ms=60001", 400),
    ] {
        assert_eq!(call(address, line, HeaderMap::new()).await.0, expected, "{line}");
    }
}

#[tokio::test]
async fn a_statement_has_exactly_the_size_asked_for() {
    let bench = start().await;
    let address = bench.address;
    for (line, size) in [
        ("GET /v1/statement?contract=C-1042&bytes=0", 0),
        ("GET /v1/statement?contract=C-1042&bytes=65537&pause_ms=1", 65_537),
        ("GET /v1/contracts/C-2077/statement?bytes=300000", 300_000),
    ] {
        let (status, headers, body) = send(address, line, HeaderMap::new(), "").await;
        assert_eq!((status, body.len()), (200, size), "{line}");
        assert!(size == 0 || headers["transfer-encoding"] == "chunked", "{line}");
    }
}

#[tokio::test]
async fn an_echo_says_what_arrived() {
    let bench = start().await;
    let address = bench.address;
    let mut headers = HeaderMap::new();
    headers.append("x-a", "1".parse().unwrap());
    headers.append("x-a", "2".parse().unwrap());
    let (_, _, body) = send(address, "PUT /v1/echo?q=%41", headers, "abc").await;
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&said["method"], &said["target"]), (&"PUT".into(), &"/v1/echo?q=%41".into()));
    assert_eq!(said["body"]["bytes"], 3);
    assert_eq!(said["body"]["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let listed: Vec<_> = said["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "x-a").collect();
    assert_eq!((listed.len(), &listed[1][1]), (2, &"2".into()));
}

#[tokio::test]
async fn it_serves_a_unix_socket_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let trust = Trust::new("payments-demo".parse().unwrap(), vec![], vec![], Clock::System);
    let serving = tokio::spawn(serve_contracts(listener, World::demo(), trust, async { drop(stopped.await) }));
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get("/healthz").header("host", "api").body(axum::body::Body::empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    stop.send(()).unwrap();
    serving.await.unwrap();
    driver.await.unwrap().unwrap();
    assert!(tokio::net::UnixStream::connect(&path).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn it_does_not_listen_to_the_world() {
    let error = bind_local("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(bind_local("127.0.0.1:0".parse().unwrap()).await.is_ok());
}
