//! The sink `syslog`, received by rsyslog over mutual TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::receiver::{Receiver, port_in};
use super::{Overrides, assert_arrived, until_caught_up, until_failing};
use crate::harness::{SidecarFile, Site, until};

/// rsyslog with files of its own.
struct Rsyslog {
    folder: PathBuf,
    process: Receiver,
    port: u16,
}

impl Rsyslog {
    async fn start(site: &Site, port: u16) -> Self {
        let folder = site.path().join("rsyslog");
        std::fs::create_dir_all(&folder).unwrap();
        let _absent = std::fs::remove_file(folder.join("port"));
        let (own, tls) = (folder.display(), site.path().display());
        let template = r#"{\"pri\":\"%pri%\",\"time\":\"%timereported:::date-rfc3339%\",\"host\":\"%hostname%\",\"app\":\"%app-name%\",\"id\":\"%msgid%\",\"data\":\"%structured-data:::json%\",\"line\":\"%msg:::json%\"}\n"#;
        let config = format!(
            "global(workDirectory=\"{own}\" maxMessageSize=\"128k\" defaultNetstreamDriver=\"ossl\"\n\
             defaultNetstreamDriverCAFile=\"{tls}/ca.pem\" defaultNetstreamDriverCertFile=\"{tls}/server.pem\"\n\
             defaultNetstreamDriverKeyFile=\"{tls}/server.key\")\n\
             module(load=\"imtcp\" streamDriver.name=\"ossl\" streamDriver.mode=\"1\"\n\
             streamDriver.authMode=\"x509/certvalid\")\n\
             template(name=\"all\" type=\"string\" string=\"{template}\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\" listenPortFileName=\"{own}/port\")\n\
             action(type=\"omfile\" file=\"{own}/received\" template=\"all\")\n"
        );
        std::fs::write(folder.join("rsyslog.conf"), config).unwrap();
        let program = crate::tool("rsyslogd", "target/tools/lib/rsyslog/rsyslogd");
        let modules = program.parent().unwrap();
        let mut command = Command::new(&program);
        command.arg("-n").arg("-f").arg(folder.join("rsyslog.conf")).arg("-i").arg(folder.join("pid"));
        if modules.join("imtcp.so").exists() {
            command.arg("-M").arg(modules).env("LD_LIBRARY_PATH", modules);
        }
        let process = Receiver::start(&mut command);
        let port = if port == 0 { port_in(&folder.join("port")).await } else { port };
        until("rsyslog listens", async || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        Self { folder, process, port }
    }

    fn received(&self) -> Vec<Value> {
        received(&self.folder.join("received"))
    }

    fn lines(&self) -> Vec<String> {
        self.received().iter().map(|message| message["line"].as_str().unwrap().trim_start().to_owned()).collect()
    }
}

fn received(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn sink(port: u16) -> SidecarFile {
    let audit_lines = format!(
        "[[audit.sinks]]\nname = \"siem\"\nkind = \"syslog\"\naddress = \"127.0.0.1:{port}\"\nserver_name = \"localhost\"\n\
         ca = \"../ca.pem\"\ncertificate = \"../feed-payments.pem\"\nkey = \"../feed-payments.key\"\n\
         retry_pause_ms_max = 200\n"
    );
    SidecarFile { audit_lines, ..SidecarFile::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsyslog_receives_every_line_as_it_stands() {
    let site = Site::start().await;
    let rsyslog = Rsyslog::start(&site, 0).await;
    let sidecar = site.sidecar_with(&sink(rsyslog.port)).await;
    sidecar.until_overrides().await;
    Overrides::new(&site, &sidecar).await.some(10).await;
    until_caught_up(&sidecar, "siem").await;
    let count = super::kinds(&sidecar.audit).len();
    until("all messages", async || (rsyslog.received().len() >= count).then_some(())).await;
    assert_arrived(&sidecar.audit, &rsyslog.lines());
    let intent = rsyslog.received().into_iter().find(|message| message["id"] == "intent").unwrap();
    let line: Value = serde_json::from_str(intent["line"].as_str().unwrap().trim_start()).unwrap();
    let uid = line["metadata"]["uid"].as_str().unwrap();
    assert_eq!(intent["data"], format!("[breakglass@32473 uid=\"{uid}\" kind=\"intent\"]"));
    assert_eq!((&intent["app"], &intent["host"]), (&"breakglass".into(), &"s-0".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_dies_gets_what_it_missed_and_overrides_go_on() {
    let site = Site::start().await;
    let mut rsyslog = Rsyslog::start(&site, 0).await;
    let sidecar = site.sidecar_with(&sink(rsyslog.port)).await;
    sidecar.until_overrides().await;
    let overrides = Overrides::new(&site, &sidecar).await;
    overrides.some(3).await;
    until_caught_up(&sidecar, "siem").await;
    rsyslog.process.kill();
    overrides.some(5).await;
    until_failing(&sidecar, "siem", "syslog").await;
    let rsyslog = Rsyslog::start(&site, rsyslog.port).await;
    until_caught_up(&sidecar, "siem").await;
    let count = super::kinds(&sidecar.audit).len();
    let distinct = || rsyslog.lines().into_iter().collect::<std::collections::HashSet<_>>().len();
    until("all messages", async || (distinct() >= count).then_some(())).await;
    assert_arrived(&sidecar.audit, &rsyslog.lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_nothing_up() {
    let site = Site::start().await;
    let rsyslog = Rsyslog::start(&site, 0).await;
    let sidecar = site.sidecar_with(&sink(rsyslog.port)).await;
    sidecar.until_overrides().await;
    let overrides = Overrides::new(&site, &sidecar).await;
    rsyslog.process.signal("STOP");
    overrides.some(20).await;
    rsyslog.process.signal("CONT");
    until_caught_up(&sidecar, "siem").await;
    let count = super::kinds(&sidecar.audit).len();
    until("all messages", async || (rsyslog.received().len() >= count).then_some(())).await;
    assert_arrived(&sidecar.audit, &rsyslog.lines());
}
