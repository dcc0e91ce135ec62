//! The listener with its database and authority, and the scripted sidecar.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::control::feed::endpoint::FeedBody;
use crate::control::feed::{AssertionKeys, Certifier, FeedKeys, FeedLimits, Hub, serve, tls_config};
use crate::domain::*;
use crate::store::{Created, Store, sample};
use crate::token::assertion::certificate::certify_assertion_key;
use crate::token::{PublicKey, SigningKey, mint_grant};
use crate::wire::feed::{AuditPosition, CONTENT_TYPE, FromControl, FromSidecar, PATH, Subscribe};
use crate::wire::problem::Problem;

/// Long enough for a loaded machine; nothing waits for it but a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    fn leaf(&self, usage: ExtendedKeyUsagePurpose, names: Vec<SanType>) -> Identity {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    pub(super) fn client(&self, uris: &[&str]) -> Identity {
        let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        self.leaf(ExtendedKeyUsagePurpose::ClientAuth, names)
    }

    fn server(&self) -> Identity {
        self.leaf(ExtendedKeyUsagePurpose::ServerAuth, vec![SanType::DnsName("localhost".try_into().unwrap())])
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) struct Bench {
    pub(super) store: Arc<Store>,
    pub(super) hub: Arc<Hub>,
    pub(super) authority: Authority,
    pub(super) address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    key: SigningKey,
    /// Certifies assertion keys.
    pub(super) root: PublicKey,
    _folder: tempfile::TempDir,
}

pub(super) fn service() -> ServiceName {
    "payments".parse().unwrap()
}

pub(super) async fn bench(limits: FeedLimits) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("db"), Clock::System).await.unwrap());
    let hub = Hub::new(Clock::System, limits);
    let authority = Authority::new();
    let (chain, key) = authority.server();
    let tls = tls_config(chain, key, authority.roots()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let keys = Arc::new(vec!["key-certificate".to_owned()]);
    let root = SigningKey::generate().unwrap();
    let root_public = root.public().clone();
    let certifier: Certifier = Arc::new(move |subject| {
        let certified = certify_assertion_key(&subject, &root).map(|text| (text, root.public().kid().to_owned()));
        Box::pin(std::future::ready(certified.map_err(Into::into)))
    });
    let (served_hub, served_store) = (Arc::clone(&hub), Arc::clone(&store));
    let served = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        let keys = FeedKeys {
            grants: Arc::new(move || Arc::clone(&keys)),
            assertions: AssertionKeys { certifier, validity: Duration::from_secs(86_400) },
        };
        serve(listener, tls, served_hub, served_store, keys, shutdown).await.unwrap();
    });
    let key = SigningKey::generate().unwrap();
    Bench { store, hub, authority, address, stop: Some(stop), served, key, root: root_public, _folder: folder }
}

impl Bench {
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }

    /// Issues a grant; answers its revision.
    pub(super) async fn grant(&self, n: u64, max_uses: u32) -> (GrantId, u64) {
        let mut new = sample::granted(n, max_uses, Clock::System.wall());
        new.record.elevation.service = service();
        let grant = new.grant.as_mut().unwrap();
        grant.grant.service = service();
        grant.token = Some(mint_grant(&grant.grant, "https://control.test", &self.key).unwrap());
        let id = grant.grant.id.clone();
        match sample::create(&self.store, &new).await.unwrap() {
            Created::New { revision } => (id, revision.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn revoke(&self, grant: &GrantId) -> u64 {
        let by: Person = "alice@example.test".parse().unwrap();
        match self.store.revoke(grant, &by, None).await.unwrap() {
            crate::store::RevokeOutcome::Revoked(record) => record.revision,
            other => panic!("{other:?}"),
        }
    }

    /// A connection with that client certificate, or none; with the smallest windows where it shall be slow.
    pub(super) async fn connect(&self, identity: Option<Identity>, window: u32) -> std::io::Result<Client> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.authority.roots());
        let mut config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window.max(65_535))
            .handshake(TokioIo::new(tls))
            .await
            .map_err(std::io::Error::other)?;
        let driver = tokio::spawn(async move { connection.await.map_err(std::io::Error::other) });
        Ok(Client { sender, driver })
    }

    pub(super) async fn client(&self) -> Client {
        self.client_of("spiffe://bank.test/sidecar/payments").await
    }

    pub(super) async fn client_of(&self, uri: &str) -> Client {
        let identity = self.authority.client(&[uri]);
        self.connect(Some(identity), 1 << 20).await.unwrap()
    }

    /// A sidecar that has read everything up to `snapshot_end`.
    pub(super) async fn sidecar(&self, subscribe: Subscribe) -> (Sidecar, Vec<FromControl>) {
        let mut sidecar = self.client().await.subscribe(subscribe).await.unwrap();
        let beginning = sidecar.hear_until(|line| matches!(line, FromControl::SnapshotEnd { .. })).await;
        (sidecar, beginning)
    }
}

