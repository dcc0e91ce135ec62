//! Calls against servers of this process, on ephemeral ports of the loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::secret::Secret;

type Reply = Response<BoxBody<Bytes, Infallible>>;

const SMALL: Limits = Limits { body_bytes_max: 64, ..Limits::DEFAULT };

fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Response::builder().status(status).body(Full::new(body.into()).boxed()).unwrap()
}

/// Some bytes, then nothing for ever.
fn endless() -> Reply {
    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"{")))]);
    let body = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    Response::new(http_body_util::StreamBody::new(body).boxed())
}

async fn answer(request: Request<Incoming>) -> Reply {
    let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
    match request.uri().path() {
        "/agent" => reply(200, format!("{{\"agent\":\"{agent}\",\"version\":\"{:?}\"}}", request.version())),
        "/echo" => {
            let bearer = request.headers().get("authorization").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bearer.unwrap(), "Bearer s3cret");
            reply(200, body)
        }
        "/large" => reply(200, vec![b' '; 65]),
        "/full" => reply(200, vec![b' '; 64]),
        "/redirect" => {
            let mut moved = reply(302, "");
            moved.headers_mut().insert("location", "/agent".parse().unwrap());
            moved
        }
        "/problem" => reply(403, "{\"code\":\"no\"}"),
        "/slow" => std::future::pending().await,
        "/endless" => endless(),
        "/not-json" => reply(200, "{\"token\": s3cret}"),
        _ => reply(404, ""),
    }
}

