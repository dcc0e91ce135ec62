//! Observe mode: everything is evaluated, recorded and counted, and forwarded as ordinary traffic.

use crate::harness::{Ask, SERVICE, SidecarFile, Site, raw_request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observing_forwards_all_but_framing_conflicts_without_permit_and_records_what_would_be() {
    let site = Site::start().await;
    let file = SidecarFile { service: SERVICE.replacen("enforce", "observe", 1), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    for target in ["/v1/contracts/C-1042/echo", "/v1/contracts/C-2077/echo"] {
        let answer = sidecar.send(&raw_request("POST", target, &headers, "x")).await;
        assert_eq!(answer.code(), "pass", "{target}");
        assert_eq!(answer.echoed("break-glass-identity"), None, "our own headers are taken off all the same");
    }
    let conflict = raw_request("POST", "/v1/echo", &[("Content-Length", "1")], "xy");
    assert_eq!(sidecar.send(&conflict).await.code(), "framing_conflict");
    let observed = sidecar.until_facts("observed", 2).await;
    let decisions: Vec<_> = observed.iter().map(|facts| facts["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["override", "resource_out_of_scope"]);
    assert!(sidecar.facts("intent").is_empty());
    assert_eq!(sidecar.metric("breakglass_sidecar_would_override_total").await, 1.0);
    let refused = "breakglass_sidecar_would_refuse_total{code=\"resource_out_of_scope\"}";
    assert_eq!(sidecar.metric(refused).await, 1.0);
    sidecar.verified();
}
