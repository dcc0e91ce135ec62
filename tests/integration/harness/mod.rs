//! A site: a demo issuer, a control plane, an upstream and as many sidecars as a test wants, each on a free port and in
//! a folder of its own. What is started ends when it is dropped.

mod by_hand;
mod client;
pub(crate) mod clients;
mod command;
mod dice;
mod files;
mod fleet;
mod follower;
mod load;
mod log;
pub(crate) mod ports;
pub(crate) mod postgres;
mod process;
mod program;
mod provider;
mod sidecar;
mod signing_in;
mod small_disk;
mod upstream;
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use breakglass::certs::DevAuthority;
use breakglass::clock::Clock;
use breakglass::config::assertion::UpstreamFacing;
use breakglass::config::control::ControlConfig;
use breakglass::control::{Control, Running};
use breakglass::demo::contract_api::keys::Trust;
use breakglass::demo::contract_api::serve_contracts;
use breakglass::demo::contract_api::world::World;
use breakglass::demo::issuer::DemoIssuer;
use breakglass::http::{Client, ClientTls, Limits, TlsRoots};
use breakglass::wire::api::{ElevationView, Enforcement, GrantTokenView, GrantView};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) use by_hand::{ByHand, Line};
pub(crate) use client::{Answer, H2, Raw, Sent, h2_request, raw_request, whole};
pub(crate) use command::{breakglass, control_command};
pub(crate) use dice::Dice;
pub(crate) use files::{SERVICE, SidecarFile};
pub(crate) use fleet::Fleet;
pub(crate) use follower::Follower;
pub(crate) use load::{Load, Target, ask};
pub(crate) use log::{Log, sha256_hex};
pub(crate) use process::Process;
pub(crate) use program::{Orphan, PROGRAM, Program, Said, Start, readyz, signal, until_overrides};
pub(crate) use provider::{Provider, Settings};
pub(crate) use sidecar::{TestSidecar, lines};
pub(crate) use signing_in::{Browser, Landed, Tokens, Wish};
pub(crate) use small_disk::SmallDisk;
pub(crate) use upstream::Recorder;

/// How long anything awaited may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) issuer: DemoIssuer,
    pub(crate) issuer_addr: SocketAddr,
    /// Tables of whose tokens both planes believe, once they start: the demo issuer's unless changed.
    pub(crate) issuers: String,
    /// Of the demo's contract API.
    pub(crate) upstream: SocketAddr,
    /// Whose assertions that API believes.
    trust: Trust,
    /// Of the control plane's API when it starts next.
    pub(crate) api: SocketAddr,
    pub(crate) feed: SocketAddr,
    /// Lines added to the control plane's file when it starts next.
    pub(crate) control_lines: String,
    /// Lines added to the last issuer in it.
    pub(crate) issuer_lines: String,
    /// What the control plane's file names when it starts next: a SQLite file unless changed.
    pub(crate) database: String,
    control: Option<Running>,
    client: Client,
    issuer_task: Option<tokio::task::JoinHandle<()>>,
    instances: std::cell::Cell<u32>,
}

/// What a person asks for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) person: &'static str,
    pub(crate) service: String,
    pub(crate) resources: Vec<String>,
    pub(crate) actions: Vec<String>,
    pub(crate) duration_s: u64,
    pub(crate) max_uses: Option<u32>,
    /// Where several would fit.
    pub(crate) tier: Option<&'static str>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            person: "alice",
            service: "payments".to_owned(),
            resources: vec!["contract/C-1042".to_owned()],
            actions: vec!["payment.release".to_owned()],
            duration_s: 600,
            max_uses: None,
            tier: None,
        }
    }
}

impl Site {
    /// A site by the machine's clock.
    pub(crate) async fn start() -> Self {
        Self::with_clock(Clock::System).await
    }

    pub(crate) async fn with_clock(clock: Clock) -> Self {
        let mut site = Self::without_control(clock).await;
        site.start_control().await;
        site
    }

