//! Lines of the log can be found by the request they were written for, and what is logged can be changed at run time.

use breakglass::http::{Cleartext, Client, Limits};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::harness::{Answer, Ask, Log, Site, raw_request};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN_ID: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE_ID}-{SPAN_ID}-01")
}

/// The request id that a problem document carries.
fn id_of(problem: &Value) -> String {
    problem["instance"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_on_either_plane_is_found_in_the_log_by_its_id_and_its_trace() {
    let log = Log::of_this_process();
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let headers = [("Break-Glass", "g-zzzzzzzzzzzz"), ("traceparent", &traceparent())];
    let refused = sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await;
    let lines = log.lines("request_id", &id_of(&refused.json()));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["code"], refused.json()["code"]);
    assert_eq!((lines[0]["trace_id"].as_str(), lines[0]["span_id"].as_str()), (Some(TRACE_ID), Some(SPAN_ID)));
    let facts = &sidecar.until_facts("refusal", 1).await[0];
    assert_eq!(facts["trace_id"], TRACE_ID);

    let (status, problem) = site.api_by(Method::GET, "/v1/grants", "nobody", Value::Null).await;
    assert_eq!(status, 401);
    let lines = log.lines("request_id", &id_of(&problem));
    assert_eq!((lines.len(), lines[0]["code"].as_str()), (1, problem["code"].as_str()));
    assert_eq!(lines[0].get("trace_id"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_stays_in_its_trace_as_a_hop_of_our_own() {
    let log = Log::of_this_process();
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let send = async |more: &[(&str, &str)]| -> Answer {
        let own = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", &identity), ("tracestate", "a=1")];
        let headers = [&own[..], more].concat();
        let answer = sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await;
        assert_eq!(answer.code(), "override");
        answer
    };
    let traced = send(&[("traceparent", &traceparent())]).await;
    let passed_on = traced.echoed("traceparent").unwrap();
    let parts: Vec<&str> = passed_on.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE_ID, "01"));
    assert_ne!(parts[2], SPAN_ID, "the upstream is a child of ours");
    assert_eq!(traced.echoed("tracestate").as_deref(), Some("a=1"));
    let lines = log.lines("request_id", &traced.echoed("break-glass-request-id").unwrap());
    assert_eq!(lines[0]["grant"], grant.id.as_str());
    assert_eq!(lines[0]["trace_id"], TRACE_ID);
    assert_eq!(sidecar.until_facts("intent", 1).await[0]["trace_id"], TRACE_ID);

    let broken = format!("{}-", traceparent());
    for more in [&[][..], &[("traceparent", broken.as_str())]] {
        let begun = send(more).await;
        let passed_on = begun.echoed("traceparent").unwrap();
        assert!(passed_on.len() == 55 && !passed_on.contains(TRACE_ID), "{passed_on}");
        assert_eq!(begun.echoed("tracestate"), None, "the state of no trace");
        let trace = passed_on.split('-').nth(1).unwrap();
        assert_eq!(sidecar.until_facts("intent", 2).await.last().unwrap()["trace_id"], trace);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_traffic_keeps_its_trace_as_it_is() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    for given in [Some(traceparent()), Some("garbage".to_owned()), None] {
        let headers: Vec<(&str, &str)> = given.iter().map(|value| ("traceparent", value.as_str())).collect();
        let answer = sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await;
        assert_eq!(answer.echoed("traceparent"), given);
    }
}

struct Port(std::net::SocketAddr);

impl Port {
    async fn ask(&self, method: Method, path: &str, headers: &[(&'static str, &str)], body: &str) -> (u16, String) {
        let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
        let url = format!("http://{}{path}", self.0).parse().unwrap();
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        let answer =
            client.send(method, &url, HeaderMap::from_iter(pairs), Bytes::from(body.to_owned())).await.unwrap();
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_logged_is_changed_on_the_admin_ports() {
    let log = Log::of_this_process();
    let site = Site::start().await;
    let sidecar = site.sidecar_with(&crate::harness::SidecarFile::default()).await;
    for port in [Port(sidecar.admin), Port(site.control().admin_addr)] {
        let (status, shown) = port.ask(Method::GET, "/log", &[], "").await;
        assert_eq!(status, 200);
        assert!(serde_json::from_str::<Value>(&shown).unwrap()["filter"].as_str().unwrap().starts_with("trace"));
        let filter = format!("trace,breakglass::nobody_{}=off", port.0.port());
        let (status, shown) = port.ask(Method::PUT, "/log?for_s=3600", &[], &filter).await;
        assert_eq!(status, 200, "{shown}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["filter"], &shown["reverts_to"]), (&json!(filter), &json!("trace")));
        assert_eq!(log.lines("filter", &filter).len(), 1, "the change is itself in the log");
        let (status, why) = port.ask(Method::PUT, "/log", &[], "breakglass=loudly").await;
        assert!(status == 400 && why.contains("not understood"), "{why}");
        assert_eq!(port.ask(Method::PUT, "/log", &[], &"a".repeat(2000)).await.0, 413);
        assert_eq!(port.ask(Method::PUT, "/log", &[("origin", "http://evil.test")], "off").await.0, 403);
        assert_eq!(port.ask(Method::DELETE, "/log", &[], "").await.0, 405);
        assert!(port.ask(Method::GET, "/log", &[], "").await.1.contains(&filter), "what was refused changed nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_port_answers_no_page_that_rebinds_its_name() {
    let site = Site::start().await;
    let sidecar = site.sidecar_with(&crate::harness::SidecarFile::default()).await;
    for address in [sidecar.admin, site.control().admin_addr] {
        for (host, status) in [("evil.test", "421"), ("localhost:1", "200"), ("127.0.0.1", "200")] {
            let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let said = in_the_clear(address, &request).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {said}");
        }
    }
}

async fn in_the_clear(address: std::net::SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}
