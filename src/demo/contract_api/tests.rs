//! The API over real sockets.

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::http::{Client, Limits};

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_contracts(listener, World::demo(), std::future::pending()));
    address
}

fn permit(resource: &str, action: &str) -> HeaderMap {
    let values = [
        "g-0123456789ab",
        "alice",
        "payments.override",
        resource,
        action,
        "stuck_payment",
        "INC-2041",
        "2026-11-22T02:28:00.000Z",
        "r-1",
    ];
    let named = permit::HEADERS.iter().zip(values);
    named.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
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

const RELEASE: &str = "POST /v1/contracts/C-1042/payments/P-7/release";

#[tokio::test]
async fn the_story_of_a_stuck_payment() {
    let address = start().await;
    let (status, headers, body) = send(address, RELEASE, HeaderMap::new(), "").await;
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &said["rule"]), (423, &"frozen".into()));
    assert_eq!(headers["content-type"], "application/problem+json");

    let (status, said) = call(address, RELEASE, permit("contract/C-1042", "payment.release")).await;
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
    let (status, said) = call(address, RELEASE, permit("contract/C-1042", "payment.release")).await;
    assert_eq!((status, &said["code"]), (409, &"already_released".into()));
}

#[tokio::test]
async fn an_override_for_something_else_changes_nothing() {
    let address = start().await;
    for (resource, action) in [
        ("contract/C-2077", "payment.release"),
        ("contract/c-1042", "payment.release"),
        ("payment/C-1042", "payment.release"),
        ("contract/C-1042", "payment.cancel"),
    ] {
        let (status, said) = call(address, RELEASE, permit(resource, action)).await;
        assert_eq!((status, &said["code"]), (409, &"override_mismatch".into()), "{resource} {action}");
    }
    let whole = permit("contract/C-1042", "payment.release");
    for name in permit::HEADERS {
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
async fn limits_and_cancellations_have_rules_too() {
    let address = start().await;
    let set = async |contract: &str, mut headers: HeaderMap, body: &str| {
        headers.insert("content-type", "application/json".parse().unwrap());
        let (status, _, body) = send(address, &format!("POST /v1/contracts/{contract}/limit"), headers, body).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, said) = set("C-2077", HeaderMap::new(), r#"{"amount":10000001}"#).await;
    assert_eq!((status, &said["rule"]), (423, &"limit_too_high".into()));
    let (status, said) = set("C-2077", permit("contract/C-2077", "limit.set"), r#"{"amount":10000001}"#).await;
    assert_eq!((status, &said["limit"], &said["override"]["subject"]), (200, &10_000_001.into(), &"alice".into()));
    for body in ["", "{}", r#"{"amount":-1}"#, r#"{"amount":1,"more":2}"#, "[", r#"{"amount":1e99}"#] {
        let (status, said) = set("C-2077", HeaderMap::new(), body).await;
        assert!((400..500).contains(&status), "{body}: {status}");
        assert_eq!(said["code"], "body");
    }
    let cancel = "POST /v1/contracts/C-1042/payments/P-8/cancel";
    assert_eq!(call(address, cancel, HeaderMap::new()).await.0, 423);
    let (status, said) = call(address, cancel, permit("contract/C-1042", "payment.cancel")).await;
    assert_eq!((status, &said["state"]), (200, &"cancelled".into()));
}

#[tokio::test]
async fn the_rest_answers_as_it_should() {
    let address = start().await;
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
    let address = start().await;
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
    let address = start().await;
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
    let serving = tokio::spawn(serve_contracts(listener, World::demo(), async { drop(stopped.await) }));
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
