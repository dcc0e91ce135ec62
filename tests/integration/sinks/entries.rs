//! What the control plane hands on: every entry, once, as an OCSF event that the published schema takes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Ask, Site, until};

const SINK: &str = "sinks = [{ name = \"files\", kind = \"file\", directory = \"entries\" }]\n";

fn events(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder.join("entries")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn until_all(site: &Site) -> Vec<Value> {
    until("every entry", async || {
        let stored = site.control().store().entries(0, 10_000).await.unwrap().len();
        let events = events(site.path());
        (events.len() >= stored).then_some(events)
    })
    .await
}

fn validate(events: &[Value]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ocsf/validate.py");
    let python = crate::tool("python3", "target/venv/bin/python3");
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = child.stdin.take().unwrap();
    events.iter().for_each(|event| writeln!(text, "{event}").unwrap());
    drop(text);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_is_handed_on_once_in_order_and_fits_the_schema() {
    let mut site = Site::start().await;
    site.stop_control().await;
    // Entries from before there was a sink are handed on, too.
    site.control_lines = SINK.to_owned();
    site.start_control().await;
    let grant = site.grant(&Ask::default()).await;
    let refused = json!({
        "service": "payments", "resources": ["contract/C-1042"], "actions": ["no.such"], "reason": "stuck_payment",
        "ticket": "INC-2041", "duration_s": 60,
    });
    assert_ne!(site.api(Method::POST, "/v1/elevations", "alice", refused).await.0, 201);
    site.revoke(&grant).await;
    let told = until_all(&site).await;
    validate(&told);
    let indexes: Vec<_> = told.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(indexes, (0..told.len() as u64).collect::<Vec<_>>());
    let of = |kind: &str| told.iter().find(|event| event["metadata"]["event_code"] == kind).unwrap();
    let (issued, revoked) = (of("grant_issued"), of("grant_revoked"));
    for event in [issued, revoked] {
        assert_eq!((&event["user"]["uid"], &event["privileges"][0]), (&"alice".into(), &"payments.override".into()));
        assert_eq!(event["resources"][0]["uid"], "contract/C-1042");
    }
    assert_eq!(revoked["actor"]["user"]["uid"], "alice");
    // A restart goes on where it was.
    site.stop_control().await;
    site.start_control().await;
    site.grant(&Ask::default()).await;
    let told = until_all(&site).await;
    let indexes: Vec<_> = told.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(indexes, (0..told.len() as u64).collect::<Vec<_>>(), "each once");
}