/// A server that closes each connection after `requests_max` requests; returns its address and a count of connections.
async fn server(requests_max: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let served = Arc::new(AtomicUsize::new(0));
            let service = service_fn(move |request| {
                let last = served.fetch_add(1, Ordering::SeqCst) + 1 == requests_max;
                async move {
                    let mut reply = answer(request).await;
                    if last {
                        reply.headers_mut().insert("connection", "close".parse().unwrap());
                    }
                    Ok::<_, Infallible>(reply)
                }
            });
            tokio::spawn(async move {
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, connections)
}

fn url(address: SocketAddr, path: &str) -> Uri {
    format!("http://{address}{path}").parse().unwrap()
}

async fn get(client: &Client, uri: &Uri) -> Result<Answer, HttpError> {
    client.send(Method::GET, uri, HeaderMap::new(), Bytes::new()).await
}

#[tokio::test]
async fn calls_name_the_product_and_share_one_connection() {
    let (address, connections) = server(usize::MAX).await;
    let client = Client::new(None, Limits::DEFAULT);
    for _ in 0..3 {
        let said: serde_json::Value = client.get_json(&url(address, "/agent"), None).await.unwrap();
        assert_eq!(said["agent"], USER_AGENT);
    }
    let token = Secret::new("s3cret".to_owned());
    let echoed: Vec<u32> = client.post_json(&url(address, "/echo"), Some(&token), &[1, 2]).await.unwrap();
    assert_eq!(echoed, [1, 2]);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_the_server_closed_is_replaced() {
    let (address, connections) = server(1).await;
    let client = Client::new(None, Limits::DEFAULT);
    let token = Secret::new("s3cret".to_owned());
    for i in 0..3 {
        let echoed: u32 = client.post_json(&url(address, "/echo"), Some(&token), &i).await.unwrap();
        assert_eq!(echoed, i);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn sizes_and_times_end_a_call_and_not_the_client() {
    let (address, _) = server(usize::MAX).await;
    let failed = async |limits: Limits, path: &str| {
        let client = Client::new(None, limits);
        let error = get(&client, &url(address, path)).await.unwrap_err();
        assert_eq!(get(&client, &url(address, "/full")).await.unwrap().body.len(), 64);
        error
    };
    assert!(matches!(failed(SMALL, "/large").await, HttpError::TooLarge { bytes_max: 64 }));
    let impatient = Limits { response_ms_max: 500, ..SMALL };
    assert!(matches!(failed(impatient, "/slow").await, HttpError::TimedOut { step: Step::Response, ms: 500 }));
    let brief = Limits { total_ms_max: 500, ..SMALL };
    assert!(matches!(failed(brief, "/endless").await, HttpError::TimedOut { step: Step::Total, ms: 500 }));
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (address, _) = server(usize::MAX).await;
    let answer = get(&Client::new(None, SMALL), &url(address, "/redirect")).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_refusal_comes_with_its_document() {
    let (address, _) = server(usize::MAX).await;
    let error = Client::new(None, SMALL).get_json::<()>(&url(address, "/problem"), None).await.unwrap_err();
    let HttpError::Status(answer) = error else { panic!("{error:?}") };
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["code"], "no");
}

#[tokio::test]
async fn no_message_quotes_what_was_received() {
    let (address, _) = server(usize::MAX).await;
    let client = Client::new(None, SMALL);
    let error = client.get_json::<serde_json::Value>(&url(address, "/not-json"), None).await.unwrap_err();
    assert!(matches!(error, HttpError::Json { .. }));
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn what_cannot_be_called_says_why() {
    let client = Client::new(None, SMALL);
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let failed = async |uri: &str| get(&client, &uri.parse().unwrap()).await.unwrap_err();
    assert!(matches!(failed(&format!("http://{closed}/")).await, HttpError::Connect { .. }));
    assert!(matches!(failed("http://192.0.2.1/").await, HttpError::CleartextRefused { .. }));
    assert!(matches!(failed("https://127.0.0.1/").await, HttpError::NoTls { .. }));
    assert!(matches!(failed("ftp://127.0.0.1/").await, HttpError::Url(_)));
    assert!(matches!(failed("/path/only").await, HttpError::Url(_)));
    assert!(matches!(failed("http://alice:pw@127.0.0.1/").await, HttpError::Url(_)));
    let newline = Secret::new("a\r\nb".to_owned());
    let error = client.get_json::<()>(&url(closed, "/"), Some(&newline)).await.unwrap_err();
    assert!(matches!(error, HttpError::RequestHeader));
}

#[cfg(feature = "cli")]
mod over_tls {
    use super::*;
    use hyper_util::rt::TokioExecutor;
    use hyper_util::server::conn::auto;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;

    struct Authority(CertificateDer<'static>, Issuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap().der().clone();
            Self(certificate, Issuer::new(params, key))
        }

        fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.1).unwrap().der().clone();
            (vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        }

        fn roots(&self) -> TlsRoots {
            TlsRoots::from_certificates([self.0.clone()]).unwrap()
        }

        fn trusted(&self) -> ClientTls {
            ClientTls::new(self.roots(), None).unwrap()
        }

        fn mutual(&self) -> ClientTls {
            let (chain, key) = self.issue("sidecar");
            ClientTls::new(self.roots(), Some(ClientIdentity::new(chain, key))).unwrap()
        }

        /// A server named `name`, on which clients must show a certificate if `mutual`.
        async fn serve(&self, name: &str, mutual: bool, alpn: &[&str]) -> SocketAddr {
            let (chain, key) = self.issue(name);
            let builder =
                ServerConfig::builder_with_provider(crypto_provider()).with_safe_default_protocol_versions().unwrap();
            let roots = Arc::new(self.roots().0);
            let builder = if mutual {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto_provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            } else {
                builder.with_no_client_auth()
            };
            let mut config = builder.with_single_cert(chain, key).unwrap();
            config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
            accept(tokio_rustls::TlsAcceptor::from(Arc::new(config))).await
        }
    }

    async fn accept(acceptor: tokio_rustls::TlsAcceptor) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(async |request| Ok::<_, Infallible>(answer(request).await));
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }

    fn https(address: SocketAddr) -> Uri {
        format!("https://localhost:{}/agent", address.port()).parse().unwrap()
    }

    #[tokio::test]
    async fn both_versions_are_spoken() {
        let authority = Authority::new();
        for (alpn, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")] {
            let address = authority.serve("localhost", false, alpn).await;
            let client = Client::new(Some(authority.trusted()), Limits::DEFAULT);
            for _ in 0..2 {
                let said: serde_json::Value = client.get_json(&https(address), None).await.unwrap();
                assert_eq!(said["version"], version);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_of_another_name_or_authority_is_refused() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let misnamed = ours.serve("elsewhere", false, &["h2"]).await;
        let foreign = theirs.serve("localhost", false, &["h2"]).await;
        let client = Client::new(Some(ours.trusted()), Limits::DEFAULT);
        for address in [misnamed, foreign] {
            assert!(matches!(get(&client, &https(address)).await, Err(HttpError::Tls { .. })));
        }
    }

    fn endpoint(address: SocketAddr, name: &str) -> H2Endpoint {
        let server_name = name.to_owned().try_into().unwrap();
        H2Endpoint { host: address.ip().to_string(), port: address.port(), server_name }
    }

    #[tokio::test]
    async fn a_stream_connection_pins_the_name_apart_from_the_address() {
        let authority = Authority::new();
        let address = authority.serve("control.internal", true, &["h2"]).await;
        let tls = authority.mutual();
        let mut connection =
            connect_h2::<Full<Bytes>>(&endpoint(address, "control.internal"), &tls, &SMALL).await.unwrap();
        let request = Request::get("https://control.internal/agent").header("user-agent", USER_AGENT);
        let response = connection.sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);

        let other = connect_h2::<Full<Bytes>>(&endpoint(address, "localhost"), &tls, &SMALL).await;
        assert!(matches!(other, Err(HttpError::Tls { .. })));
    }

    #[tokio::test]
    async fn a_stream_needs_a_peer_that_speaks_http2() {
        let authority = Authority::new();
        for alpn in [&["http/1.1"][..], &[]] {
            let address = authority.serve("control.internal", false, alpn).await;
            let endpoint = endpoint(address, "control.internal");
            let error = connect_h2::<Full<Bytes>>(&endpoint, &authority.trusted(), &SMALL).await.unwrap_err();
            assert!(matches!(error, HttpError::Tls { .. } | HttpError::Protocol { .. }), "{error:?}");
        }
    }

    #[test]
    fn files_that_hold_no_certificate_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        assert!(matches!(TlsRoots::from_pem_files([&empty]), Err(TlsError::NoCertificate { path }) if path == empty));
        let missing = folder.path().join("missing.pem");
        assert!(matches!(TlsRoots::from_pem_files([&missing]), Err(TlsError::Pem { path, .. }) if path == missing));
        assert!(matches!(TlsRoots::from_certificates([]), Err(TlsError::NoRoots)));
    }
}
