//! A small issuer for tests: serves discovery and keys on the loopback, rotates them, goes down and comes back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::issuer::Algorithm;

/// A key pair with its public JWK.
pub(crate) struct TestKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) jwk: Value,
    encoding: EncodingKey,
}

impl TestKey {
    pub(crate) fn new(algorithm: Algorithm, kid: &str) -> Self {
        let (encoding, mut jwk) = match algorithm {
            Algorithm::EdDSA => ed25519(),
            Algorithm::ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
            Algorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
            _ => rsa(),
        };
        jwk["kid"] = kid.into();
        Self { algorithm, jwk, encoding }
    }

    /// A token with the usual header.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm.as_str(), "typ": "at+jwt", "kid": self.jwk["kid"]});
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A security event token with the usual header.
    pub(crate) fn sign_event(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm.as_str(), "typ": "secevent+jwt", "kid": self.jwk["kid"]});
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token with exactly these texts, truly signed by this key whatever the header says.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let algorithm = self.algorithm.for_jsonwebtoken();
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &self.encoding, algorithm).unwrap();
        format!("{input}.{signature}")
    }
}

fn ed25519() -> (EncodingKey, Value) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let der = pair.to_pkcs8v1().unwrap();
    (EncodingKey::from_ed_der(der.as_ref()), json!({"kty": "OKP", "crv": "Ed25519", "x": x}))
}

fn ec(
    algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm,
    curve: &str,
    bytes: usize,
) -> (EncodingKey, Value) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(bytes);
    let jwk = json!({"kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    (EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), jwk)
}

fn rsa() -> (EncodingKey, Value) {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
    let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // jsonwebtoken wants PKCS #1 in DER, and takes PKCS #8 in PEM.
    let der = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    (EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), json!({"kty": "RSA", "n": n, "e": e}))
}

/// The running issuer. What it serves can be changed at any time.
pub(crate) struct TestIssuer {
    pub(crate) url: String,
    served: Arc<Mutex<Served>>,
    asked: watch::Sender<Vec<String>>,
}

/// What is answered to whoever asks about a token, at `/introspect`.
#[derive(Debug, Clone)]
pub(crate) enum Introspected {
    Said {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// The connection is held, and nothing comes.
    Silence,
    /// This body, and from then on that every token stands.
    Once(String),
}

impl Introspected {
    pub(crate) fn body(body: impl Into<String>) -> Self {
        Self::Said { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Said { status, headers: Vec::new(), body: String::new() }
    }
}

struct Served {
    introspected: Introspected,
    metadata: Value,
    keys: Value,
    down: bool,
    key_fetches: usize,
}

impl TestIssuer {
    pub(crate) async fn start(keys: &[&TestKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let served = Arc::new(Mutex::new(Served {
            introspected: Introspected::body(r#"{"active":true}"#),
            metadata,
            keys: Value::Null,
            down: false,
            key_fetches: 0,
        }));
        let asked = watch::Sender::new(Vec::new());
        tokio::spawn(serve(listener, Arc::clone(&served), asked.clone()));
        let issuer = Self { url, served, asked };
        issuer.publish(keys);
        issuer
    }

    pub(crate) fn publish(&self, keys: &[&TestKey]) {
        self.publish_raw(json!({"keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>()}));
    }

    pub(crate) fn publish_raw(&self, document: Value) {
        self.served.lock().unwrap().keys = document;
    }

    pub(crate) fn set_metadata(&self, metadata: Value) {
        self.served.lock().unwrap().metadata = metadata;
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.served.lock().unwrap().down = down;
    }

    pub(crate) fn set_introspected(&self, introspected: Introspected) {
        self.served.lock().unwrap().introspected = introspected;
    }

    /// Waits until tokens were asked about so many times more, and answers the last form that came.
    pub(crate) async fn asked_again(&self, times: usize) -> String {
        let mut asked = self.asked.subscribe();
        let wanted = asked.borrow().len() + times;
        let all = asked.wait_for(|asked| asked.len() >= wanted).await.unwrap();
        all.last().unwrap().clone()
    }

    /// How often tokens were asked about.
    pub(crate) fn asked(&self) -> usize {
        self.asked.borrow().len()
    }

    pub(crate) fn key_fetches(&self) -> usize {
        self.served.lock().unwrap().key_fetches
    }
}

async fn serve(listener: TcpListener, served: Arc<Mutex<Served>>, asked: watch::Sender<Vec<String>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (served, asked) = (Arc::clone(&served), asked.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (served, asked) = (Arc::clone(&served), asked.clone());
            async move {
                if request.uri().path() == "/introspect" && !served.lock().unwrap().down {
                    return Ok(introspected(request, &served, &asked).await);
                }
                Ok::<_, Infallible>(answer(&request, &mut served.lock().unwrap()))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// What came is `METHOD AUTHORIZATION FORM`.
async fn introspected(
    request: Request<Incoming>,
    served: &Mutex<Served>,
    asked: &watch::Sender<Vec<String>>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let shown = parts.headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    let form = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let introspected = {
        let introspected = &mut served.lock().unwrap().introspected;
        match introspected.clone() {
            Introspected::Once(body) => {
                *introspected = Introspected::body(r#"{"active":true}"#);
                Introspected::body(body)
            }
            other => other,
        }
    };
    asked.send_modify(|asked| asked.push(format!("{} {shown} {form}", parts.method)));
    let Introspected::Said { status, headers, body } = introspected else { return std::future::pending().await };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Full::from(body)).unwrap()
}

fn answer(request: &Request<Incoming>, served: &mut Served) -> Response<Full<Bytes>> {
    let document = match request.uri().path() {
        _ if served.down => return Response::builder().status(503).body(Full::default()).unwrap(),
        "/keys" => {
            served.key_fetches += 1;
            &served.keys
        }
        "/.well-known/openid-configuration" | "/.well-known/ssf-configuration" => &served.metadata,
        _ => return Response::builder().status(404).body(Full::default()).unwrap(),
    };
    Response::new(Full::from(document.to_string()))
}
