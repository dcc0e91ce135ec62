//! A folder with everything a control plane needs, and a way to call it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::document::assert_described;
use crate::clock::{Clock, ManualClock};
use crate::config::control::ControlConfig;
use crate::control::{Control, Running, StartError};
use crate::domain::{BootTime, Moment, WallTime};
use crate::http::{Answer, Client, ClientTls, Limits, TlsRoots};
use crate::identity::Algorithm;
use crate::identity::test_issuer::{TestIssuer, TestKey};
use crate::wire::api::ElevationView;
use crate::wire::problem::{self, Problem};

/// The clock stands still, and so would a caller who has had all of theirs.
pub(super) const LIMITS: &str = "[api.limits]\nreads_per_minute_max = 100000\nwrites_per_minute_max = 100000\n\
                                 creates_per_minute_max = 100000\nfailed_authentications_per_minute_max = 100000\n";
pub(super) const NOW_S: i64 = 1_795_313_580;

pub(super) struct Bench {
    pub(super) running: Running,
    pub(super) clock: Arc<ManualClock>,
    pub(super) issuer: TestIssuer,
    pub(super) key: TestKey,
    client: Client,
    folder: TempDir,
}

/// Files for a control plane on free ports, believing `issuer`.
pub(super) fn write_files(folder: &Path, issuer: &str) -> PathBuf {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", &params.self_signed(&ca_key).unwrap().pem());
    let ca = Issuer::new(params, ca_key);
    let mut leaf = CertificateParams::new(vec![]).unwrap();
    leaf.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    write("server.pem", &leaf.signed_by(&key, &ca).unwrap().pem());
    write("server.key", &key.serialize_pem());
    write("service.toml", include_str!("../../../config/services/payments-demo.toml"));
    write("policy.toml", include_str!("../../../config/policy.toml"));
    let listener = "address = \"127.0.0.1:0\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let control = format!(
        "url = \"https://localhost\"\ndatabase = \"data/control.db\"\nkeys = \"keys\"\naudience = \"control\"\n\
         policy = \"policy.toml\"\nservices = [\"service.toml\"]\n[api]\n{listener}{LIMITS}[feed]\n{listener}client_ca = \"ca.pem\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[[issuer]]\nurl = \"{issuer}\"\n\
         [groups]\nadmins = [\"admins\"]\nauditors = [\"auditors\"]\nrevokers = [\"leads\"]\nfreezers = [\"stoppers\"]\n"
    );
    write("control.toml", &control);
    folder.join("control.toml")
}

impl Bench {
    pub(super) async fn start() -> Self {
        Self::start_with("", "").await
    }

    /// With more lines in the policy and in the control plane's own file.
    pub(super) async fn start_with(policy: &str, control: &str) -> Self {
        Self::start_on(policy, |file| add_lines(file, control)).await
    }

    /// With more lines in the policy, and whatever `change` does to the control plane's own file.
    pub(super) async fn start_on(policy: &str, change: impl FnOnce(&Path)) -> Self {
        let key = TestKey::new(Algorithm::EdDSA, "k");
        let issuer = TestIssuer::start(&[&key]).await;
        let folder = tempfile::tempdir().unwrap();
        let file = write_files(folder.path(), &issuer.url);
        add_lines(&folder.path().join("policy.toml"), policy);
        change(&file);
        let mut config = ControlConfig::load(&file).unwrap_or_else(|error| panic!("{error}"));
        hurry(&mut config);
        let moment = Moment { boot: BootTime::ZERO, wall: WallTime::from_unix_s(NOW_S) };
        let clock = ManualClock::starting_at(moment);
        let running = Control::start(config, Clock::Manual(Arc::clone(&clock))).await.unwrap();
        let roots = TlsRoots::from_pem_files([folder.path().join("ca.pem")]).unwrap();
        let client = Client::new(Some(ClientTls::new(roots, None).unwrap()), Limits::DEFAULT);
        Self { running, clock, issuer, key, client, folder }
    }

    /// Stops it and starts it again on the same folder.
    pub(super) async fn restart(self) -> Self {
        self.restart_after(async |_| {}).await.unwrap()
    }

