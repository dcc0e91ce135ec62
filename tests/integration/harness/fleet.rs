//! Several control planes on one PostgreSQL, each a process of its own with a wire to the database that can be cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use breakglass::certs::DevAuthority;
use breakglass::clock::Clock;
use breakglass::config::assertion::UpstreamFacing;
use breakglass::config::database::PostgresConfig;
use breakglass::demo::contract_api::keys::Trust;
use breakglass::demo::contract_api::serve_contracts;
use breakglass::demo::contract_api::world::World;
use breakglass::demo::issuer::DemoIssuer;
use breakglass::http::{Client, ClientTls, Limits, TlsRoots};
use breakglass::store::Store;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::files::{self, ControlFile, Surroundings};
use super::wire::Wire;
use super::{Program, SidecarFile, Start, TestSidecar, ports, postgres, readyz, until};

const CONTROL: &str = env!("CARGO_BIN_EXE_breakglass-control");
/// Longer than a control plane takes to find out that its database hangs.
const LIMITS: Limits =
    Limits { connect_ms_max: 2_000, response_ms_max: 12_000, total_ms_max: 12_000, ..Limits::DEFAULT };

/// See the module.
pub(crate) struct Fleet {
    pub(crate) folder: TempDir,
    pub(crate) issuer: DemoIssuer,
    issuer_addr: SocketAddr,
    /// Of the demo's contract API.
    pub(crate) upstream: SocketAddr,
    trust: Trust,
    database: String,
    pub(crate) replicas: Vec<Replica>,
    client: Client,
}

/// One control plane.
pub(crate) struct Replica {
    name: String,
    pub(crate) wire: Wire,
    addresses: Addresses,
    program: Mutex<Option<Program>>,
}

/// Where it listens, whenever it runs.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    api: SocketAddr,
    feed: SocketAddr,
    admin: SocketAddr,
}

impl Replica {
    pub(crate) fn feed(&self) -> SocketAddr {
        self.addresses.feed
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }
}

