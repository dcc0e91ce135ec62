//! An OpenID issuer for demonstrations: it hands a token to anyone who names a person, and says so in every answer.
//!
//! It must never stand where a token of it could open anything real. Discovery and keys are those of OpenID Connect
//! Discovery 1.0 and RFC 7517, tokens those of RFC 9068; there is no login, which is the point.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::serve::{Listener, serve};
use crate::clock::Clock;
use crate::domain::{Audience, Issuer};
use crate::secret::Secret;

/// Said at the start and in every answer.
pub const WARNING: &str =
    "DEMONSTRATION ISSUER: it hands tokens to anyone who asks. Trust it nowhere outside a demonstration.";

/// Carries [`WARNING`] where the answer is the bare token.
const WARNING_HEADER: HeaderName = HeaderName::from_static("demonstration");

/// Who can be named, with their groups.
pub const PERSONS: [(&str, &[&str]); 5] = [
    ("alice", &["payments-oncall"]),
    ("bob", &["payments-oncall"]),
    ("carol", &["payments-leads", "breakglass-admins"]),
    ("dave", &["breakglass-auditors"]),
    ("erin", &[]),
];

/// The `client_id` of its tokens.
const CLIENT_ID: &str = "breakglass-demo";
const LIFETIME_S_DEFAULT: u64 = 3_600;
const LIFETIME_S_MAX: u64 = 86_400;
const FORM_BYTES_MAX: usize = 4 * 1024;

/// Why the issuer could not be made or a token could not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DemoIssuerError {
    #[error("no key could be generated")]
    Key,
    #[error("the token could not be signed")]
    Sign,
    #[error("no such person: name one of alice, bob, carol, dave, erin")]
    UnknownPerson,
    #[error("expires_in is between 1 and {LIFETIME_S_MAX} seconds")]
    Lifetime,
    #[error("name a person, once: ?person=alice, or the same as a form")]
    NoPerson,
}

/// The issuer. Clones are the same issuer with the same key.
#[derive(Debug, Clone)]
pub struct DemoIssuer(Arc<Inner>);

struct Inner {
    issuer: Issuer,
    audiences: Vec<Audience>,
    clock: Clock,
    encoding: EncodingKey,
    kid: String,
    jwk: Value,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DemoIssuer").field("issuer", &self.issuer).field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// What a token request says, in the query or as a form.
#[derive(Debug, Default, serde::Deserialize)]
struct TokenRequest {
    person: Option<String>,
    /// Seconds.
    expires_in: Option<u64>,
    acr: Option<String>,
    /// The bare token as text, for shells, instead of a JSON document.
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Text,
}

impl DemoIssuer {
    /// An issuer with a new ES256 key, whose tokens are for all of `audiences`.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn new(issuer: Issuer, audiences: Vec<Audience>, clock: Clock) -> Result<Self, DemoIssuerError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| DemoIssuerError::Key)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| DemoIssuerError::Key)?;
        let (x, y) = coordinates(pair.public_key().as_ref()).ok_or(DemoIssuerError::Key)?;
        // RFC 7638 §3.2: the required members in lexicographic order.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig"});
        let encoding = EncodingKey::from_ec_der(pkcs8.as_ref());
        Ok(Self(Arc::new(Inner { issuer, audiences, clock, encoding, kid, jwk })))
    }

    /// A token of `person`, as the token endpoint gives it.
    ///
    /// # Errors
    /// When the person is none of [`PERSONS`].
    pub fn token(&self, person: &str) -> Result<Secret<String>, DemoIssuerError> {
        self.mint(person, LIFETIME_S_DEFAULT, "mfa")
    }

