//! A person's laptop: a state folder, `breakglass` run in a terminal (util-linux `script` gives it one) or without.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use breakglass::cli::shell_word;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::harness::{Site, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_breakglass");

/// See the module.
pub(super) struct Laptop {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

/// How a program without a terminal ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) data: String,
    pub(super) talk: String,
}

impl Laptop {
    pub(super) fn new(site: &Site) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = format!("https://localhost:{}", site.control().api_addr.port());
        let ca = site.path().join("ca.pem").to_str().unwrap().to_owned();
        let state = folder.path().to_str().unwrap().to_owned();
        let environment = vec![("BREAKGLASS_CONTROL", control), ("BREAKGLASS_CA", ca), ("XDG_STATE_HOME", state)];
        Self { folder, environment }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.environment.push((name, value));
    }

    /// What is kept of the sign-in.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        let files = std::fs::read_dir(self.path().join("breakglass/sign-in")).ok()?;
        let mut files = files.map(|file| file.unwrap().path());
        files.find(|file| file.extension().is_some_and(|extension| extension == "json"))
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("NO_COLOR", "1");
        command.env("HOME", self.path()).envs(self.environment.iter().cloned()).kill_on_drop(true);
        command
    }

    /// Starts it without a terminal.
    pub(super) fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(PROGRAM);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs it to its end, without a terminal.
    pub(super) async fn run(&self, words: &[&str]) -> Ended {
        ended(self.start(words)).await
    }

    /// The same, and it must end well: what it printed.
    pub(super) async fn data(&self, words: &[&str]) -> String {
        let ended = self.run(words).await;
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.talk);
        ended.data
    }

    /// Starts it in a terminal of its own.
    pub(super) fn terminal(&self, words: &[&str]) -> Terminal {
        let line: Vec<String> = std::iter::once(PROGRAM).chain(words.iter().copied()).map(shell_word).collect();
        let mut command = self.command("script");
        command.args(["-q", "-f", "-e", "-c", &line.join(" "), "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&said);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer).await {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Terminal { child, keyboard, said }
    }
}

pub(super) async fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), data: text(output.stdout), talk: text(output.stderr) }
}

/// A program in a terminal.
pub(super) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    said: Arc<Mutex<String>>,
}

impl Terminal {
    pub(super) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits for a text to be shown; all that was shown until then.
    pub(super) async fn until(&self, text: &str) -> String {
        until(&format!("{text:?} on the screen: {}", self.said()), async || {
            Some(self.said()).filter(|said| said.contains(text))
        })
        .await
    }

    /// The word that follows a text, once both are shown.
    pub(super) async fn word_after(&self, text: &str) -> String {
        until(&format!("a word after {text:?} on the screen"), async || {
            let said = self.said();
            let (_, rest) = said.split_once(text)?;
            let (word, _) = rest.trim_start_matches(' ').split_once('\r')?;
            Some(word.to_owned())
        })
        .await
    }

    pub(super) async fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits for its end: its exit code, and all that was shown.
    pub(super) async fn ended(mut self) -> (i32, String) {
        let status = until("the program's end", async || self.child.try_wait().unwrap()).await;
        (status.code().unwrap_or(-1), self.said())
    }
}
