//! A server on the loopback whose answers can be changed at any time, and which keeps what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, std::io::Error>;

/// What is answered.
#[derive(Clone)]
pub(in crate::control) enum Reply {
    Whole {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    /// The same, once the notice is given.
    Held(Arc<Notify>, Box<Self>),
    /// Nothing, for ever.
    Hang,
    /// The head, some bytes, and then nothing for ever.
    Stall,
    /// The head, some bytes, and the end of the connection.
    BreakOff,
}

impl Reply {
    pub(in crate::control) fn ok(body: impl ToString) -> Self {
        Self::status(200, body)
    }

    pub(in crate::control) fn status(status: u16, body: impl ToString) -> Self {
        Self::Whole { status, headers: Vec::new(), body: body.to_string().into() }
    }

    pub(in crate::control) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

type Answer = Arc<dyn Fn(&Parts) -> Reply + Send + Sync>;

pub(in crate::control) struct Server {
    pub(in crate::control) url: String,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Sender<Vec<Parts>>,
}

impl Server {
    pub(in crate::control) async fn start(reply: Reply) -> Self {
        Self::listen(reply, None).await
    }

    /// Over TLS, with a certificate of an authority of its own, in PEM.
    pub(in crate::control) async fn start_tls(reply: Reply) -> (Self, String) {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&ca_key).unwrap().pem();
        let mut leaf = CertificateParams::new(vec![]).unwrap();
        leaf.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let chain = vec![leaf.signed_by(&key, &Issuer::new(params, ca_key)).unwrap().der().clone()];
        let config = rustls::ServerConfig::builder_with_provider(crate::http::crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        (Self::listen(reply, Some(TlsAcceptor::from(Arc::new(config)))).await, authority)
    }

    async fn listen(reply: Reply, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let answer: Answer = Arc::new(move |_| reply.clone());
        let (answer, asked) = (Arc::new(Mutex::new(answer)), watch::Sender::default());
        tokio::spawn(serve(listener, tls, Arc::clone(&answer), asked.clone()));
        Self { url, answer, asked }
    }

    pub(in crate::control) fn answer(&self, reply: Reply) {
        self.answer_by(move |_| reply.clone());
    }

    pub(in crate::control) fn answer_by(&self, answer: impl Fn(&Parts) -> Reply + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// The requests so far.
    pub(in crate::control) fn asked(&self) -> Vec<Parts> {
        self.asked.borrow().clone()
    }

    /// Returns once there were that many requests.
    pub(in crate::control) async fn until_asked(&self, count: usize) {
        self.asked.subscribe().wait_for(|asked| asked.len() >= count).await.unwrap();
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Sender<Vec<Parts>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, answer, asked) = (tls.clone(), Arc::clone(&answer), asked.clone());
        tokio::spawn(async move {
            match tls {
                None => speak(stream, answer, asked).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, answer, asked).await;
                    }
                }
            }
        });
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Sender<Vec<Parts>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (parts, _) = request.into_parts();
        let answer = Arc::clone(&answer.lock().unwrap());
        let reply = answer(&parts);
        asked.send_modify(|asked| asked.push(parts));
        async move { Ok::<_, Infallible>(respond(reply).await) }
    });
    // A client that has gone is none of a test's concern.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(reply: Reply) -> Response<Body> {
    let begun = || stream::iter([Ok(Frame::data(Bytes::from_static(b"BEGIN:VCALENDAR\r\n")))]);
    match reply {
        Reply::Whole { status, headers, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Full::new(body).map_err(|never| match never {}).boxed()).unwrap()
        }
        Reply::Held(notice, reply) => {
            notice.notified().await;
            Box::pin(respond(*reply)).await
        }
        Reply::Hang => std::future::pending().await,
        Reply::Stall => Response::new(BodyExt::boxed(StreamBody::new(begun().chain(stream::pending())))),
        Reply::BreakOff => {
            let broken = stream::iter([Err(std::io::Error::other("cut"))]);
            Response::new(BodyExt::boxed(StreamBody::new(begun().chain(broken))))
        }
    }
}
