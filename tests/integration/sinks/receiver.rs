//! A receiver in a process of its own, killed when dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::until;

/// See the module.
pub(super) struct Receiver(Child);

impl Receiver {
    pub(super) fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// It stops reading, and goes on.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port that a receiver wrote into a file.
pub(super) async fn port_in(file: &Path) -> u16 {
    until("the receiver's port", async || std::fs::read_to_string(file).ok()?.trim().parse().ok()).await
}
