//! A small issuer and the part of a control plane that names it. Refresh tokens are spent by one use.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::identity::Algorithm;
use crate::identity::test_issuer::TestKey;

pub(super) struct SmallIssuer {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    url: String,
    key: TestKey,
    down: bool,
    lifetime_s: u64,
    /// Every form, with its path, in order.
    forms: Vec<(String, String)>,
    /// Members of ID tokens that are not as usual.
    changed: Map<String, Value>,
    /// What the device flow answers; empty: pending once, then tokens.
    device_error: String,
    device_asked: u32,
    nonce: Option<String>,
    live: BTreeSet<String>,
    count: u32,
    /// `Authorization` and `Idempotency-Key` of each call of the API.
    calls: Vec<(String, String)>,
    refuses: bool,
}

impl SmallIssuer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            url: url.clone(),
            key: TestKey::new(Algorithm::ES256, "k"),
            down: false,
            lifetime_s: 600,
            forms: Vec::new(),
            changed: Map::new(),
            device_error: String::new(),
            device_asked: 0,
            nonce: None,
            live: BTreeSet::new(),
            count: 0,
            calls: Vec::new(),
            refuses: false,
        };
        let state = Arc::new(Mutex::new(state));
        tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { url, state }
    }

    /// The forms that were sent there.
    pub(super) fn forms(&self, path: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.forms.iter().filter(|(known, _)| known == path).map(|(_, form)| form.clone()).collect()
    }

    pub(super) fn set_lifetime_s(&self, lifetime_s: u64) {
        self.state.lock().unwrap().lifetime_s = lifetime_s;
    }

    pub(super) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    pub(super) fn change_id_token(&self, claim: &str, value: Value) {
        self.state.lock().unwrap().changed = Map::from_iter([(claim.to_owned(), value)]);
    }

    pub(super) fn answer_device_with(&self, error: &str) {
        self.state.lock().unwrap().device_error = error.to_owned();
    }

    /// As a control plane that takes none of its tokens.
    pub(super) fn refuse_access_tokens(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    pub(super) fn calls(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(super) fn end_all(&self) {
        self.state.lock().unwrap().live.clear();
    }

    /// Signs in as the page would: where the browser is sent back to.
    pub(super) fn authorize(&self, url: &str) -> String {
        let query = url.split_once('?').unwrap().1;
        let get = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
        let mut state = self.state.lock().unwrap();
        state.nonce = Some(get("nonce").to_owned());
        let back = get("redirect_uri").replace("%3A", ":").replace("%2F", "/");
        let issuer = state.url.replace(':', "%3A").replace('/', "%2F");
        format!("{back}?code=the-code&state={}&iss={issuer}", get("state"))
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request: Request<Incoming>| {
            let state = Arc::clone(&state);
            async move {
                let path = request.uri().path().to_owned();
                if path.starts_with("/v1/elevations") {
                    state.lock().unwrap().note(request.headers());
                }
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let form = String::from_utf8(body.to_vec()).unwrap();
                let (status, document) = state.lock().unwrap().answer(&path, form);
                let body = Full::<Bytes>::from(document.to_string());
                let challenge = "Bearer realm=\"break-glass\", error=\"invalid_token\"";
                let response = Response::builder().status(status).header("www-authenticate", challenge);
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn refused(error: &str) -> (u16, Value) {
    (400, json!({"error": error, "error_description": "as the test wants it"}))
}

impl State {
    fn answer(&mut self, path: &str, form: String) -> (u16, Value) {
        if self.down {
            return (503, Value::Null);
        }
        self.forms.push((path.to_owned(), form.clone()));
        match path {
            "/.well-known/openid-configuration" => (200, self.metadata()),
            "/keys" => (200, json!({"keys": [self.key.jwk]})),
            "/v1/sign-in" => (200, self.terms()),
            "/device_authorization" => {
                self.device_asked = 0;
                let device = json!({"device_code": "device-code", "user_code": "WDJB-MJHT", "interval": 1,
                    "verification_uri": format!("{}/device", self.url), "expires_in": 60});
                (200, device)
            }
            "/token" => self.token(&form),
            "/revoke" => (200, Value::Null),
            _ if path.starts_with("/v1/elevations") && self.refuses => (401, Value::Null),
            _ => (404, Value::Null),
        }
    }

    fn note(&mut self, headers: &http::HeaderMap) {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        self.calls.push((text("authorization"), text("idempotency-key")));
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        json!({"issuer": self.url, "jwks_uri": at("/keys"), "token_endpoint": at("/token"),
            "device_authorization_endpoint": at("/device_authorization"), "authorization_endpoint": at("/authorize"),
            "revocation_endpoint": at("/revoke"), "authorization_response_iss_parameter_supported": true,
            "code_challenge_methods_supported": ["S256"]})
    }

    fn terms(&self) -> Value {
        json!({"terms": {"issuer": self.url, "client_id": "cli", "scopes": ["openid", "offline_access"],
            "indicator": "resource", "audience": "urn:control",
            "services": [{"service": "payments", "audience": "urn:payments"}]}})
    }

    fn token(&mut self, form: &str) -> (u16, Value) {
        let get =
            |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default();
        match get("grant_type") {
            "refresh_token" => match self.live.remove(get("refresh_token")) {
                true => (200, self.tokens(false)),
                false => {
                    // A token that comes twice is a stolen one.
                    self.live.clear();
                    refused("invalid_grant")
                }
            },
            "authorization_code" if get("code") == "the-code" => (200, self.tokens(true)),
            _ if !self.device_error.is_empty() => refused(&self.device_error),
            _ if self.device_asked == 0 => {
                self.device_asked = 1;
                refused("authorization_pending")
            }
            _ => (200, self.tokens(true)),
        }
    }

    fn tokens(&mut self, with_id: bool) -> Value {
        self.count += 1;
        let refresh = format!("refresh-{}", self.count);
        self.live.insert(refresh.clone());
        let mut tokens = json!({"access_token": format!("access-{}", self.count), "token_type": "Bearer",
            "expires_in": self.lifetime_s, "refresh_token": refresh});
        if with_id {
            tokens["id_token"] = self.id_token().into();
        }
        tokens
    }

    fn id_token(&mut self) -> String {
        let now = Clock::System.wall().unix_s();
        let mut claims = json!({"iss": self.url, "aud": "cli", "sub": "alice", "exp": now + 60, "iat": now,
            "acr": "weak", "auth_time": now});
        if let Some(nonce) = self.nonce.take() {
            claims["nonce"] = nonce.into();
        }
        for (name, value) in &self.changed {
            claims[name] = value.clone();
        }
        self.key.sign_text(&json!({"alg": "ES256", "kid": "k"}).to_string(), &claims.to_string())
    }
}