    /// A token of the client itself, as a machine gets it: its subject is the client (RFC 9068 §2.2).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn machine_token(&self) -> Result<Secret<String>, DemoIssuerError> {
        self.sign(CLIENT_ID, &[], LIFETIME_S_DEFAULT, "mfa")
    }

    /// Serves until `shutdown` completes. Says [`WARNING`] first.
    pub async fn serve(self, listener: impl Into<Listener>, shutdown: impl Future<Output = ()>) {
        tracing::warn!(issuer = %self.0.issuer, "{WARNING}");
        serve(listener.into(), self.router(), shutdown).await;
    }

    fn router(self) -> Router {
        Router::new()
            .route("/", get(welcome))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(keys))
            .route("/token", get(token_by_query).post(token_by_form))
            .fallback(|| async { failure(StatusCode::NOT_FOUND, "not_found", "there is nothing here; see /") })
            .method_not_allowed_fallback(|| async {
                failure(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this method is not for this address")
            })
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .with_state(self)
    }

    fn mint(&self, person: &str, lifetime_s: u64, acr: &str) -> Result<Secret<String>, DemoIssuerError> {
        let Some((name, groups)) = PERSONS.iter().find(|(name, _)| *name == person) else {
            return Err(DemoIssuerError::UnknownPerson);
        };
        self.sign(name, groups, lifetime_s, acr)
    }

    fn sign(
        &self,
        subject: &str,
        groups: &[&str],
        lifetime_s: u64,
        acr: &str,
    ) -> Result<Secret<String>, DemoIssuerError> {
        let now = self.0.clock.wall();
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| DemoIssuerError::Sign)?;
        let claims = json!({
            "iss": self.0.issuer, "aud": self.0.audiences, "sub": subject, "client_id": CLIENT_ID,
            "iat": now.unix_s(), "exp": now.plus(Duration::from_secs(lifetime_s)).unix_s(),
            "jti": URL_SAFE_NO_PAD.encode(random), "auth_time": now.unix_s(),
            "groups": groups, "acr": acr, "amr": ["pwd", "hwk"],
        });
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.0.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.0.encoding).map_err(|_| DemoIssuerError::Sign)?;
        Ok(Secret::new(token))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.issuer.as_str().trim_end_matches('/'))
    }

    fn answer(&self, request: &TokenRequest) -> Result<Response, DemoIssuerError> {
        let person = request.person.as_deref().ok_or(DemoIssuerError::NoPerson)?;
        let lifetime_s = request.expires_in.unwrap_or(LIFETIME_S_DEFAULT);
        if !(1..=LIFETIME_S_MAX).contains(&lifetime_s) {
            return Err(DemoIssuerError::Lifetime);
        }
        let token = self.mint(person, lifetime_s, request.acr.as_deref().unwrap_or("mfa"))?;
        if matches!(request.format, Some(Format::Text)) {
            let headers = [(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "text/plain"), (WARNING_HEADER, WARNING)];
            return Ok((headers, token.expose().clone()).into_response());
        }
        Ok(answer(
            StatusCode::OK,
            json!({"access_token": token.expose(), "token_type": "Bearer", "expires_in": lifetime_s}),
        ))
    }
}

