//! Where no key is certified: overrides wait with a reason, ordinary traffic notices nothing.

use std::time::Duration;

use breakglass::domain::{ServiceName, WallTime};
use breakglass::token::assertion::certificate::{CertifiedAssertionKey, certify_assertion_key};
use breakglass::token::{SigningKey, certify_key};
use breakglass::wire::feed::FromControl;

use super::scripted_control::{Answer as Script, ScriptedControl};
use super::*;
use crate::harness::until;

fn now() -> WallTime {
    Clock::System.wall()
}

fn hour() -> Duration {
    Duration::from_secs(3600)
}

/// As it ought to be, for the sidecar `s-0`.
fn subject(key: &PublicKey) -> CertifiedAssertionKey {
    CertifiedAssertionKey {
        key: key.clone(),
        service: "payments".parse().unwrap(),
        instance: "s-0".parse().unwrap(),
        not_before: now().minus(Duration::from_secs(60)),
        not_after: now().plus(hour()),
    }
}

fn certified(subject: &CertifiedAssertionKey, root: &SigningKey) -> Option<FromControl> {
    Some(FromControl::AssertionCertificate { certificate: certify_assertion_key(subject, root).unwrap() })
}

/// Asks for an override and for ordinary traffic of a sidecar before such a control plane, once it has spoken.
async fn under(script: Box<Script>, heard: impl Fn(&TestSidecar) -> bool) -> (Answer, Stage) {
    let mut site = Site::start().await;
    let grant = ScriptedControl::start(&mut site, script).await;
    let upstream = Recorder::start(OK, |_| {}).await;
    let file = SidecarFile { upstream: Some(upstream.url()), ..SidecarFile::default() };
    let sidecar = site.sidecar_with(&file).await;
    until("all but the key is there", async || {
        let lacking = sidecar.readyz().await["lacking"].clone();
        let lacking: Vec<_> =
            lacking.as_array().unwrap().iter().map(|lack| lack.as_str().unwrap().to_owned()).collect();
        (lacking.iter().all(|lack| lack == "assertion_key") && heard(&sidecar)).then_some(())
    })
    .await;
    let identity = site.identity("alice");
    let own = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let ordinary = sidecar.send(&raw_request("POST", RELEASE, &[], "")).await;
    assert_eq!((ordinary.status, upstream.heads().len()), (200, 1), "ordinary traffic goes on");
    let answer = sidecar.send(&raw_request("POST", RELEASE, &own, "")).await;
    (answer, Stage { site, upstream, sidecar })
}

async fn is_refused(script: Box<Script>, heard: impl Fn(&TestSidecar) -> bool) {
    let (answer, stage) = under(script, heard).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.code(), "assertion_unavailable");
    assert_eq!(stage.upstream.heads().len(), 1, "nothing was forwarded");
    let refusals = stage.sidecar.until_facts("refusal", 1).await;
    assert_eq!(refusals.last().unwrap()["decision"], "assertion_unavailable", "{refusals:?}");
    assert!(stage.sidecar.facts("intent").is_empty());
    assert!(key_set(&stage.sidecar).await.keys.is_empty());
    let empty = asked(&keys_url(&stage.sidecar), Method::GET).await;
    assert_eq!(empty.headers["cache-control"], "no-store", "the first key may come any moment");
}

fn was_refused(sidecar: &TestSidecar) -> bool {
    sidecar.shared().assertions.counts().refused() > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_certifies_lets_overrides_through() {
    let script: Box<Script> = Box::new(|root, key| certified(&subject(key), root));
    let (answer, stage) = under(script, |sidecar| sidecar.shared().assertions.counts().certified() > 0).await;
    assert_eq!((answer.status, stage.upstream.heads().len()), (200, 2), "the script is sound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_never_answers_leaves_overrides_waiting() {
    is_refused(Box::new(|_, _| None), |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_refuses_leaves_overrides_waiting() {
    let script: Box<Script> = Box::new(|_, key| {
        let (x, why) = (key.to_string(), "not now\r\n".to_owned());
        Some(FromControl::AssertionRefused { x, why, retry_after_s: 3_600 })
    });
    is_refused(script, was_refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_key_s_certificate_is_none_for_assertions() {
    let script: Box<Script> = Box::new(|root, key| {
        let certificate = certify_key(key, now().minus(hour()), now().plus(hour()), root).unwrap();
        Some(FromControl::AssertionCertificate { certificate })
    });
    is_refused(script, was_refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_sidecar_key_root_or_time_is_not_used() {
    let service: ServiceName = "ledger".parse().unwrap();
    let scripts: [Box<Script>; 5] = [
        Box::new(move |root, key| certified(&CertifiedAssertionKey { service: service.clone(), ..subject(key) }, root)),
        Box::new(|root, key| {
            certified(&CertifiedAssertionKey { instance: "s-9".parse().unwrap(), ..subject(key) }, root)
        }),
        Box::new(|root, _| certified(&subject(SigningKey::generate().unwrap().public()), root)),
        Box::new(|_, key| certified(&subject(key), &SigningKey::generate().unwrap())),
        Box::new(|root, key| certified(&CertifiedAssertionKey { not_after: now(), ..subject(key) }, root)),
    ];
    for script in scripts {
        is_refused(script, was_refused).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_key_certifies_no_grant() {
    let mut site = Site::start().await;
    let script: Box<Script> = Box::new(|root, key| {
        // Were it taken for a grant key, this line would replace the set.
        let certificate = certify_assertion_key(&subject(key), root).unwrap();
        Some(FromControl::Keys { revision: 1, keys: vec![certificate] })
    });
    ScriptedControl::start(&mut site, script).await;
    let sidecar = site.sidecar_with(&SidecarFile::default()).await;
    until("the keys are replaced", async || {
        sidecar.shared().keys().is_empty().then_some(()).filter(|()| sidecar.shared().standing.revision() > 0)
    })
    .await;
    assert!(sidecar.shared().grants.all().is_empty(), "the grants of keys that are gone end");
}
