//! `breakglass witness` as a service: told to end, it answers what was begun and ends in order.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::until;

/// The example of golang.org/x/mod/sumdb/note.
const LOG: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

/// Killed when dropped.
struct Witness(Child);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, and where it listens.
fn start(state: &std::path::Path) -> (Witness, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakglass"));
    command
        .args(["witness", "--name", "witness.example", "--log", LOG, "--listen", "127.0.0.1:0", "--state"])
        .arg(state);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let heard = said.find_map(|line| Some(line.split_once("listening on ")?.1.split(';').next()?.to_owned())).unwrap();
    std::thread::spawn(move || said.for_each(drop));
    (Witness(child), heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_it_answers_what_was_begun_and_exits_with_zero() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let (mut witness, address) = start(&folder.path().join("state"));
        let mut begun = TcpStream::connect(&address).await.unwrap();
        begun
            .write_all(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        // It reads the body: the request is under way.
        let mut asked = [0; 25];
        begun.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        let idle = TcpStream::connect(&address).await.unwrap();
        let sent = Command::new("kill").args([signal, &witness.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
        until("nobody is let in any more", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
        begun.write_all(b"old?").await.unwrap();
        let mut answer = String::new();
        begun.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let status = until("its end", async || witness.0.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0), "{signal}");
        drop(idle);
    }
}
