//! The sink `otlp`, received by a server that decodes by the published protocol definition.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::receiver::{Receiver, port_in};
use super::{Overrides, assert_arrived, kinds, until_caught_up};
use crate::harness::{SidecarFile, Site};

struct Otlp {
    folder: PathBuf,
    _process: Receiver,
    port: u16,
}

impl Otlp {
    async fn start(site: &Site, answers: &str) -> Self {
        let folder = site.path().join("otlp");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("answers"), answers).unwrap();
        let python = crate::tool("python3", "target/venv/bin/python3");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/receiver.py");
        let process = Receiver::start(Command::new(python).arg(script).arg(&folder));
        let port = port_in(&folder.join("port")).await;
        Self { folder, _process: process, port }
    }

    fn sink(&self) -> SidecarFile {
        let audit_lines = format!(
            "[[audit.sinks]]\nname = \"collector\"\nkind = \"otlp\"\nurl = \"http://127.0.0.1:{}/v1/logs\"\n\
             retry_pause_ms_max = 200\nbatch_lines_max = 3\n",
            self.port
        );
        SidecarFile { audit_lines, ..SidecarFile::default() }
    }

    fn records(&self) -> Vec<Value> {
        assert!(
            !self.folder.join("malformed").exists(),
            "{:?}",
            std::fs::read_to_string(self.folder.join("malformed"))
        );
        let text = std::fs::read_to_string(self.folder.join("records")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn lines(&self) -> Vec<String> {
        self.records().iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_busy_or_broken_gets_every_line_in_the_end() {
    let site = Site::start().await;
    let receiver = Otlp::start(&site, "503 1\n429\n502\n504\n413\n500\n401\n").await;
    let sidecar = site.sidecar_with(&receiver.sink()).await;
    sidecar.until_overrides().await;
    Overrides::new(&site, &sidecar).await.some(10).await;
    until_caught_up(&sidecar, "collector").await;
    assert_arrived(&sidecar.audit, &receiver.lines());
    let records = receiver.records();
    let intent = records.iter().find(|record| record["event"] == "breakglass.intent").unwrap();
    let line: Value = serde_json::from_str(intent["body"].as_str().unwrap()).unwrap();
    assert_eq!(intent["attributes"]["log.record.uid"], line["metadata"]["uid"]);
    assert_eq!(intent["time_unix_nano"].as_u64(), line["time"].as_u64().map(|ms| ms * 1_000_000));
    assert_eq!(intent["resource"]["service.name"], "breakglass-sidecar");
    assert_eq!(intent["resource"]["service.instance.id"], "s-0");
    assert!(sidecar.metric("breakglass_sidecar_sink_errors_total{sink=\"collector\"}").await >= 6.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_rejects_is_counted_and_the_rest_arrives() {
    let site = Site::start().await;
    let receiver = Otlp::start(&site, "partial 1\n").await;
    let sidecar = site.sidecar_with(&receiver.sink()).await;
    sidecar.until_overrides().await;
    Overrides::new(&site, &sidecar).await.some(4).await;
    until_caught_up(&sidecar, "collector").await;
    assert_eq!(sidecar.metric("breakglass_sidecar_sink_rejected_lines_total{sink=\"collector\"}").await, 1.0);
    assert_eq!(receiver.lines().len() + 1, kinds(&sidecar.audit).len());
}
