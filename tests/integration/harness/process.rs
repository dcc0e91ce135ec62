//! A sidecar in a process of its own, for what only a process can show: signals, crashes, another's clock.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use breakglass::config::assertion::UpstreamFacing;
use breakglass::http::{Cleartext, Client, Limits};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::until;

/// See the module. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where the upstream fetches the keys of assertions.
    pub(crate) keys: UpstreamFacing,
}

impl Process {
    /// Starts the program and waits until it says where it serves.
    pub(crate) fn start(file: &Path) -> Self {
        Self::start_with(file, |_| {})
    }

    /// The same, with something changed about the command.
    pub(crate) fn start_with(file: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakglass-sidecar"));
        command.args(["--log", "info", "--log-format", "json", "--config"]).arg(file).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = said
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|fields| fields["message"] == "serving")
            .expect("it serves");
        let named = |name: &str| serving[name].as_str().unwrap();
        let (address, admin) = (named("address").parse().unwrap(), named("admin").parse().unwrap());
        let keys = named("assertion").parse().unwrap();
        // It must never wait for someone to read what it says.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address, admin, keys }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as "TERM".
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("its end", async || self.child.try_wait().unwrap()).await
    }

    /// The value of a metric, as it is written.
    pub(crate) async fn metric(&self, name: &str) -> Option<String> {
        let url = format!("http://{}/metrics", self.admin).parse().unwrap();
        let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
        let answer = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
