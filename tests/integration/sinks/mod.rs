//! Sinks: what the log holds arrives, at least once and in order, at real receivers; one that is slow or dead never stands in
//! an override's way unless it must have the line, and shows.

mod entries;
mod files;
mod nats;
mod otlp;
mod receiver;
mod required;
mod stdout;
mod syslog;
mod turn;

use std::collections::HashSet;
use std::path::Path;

use breakglass::wire::api::GrantView;

use crate::harness::{Ask, Site, TestSidecar, lines, raw_request, until};

/// The lines of the segments, byte for byte.
fn segment_lines(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Every line arrived, byte for byte, and the first arrivals are in order.
fn assert_arrived(audit: &Path, arrived: &[String]) {
    let mut seen = HashSet::new();
    let first: Vec<_> = arrived.iter().filter(|line| seen.insert(line.as_str())).cloned().collect();
    assert_eq!(first, segment_lines(audit));
}

/// A grant, and requests under it.
struct Overrides<'a> {
    sidecar: &'a TestSidecar,
    grant: GrantView,
    identity: String,
}

impl<'a> Overrides<'a> {
    async fn new(site: &Site, sidecar: &'a TestSidecar) -> Self {
        Self { sidecar, grant: site.grant(&Ask::default()).await, identity: site.identity("alice") }
    }

    /// The code of one more.
    async fn one(&self) -> String {
        let headers = [("Break-Glass", self.grant.id.as_str()), ("Break-Glass-Identity", self.identity.as_str())];
        self.sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await.code().to_owned()
    }

    async fn some(&self, count: usize) {
        let before = self.sidecar.facts("outcome").len();
        for _ in 0..count {
            assert_eq!(self.one().await, "override");
        }
        self.sidecar.until_facts("outcome", before + count).await;
    }
}

/// Waits until the sink has all there is.
async fn until_caught_up(sidecar: &TestSidecar, sink: &str) {
    let lag = format!("breakglass_sidecar_sink_lag_lines{{sink=\"{sink}\"}}");
    let taken = format!("breakglass_sidecar_sink_lines_total{{sink=\"{sink}\"}}");
    until("no line waits", async || {
        (sidecar.metric(&taken).await > 0.0 && sidecar.metric(&lag).await == 0.0).then_some(())
    })
    .await;
}

async fn until_failing(sidecar: &TestSidecar, sink: &str, kind: &str) {
    let up = format!("breakglass_sidecar_sink_up{{sink=\"{sink}\",kind=\"{kind}\"}}");
    let errors = format!("breakglass_sidecar_sink_errors_total{{sink=\"{sink}\"}}");
    until("the sink fails", async || {
        (sidecar.metric(&errors).await > 0.0 && sidecar.metric(&up).await == 0.0).then_some(())
    })
    .await;
}

/// The facts of the lines in the audit folder.
fn kinds(audit: &Path) -> Vec<String> {
    let kind = |line: &serde_json::Value| line["unmapped"]["break_glass"]["kind"].as_str().unwrap().to_owned();
    lines(audit).iter().map(kind).collect()
}
