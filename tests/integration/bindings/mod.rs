//! Grants bound to a key (RFC 9449) and to a certificate (RFC 8705): enrolled, used, and attacked, at both planes.

mod claims;
mod curl;
mod proofs;

use breakglass::domain::Confirmation;
use breakglass::http::{Answer, Client, ClientIdentity, ClientTls, Limits, TlsRoots};
use breakglass::token::dpop::{Making, ProofKey, ProofUrl};
use breakglass::wire::api::{ElevationView, GrantView};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::harness::Site;
use crate::harness::clients::Shows;

/// Where clients are told to reach both planes, whatever port they are on.
pub(crate) fn origin() -> ProofUrl {
    "https://localhost".parse().unwrap()
}

/// What alice asks for, to be bound.
pub(crate) fn request(resource: &str, binding: &str) -> Value {
    json!({
        "service": "payments", "resources": [resource], "actions": ["payment.release"], "reason": "stuck_payment",
        "ticket": "INC-2041", "duration_s": 600, "tier": "keys", "binding": binding,
    })
}

/// One call of the API by alice, with these headers.
pub(crate) async fn call(
    client: &Client,
    site: &Site,
    (method, path, token): (Method, &str, &str),
    proofs: &[String],
    body: &Value,
) -> Answer {
    let url = format!("https://localhost:{}{path}", site.control().api_addr.port()).parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for proof in proofs {
        headers.append("dpop", HeaderValue::try_from(proof.as_str()).unwrap());
    }
    let body = if method == Method::GET { Bytes::new() } else { body.to_string().into() };
    client.send(method, &url, headers, body).await.unwrap()
}

pub(crate) fn code(answer: &Answer) -> String {
    answer.json::<Value>().unwrap()["code"].as_str().unwrap_or("accepted").to_owned()
}

/// A client that shows a certificate, or none.
pub(crate) fn client(site: &Site, shows: Option<Shows>) -> Client {
    let roots = TlsRoots::from_pem_files([site.path().join("ca.pem")]).unwrap();
    let own = shows
        .map(|shows| ClientIdentity::from_pem_files(&shows.certificate(site.path()), &shows.key(site.path())).unwrap());
    Client::new(Some(ClientTls::new(roots, own).unwrap()), Limits::DEFAULT)
}

/// Alice with a key of her own.
pub(crate) struct KeyHolder {
    pub(crate) key: ProofKey,
}

impl KeyHolder {
    pub(crate) fn new() -> Self {
        Self { key: ProofKey::generate().unwrap() }
    }

    /// A POST with a proof; the first answer brings the nonce.
    pub(crate) async fn post(&self, site: &Site, path: &str, token: &str, body: &Value) -> Answer {
        let (client, url, now) = (client(site, None), origin().with_path(path).unwrap(), site.clock.wall());
        let making = |nonce| Making { method: "POST", url: &url, token: Some(token), nonce, now };
        let first = self.key.prove(&making(None)).unwrap();
        let answer = call(&client, site, (Method::POST, path, token), &[first], body).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (401, "use_dpop_nonce"));
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("DPoP ") && challenge.contains("error=\"use_dpop_nonce\""), "{challenge}");
        let nonce = answer.headers["dpop-nonce"].to_str().unwrap();
        let second = self.key.prove(&making(Some(nonce))).unwrap();
        call(&client, site, (Method::POST, path, token), &[second], body).await
    }

    /// A grant bound to the key as it was asked for, enforced.
    pub(crate) async fn grant(&self, site: &Site, resource: &str) -> GrantView {
        let answer = self.post(site, "/v1/elevations", &site.identity("alice"), &request(resource, "dpop")).await;
        let grant = granted(site, &answer).await;
        assert_eq!(grant.confirmation, Some(Confirmation::Key(self.key.thumbprint().clone())));
        grant
    }
}

/// The grant of an answer, once every sidecar enforces it.
pub(crate) async fn granted(site: &Site, answer: &Answer) -> GrantView {
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let grant = answer.json::<ElevationView>().unwrap().grant.unwrap();
    let enforcement = site.enforcement(&grant, "alice").await;
    assert_eq!(enforcement.enforced, enforcement.sidecars, "{enforcement:?}");
    grant
}

/// A grant bound to the certificate that the request shows.
pub(crate) async fn grant_by_certificate(site: &Site, resource: &str, shows: Shows) -> GrantView {
    let (client, token) = (client(site, Some(shows)), site.identity("alice"));
    let body = request(resource, "mtls");
    let answer = call(&client, site, (Method::POST, "/v1/elevations", &token), &[], &body).await;
    let grant = granted(site, &answer).await;
    assert!(matches!(grant.confirmation, Some(Confirmation::Certificate(_))), "{grant:?}");
    grant
}