    /// A site that believes a real provider, and no other issuer.
    pub(crate) async fn of_provider(provider: &Provider) -> Self {
        let mut site = Self::without_control(Clock::System).await;
        site.issuers = files::issuer_table(&provider.issuer);
        site.start_control().await;
        site
    }

    /// A site whose control plane is still to be started.
    pub(crate) async fn without_control(clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // TLS goes by the real time, whatever clock the planes are given.
        let authority = DevAuthority::new(Clock::System.wall(), Duration::from_secs(86_400)).unwrap();
        files::write_certificates(folder.path(), &authority);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer_addr = listener.local_addr().unwrap();
        let audiences = ["control", "payments", "ledger"].map(|audience| audience.parse().unwrap()).to_vec();
        let issuer =
            DemoIssuer::new(format!("http://{issuer_addr}").parse().unwrap(), audiences, clock.clone()).unwrap();
        let issuer_task = tokio::spawn(issuer.clone().serve(listener, std::future::pending()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let trust = Trust::new("payments".parse().unwrap(), vec![], vec![], clock.clone());
        tokio::spawn(serve_contracts(listener, World::demo(), trust.clone(), std::future::pending()));
        let roots = TlsRoots::from_pem_files([folder.path().join("ca.pem")]).unwrap();
        let client = Client::new(Some(ClientTls::new(roots, None).unwrap()), Limits::DEFAULT);
        Self {
            api: "127.0.0.1:0".parse().unwrap(),
            feed: ports::lasting(),
            folder,
            clock,
            issuer,
            issuer_addr,
            issuers: files::issuer_table(&format!("http://{issuer_addr}")),
            upstream,
            trust,
            control_lines: String::new(),
            issuer_lines: String::new(),
            database: "data/control.db".to_owned(),
            control: None,
            client,
            issuer_task: Some(issuer_task),
            instances: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the control plane; once started, its feed keeps its port.
    pub(crate) async fn start_control(&mut self) {
        let file = self.write_control();
        let config = ControlConfig::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let running = Control::start(config, self.clock.clone()).await.unwrap();
        let roots = running.grant_roots().join("\n");
        std::fs::write(self.path().join("grant-roots"), roots).unwrap();
        self.feed = running.feed_addr;
        self.control = Some(running);
    }

    /// The control plane's file, as it stands now.
    pub(crate) fn write_control(&self) -> std::path::PathBuf {
        let issuers = format!("{}{}", self.issuers, self.issuer_lines);
        files::write_control(self.path(), &issuers, (self.api, self.feed), &self.database, &self.control_lines)
    }

    /// Starts the control plane again at an address that it keeps, and calls its own.
    pub(crate) async fn keep_api_address(&mut self) {
        self.api = ports::lasting();
        self.stop_control().await;
        self.start_control().await;
    }

    pub(crate) async fn stop_control(&mut self) {
        self.control.take().unwrap().stop().await;
    }

    pub(crate) fn control(&self) -> &Running {
        self.control.as_ref().unwrap()
    }

    /// Ends the issuer: nobody answers at its address any more.
    pub(crate) async fn stop_issuer(&mut self) {
        let task = self.issuer_task.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    /// An access token of `person`, for the control plane and every service.
    pub(crate) fn identity(&self, person: &str) -> String {
        self.issuer.token(person).unwrap().expose().clone()
    }

    /// A sidecar of the service "payments" that is ready for overrides.
    pub(crate) async fn sidecar(&self) -> TestSidecar {
        let sidecar = self.sidecar_with(&SidecarFile::default()).await;
        sidecar.until_overrides().await;
        sidecar
    }

    /// A sidecar as `file` says; it may not have heard from the control plane yet.
    pub(crate) async fn sidecar_with(&self, file: &SidecarFile) -> TestSidecar {
        self.believing(TestSidecar::start(self.sidecar_file(file), self.clock.clone()).await)
    }

    /// The same by a clock of its own.
    pub(crate) async fn sidecar_by(&self, clock: Clock) -> TestSidecar {
        self.believing(TestSidecar::start(self.sidecar_file(&SidecarFile::default()), clock).await)
    }

    fn believing(&self, sidecar: TestSidecar) -> TestSidecar {
        self.believe(&sidecar.keys);
        sidecar
    }

    /// Has the demo's contract API believe assertions whose keys are served there.
    pub(crate) fn believe(&self, keys: &UpstreamFacing) {
        self.trust.add(keys.clone());
    }

    /// Writes the files of a sidecar with an instance and an audit folder of its own.
    pub(crate) fn sidecar_file(&self, file: &SidecarFile) -> std::path::PathBuf {
        let number = self.instances.get();
        self.instances.set(number + 1);
        file.write(self, &format!("s-{number}"))
    }

    pub(crate) async fn api(&self, method: Method, path: &str, person: &str, body: Value) -> (u16, Value) {
        self.api_by(method, path, &self.identity(person), body).await
    }

    /// Any call of the API, its answer as it stands.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> breakglass::http::Answer {
        let url = format!("https://localhost:{}{path}", self.control().api_addr.port()).parse().unwrap();
        self.client.send(method, &url, headers, body).await.unwrap()
    }

    /// As [`Site::api`], with any token.
    pub(crate) async fn api_by(&self, method: Method, path: &str, token: &str, body: Value) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {token}");
        headers.insert("authorization", HeaderValue::from_str(&bearer).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = self.call(method, path, headers, body).await;
        let document = answer.json().unwrap_or(Value::Null);
        (answer.status.as_u16(), document)
    }

    /// Asks, is granted, and waits until every sidecar enforces the grant.
    pub(crate) async fn grant(&self, ask: &Ask) -> GrantView {
        let mut document = json!({
            "service": ask.service, "resources": ask.resources, "actions": ask.actions, "reason": "stuck_payment",
            "ticket": "INC-2041", "duration_s": ask.duration_s,
        });
        if let Some(uses) = ask.max_uses {
            document["max_uses"] = uses.into();
        }
        if let Some(tier) = ask.tier {
            document["tier"] = tier.into();
        }
        let (status, said) = self.api(Method::POST, "/v1/elevations", ask.person, document).await;
        assert_eq!(status, 201, "{said}");
        let view: ElevationView = serde_json::from_value(said).unwrap();
        let grant = view.grant.unwrap();
        let enforcement = self.enforcement(&grant, ask.person).await;
        assert_eq!(enforcement.enforced, enforcement.sidecars, "{enforcement:?}");
        grant
    }

    pub(crate) async fn token(&self, grant: &GrantView) -> String {
        let path = format!("/v1/grants/{}/token", grant.id);
        let (status, said) = self.api(Method::GET, &path, grant.person.as_str(), Value::Null).await;
        assert_eq!(status, 200, "{said}");
        serde_json::from_value::<GrantTokenView>(said).unwrap().token
    }

    /// Revokes, and waits until every sidecar enforces it.
    pub(crate) async fn revoke(&self, grant: &GrantView) -> Enforcement {
        let path = format!("/v1/grants/{}/revoke", grant.id);
        let (status, said) = self.api(Method::POST, &path, grant.person.as_str(), json!({})).await;
        assert_eq!(status, 200, "{said}");
        self.enforcement(grant, grant.person.as_str()).await
    }

    pub(crate) async fn enforcement(&self, grant: &GrantView, person: &str) -> Enforcement {
        let path = format!("/v1/grants/{}/enforcement?wait_ms=10000", grant.id);
        let (status, said) = self.api(Method::GET, &path, person, Value::Null).await;
        assert_eq!(status, 200, "{said}");
        serde_json::from_value(said).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(task) = self.issuer_task.take() {
            task.abort();
        }
    }
}

/// Looks again and again until `look` finds something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// The same with another patience.
pub(crate) async fn until_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