/// x and y of an uncompressed point on P-256.
fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    Some((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

async fn welcome(State(issuer): State<DemoIssuer>) -> Response {
    let persons: Vec<_> = PERSONS.iter().map(|(name, groups)| json!({"person": name, "groups": groups})).collect();
    answer(
        StatusCode::OK,
        json!({"issuer": issuer.0.issuer, "token": issuer.url("/token?person=alice"), "persons": persons}),
    )
}

async fn discovery(State(issuer): State<DemoIssuer>) -> Response {
    answer(
        StatusCode::OK,
        json!({
            "issuer": issuer.0.issuer,
            "jwks_uri": issuer.url("/jwks"),
            "token_endpoint": issuer.url("/token"),
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
    )
}

async fn keys(State(issuer): State<DemoIssuer>) -> Response {
    answer(StatusCode::OK, json!({"keys": [issuer.0.jwk]}))
}

async fn token_by_query(
    State(issuer): State<DemoIssuer>,
    request: Result<Query<TokenRequest>, QueryRejection>,
) -> Response {
    match request {
        Ok(Query(request)) => issuer.answer(&request).unwrap_or_else(refused),
        Err(_) => refused(DemoIssuerError::NoPerson),
    }
}

/// A form, a query, or one beside the other; what is said in both is said once too often.
async fn token_by_form(State(issuer): State<DemoIssuer>, uri: Uri, headers: HeaderMap, body: String) -> Response {
    let is_form = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(FORM.as_bytes()));
    if !body.is_empty() && !is_form {
        return failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", "a body is a form");
    }
    let said: Vec<&str> =
        [uri.query().unwrap_or_default(), &body].into_iter().filter(|part| !part.is_empty()).collect();
    let joined = format!("/?{}", said.join("&")).parse::<Uri>().ok();
    match joined.and_then(|uri| Query::<TokenRequest>::try_from_uri(&uri).ok()) {
        Some(Query(request)) => issuer.answer(&request).unwrap_or_else(refused),
        None => refused(DemoIssuerError::NoPerson),
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn refused(error: DemoIssuerError) -> Response {
    let status = match error {
        DemoIssuerError::UnknownPerson | DemoIssuerError::Lifetime | DemoIssuerError::NoPerson => {
            StatusCode::BAD_REQUEST
        }
        DemoIssuerError::Key | DemoIssuerError::Sign => StatusCode::INTERNAL_SERVER_ERROR,
    };
    failure(status, "invalid_request", &error.to_string())
}

/// The error shape of RFC 6749 §5.2.
fn failure(status: StatusCode, error: &str, description: &str) -> Response {
    answer(status, json!({"error": error, "error_description": description}))
}

/// Every answer, with the warning in it.
fn answer(status: StatusCode, mut document: Value) -> Response {
    if let Some(members) = document.as_object_mut() {
        members.insert("warning".to_owned(), WARNING.into());
    }
    (status, [(CACHE_CONTROL, "no-store")], Json(document)).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::*;
    use crate::http::{Client, Limits};
    use crate::identity::{IssuerConfig, Verifier};

    async fn start() -> (SocketAddr, DemoIssuer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let audiences = vec!["control".parse().unwrap(), "payments-demo".parse().unwrap()];
        let issuer = DemoIssuer::new(format!("http://{address}").parse().unwrap(), audiences, Clock::System).unwrap();
        tokio::spawn(issuer.clone().serve(listener, std::future::pending()));
        (address, issuer)
    }

    async fn call(address: SocketAddr, method: &str, path: &str, body: &'static str) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, FORM.parse().unwrap());
        let url = format!("http://{address}{path}").parse().unwrap();
        let client = Client::new(None, Limits::DEFAULT);
        let sent = client.send(method.parse().unwrap(), &url, headers, Bytes::from_static(body.as_bytes()));
        let answer = sent.await.unwrap();
        (answer.status.as_u16(), answer.json().unwrap())
    }

    #[tokio::test]
    async fn its_tokens_are_what_the_verifier_takes_for_each_audience() {
        let (address, issuer) = start().await;
        for audience in ["control", "payments-demo"] {
            let config = IssuerConfig::new(issuer.0.issuer.clone(), audience.parse().unwrap());
            let client = Client::new(None, Limits::DEFAULT);
            let verifier = Verifier::new(vec![config], &client, Clock::System).unwrap();
            assert!(verifier.refresh().await.is_empty());
            for (person, groups) in PERSONS {
                let (status, said) = call(address, "GET", &format!("/token?person={person}"), "").await;
                assert_eq!(status, 200, "{said}");
                let verified = verifier.verify(said["access_token"].as_str().unwrap()).unwrap();
                assert_eq!((verified.person.as_str(), &verified.groups[..]), (person, groups.map_owned().as_slice()));
                assert_eq!(verified.authentication.acr.as_deref(), Some("mfa"));
                assert!(verified.authentication.auth_time.is_some());
            }
        }
    }

    #[tokio::test]
    async fn a_shell_gets_the_bare_token() {
        let (address, issuer) = start().await;
        let url = format!("http://{address}/token?person=bob&format=text").parse().unwrap();
        let client = Client::new(None, Limits::DEFAULT);
        let answer = client.send(http::Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
        assert_eq!(answer.headers[WARNING_HEADER], WARNING);
        let config = IssuerConfig::new(issuer.0.issuer.clone(), "control".parse().unwrap());
        let verifier = Verifier::new(vec![config], &client, Clock::System).unwrap();
        assert!(verifier.refresh().await.is_empty());
        let token = std::str::from_utf8(&answer.body).unwrap();
        assert_eq!(verifier.verify(token).unwrap().person.as_str(), "bob");
        let (status, _) = call(address, "GET", "/token?person=bob&format=xml", "").await;
        assert_eq!(status, 400);
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }
    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[tokio::test]
    async fn every_answer_warns() {
        let (address, _) = start().await;
        for (method, path, body, expected) in [
            ("GET", "/", "", 200),
            ("GET", "/.well-known/openid-configuration", "", 200),
            ("GET", "/jwks", "", 200),
            ("GET", "/token?person=bob", "", 200),
            ("POST", "/token", "person=bob", 200),
            ("POST", "/token?person=bob", "", 200),
            ("POST", "/token?person=bob", "expires_in=60&acr=pwd", 200),
            ("POST", "/token?person=bob", "person=alice", 400),
            ("GET", "/token?person=bob&person=alice", "", 400),
            ("GET", "/token", "", 400),
            ("POST", "/token", "", 400),
            ("GET", "/token?person=mallory", "", 400),
            ("GET", "/token?person=bob&expires_in=0", "", 400),
            ("GET", "/token?person=bob&expires_in=86401", "", 400),
            ("GET", "/token?person=bob&expires_in=-1", "", 400),
            ("DELETE", "/token", "", 405),
            ("GET", "/elsewhere", "", 404),
        ] {
            let (status, said) = call(address, method, path, body).await;
            assert_eq!(status, expected, "{method} {path} {body}: {said}");
            assert_eq!(said["warning"], WARNING, "{method} {path}");
        }
    }
}
