//! A transmitter of shared signals on the loopback, with real keys: it serves its metadata and its key set, pushes events
//! (RFC 8935) and holds them to be fetched (RFC 8936) until they are acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::harness::until;

pub(super) const AUDIENCE: &str = "https://control.test/signals";
/// What whoever fetches must show.
const SECRET: &str = "poll-secret";

pub(super) const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
pub(super) const CREDENTIAL_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
pub(super) const ACCOUNT_DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";

/// See the module.
pub(super) struct Transmitter {
    pub(super) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<Held>,
    changed: Notify,
}

struct Held {
    url: String,
    key: EncodingKey,
    kid: u32,
    jwk: Value,
    /// To be fetched, by their ids.
    sets: BTreeMap<String, String>,
    /// What was said not to be taken.
    errors: BTreeMap<String, Value>,
    polls: Vec<Value>,
    down: bool,
}

fn key() -> (EncodingKey, Value) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    (EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), jwk)
}

impl Transmitter {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (key, jwk) = key();
        let held = Held {
            url: url.clone(),
            key,
            kid: 1,
            jwk,
            sets: BTreeMap::new(),
            errors: BTreeMap::new(),
            polls: Vec::new(),
            down: false,
        };
        let inner = Arc::new(Inner { state: Mutex::new(held), changed: Notify::new() });
        let router = Router::new()
            .route("/.well-known/ssf-configuration", get(metadata))
            .route("/jwks", get(keys))
            .route("/poll", post(poll))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// From now on it signs with another key, and serves that one alone.
    pub(super) fn rotate(&self) {
        let mut held = self.inner.state.lock().unwrap();
        (held.key, held.jwk) = key();
        held.kid += 1;
    }

    pub(super) fn set_down(&self, down: bool) {
        self.inner.state.lock().unwrap().down = down;
        self.inner.changed.notify_waiters();
    }

    /// The claims of an event about a person of `issuer`, issued at `at` (Unix seconds).
    pub(super) fn claims(&self, id: &str, event: (&str, Value), issuer: &str, sub: &str, at: i64) -> Value {
        let (uri, event) = event;
        json!({"iss": self.url, "aud": AUDIENCE, "iat": at, "jti": id, "events": {uri: event},
            "sub_id": {"format": "iss_sub", "iss": issuer, "sub": sub}})
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let held = self.inner.state.lock().unwrap();
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.typ = Some("secevent+jwt".to_owned());
        header.kid = Some(held.kid.to_string());
        jsonwebtoken::encode(&header, claims, &held.key).unwrap()
    }

    /// Holds a token to be fetched.
    pub(super) fn hold(&self, id: &str, token: String) {
        self.inner.state.lock().unwrap().sets.insert(id.to_owned(), token);
        self.inner.changed.notify_waiters();
    }

    /// Waits until everything that was held is acknowledged, or said not to be taken; answers what was.
    pub(super) async fn until_settled(&self) -> BTreeMap<String, Value> {
        until("every event is acknowledged or refused", async || {
            let held = self.inner.state.lock().unwrap();
            held.sets.is_empty().then(|| held.errors.clone())
        })
        .await
    }

    /// Every poll so far, its body.
    pub(super) fn polls(&self) -> Vec<Value> {
        self.inner.state.lock().unwrap().polls.clone()
    }

    /// The `[[signals]]` table of this transmitter, as a line for the top of the control plane's file.
    pub(super) fn line(&self, subjects: &str, delivery: &str) -> String {
        format!(
            "signals = [{{ name = \"idp\", issuer = \"{}\", subjects = \"{subjects}\", audience = \"{AUDIENCE}\", {delivery} }}]",
            self.url
        )
    }

    pub(super) fn poll_line(&self, secret_file: &str, long: bool) -> String {
        format!(
            "poll = {{ url = \"{}/poll\", token_file = \"{secret_file}\", events_max = 2, every_s = 1, long = {long} }}",
            self.url
        )
    }
}

pub(super) fn write_poll_secret(folder: &std::path::Path, name: &str) {
    write_secret(folder, name, SECRET);
}

pub(super) fn write_secret(folder: &std::path::Path, name: &str, secret: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join(name);
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn metadata(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let held = inner.state.lock().unwrap();
    Json(json!({"issuer": held.url, "jwks_uri": format!("{}/jwks", held.url)}))
}

async fn keys(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let held = inner.state.lock().unwrap();
    let mut jwk = held.jwk.clone();
    jwk["kid"] = held.kid.to_string().into();
    Json(json!({"keys": [jwk]}))
}

/// RFC 8936 §2.2 to §2.4.
async fn poll(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {SECRET}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    {
        let mut held = inner.state.lock().unwrap();
        if held.down {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        for id in asked["ack"].as_array().into_iter().flatten() {
            held.sets.remove(id.as_str().unwrap());
        }
        for (id, error) in asked["setErrs"].as_object().into_iter().flatten() {
            held.sets.remove(id);
            held.errors.insert(id.clone(), error.clone());
        }
        held.polls.push(asked.clone());
    }
    loop {
        let changed = inner.changed.notified();
        {
            let held = inner.state.lock().unwrap();
            if held.down {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            let most = usize::try_from(asked["maxEvents"].as_u64().unwrap()).unwrap();
            if !held.sets.is_empty() || asked["returnImmediately"] == true {
                let sets: BTreeMap<_, _> = held.sets.iter().take(most).collect();
                return Ok(Json(json!({"sets": sets, "moreAvailable": held.sets.len() > most})));
            }
        }
        changed.await;
    }
}
