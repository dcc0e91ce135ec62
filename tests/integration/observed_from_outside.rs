//! What tools we did not write say of what we write: promtool of the metrics, the OCSF schema of the audit log.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use breakglass::http::{Cleartext, Client, Limits};
use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::harness::{Ask, Site, TestSidecar, raw_request};
use crate::tool;

pub(crate) fn run(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Leaves one of every kind of line and moves most metrics.
async fn some_of_everything(site: &Site, sidecar: &TestSidecar) {
    let grant = site.grant(&Ask::default()).await;
    let once = site.grant(&Ask { max_uses: Some(1), ..Ask::default() }).await;
    let identity = site.identity("alice");
    let long = "ü".repeat(40);
    for (credential, target) in [
        (grant.id.as_str(), "/v1/contracts/C-1042/echo"),
        (grant.id.as_str(), "/v1/contracts/C-1042/echo?dry_run=1"),
        (grant.id.as_str(), "/v1/contracts/C-2077/echo"),
        (once.id.as_str(), "/v1/contracts/C-1042/echo"),
        (once.id.as_str(), "/v1/contracts/C-1042/echo"),
        (grant.id.as_str(), "/v1/contracts/C-1042;x/echo"),
        ("garbage!", "/v1/echo"),
        ("g-zzzzzzzzzzzz", "/v1/contracts/C-1042/echo?<script>=1&a=b"),
    ] {
        for method in ["POST", "BREW"] {
            let headers = [("Break-Glass", credential), ("Break-Glass-Identity", &identity), ("User-Agent", &long)];
            sidecar.send(&raw_request(method, target, &headers, "body")).await;
            let mut h2 = sidecar.h2().await;
            let headers = [("break-glass", credential), ("break-glass-identity", &identity)];
            if !target.contains('<') {
                h2.send(method, target, &headers, "body").await;
            }
        }
    }
    sidecar
        .send(b"POST / HTTP/1.1\r\nHost: h\r\nBreak-Glass: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        .await;
    site.revoke(&grant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_accepts_the_metrics_of_both_planes() {
    let promtool = tool("promtool", "target/tools/bin/promtool");
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    some_of_everything(&site, &sidecar).await;
    let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
    let url = format!("http://{}/metrics", site.control().admin_addr).parse().unwrap();
    let control = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
    let control = String::from_utf8(control.body.to_vec()).unwrap();
    for (plane, text) in [("sidecar", sidecar.admin(Method::GET, "/metrics").await), ("control", control)] {
        assert!(text.lines().count() > 20, "{plane}: {text}");
        let mut command = Command::new(&promtool);
        command.args(["check", "metrics"]);
        let output = run(command, &text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{plane}: {said}");
    }
}

#[test]
fn promtool_accepts_the_alert_rules_and_they_ask_for_what_there_is() {
    let mut command = Command::new(tool("promtool", "target/tools/bin/promtool"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus-alerts.yml");
    command.args(["check", "rules", "--lint=all", "--lint-fatal"]).arg(&file);
    let output = run(command, "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let mut command = Command::new(tool("promtool", "target/tools/bin/promtool"));
    command.args(["check", "config"]).arg(file.with_file_name("prometheus.yml"));
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = include_str!("../../docs/metrics.md");
    let rules = std::fs::read_to_string(file).unwrap();
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names: Vec<&str> =
        words.filter(|word| word.starts_with("breakglass_") || word.starts_with("process_")).collect();
    assert!(names.len() > 10, "rules were found");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "no metric is called {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_audit_line_fits_the_published_ocsf_schema() {
    let python = tool("tests/run's Python", "target/venv/bin/python");
    let site = Site::start().await;
    let mut sidecar = site.sidecar().await;
    some_of_everything(&site, &sidecar).await;
    sidecar.stop().await;
    let lines: Vec<String> = sidecar.lines().iter().map(ToString::to_string).collect();
    for kind in ["log_started", "intent", "outcome", "refusal", "log_ended"] {
        assert!(!sidecar.facts(kind).is_empty(), "no line of {kind}");
    }
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ocsf/validate.py"));
    let output = run(command, &(lines.join("\n") + "\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