    /// The same, with something done to the folder in between.
    pub(super) async fn restart_after(self, act: impl AsyncFnOnce(&Path)) -> Result<Self, StartError> {
        let Self { running, clock, issuer, key, client, folder } = self;
        running.stop().await;
        act(folder.path()).await;
        let mut config = ControlConfig::load(&folder.path().join("control.toml")).unwrap();
        hurry(&mut config);
        let running = Control::start(config, Clock::Manual(Arc::clone(&clock))).await?;
        Ok(Self { running, clock, issuer, key, client, folder })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An access token of `person`, changed by the members of `change`.
    pub(super) fn token(&self, person: &str, groups: &[&str], change: Value) -> String {
        let mut claims = json!({
            "iss": self.issuer.url, "aud": "control", "sub": person, "client_id": "cli", "jti": "1",
            "iat": NOW_S, "exp": NOW_S + 100_000, "groups": groups,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.sign(&claims)
    }

    pub(super) fn alice(&self) -> String {
        self.token("alice", &["payments-oncall"], json!({}))
    }

    pub(super) async fn call(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Answer {
        let uri = format!("https://localhost:{}{path}", self.running.api_addr.port()).parse().unwrap();
        let answer = self.client.send(method.clone(), &uri, headers, body).await.unwrap();
        assert_described(&method, path, &answer);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
        answer
    }

    /// What is no call of the API, with the answer as it is.
    pub(super) async fn fetch(&self, path: &str, headers: HeaderMap) -> Answer {
        let uri = format!("https://localhost:{}{path}", self.running.api_addr.port()).parse().unwrap();
        self.client.send(Method::GET, &uri, headers, Bytes::new()).await.unwrap()
    }

    pub(super) async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(Method::GET, path, bearer(token), Bytes::new()).await
    }

    pub(super) async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        let mut headers = bearer(token);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.call(Method::POST, path, headers, body.to_string().into()).await
    }

    pub(super) async fn put(&self, token: &str, path: &str, body: &Value) -> Answer {
        let mut headers = bearer(token);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.call(Method::PUT, path, headers, body.to_string().into()).await
    }

    pub(super) async fn delete(&self, token: &str, path: &str) -> Answer {
        self.call(Method::DELETE, path, bearer(token), Bytes::new()).await
    }

    /// The same under an `If-Match`.
    pub(super) async fn post_if(&self, token: &str, path: &str, etag: &str, body: &Value) -> Answer {
        let mut headers = bearer(token);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::IF_MATCH, HeaderValue::try_from(etag).unwrap());
        self.call(Method::POST, path, headers, body.to_string().into()).await
    }

    /// Applies `policy` to the database, as another replica would, and answers its revision.
    pub(super) async fn apply_elsewhere(&self, policy: &str) -> u64 {
        let store = self.running.store();
        let applied = store.policy().await.unwrap().unwrap();
        crate::store::sample::apply_policy(store, policy, &applied.services).await
    }

    pub(super) async fn admin(&self, path: &str) -> Answer {
        let uri = format!("http://{}{path}", self.running.admin_addr).parse().unwrap();
        self.client.send(Method::GET, &uri, HeaderMap::new(), Bytes::new()).await.unwrap()
    }

    pub(super) async fn granted(&self, token: &str, body: &Value) -> ElevationView {
        let answer = self.post(token, "/v1/elevations", body).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        answer.json().unwrap()
    }

    /// What was done. Who looked at it is left out: that is `watchful`'s.
    pub(super) async fn entry_kinds(&self) -> Vec<String> {
        let entries = self.running.store().entries(0, 1000).await.unwrap();
        entries.into_iter().map(|entry| entry.kind).filter(|kind| kind != "data_read").collect()
    }
}

/// A test does not wait for minutes to pass.
fn hurry(config: &mut ControlConfig) {
    for asked in &mut config.introspection {
        asked.every = std::time::Duration::from_millis(20);
    }
}

fn add_lines(file: &Path, lines: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, format!("{text}\n{lines}")).unwrap();
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    headers
}

/// A good request, changed by the members of `change`; a null member is taken out.
pub(super) fn request(change: Value) -> Value {
    let mut body = json!({
        "service": "payments-demo", "resources": ["contract/C-1042"], "actions": ["payment.release"],
        "reason": "stuck_payment", "ticket": "INC-2041",
    });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    body
}

/// The problem document that an answer must be.
pub(super) fn problem(answer: &Answer) -> Problem {
    assert_eq!(answer.headers[header::CONTENT_TYPE], problem::CONTENT_TYPE);
    let document: Problem = answer.json().unwrap();
    assert_eq!(document.status, answer.status.as_u16());
    assert_eq!(document.kind, format!("{}{}", problem::TYPE_PREFIX, document.code));
    assert!(document.instance.is_some());
    document
}
