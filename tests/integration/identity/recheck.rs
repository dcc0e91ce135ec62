//! The provider ends what it had granted (RFC 7009) and is asked about tokens (RFC 7662): the live grant is over, at the
//! sidecars too. While it is down, and for tokens whose own time is over, nothing ends.

use breakglass::wire::api::GrantState;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;

use super::{granted, used};
use crate::harness::{Provider, Settings, SidecarFile, Site, TestSidecar, Tokens, until};

struct Scene {
    provider: Provider,
    site: Site,
    sidecar: TestSidecar,
    tokens: Tokens,
}

impl Scene {
    async fn open(settings: Settings) -> Self {
        let provider = Provider::with_settings(settings).await;
        let mut site = Site::without_control(breakglass::clock::Clock::System).await;
        let secret = site.path().join("introspector");
        std::fs::write(&secret, "introspector-secret\n").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        site.issuers = format!("[[issuer]]\nurl = \"{}\"\n", provider.issuer);
        site.issuer_lines = "[issuer.introspection]\nevery_s = 1\nclient_id = \"introspector\"\n\
                             client_secret_file = \"introspector\"\n"
            .to_owned();
        site.start_control().await;
        let sidecar = site.sidecar_with(&SidecarFile::default()).await;
        sidecar.until_overrides().await;
        let tokens = provider.sign_in("alice", &["control", "payments"]).await;
        Self { provider, site, sidecar, tokens }
    }

    async fn looks(&self, result: &str) -> f64 {
        let url = format!("http://{}/metrics", self.site.control().admin_addr).parse().unwrap();
        let client = breakglass::http::Client::new(None, breakglass::http::Limits::DEFAULT);
        let answer = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let name = format!(
            "breakglass_control_identity_rechecks_total{{issuer=\"{}\",result=\"{result}\"}} ",
            self.provider.issuer
        );
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    async fn until_more(&self, result: &str) {
        let before = self.looks(result).await;
        until(result, async || (self.looks(result).await > before).then_some(())).await;
    }

    /// RFC 7009, by the client itself, as `breakglass logout` does it.
    async fn sign_out(&self) {
        let form = format!("client_id=breakglass-cli&token={}", self.tokens.refresh.as_ref().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let url = format!("{}/token/revocation", self.provider.issuer).parse().unwrap();
        let answer = self.provider.client.send(Method::POST, &url, headers, form.into()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    async fn facts(&self, kind: &str) -> Vec<Value> {
        let entries = self.site.control().store().entries(0, 1000).await.unwrap();
        let of_kind = entries.into_iter().filter(|entry| entry.kind == kind);
        of_kind.map(|entry| serde_json::from_str::<Value>(&entry.canonical).unwrap()["facts"].clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_out_at_the_provider_has_no_live_grant_soon() {
    let scene = Scene::open(Settings::default()).await;
    let grant = granted(&scene.site, &scene.tokens.access).await;
    let other = scene.provider.sign_in("bob", &["control", "payments"]).await;
    let kept = granted(&scene.site, &other.access).await;
    let for_payments = scene.provider.refresh(&scene.tokens, "payments").await.unwrap();
    let others = scene.provider.refresh(&other, "payments").await.unwrap().access;
    scene.until_more("active").await;
    assert_eq!(used(&scene.sidecar, &grant, &for_payments.access).await, "override");

    // It goes down: nothing ends, and it shows.
    scene.provider.go_down().await;
    scene.until_more("unreachable").await;
    scene.until_more("unreachable").await;
    assert_eq!(used(&scene.sidecar, &grant, &for_payments.access).await, "override");
    scene.provider.come_up().await;
    scene.until_more("active").await;

    let scene = Scene { tokens: for_payments, ..scene };
    scene.sign_out().await;
    let code = async || used(&scene.sidecar, &grant, &scene.tokens.access).await;
    until("the grant is over", async || (code().await == "grant_revoked").then_some(())).await;
    let revoked = scene.facts("grant_revoked").await;
    assert_eq!(revoked.len(), 1, "{revoked:?}");
    assert_eq!(revoked[0]["grant"], grant.as_str());
    assert_eq!(
        (&revoked[0]["cause"], &revoked[0]["idp"]),
        (&"introspection".into(), &scene.provider.issuer.as_str().into())
    );
    let [inactive] = &scene.facts("token_inactive").await[..] else { panic!("one entry") };
    assert_eq!((&inactive["ended"], &inactive["lapsed"]), (&1.into(), &0.into()));
    assert_eq!(used(&scene.sidecar, &kept, &others).await, "override", "who did not sign out goes on");
    assert!(scene.site.control().store().check().await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_has_expired_ends_nothing() {
    let scene = Scene::open(Settings { access_token_s: 8, ..Settings::default() }).await;
    let grant = granted(&scene.site, &scene.tokens.access).await;
    let before = scene.looks("expired").await;
    until("the token is let go", async || (scene.looks("expired").await > before).then_some(())).await;
    scene.sign_out().await;
    let record = scene.site.control().store().grant(&grant.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(record.state, GrantState::Active);
    assert!(scene.facts("token_inactive").await.is_empty());
}
