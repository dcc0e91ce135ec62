//! A sidecar in this process, and what its admin port and its folder say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use breakglass::audit::{Expectation, verify_folder};
use breakglass::clock::Clock;
use breakglass::config::assertion::UpstreamFacing;
use breakglass::config::sidecar::SidecarConfig;
use breakglass::http::{Cleartext, Client, Limits};
use breakglass::sidecar::reload::ReloadError;
use breakglass::sidecar::shared::Shared;
use breakglass::sidecar::{Running, Sidecar};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::{H2, Raw, until};

/// See the module.
pub(crate) struct TestSidecar {
    running: Option<Running>,
    shared: Arc<Shared>,
    clock: Clock,
    ca: PathBuf,
    pub(crate) file: PathBuf,
    pub(crate) audit: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where the upstream fetches the keys of assertions.
    pub(crate) keys: UpstreamFacing,
}

impl TestSidecar {
    pub(crate) async fn start(file: PathBuf, clock: Clock) -> Self {
        let config = SidecarConfig::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let audit = config.audit.directory.clone();
        let own_clock = clock.clone();
        let started = tokio::task::spawn_blocking(move || Sidecar::start(config, own_clock));
        let running = started.await.unwrap().unwrap();
        let ca = file.parent().unwrap().parent().unwrap().join("ca.pem");
        let (address, admin, shared) = (running.address(), running.admin_address(), Arc::clone(running.shared()));
        let keys = running.assertion_address().clone();
        Self { running: Some(running), shared, clock, ca, file, audit, address, admin, keys }
    }

    /// Ends it in order, unless it has ended, and starts it again on the same files.
    pub(crate) async fn restart(mut self) -> Self {
        if self.running.is_some() {
            self.stop().await;
        }
        Self::start(self.file.clone(), self.clock.clone()).await
    }

    /// Has it read its files anew.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        self.running.as_ref().unwrap().reload().await
    }

    /// Ends it in order.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        tokio::task::spawn_blocking(move || running.stop()).await.unwrap().unwrap();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw::open(self.address, &self.ca).await
    }

    /// A connection that has agreed on `protocol`, and no more.
    pub(crate) async fn silent(&self, protocol: &[u8]) -> Raw {
        Raw::open_as(self.address, &self.ca, protocol).await
    }

    pub(crate) async fn h2(&self) -> H2 {
        H2::open(self.address, &self.ca).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, request: &[u8]) -> super::Answer {
        let mut raw = self.raw().await;
        raw.write(request).await;
        raw.answer().await
    }

    pub(crate) async fn admin(&self, method: Method, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin).parse().unwrap();
        let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
        let answer = client.send(method, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    pub(crate) async fn readyz(&self) -> Value {
        serde_json::from_str(&self.admin(Method::GET, "/readyz").await).unwrap()
    }

    /// Waits until overrides lack nothing.
    pub(crate) async fn until_overrides(&self) {
        until("overrides lack nothing", async || self.readyz().await["overrides"].as_bool().filter(|ready| *ready))
            .await;
    }

    /// Waits until overrides lack `what`.
    pub(crate) async fn until_lacking(&self, what: &str) {
        until(what, async || self.lacks(what).await.then_some(())).await;
    }

    /// Waits until the issuer's keys are here.
    pub(crate) async fn until_issuer(&self) {
        until("the issuer's keys", async || (!self.lacks("identity_keys").await).then_some(())).await;
    }

    async fn lacks(&self, what: &str) -> bool {
        let lacking = self.readyz().await["lacking"].clone();
        lacking.as_array().unwrap().iter().any(|lack| lack == what)
    }

    /// The value of a metric with exactly this name and these labels, zero where it is not shown.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.admin(Method::GET, "/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The audit log's whole lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        lines(&self.audit)
    }

    /// The break-glass member of every line of a kind.
    pub(crate) fn facts(&self, kind: &str) -> Vec<Value> {
        let facts = self.lines().into_iter().map(|line| line["unmapped"]["break_glass"].clone());
        facts.filter(|facts| facts["kind"] == kind).collect()
    }

    /// Waits for the log to have `count` lines of `kind`.
    pub(crate) async fn until_facts(&self, kind: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} lines of {kind}"), async || Some(self.facts(kind)).filter(|facts| facts.len() >= count))
            .await
    }

    /// Checks the folder, which must be sound.
    pub(crate) fn verified(&self) -> breakglass::audit::verify::Report {
        let report = verify_folder(&self.audit, Expectation::default()).unwrap();
        assert!(report.is_sound(), "{:?}", report.first_problem);
        report
    }
}

impl Drop for TestSidecar {
    /// A runtime may not end within another, so the end has a thread of its own.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = std::thread::spawn(move || running.stop()).join();
        }
    }
}

/// Every whole line of the segments in `folder`, in order.
pub(crate) fn lines(folder: &Path) -> Vec<Value> {
    let mut segments: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    segments.sort();
    let texts = segments.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    texts.flat_map(|text| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>()).collect()
}
