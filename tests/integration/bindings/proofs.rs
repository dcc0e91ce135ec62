//! The table of attacks on proofs, `tests/cases/bindings/dpop.toml`, against a live sidecar and a live control plane.
//!
//! At the sidecar each is sent twice: with the token that is bound to the key, and with one that never existed. Both must
//! get the same answer, or a thief of a token could learn from a broken proof whether its grant is there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use breakglass::secret::Secret;
use breakglass::token::dpop::{ID_BYTES_MAX, Making, PROOF_BYTES_MAX, ProofKey, token_hash};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{KeyHolder, call, client, code, origin, request};
use crate::harness::{Site, TestSidecar, raw_request};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    without_header: Vec<String>,
    origin: Option<String>,
    path: Option<String>,
    #[serde(default)]
    query: String,
    #[serde(default)]
    age_s: i64,
    #[serde(default)]
    nonce: Nonce,
    #[serde(default)]
    sign: Sign,
    #[serde(default)]
    private: bool,
    duplicate: Option<String>,
    #[serde(default)]
    deep: bool,
    #[serde(default)]
    long: bool,
    #[serde(default)]
    send: Send,
    expect: Option<String>,
    sidecar: Option<String>,
    control: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Nonce {
    #[default]
    Fresh,
    /// Of the other plane.
    Foreign,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sign {
    #[default]
    Own,
    Other,
    Hmac,
    Nothing,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Send {
    #[default]
    #[serde(rename = "once")]
    Once,
    #[serde(rename = "again")]
    Again,
    #[serde(rename = "twice")]
    Twice,
    #[serde(rename = "joined")]
    Joined,
    #[serde(rename = "padded")]
    Padded,
    #[serde(rename = "four parts")]
    FourParts,
    #[serde(rename = "text")]
    Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

fn cases() -> Vec<Case> {
    toml::from_str::<File>(include_str!("../../cases/bindings/dpop.toml"))
        .unwrap_or_else(|error| panic!("{error}"))
        .case
}

/// Where a proof goes, and what it would say if nothing were wrong.
struct Aim<'a> {
    path: &'a str,
    token: &'a str,
    nonce: String,
    foreign_nonce: String,
    now_s: i64,
}

fn encode(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

fn ec_key(key: &ProofKey) -> EncodingKey {
    EncodingKey::from_ec_der(key.pkcs8_der().expose())
}

/// The header and the claims of a good proof, taken from one.
fn good(key: &ProofKey) -> (Map<String, Value>, Map<String, Value>) {
    let url = origin();
    let now = breakglass::domain::WallTime::EPOCH;
    let proof = key.prove(&Making { method: "POST", url: &url, token: None, nonce: None, now }).unwrap();
    let mut parts = proof.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut object = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (object(), object())
}

impl Case {
    /// What is sent in the header, one item a line of it.
    fn proofs(&self, key: &ProofKey, other: &ProofKey, aim: &Aim<'_>) -> Vec<String> {
        let proof = self.proof(key, other, aim);
        match self.send {
            Send::Once | Send::Again => vec![proof],
            Send::Twice => vec![proof, self.proof(key, other, aim)],
            Send::Joined => vec![format!("{proof}, {}", self.proof(key, other, aim))],
            Send::Padded => vec![format!("{proof}=")],
            Send::FourParts => vec![format!("{proof}.AAAA")],
            Send::Text => vec!["open sesame".to_owned()],
        }
    }

    fn proof(&self, key: &ProofKey, other: &ProofKey, aim: &Aim<'_>) -> String {
        let (mut header, mut claims) = good(key);
        if self.private {
            header["jwk"]["d"] = json!("c2VjcmV0");
        }
        header.extend(self.header.clone());
        let (origin, path) = (self.origin.as_deref().unwrap_or("https://localhost"), self.path.as_deref());
        claims.insert("htu".to_owned(), json!(format!("{origin}{}{}", path.unwrap_or(aim.path), self.query)));
        claims.insert("iat".to_owned(), json!(aim.now_s - self.age_s));
        claims.insert("ath".to_owned(), json!(token_hash(aim.token)));
        let nonce = if self.nonce == Nonce::Fresh { &aim.nonce } else { &aim.foreign_nonce };
        claims.insert("nonce".to_owned(), json!(nonce));
        if self.deep {
            claims.insert("deep".to_owned(), (0..40).fold(json!(1), |inner, _| json!([inner])));
        }
        if self.long {
            claims.insert("long".to_owned(), json!("x".repeat(PROOF_BYTES_MAX)));
        }
        claims.extend(self.claims.clone());
        claims.retain(|name, _| !self.without.contains(name));
        header.retain(|name, _| !self.without_header.contains(name));
        let mut text = Value::from(claims).to_string();
        if let Some(name) = &self.duplicate {
            text = text.replacen('{', &format!("{{\"{name}\":\"DELETE\","), 1);
        }
        let input = format!("{}.{}", encode(&Value::from(header).to_string()), encode(&text));
        let sign = |key: &EncodingKey, algorithm| jsonwebtoken::crypto::sign(input.as_bytes(), key, algorithm).unwrap();
        let signature = match self.sign {
            Sign::Own => sign(&ec_key(key), Algorithm::ES256),
            Sign::Other => sign(&ec_key(other), Algorithm::ES256),
            Sign::Hmac => sign(&EncodingKey::from_secret(key.thumbprint().as_str().as_bytes()), Algorithm::HS256),
            Sign::Nothing => String::new(),
        };
        format!("{input}.{signature}")
    }

    fn expected(&self, own: &Option<String>) -> String {
        own.clone().or_else(|| self.expect.clone()).unwrap_or_else(|| panic!("{}: nothing is expected", self.name))
    }
}

#[test]
fn a_claim_can_be_longer_than_is_taken() {
    const { assert!(ID_BYTES_MAX < PROOF_BYTES_MAX, "or the table would not reach it") };
    assert!(cases().len() > 50);
}

const TARGET: &str = "/v1/contracts/K-1/echo";

struct Stage {
    site: Site,
    sidecar: TestSidecar,
    holder: KeyHolder,
    other: ProofKey,
    token: Secret<String>,
    identity: String,
}

impl Stage {
    async fn set() -> Self {
        let site = Site::start().await;
        let sidecar = site.sidecar().await;
        let holder = KeyHolder::new();
        let grant = holder.grant(&site, "contract/K-1").await;
        let token = Secret::new(site.token(&grant).await);
        let identity = site.identity("alice");
        Self { site, sidecar, holder, other: ProofKey::generate().unwrap(), token, identity }
    }

    fn sidecar_nonce(&self) -> String {
        let shared = self.sidecar.shared();
        shared.possession.nonce(shared.clock.boot())
    }

    /// Any refused proof brings one.
    async fn control_nonce(&self) -> String {
        let (client, aim) = (client(&self.site, None), (Method::POST, "/v1/elevations", self.identity.as_str()));
        let answer = call(&client, &self.site, aim, &["none".to_owned()], &request("contract/K-9", "dpop")).await;
        assert_eq!(code(&answer), "dpop_proof_invalid");
        answer.headers["dpop-nonce"].to_str().unwrap().to_owned()
    }

    async fn at_sidecar(&self, case: &Case, token: &str) -> String {
        let (nonce, foreign_nonce) = (self.sidecar_nonce(), self.control_nonce().await);
        let now_s = self.site.clock.wall().unix_s();
        let proofs =
            case.proofs(&self.holder.key, &self.other, &Aim { path: TARGET, token, nonce, foreign_nonce, now_s });
        let mut headers = vec![("Break-Glass", token)];
        headers.extend(proofs.iter().map(|proof| ("Break-Glass-DPoP", proof.as_str())));
        let request = raw_request("POST", TARGET, &headers, "");
        let mut answer = self.sidecar.send(&request).await;
        if case.send == Send::Again {
            answer = self.sidecar.send(&request).await;
        }
        if answer.code() == "use_dpop_nonce" {
            assert!(answer.header("break-glass-dpop-nonce").is_some(), "{}", case.name);
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"use_dpop_nonce\""), "{challenge}");
        }
        answer.code()
    }

    async fn at_control(&self, case: &Case) -> String {
        let (nonce, foreign_nonce) = (self.control_nonce().await, self.sidecar_nonce());
        let (token, now_s) = (self.identity.as_str(), self.site.clock.wall().unix_s());
        let aim = Aim { path: "/v1/elevations", token, nonce, foreign_nonce, now_s };
        let proofs = case.proofs(&self.holder.key, &self.other, &aim);
        let (client, aim) = (client(&self.site, None), (Method::POST, "/v1/elevations", token));
        let body = request("contract/K-8", "dpop");
        let mut answer = call(&client, &self.site, aim.clone(), &proofs, &body).await;
        if case.send == Send::Again {
            answer = call(&client, &self.site, aim, &proofs, &body).await;
        }
        code(&answer)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_sidecar_refuses_each_attack_on_a_proof_and_says_nothing_of_the_grant() {
    let stage = Stage::set().await;
    let forged = {
        let (signed, signature) = stage.token.expose().rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        format!("{signed}.{first}{}", &signature[1..])
    };
    let mut wrong = Vec::new();
    for case in cases() {
        let expected = case.expected(&case.sidecar);
        let sound = if expected == "accepted" { "override" } else { expected.as_str() };
        let of_none = if expected == "accepted" { "grant_not_usable" } else { expected.as_str() };
        let found = stage.at_sidecar(&case, stage.token.expose()).await;
        if found != sound {
            wrong.push(format!("{}: expected {sound}, got {found}", case.name));
        }
        let found = stage.at_sidecar(&case, &forged).await;
        if found != of_none {
            wrong.push(format!("{}, of a token that never was: expected {of_none}, got {found}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_control_plane_refuses_each_attack_on_a_proof() {
    let stage = Stage::set().await;
    let mut wrong = Vec::new();
    for case in cases() {
        let (expected, found) = (case.expected(&case.control), stage.at_control(&case).await);
        if found != expected {
            wrong.push(format!("{}: expected {expected}, got {found}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_is_good_at_every_core_and_after_a_reload() {
    let stage = Stage::set().await;
    let (nonce, case) = (stage.sidecar_nonce(), cases().remove(0));
    stage.sidecar.reload().await.unwrap();
    for round in 0..8 {
        // Each connection may land on another core; each proof is a new one.
        let (token, now_s) = (stage.token.expose().as_str(), stage.site.clock.wall().unix_s());
        let aim = Aim { path: TARGET, token, nonce: nonce.clone(), foreign_nonce: String::new(), now_s };
        let proof = case.proof(&stage.holder.key, &stage.other, &aim);
        let headers = [("Break-Glass", token), ("Break-Glass-DPoP", proof.as_str())];
        let request = raw_request("POST", TARGET, &headers, "");
        let answer = stage.sidecar.send(&request).await;
        assert_eq!(answer.code(), "override", "round {round}");
        assert!(answer.header("break-glass-dpop-nonce").is_some(), "the next one comes along");
        assert_eq!(stage.sidecar.send(&request).await.code(), "grant_not_usable", "at any core it was used before");
    }
    let restarted = stage.sidecar.restart().await;
    restarted.until_overrides().await;
    let (token, now_s) = (stage.token.expose().as_str(), stage.site.clock.wall().unix_s());
    let aim = Aim { path: TARGET, token, nonce, foreign_nonce: String::new(), now_s };
    let proof = case.proof(&stage.holder.key, &stage.other, &aim);
    let headers = [("Break-Glass", token), ("Break-Glass-DPoP", proof.as_str())];
    let answer = restarted.send(&raw_request("POST", TARGET, &headers, "")).await;
    assert_eq!(answer.code(), "use_dpop_nonce", "what the new process could not know of is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_proven_is_recorded_and_told() {
    let stage = Stage::set().await;
    let (token, now_s) = (stage.token.expose().as_str(), stage.site.clock.wall().unix_s());
    let aim = Aim { path: TARGET, token, nonce: stage.sidecar_nonce(), foreign_nonce: String::new(), now_s };
    let proof = cases().remove(0).proof(&stage.holder.key, &stage.other, &aim);
    let headers = [("Break-Glass", token), ("Break-Glass-DPoP", proof.as_str())];
    let answer = stage.sidecar.send(&raw_request("POST", TARGET, &headers, "")).await;
    assert_eq!(answer.code(), "override");
    assert_eq!(answer.echoed("break-glass-dpop"), None, "it is taken off");
    let assertion = answer.echoed("break-glass-assertion").unwrap();
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let thumbprint = stage.holder.key.thumbprint().as_str();
    assert_eq!((&claims["binding"], &claims["cnf"]), (&json!("dpop"), &json!({ "jkt": thumbprint })));
    let intent = stage.sidecar.until_facts("intent", 1).await.remove(0);
    assert_eq!((&intent["grant"]["binding"], &intent["grant"]["confirmation"]), (&json!("dpop"), &json!(thumbprint)));
    let lines = stage.sidecar.lines().iter().map(ToString::to_string).collect::<String>();
    assert!(!lines.contains(&proof) && !lines.contains(token), "no proof and no token is written down");
}
