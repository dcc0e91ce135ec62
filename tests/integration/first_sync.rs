//! A request that is under way while a sidecar's table of grants becomes whole.

use breakglass::sidecar::enforce::{Examined, Presented};
use breakglass::sidecar::framing::HeadNote;
use breakglass::sidecar::intake;
use breakglass::sidecar::signature_limit::SignatureLimit;
use http::{HeaderMap, HeaderValue, Method};

use crate::harness::{Ask, SidecarFile, Site, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_comes_after_it_was_looked_up_is_not_called_unknown() {
    let mut site = Site::start().await;
    let grant = site.grant(&Ask::default()).await;
    site.stop_control().await;
    let sidecar = site.sidecar_with(&SidecarFile::default()).await;
    let mut headers = HeaderMap::new();
    headers.insert("break-glass", HeaderValue::from_str(grant.id.as_str()).unwrap());
    headers.insert("break-glass-identity", HeaderValue::from_str(&site.identity("alice")).unwrap());
    let (taken, setup, note) = (intake::take(&mut headers), sidecar.shared().setup(), HeadNote::default());
    let presented = Presented {
        method: &Method::POST,
        path: "/v1/contracts/C-1042/echo",
        query: None,
        authority_mismatch: false,
        upgrade: false,
        taken: &taken,
        note: &note,
        client: [127, 0, 0, 1].into(),
        certificates: &[],
    };
    let limit = SignatureLimit::default();
    let code = |examined: &Examined<'_>| examined.decide(sidecar.shared(), None).code();
    let looked_up = || Examined::new(sidecar.shared(), &setup, &presented, &limit);
    // Once the issuer's keys have come, only the table is missing.
    let before =
        until("the issuer's keys", async || Some(looked_up()).filter(|examined| code(examined) == "feed_not_synced"))
            .await;
    site.start_control().await;
    sidecar.until_overrides().await;
    assert_eq!(code(&before), "feed_not_synced");
    assert_eq!(code(&looked_up()), "override");
}
