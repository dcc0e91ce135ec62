//! The sink `nats`, received by a JetStream server over mutual TLS.

use std::path::PathBuf;
use std::process::Command;

use breakglass::http::{ClientIdentity, ClientTls, Limits, TlsRoots, byte_stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::receiver::Receiver;
use super::{Overrides, assert_arrived, kinds, segment_lines, until_caught_up, until_failing};
use crate::harness::{SidecarFile, Site, until};

pub(super) struct Nats {
    folder: PathBuf,
    site: PathBuf,
    _process: Receiver,
    pub(super) port: u16,
}

impl Nats {
    /// On a free port for -1.
    pub(super) async fn start(site: &Site, port: i32) -> Self {
        let folder = site.path().join("nats");
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|extension| extension == "ports") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let tls = site.path().display();
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{own}\"\njetstream {{ store_dir: \"{own}/store\" }}\n\
             tls {{ cert_file: \"{tls}/server.pem\", key_file: \"{tls}/server.key\", ca_file: \"{tls}/ca.pem\", verify: true, timeout: 30 }}\n\
             authorization {{ user: audit, password: \"s3cret\", timeout: 30 }}\n",
            own = folder.display()
        );
        std::fs::write(folder.join("nats.conf"), config).unwrap();
        std::fs::write(site.path().join("nats-password"), "s3cret\n").unwrap();
        let program = crate::tool("nats-server", "target/tools/bin/nats-server");
        let process = Receiver::start(Command::new(program).arg("-c").arg(folder.join("nats.conf")));
        let port = until("the server's port", async || ports(&folder)).await;
        Self { folder, site: site.path().to_owned(), _process: process, port }
    }

    pub(super) fn sink(&self, more: &str) -> String {
        format!(
            "{more}[[audit.sinks]]\nname = \"stream\"\nkind = \"nats\"\naddress = \"127.0.0.1:{}\"\nserver_name = \"localhost\"\n\
             ca = \"../ca.pem\"\ncertificate = \"../feed-payments.pem\"\nkey = \"../feed-payments.key\"\n\
             subject = \"audit.breakglass\"\nuser = \"audit\"\npassword_file = \"../nats-password\"\n\
             retry_pause_ms_max = 200\n",
            self.port
        )
    }

    /// A request to JetStream's own API.
    async fn ask(&self, subject: &str, body: &Value) -> Value {
        let ca = TlsRoots::from_pem_files([self.site.join("ca.pem")]).unwrap();
        let own =
            ClientIdentity::from_pem_files(&self.site.join("feed-payments.pem"), &self.site.join("feed-payments.key"));
        let tls = ClientTls::new(ca, Some(own.unwrap())).unwrap();
        let tcp = byte_stream::open("127.0.0.1", self.port, true, &Limits::DEFAULT).await.unwrap();
        let mut tcp = BufReader::with_capacity(1, tcp);
        tcp.read_line(&mut String::new()).await.unwrap();
        let stream = byte_stream::secure(tcp.into_inner(), &tls, "localhost", &Limits::DEFAULT).await.unwrap();
        let mut stream = BufReader::new(stream);
        let hello = json!({"verbose": false, "user": "audit", "pass": "s3cret", "headers": true, "lang": "test", "version": "1"});
        let body = body.to_string();
        let text = format!("CONNECT {hello}\r\nSUB answers 1\r\nPUB {subject} answers {}\r\n{body}\r\n", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        // What TLS still holds back goes only then.
        stream.flush().await.unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if line.starts_with("MSG ") {
                let mut answer = vec![0; line.split_whitespace().last().unwrap().parse().unwrap()];
                stream.read_exact(&mut answer).await.unwrap();
                return serde_json::from_slice(&answer).unwrap();
            }
            assert!(!line.is_empty() && !line.starts_with("-ERR"), "{line}");
        }
    }

    pub(super) async fn make_stream(&self) {
        let stream = json!({"name": "AUDIT", "subjects": ["audit.>"], "storage": "file"});
        let answer = self.ask("$JS.API.STREAM.CREATE.AUDIT", &stream).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }

    async fn stored(&self) -> u64 {
        let info = self.ask("$JS.API.STREAM.INFO.AUDIT", &json!({})).await;
        info["state"]["messages"].as_u64().unwrap()
    }

    async fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for seq in 1..=self.stored().await {
            let answer = self.ask("$JS.API.STREAM.MSG.GET.AUDIT", &json!({"seq": seq})).await;
            let data = answer["message"]["data"].as_str().unwrap();
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).unwrap();
            lines.push(String::from_utf8(bytes).unwrap());
        }
        lines
    }

    fn forget(self) -> PathBuf {
        self.folder
    }
}

/// `{"nats":["nats://127.0.0.1:4222"]}`, or `tls://`.
fn ports(folder: &std::path::Path) -> Option<u16> {
    let file = std::fs::read_dir(folder).ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        path.extension().is_some_and(|extension| extension == "ports").then_some(path)
    })?;
    let ports: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_holds_each_line_once_however_often_it_is_given() {
    let site = Site::start().await;
    let nats = Nats::start(&site, -1).await;
    let file = SidecarFile { audit_lines: nats.sink(""), ..SidecarFile::default() };
    let mut sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let overrides = Overrides::new(&site, &sidecar).await;
    overrides.some(5).await;
    // No stream takes the subject: nothing is published into the void, and overrides go on.
    until_failing(&sidecar, "stream", "nats").await;
    nats.make_stream().await;
    until_caught_up(&sidecar, "stream").await;
    assert_eq!(nats.lines().await, segment_lines(&sidecar.audit));
    // A sidecar that has forgotten its place gives everything again: the stream drops what it has.
    sidecar.stop().await;
    std::fs::remove_file(sidecar.audit.join("follow-sink-stream")).unwrap();
    let sidecar = sidecar.restart().await;
    sidecar.until_overrides().await;
    until_caught_up(&sidecar, "stream").await;
    assert_eq!(nats.lines().await, segment_lines(&sidecar.audit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_gets_what_it_missed() {
    let site = Site::start().await;
    let nats = Nats::start(&site, -1).await;
    nats.make_stream().await;
    let file = SidecarFile { audit_lines: nats.sink(""), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let overrides = Overrides::new(&site, &sidecar).await;
    overrides.some(3).await;
    until_caught_up(&sidecar, "stream").await;
    let port = i32::from(nats.port);
    drop(nats.forget());
    overrides.some(4).await;
    until_failing(&sidecar, "stream", "nats").await;
    let nats = Nats::start(&site, port).await;
    until_caught_up(&sidecar, "stream").await;
    let lines = nats.lines().await;
    assert_arrived(&sidecar.audit, &lines);
    assert_eq!(lines.len(), kinds(&sidecar.audit).len());
}
