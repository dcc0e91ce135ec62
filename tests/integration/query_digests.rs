//! Query values as keyed digests: the same value can be told, and nothing of it be read.

use crate::harness::{Ask, SidecarFile, Site, raw_request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_value_can_be_compared_and_none_can_be_read() {
    let site = Site::start().await;
    std::fs::write(site.path().join("digest.key"), [7; 32]).unwrap();
    let audit_lines = "query_digests = { key_file = \"../digest.key\", parameters = [\"invoice\"] }\n".to_owned();
    let sidecar = site.sidecar_with(&SidecarFile { audit_lines, ..SidecarFile::default() }).await;
    sidecar.until_overrides().await;
    let (grant, identity) = (site.grant(&Ask::default()).await, site.identity("alice"));
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    for query in ["invoice=47114711&secret=s3cr3t", "invoice=47114711", "invoice=8", "other=1"] {
        let path = format!("/v1/contracts/C-1042/echo?{query}");
        sidecar.send(&raw_request("POST", &path, &headers, "")).await;
    }
    let refusals = sidecar.until_facts("refusal", 4).await;
    let digests: Vec<_> = refusals.iter().map(|facts| facts["query_digests"]["values"].clone()).collect();
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[1], digests[2]);
    assert_eq!((&digests[0][0]["name"], digests[0].as_array().unwrap().len()), (&"invoice".into(), 1));
    assert!(refusals[3].get("query_digests").is_none());
    let text: String = sidecar.lines().iter().map(ToString::to_string).collect();
    assert!(!text.contains("47114711") && !text.contains("s3cr3t"));
}
