//! The upstream assertion end to end: what arrives upstream, which keys it can be checked with, and what happens where no
//! key is certified.

mod python;
mod rotation;
mod scripted_control;
mod uncertified;

use std::sync::Arc;

use breakglass::clock::Clock;
use breakglass::config::assertion::UpstreamFacing;
use breakglass::http::{Cleartext, Client, Limits};
use breakglass::token::assertion::Target;
use breakglass::token::assertion::jwks::{AssertionKeys, JwkSet};
use breakglass::token::{AssertionClaims, AssertionError, PublicKey, verify_assertion};
use breakglass::wire::api::GrantView;
use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::harness::{Answer, Ask, Recorder, SidecarFile, Site, TestSidecar, raw_request};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const RELEASE: &str = "/v1/contracts/C-1042/payments/P-7/release";

/// A sidecar before an upstream that writes down what arrives.
struct Stage {
    site: Site,
    upstream: Recorder,
    sidecar: TestSidecar,
}

/// What arrived, by its request line.
struct Arrived {
    method: String,
    target: String,
    assertion: Option<String>,
}

impl Stage {
    async fn set(site: Site) -> Self {
        let upstream = Recorder::start(OK, |_| {}).await;
        let file = SidecarFile { upstream: Some(upstream.url()), ..SidecarFile::default() };
        let sidecar = site.sidecar_with(&file).await;
        sidecar.until_overrides().await;
        Self { site, upstream, sidecar }
    }

    fn last(&self) -> Arrived {
        let head = self.upstream.heads().pop().unwrap();
        let mut line = head.request_line().split(' ').map(str::to_owned);
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        Arrived { method, target, assertion: head.header("break-glass-assertion").map(str::to_owned) }
    }

    fn roots(&self) -> Vec<PublicKey> {
        self.site.control().grant_roots().iter().map(|root| root.parse().unwrap()).collect()
    }

    fn verified(&self, arrived: &Arrived, keys: &AssertionKeys) -> Result<AssertionClaims, AssertionError> {
        let target = Target { method: &arrived.method, origin_form: &arrived.target };
        let assertion = arrived.assertion.as_deref().expect("an assertion");
        verify_assertion(assertion, keys, &"payments".parse().unwrap(), target, self.site.clock.wall())
    }

    async fn keys(&self) -> AssertionKeys {
        let set = key_set(&self.sidecar).await;
        AssertionKeys::read(&serde_json::to_vec(&set).unwrap(), &self.roots(), self.site.clock.wall()).unwrap()
    }
}

fn keys_url(sidecar: &TestSidecar) -> String {
    format!("http://{}/.well-known/jwks.json", sidecar.keys)
}

async fn asked(url: &str, method: Method) -> breakglass::http::Answer {
    let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
    client.send(method, &url.parse().unwrap(), HeaderMap::new(), Bytes::new()).await.unwrap()
}

async fn key_set(sidecar: &TestSidecar) -> JwkSet {
    asked(&keys_url(sidecar), Method::GET).await.json().unwrap()
}