impl Fleet {
    pub(crate) async fn start(replicas: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = DevAuthority::new(Clock::System.wall(), Duration::from_secs(86_400)).unwrap();
        files::write_certificates(folder.path(), &authority);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer_addr = listener.local_addr().unwrap();
        let audiences = ["control", "payments"].map(|audience| audience.parse().unwrap()).to_vec();
        let url = format!("http://{issuer_addr}").parse().unwrap();
        let issuer = DemoIssuer::new(url, audiences, Clock::System).unwrap();
        tokio::spawn(issuer.clone().serve(listener, std::future::pending()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let trust = Trust::new("payments".parse().unwrap(), vec![], vec![], Clock::System);
        tokio::spawn(serve_contracts(listener, World::demo(), trust.clone(), std::future::pending()));
        let roots = TlsRoots::from_pem_files([folder.path().join("ca.pem")]).unwrap();
        let client = Client::new(Some(ClientTls::new(roots, None).unwrap()), LIMITS);
        let database = tokio::task::spawn_blocking(postgres::fresh_database).await.unwrap();
        let mut fleet = Self { folder, issuer, issuer_addr, upstream, trust, database, replicas: Vec::new(), client };
        for number in 1..=replicas {
            fleet.add(&format!("control-{number}")).await;
        }
        fleet
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn issuers(&self) -> String {
        files::issuer_table(&format!("http://{}", self.issuer_addr))
    }

    /// Replicas make no key: an operator does, once.
    fn make_keys(&self) {
        let made =
            Command::new(CONTROL).arg("--config").arg(self.control_file(0)).args(["keys", "init"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(self.path().join("grant-roots"), &made.stdout).unwrap();
    }

    async fn add(&mut self, name: &str) {
        let wire = Wire::to(postgres::folder().join(".s.PGSQL.5432")).await;
        let replica = Replica {
            name: name.into(),
            wire,
            addresses: Addresses { api: ports::lasting(), feed: ports::lasting(), admin: ports::lasting() },
            program: Mutex::default(),
        };
        self.replicas.push(replica);
        if self.replicas.len() == 1 {
            self.make_keys();
        }
        self.restart(self.replicas.len() - 1).await;
    }

    /// The database without a wire: to look at what stands in it.
    pub(crate) async fn store(&self) -> Store {
        Store::connect(&PostgresConfig::new(self.database.clone()), Clock::System).await.unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, at: usize) {
        drop(self.replicas[at].program.lock().unwrap().take().expect("it runs"));
    }

    fn control_file(&self, at: usize) -> PathBuf {
        let name = self.database.split('?').next().unwrap().rsplit('/').next().unwrap();
        let replica = &self.replicas[at];
        let database = format!("postgresql://postgres@{}/{name}?sslmode=disable", replica.wire.address);
        let Addresses { api, feed, admin } = replica.addresses;
        let control = ControlFile {
            name: &replica.name,
            issuers: &self.issuers(),
            addresses: (api, feed, admin),
            database: &database,
            lines: &format!("instance = \"{}\"", replica.name),
        };
        control.write(self.path())
    }

    /// Starts one that does not run; it comes back at its addresses.
    pub(crate) async fn restart(&self, at: usize) {
        let replica = &self.replicas[at];
        let file = self.control_file(at);
        let mut program = Start::new(&file).program(Path::new(CONTROL)).spawn();
        until("a control plane is up", async || {
            assert!(!program.has_ended(), "it ended: {}", program.said.text());
            program.said.all("the control plane is up").pop()
        })
        .await;
        *replica.program.lock().unwrap() = Some(program);
    }

    /// Everything that one of them has said.
    pub(crate) fn said(&self, at: usize) -> String {
        self.replicas[at].program.lock().unwrap().as_ref().unwrap().said.text()
    }

    pub(crate) fn feeds(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(Replica::feed).collect()
    }

    pub(crate) fn identity(&self, person: &str) -> String {
        self.issuer.token(person).unwrap().expose().clone()
    }

    /// The files of a sidecar that knows all replicas.
    pub(crate) fn sidecar_file(&self, file: &SidecarFile, instance: &str) -> PathBuf {
        let feeds = self.feeds();
        let around =
            Surroundings { folder: self.path(), upstream: self.upstream, issuers: &self.issuers(), feeds: &feeds };
        file.write_in(&around, instance)
    }

    /// One in this process, ready for overrides.
    pub(crate) async fn sidecar(&self, instance: &str) -> TestSidecar {
        let sidecar = TestSidecar::start(self.sidecar_file(&SidecarFile::default(), instance), Clock::System).await;
        self.believe(&sidecar.keys);
        sidecar.until_overrides().await;
        sidecar
    }

    pub(crate) fn believe(&self, keys: &UpstreamFacing) {
        self.trust.add(keys.clone());
    }

    /// Asks one of them; `None` where no answer came.
    pub(crate) async fn ask(
        &self,
        at: usize,
        method: Method,
        path: &str,
        person: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let answer = self.answer(at, method, path, person, key, body).await?;
        Some((answer.status.as_u16(), answer.json().unwrap_or(Value::Null)))
    }

    pub(crate) async fn answer(
        &self,
        at: usize,
        method: Method,
        path: &str,
        person: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<breakglass::http::Answer> {
        let url = format!("https://localhost:{}{path}", self.replicas[at].addresses.api.port()).parse().unwrap();
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", self.identity(person));
        headers.insert("authorization", HeaderValue::from_str(&bearer).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            headers.insert("idempotency-key", HeaderValue::from_str(key).unwrap());
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.client.send(method, &url, headers, body).await.ok()
    }

    /// Waits until one of them says that it is ready, or that it is not.
    pub(crate) async fn until_ready(&self, at: usize, ready: bool) {
        let status = if ready { 200 } else { 503 };
        until(&format!("{} answers {status}", self.replicas[at].name), async || {
            readyz(self.replicas[at].admin()).await.filter(|(said, _)| *said == status)
        })
        .await;
    }
}
