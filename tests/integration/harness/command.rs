//! `breakglass` as a person runs it, `breakglass-control` as an operator does.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output as Ended};
use std::sync::{Arc, Mutex};

use ::breakglass::cli;
use ::breakglass::cli::args::Format;
use ::breakglass::cli::failure::Failure;
use ::breakglass::cli::output::Output;

use super::Site;

/// What is written to a stream.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Runs `breakglass` as `person`: how it ended, its data (as JSON, where it has a choice) and its talk.
pub(crate) async fn breakglass(site: &Site, person: &str, words: &[&str]) -> (Result<u8, Failure>, String, String) {
    let (data, talk) = (Said::default(), Said::default());
    let mut out = Output::of_streams(Box::new(data.clone()), Box::new(talk.clone()), Format::Json);
    let token = site.identity(person);
    let env = move |name: &str| (name == "BREAKGLASS_TOKEN").then(|| token.clone());
    let control = format!("https://localhost:{}", site.control().api_addr.port());
    let ca = site.path().join("ca.pem");
    let place = ["--control", &control, "--ca", ca.to_str().unwrap()];
    let line: Vec<&str> = words.iter().copied().chain(place).collect();
    let ended = cli::perform(&line, &env, &mut out).await;
    (ended, data.text(), talk.text())
}

/// Runs a subcommand of `breakglass-control` with this file: exit code, data, talk.
pub(crate) fn control_command(file: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakglass-control"));
    let Ended { status, stdout, stderr } = command.arg("--config").arg(file).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}
