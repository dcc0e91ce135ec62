//! The provider rotates its keys and goes down while traffic runs: nothing fails that should not, and nothing passes that
//! should not.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{called, claims, granted, header, request, used};
use crate::harness::{Provider, Site, TestSidecar, raw_request, until};

/// Answers by code.
type Codes = BTreeMap<String, usize>;

/// Requests without pause until it is told to stop.
#[derive(Default)]
struct Traffic {
    stop: AtomicBool,
    answers: Mutex<Codes>,
}

impl Traffic {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, code: String) {
        *self.answers.lock().unwrap().entry(code).or_default() += 1;
    }

    fn count(&self) -> usize {
        self.answers.lock().unwrap().values().sum()
    }

    /// The same request over and over, on one connection.
    async fn at_the_sidecar(&self, sidecar: &TestSidecar, request: &[u8]) {
        let mut raw = sidecar.raw().await;
        while self.goes_on() {
            raw.write(request).await;
            self.note(raw.answer().await.code());
        }
    }

    async fn at_the_control_plane(&self, site: &Site, token: &str) {
        while self.goes_on() {
            self.note(called(site, token).await);
        }
    }

    /// Waits for some more of it.
    async fn flows(&self) {
        let before = self.count();
        until("more traffic", async || (self.count() > before + 20).then_some(())).await;
    }
}

/// Until a token is taken, it may be said that its key is not here yet, and nothing else.
async fn until_taken(what: &str, good: &str, mut ask: impl AsyncFnMut() -> String) {
    until(what, async || {
        let got = ask().await;
        assert!([good, "identity_unverifiable"].contains(&got.as_str()), "{what}: {got}");
        (got == good).then_some(())
    })
    .await;
}

/// A token that differs from a good one by what `header` says of its key.
async fn signed(provider: &Provider, like: &str, kid: &str) -> String {
    let mut claims = claims(like);
    claims["jti"] = json!(kid);
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid});
    let encode = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    provider.sign(&format!("{}.{}", encode(header), encode(claims))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_the_provider_goes_down_while_traffic_runs() {
    let (provider, started) = (Provider::start().await, Instant::now());
    let site = Site::of_provider(&provider).await;
    let sidecar = site.sidecar().await;
    let tokens = provider.sign_in("alice", &["control", "payments"]).await;
    let grant = granted(&site, &tokens.access).await;
    let for_payments = provider.refresh(&tokens, "payments").await.unwrap();
    let (overrides, calls, ordinary) = <(Traffic, Traffic, Traffic)>::default();
    let own = request(&grant, &for_payments.access);
    let plain = raw_request("GET", super::TARGET, &[], "");
    let traffic = async {
        tokio::join!(
            overrides.at_the_sidecar(&sidecar, &own),
            calls.at_the_control_plane(&site, &tokens.access),
            ordinary.at_the_sidecar(&sidecar, &plain),
        );
    };
    let all_flow = async || {
        overrides.flows().await;
        calls.flows().await;
        ordinary.flows().await;
    };
    let events = async {
        all_flow().await;

        // A new key signs; the old one stays published. Nobody here has heard of it yet.
        let kids = provider.rotate().await;
        let newer = provider.refresh(&for_payments, "payments").await.unwrap();
        assert_eq!(header(&newer.access)["kid"], kids[0]);
        let newer_control = provider.refresh(&newer, "control").await.unwrap();
        until_taken("the new key at the sidecar", "override", async || used(&sidecar, &grant, &newer.access).await)
            .await;
        until_taken("the new key at the control plane", "ok", async || called(&site, &newer_control.access).await)
            .await;
        all_flow().await;

        // It goes down. What is known goes on; a key made meanwhile is unknown, and so is one that was invented.
        provider.go_down().await;
        let kids = provider.rotate().await;
        let later = signed(&provider, &newer.access, &kids[0]).await;
        let later_control = signed(&provider, &newer_control.access, &kids[0]).await;
        for _ in 0..20 {
            assert_eq!(used(&sidecar, &grant, &later).await, "identity_unverifiable");
            assert_eq!(called(&site, &later_control).await, "identity_unverifiable");
        }
        assert_eq!(used(&sidecar, &grant, &newer.access).await, "override");
        assert_eq!(called(&site, &newer_control.access).await, "ok");
        // The signature of a key that is known, under the name of none.
        let invented = signed(&provider, &newer.access, "invented").await;
        assert_eq!(used(&sidecar, &grant, &invented).await, "identity_unverifiable");
        all_flow().await;

        // It is back: the key made meanwhile is fetched, and the invented one is known to be none.
        provider.come_up().await;
        until_taken("the key made meanwhile", "override", async || used(&sidecar, &grant, &later).await).await;
        until_taken("the same at the control plane", "ok", async || called(&site, &later_control).await).await;
        until("the invented key is unknown", async || {
            let got = used(&sidecar, &grant, &invented).await;
            assert!(["identity_unverifiable", "identity_invalid"].contains(&got.as_str()), "{got}");
            (got == "identity_invalid").then_some(())
        })
        .await;
        all_flow().await;
        for traffic in [&overrides, &calls, &ordinary] {
            traffic.stop.store(true, Ordering::Relaxed);
        }
        (later, later_control)
    };
    let ((), (later, later_control)) = tokio::join!(traffic, events);

    // A busy machine may let the feed fall behind; no answer may be about who calls.
    let answers = overrides.answers.lock().unwrap().clone();
    let strange = answers.keys().find(|code| !["override", "feed_stale", "clock_unsettled"].contains(&code.as_str()));
    assert_eq!(strange, None, "{answers:?}");
    assert_eq!(calls.answers.lock().unwrap().keys().collect::<Vec<_>>(), ["ok"]);
    assert_eq!(ordinary.answers.lock().unwrap().keys().collect::<Vec<_>>(), ["pass"]);
    // Two planes, of which each asked when it started, and then once in ten seconds at most.
    let (asked, gaps) = (provider.asked("/jwks").await, started.elapsed().as_secs() / 10);
    assert!(asked <= 2 * (2 + gaps), "{asked} times");

    // The old keys are withdrawn: their tokens end with them, remembered or not.
    provider.withdraw().await;
    let stranger = signed(&provider, &later, "another-invention").await;
    until("the old key's token ends at the sidecar", async || {
        used(&sidecar, &grant, &stranger).await;
        (used(&sidecar, &grant, &for_payments.access).await == "identity_invalid").then_some(())
    })
    .await;
    until("the old key's token ends at the control plane", async || {
        called(&site, &stranger).await;
        (called(&site, &tokens.access).await == "identity_invalid").then_some(())
    })
    .await;
    assert_eq!(used(&sidecar, &grant, &later).await, "override");
    assert_eq!(called(&site, &later_control).await, "ok");
}