fn own<'a>(grant: &'a GrantView, identity: &'a str) -> [(&'a str, &'a str); 2] {
    [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_override_carries_its_assertion_and_ordinary_traffic_none() {
    let stage = Stage::set(Site::start().await).await;
    let ask = Ask { actions: vec!["payment.release".into(), "statement.read".into()], ..Ask::default() };
    let (grant, identity) = (stage.site.grant(&ask).await, stage.site.identity("alice"));
    let keys = stage.keys().await;
    let mut h2 = stage.sidecar.h2().await;
    let spoof = ("Break-Glass-Assertion", "eyJ.eyJ.x");
    let mut ids = std::collections::BTreeSet::new();
    for (method, target) in [
        ("POST", RELEASE),
        ("POST", "/v1/contracts/C-1042/payments/P%2D7/release"),
        ("GET", "/v1/contracts/C-1042/statement?bytes=%31&pause_ms=0"),
    ] {
        for with_h2 in [false, true] {
            let mut send = async |headers: &[(&str, &str)]| -> Answer {
                match with_h2 {
                    true => h2.send(method, target, headers, "").await,
                    false => stage.sidecar.send(&raw_request(method, target, headers, "")).await,
                }
            };
            let [id, proof] = own(&grant, &identity);
            assert_eq!(send(&[id, proof, spoof]).await.status, 200, "{target}");
            let arrived = stage.last();
            let claims = stage.verified(&arrived, &keys).unwrap();
            assert_eq!((claims.grant.as_str(), claims.sub.as_str()), (grant.id.as_str(), "alice"));
            assert_eq!(claims.resource.to_string(), "contract/C-1042");
            assert_eq!(claims.action.as_str(), if method == "GET" { "statement.read" } else { "payment.release" });
            let head = stage.upstream.heads().pop().unwrap();
            assert_eq!(head.header("break-glass-request-id"), Some(claims.jti.as_str()));
            assert!(ids.insert(claims.jti.clone()), "each request has an id of its own");
            assert_eq!(head.head.to_ascii_lowercase().matches("break-glass-assertion").count(), 1);
            let elsewhere = Arrived { target: format!("{}x", arrived.target), ..stage.last() };
            assert_eq!(stage.verified(&elsewhere, &keys), Err(AssertionError::OtherTarget));
            assert_eq!(send(&[spoof]).await.status, 200);
            assert!(stage.last().assertion.is_none(), "{target}");
        }
    }
    let counts = stage.sidecar.shared().assertions.counts();
    assert_eq!((counts.signed(), counts.certified(), counts.refused()), (6, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_are_served_with_their_certificates_and_nothing_else_is() {
    let stage = Stage::set(Site::start().await).await;
    let url = keys_url(&stage.sidecar);
    let answer = asked(&url, Method::GET).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/jwk-set+json");
    assert_eq!(answer.headers["cache-control"], "public, max-age=60");
    let head = asked(&url, Method::HEAD).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], answer.body.len().to_string().as_str());
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let refused = asked(&url, method.clone()).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.headers["allow"]),
            (405, &"GET, HEAD".parse().unwrap()),
            "{method}"
        );
    }
    for path in ["/", "/metrics", "/grants", "/freeze", "/readyz", "/.well-known/jwks.json/", "/v1/echo"] {
        let refused = asked(&format!("http://{}{path}", stage.sidecar.keys), Method::GET).await;
        assert_eq!((refused.status.as_u16(), refused.body.len()), (404, 0), "{path}");
    }
    let set: JwkSet = answer.json().unwrap();
    assert_eq!(set.keys.len(), 1);
    assert_eq!(stage.keys().await.len(), 1, "the root vouches for it");
    let entries = stage.site.control().store().entries(0, 1_000).await.unwrap();
    let certified: Vec<_> = entries.iter().filter(|entry| entry.kind == "assertion_key_certified").collect();
    assert_eq!(certified.len(), 1);
    assert!(certified[0].canonical.contains(&set.keys[0].bg_certificate));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_can_be_served_on_a_unix_socket_left_behind_by_a_killed_process() {
    let site = Site::start().await;
    let socket = site.path().join("keys.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let file = site.sidecar_file(&SidecarFile::default());
    let text = std::fs::read_to_string(&file).unwrap();
    let place = format!("[assertion]\nlisten = \"unix:{}\"", socket.display());
    std::fs::write(&file, text.replace("[assertion]\nlisten = \"127.0.0.1:0\"", &place)).unwrap();
    let sidecar = TestSidecar::start(file, Clock::System).await;
    assert_eq!(sidecar.keys, UpstreamFacing::Unix(socket.clone()));
    sidecar.until_overrides().await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o666, "the API may run as another user");
    let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/.well-known/jwks.json").header("host", "sidecar");
    let answer = sender.send_request(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_api_believes_the_sidecar_and_compares_what_the_body_names() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let (grant, identity) = (site.grant(&Ask::default()).await, site.identity("alice"));
    let send = async |headers: &[(&str, &str)], body: &str| {
        let answer = sidecar.send(&raw_request("POST", RELEASE, headers, body)).await;
        (answer.status, answer.json())
    };
    let own = own(&grant, &identity);
    let (status, said) = send(&[], "").await;
    assert_eq!((status, &said["rule"]), (423, &"frozen".into()));
    let (status, said) = send(&own, r#"{"contract":"C-2077","payment":"P-7"}"#).await;
    assert_eq!((status, &said["code"]), (409, &"override_mismatch".into()), "{said}");
    let (status, said) = send(&own, r#"{"contract":"C-1042","payment":"P-7"}"#).await;
    assert_eq!((status, &said["override"]["subject"]), (200, &"alice".into()), "{said}");
    // Who reaches the API around the sidecar, with every header of a real override but the assertion, gets nowhere.
    let around = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
    let url = format!("http://{}/v1/contracts/C-1042/payments/P-8/release", site.upstream).parse().unwrap();
    let told = said["override"].as_object().unwrap().iter().map(|(name, value)| {
        let name = format!("break-glass-{}", name.replace('_', "-"));
        (name.parse::<http::HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap())
    });
    let answer = around.send(Method::POST, &url, told.collect(), Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["code"], "override_incomplete");
}

/// A clock for a site, apart from the machine's by `seconds`.
fn clock_apart(seconds: i64) -> (Clock, Arc<breakglass::clock::ManualClock>) {
    let clock = breakglass::clock::ManualClock::starting_at(Clock::System.now());
    clock.step_wall(seconds * 1_000);
    (Clock::Manual(Arc::clone(&clock)), clock)
}
