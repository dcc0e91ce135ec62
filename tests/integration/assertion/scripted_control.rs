//! A control plane of a few lines: one grant, heartbeats, and whatever answer a test wants to a key.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use breakglass::clock::Clock;
use breakglass::domain::Grant;
use breakglass::http::crypto_provider;
use breakglass::token::{PublicKey, SigningKey, certify_key, mint_grant};
use breakglass::wire::feed::{FromControl, FromSidecar};
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::decision_cases::pure::grant;
use crate::harness::Site;

/// What is answered to a key; nothing where it is `None`.
pub(super) type Answer = dyn Fn(&SigningKey, &PublicKey) -> Option<FromControl> + Send + Sync;

pub(super) struct ScriptedControl {
    root: SigningKey,
    grant: Grant,
    token: String,
    keys: Vec<String>,
    answer: Box<Answer>,
}

impl ScriptedControl {
    /// Takes the place of the site's control plane for sidecars that start from now on; the grant they are told of.
    pub(super) async fn start(site: &mut Site, answer: Box<Answer>) -> Grant {
        let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let now = Clock::System.wall();
        let span = Duration::from_secs(600);
        let grant = Grant { issued: now, not_before: now, expires: now.plus(span), ..grant("payments") };
        let certificate = certify_key(key.public(), now.minus(span), now.plus(2 * span), &root).unwrap();
        let token = mint_grant(&grant, "https://localhost", &key).unwrap().into_exposed();
        std::fs::write(site.path().join("grant-roots"), root.public().to_string()).unwrap();
        let control = Arc::new(Self { root, grant: grant.clone(), token, keys: vec![certificate], answer });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        site.feed = listener.local_addr().unwrap();
        let tls = TlsAcceptor::from(Arc::new(server_config(site)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = tls.accept(stream).await else { continue };
                let control = Arc::clone(&control);
                let service = service_fn(move |request| respond(Arc::clone(&control), request));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        });
        grant
    }

    fn beginning(&self) -> Vec<FromControl> {
        vec![
            FromControl::Welcome { epoch: "scripted".to_owned(), resumed: false },
            FromControl::Keys { revision: 1, keys: self.keys.clone() },
            FromControl::Freeze { revision: 1, frozen: false },
            FromControl::Put { revision: 1, token: self.token.clone(), identity_since: None },
            FromControl::SnapshotEnd { revision: 1 },
        ]
    }

    fn answer(&self, line: &FromSidecar) -> Option<FromControl> {
        match line {
            FromSidecar::Ping { n, .. } => {
                let now = Clock::System.wall();
                Some(FromControl::Heartbeat { n: *n, server_time: now, as_of: now, revision: 1 })
            }
            FromSidecar::CertifyAssertionKey { x, .. } => (self.answer)(&self.root, &x.parse().unwrap()),
            FromSidecar::Subscribe(said) => {
                assert_eq!(said.service, self.grant.service);
                None
            }
            _ => None,
        }
    }
}

fn server_config(site: &Site) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_file_iter(site.path().join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(site.path().join("server.key")).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn respond(
    control: Arc<ScriptedControl>,
    request: Request<Incoming>,
) -> Result<Response<Channel<Bytes, Infallible>>, Infallible> {
    let (sender, body) = Channel::new(64);
    tokio::spawn(converse(control, request.into_body(), sender));
    Ok(Response::new(body))
}

async fn converse(control: Arc<ScriptedControl>, mut incoming: Incoming, mut out: Sender<Bytes, Infallible>) {
    for line in control.beginning() {
        say(&mut out, &line).await;
    }
    let mut read = BytesMut::new();
    while let Some(Ok(frame)) = incoming.frame().await {
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line = read.split_to(end + 1);
            if let Some(answer) = control.answer(&serde_json::from_slice(&line).unwrap()) {
                say(&mut out, &answer).await;
            }
        }
    }
}

async fn say(out: &mut Sender<Bytes, Infallible>, line: &FromControl) {
    let mut bytes = serde_json::to_vec(line).unwrap();
    bytes.push(b'\n');
    let _ = out.send_data(bytes.into()).await;
}
