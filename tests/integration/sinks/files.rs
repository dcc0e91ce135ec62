//! The sink `file`, and what outlives a process.

use std::path::Path;

use super::{Overrides, assert_arrived, kinds, until_caught_up};
use crate::harness::{Process, SidecarFile, Site, raw_request, until};

const SINK: &str = "[[audit.sinks]]\nname = \"files\"\nkind = \"file\"\ndirectory = \"../out\"\n";

/// All files of the sink, in order.
fn arrived(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_in_the_files_the_last_one_too_and_a_restart_goes_on() {
    let site = Site::start().await;
    let file = SidecarFile { audit_lines: SINK.to_owned(), ..SidecarFile::default() };
    let mut sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let out = site.path().join("out");
    Overrides::new(&site, &sidecar).await.some(5).await;
    until_caught_up(&sidecar, "files").await;
    assert_arrived(&sidecar.audit, &arrived(&out));
    sidecar.stop().await;
    assert_eq!(kinds(&sidecar.audit).last().unwrap(), "log_ended");
    assert_eq!(arrived(&out).len(), kinds(&sidecar.audit).len(), "handed on before it ended, each once");
    let sidecar = sidecar.restart().await;
    sidecar.until_overrides().await;
    Overrides::new(&site, &sidecar).await.some(2).await;
    until_caught_up(&sidecar, "files").await;
    assert_eq!(arrived(&out).len(), kinds(&sidecar.audit).len(), "nothing twice");
    assert_arrived(&sidecar.audit, &arrived(&out));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_loses_no_line() {
    let site = Site::start().await;
    let config = site.sidecar_file(&SidecarFile { audit_lines: SINK.to_owned(), ..SidecarFile::default() });
    let (out, audit) = (site.path().join("out"), config.parent().unwrap().join("audit"));
    for _ in 0..3 {
        let process = Process::start(&config);
        site.believe(&process.keys);
        let ready = "breakglass_sidecar_audit_ready";
        until("its log", async || process.metric(ready).await.filter(|value| value == "1")).await;
        let ca = site.path().join("ca.pem");
        for n in 0..20 {
            let identity = site.identity("alice");
            let headers = [("Break-Glass", "none"), ("Break-Glass-Identity", identity.as_str())];
            let mut raw = crate::harness::Raw::open(process.address, &ca).await;
            raw.write(&raw_request("POST", &format!("/v1/contracts/C-{n}/echo"), &headers, "")).await;
            raw.answer().await;
        }
        process.kill();
    }
    // What was cut off or never handed on is, by the next one.
    let process = Process::start(&config);
    let lag = "breakglass_sidecar_sink_lag_lines{sink=\"files\"}";
    let taken = "breakglass_sidecar_sink_lines_total{sink=\"files\"}";
    until("no line waits", async || {
        let has_taken = process.metric(taken).await.is_some_and(|count| count != "0");
        process.metric(lag).await.filter(|lines| lines == "0" && has_taken)
    })
    .await;
    assert!(kinds(&audit).iter().filter(|kind| *kind == "refusal").count() > 0);
    assert_arrived(&audit, &arrived(&out));
}
