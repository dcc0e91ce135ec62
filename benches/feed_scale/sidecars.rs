//! This program once more, as a crowd of sidecars: when all are there, and the order to leave all at once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

/// The argument by which the program knows what it is.
pub(crate) const MODE: &str = "crowd";
/// Longer than anything that goes well takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// Killed when dropped.
pub(crate) struct Sidecars {
    child: Child,
    orders: ChildStdin,
    said: mpsc::Receiver<Return>,
}

/// All are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Return {
    /// Since they left.
    pub(crate) took_ms: u64,
    /// Attempts that were answered with 503 and `Retry-After`.
    pub(crate) put_off: u64,
    pub(crate) failed: u64,
}

impl Drop for Sidecars {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Sidecars {
    pub(crate) fn start(folder: &Path, replica: SocketAddr, count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([MODE.as_ref(), folder.as_os_str(), replica.to_string().as_ref(), count.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (line, said) = mpsc::channel(1);
        std::thread::spawn(move || {
            for text in BufReader::new(answers).lines().map_while(Result::ok) {
                if line.blocking_send(Return::read(&text)).is_err() {
                    return;
                }
            }
        });
        Self { child, orders, said }
    }

    pub(crate) async fn until_there(&mut self) -> Return {
        let there = tokio::time::timeout(PATIENCE, self.said.recv()).await;
        there.expect("all feeds are there in time").expect("the feeds' process lives")
    }

    /// All leave at once and come back.
    pub(crate) async fn storm(&mut self) -> Return {
        self.orders.write_all(b"leave\n").unwrap();
        self.until_there().await
    }
}

impl Return {
    fn read(text: &str) -> Self {
        let mut numbers = text.split(' ').map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Self { took_ms: next(), put_off: next(), failed: next() }
    }
}