pub(super) fn subscribe(instance: &str) -> Subscribe {
    Subscribe {
        service: service(),
        instance: instance.parse().unwrap(),
        version: "0.1.0".into(),
        service_digest: "ab".repeat(32),
        epoch: None,
        last_revision: None,
        lineage: format!("lineage-of-{instance}"),
        spent: Default::default(),
        audit: AuditPosition::default(),
    }
}

pub(super) struct Client {
    sender: http2::SendRequest<FeedBody>,
    pub(super) driver: JoinHandle<std::io::Result<()>>,
}

impl Client {
    /// Sends a request whose body is what the channel carries.
    pub(super) async fn request(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: mpsc::Receiver<Bytes>,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("content-type", content_type)
            .body(FeedBody::Lines(body))
            .unwrap();
        timeout(PATIENCE, self.sender.send_request(request)).await.unwrap()
    }

    /// Subscribes; the error is the problem document.
    pub(super) async fn subscribe(mut self, subscribe: Subscribe) -> Result<Sidecar, Problem> {
        let (say, body) = mpsc::channel(64);
        say.send(line(&FromSidecar::Subscribe(subscribe))).await.unwrap();
        let response = self.request(Method::POST, PATH, CONTENT_TYPE, body).await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(problem(response).await);
        }
        Ok(Sidecar { say, body: response.into_body(), buffer: BytesMut::new(), client: self })
    }
}

pub(super) async fn problem(response: Response<Incoming>) -> Problem {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], crate::wire::problem::CONTENT_TYPE);
    let problem: Problem = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(problem.status, status);
    problem
}

fn line(said: &FromSidecar) -> Bytes {
    let mut line = serde_json::to_vec(said).unwrap();
    line.push(b'\n');
    line.into()
}

pub(super) struct Sidecar {
    say: mpsc::Sender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
    pub(super) client: Client,
}

impl Sidecar {
    pub(super) async fn say(&self, said: FromSidecar) {
        self.say_raw(line(&said)).await;
    }

    pub(super) async fn say_raw(&self, bytes: impl Into<Bytes>) {
        self.say.send(bytes.into()).await.unwrap();
    }

    /// False when nobody listens any more.
    pub(super) async fn try_say(&self, bytes: Vec<u8>) -> bool {
        timeout(PATIENCE, self.say.send(bytes.into())).await.unwrap().is_ok()
    }

    pub(super) async fn ack(&self, revision: u64) {
        self.say(FromSidecar::Ack { revision, audit: AuditPosition::default() }).await;
    }

    /// The next line; `None` when the stream is over.
    pub(super) async fn hear(&mut self) -> Option<FromControl> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                return Some(serde_json::from_slice(&self.buffer.split_to(at + 1)).unwrap());
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("a line in time")?.ok()?;
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }

    /// Everything up to the first line that is `last`.
    pub(super) async fn hear_until(&mut self, last: impl Fn(&FromControl) -> bool) -> Vec<FromControl> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear().await.expect("the stream to go on"));
            if last(heard.last().unwrap()) {
                return heard;
            }
        }
    }

    /// What comes up to the heartbeat, and the heartbeat.
    pub(super) async fn ping(&mut self, n: u64) -> (Vec<FromControl>, FromControl) {
        self.say(FromSidecar::Ping { n, at: None }).await;
        let mut heard = self.hear_until(|line| matches!(line, FromControl::Heartbeat { n: m, .. } if *m == n)).await;
        let heartbeat = heard.pop().unwrap();
        (heard, heartbeat)
    }
}
