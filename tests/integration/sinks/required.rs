//! An override waits for the sinks that must have its intent, and is refused where they do not.

use super::nats::Nats;
use super::{Overrides, segment_lines, until_caught_up};
use crate::harness::{SidecarFile, Site, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_required_sink_overrides_are_refused_and_the_rest_flows() {
    let site = Site::start().await;
    let nats = Nats::start(&site, -1).await;
    let audit_lines = nats.sink("required = [\"local\", \"stream\"]\n");
    let file = SidecarFile { audit_lines, write_deadline_ms: 500, ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let overrides = Overrides::new(&site, &sidecar).await;
    // No stream yet: nobody has the line.
    assert_eq!(overrides.one().await, "audit_unavailable");
    let untaken = "breakglass_sidecar_audit_intents_refused_total{cause=\"untaken\"}";
    assert_eq!(sidecar.metric(untaken).await, 1.0);
    let ordinary =
        sidecar.send(b"GET /v1/contracts/C-1042 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(ordinary.status, 200);
    nats.make_stream().await;
    until("an override goes", async || (overrides.one().await == "override").then_some(())).await;
    until_caught_up(&sidecar, "stream").await;
    let outcomes = sidecar.facts("outcome");
    assert_eq!((&outcomes[0]["end"], &outcomes[0]["cause"]), (&"not_forwarded".into(), &"audit_unavailable".into()));
    assert!(segment_lines(&sidecar.audit).len() > 4);
}
