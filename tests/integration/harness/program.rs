//! A sidecar in a process of its own: what it says, the signals it gets, the sockets it is passed, how it ends.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use breakglass::http::{Cleartext, Client, Limits};
use bytes::Bytes;
use command_fds::{CommandFdExt as _, FdMapping};
use http::{HeaderMap, Method};
use serde_json::Value;

use super::until;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_breakglass-sidecar");

/// Everything a process and its successors say, line by line: they share one stderr.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<Value>>>);

impl Said {
    fn listen(&self, stderr: ChildStderr) {
        let said = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // What is no JSON is said before there is a log, or by the program's end.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                said.lock().unwrap().push(line);
            }
        });
    }

    /// Every line with this message.
    pub(crate) fn all(&self, message: &str) -> Vec<Value> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// Waits for the line of this message after `skip` others.
    pub(crate) async fn until(&self, message: &str, skip: usize) -> Value {
        until(message, async || self.all(message).into_iter().nth(skip)).await
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().iter().map(|line| format!("{line}\n")).collect()
    }
}

/// See the module. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pub(crate) said: Said,
}

/// How to start one.
#[derive(Debug)]
pub(crate) struct Start {
    program: PathBuf,
    file: PathBuf,
    passed: Vec<OwnedFd>,
    environment: Vec<(&'static str, String)>,
}

impl Start {
    pub(crate) fn new(file: &Path) -> Self {
        Self { program: PROGRAM.into(), file: file.to_owned(), passed: Vec::new(), environment: Vec::new() }
    }

    pub(crate) fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    pub(crate) fn environment(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Passes a descriptor as a service manager does.
    pub(crate) fn pass(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.passed.push(fd.into());
        self
    }

    pub(crate) fn spawn(self) -> Program {
        let mut command = Command::new(&self.program);
        command.args(["--log", "info", "--log-format", "json", "--config"].map(OsStr::new)).arg(&self.file);
        command.stderr(Stdio::piped()).envs(self.environment);
        if !self.passed.is_empty() {
            command.env("LISTEN_FDS", self.passed.len().to_string());
            let place = |(child_fd, parent_fd)| FdMapping { parent_fd, child_fd };
            command.fd_mappings((3..).zip(self.passed).map(place).collect()).unwrap();
        }
        let mut child = command.spawn().unwrap();
        let said = Said::default();
        said.listen(child.stderr.take().unwrap());
        Program { child, said }
    }

    pub(crate) async fn serving(self) -> Program {
        let process = self.spawn();
        process.said.until("serving", 0).await;
        process
    }
}

impl Program {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    fn served(&self, what: &str) -> SocketAddr {
        self.said.all("serving").last().unwrap()[what].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.served("address")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.served("admin")
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("its end", async || self.child.try_wait().unwrap()).await
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Status and document.
    pub(crate) async fn readyz(&self) -> (u16, Value) {
        readyz(self.admin()).await.expect("the admin port answers")
    }

    pub(crate) async fn until_overrides(&self) {
        until_overrides(self.admin()).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(sent.success(), "no process {process}");
}

/// `None` where nobody answers.
pub(crate) async fn readyz(admin: SocketAddr) -> Option<(u16, Value)> {
    let url = format!("http://{admin}/readyz").parse().unwrap();
    let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
    let answer = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.ok()?;
    Some((answer.status.as_u16(), answer.json().unwrap()))
}

pub(crate) async fn until_overrides(admin: SocketAddr) {
    until("overrides lack nothing", async || {
        let (_, document) = readyz(admin).await?;
        document["overrides"].as_bool().filter(|ready| *ready)
    })
    .await;
}

/// A successor that its test ends.
#[derive(Debug)]
pub(crate) struct Orphan(pub(crate) u32);

impl Orphan {
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn is_gone(&self) -> bool {
        // One that nobody has waited for yet has ended too.
        std::fs::read_to_string(format!("/proc/{}/stat", self.0))
            .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).stderr(Stdio::null()).status();
    }
}
