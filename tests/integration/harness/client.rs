//! Clients: raw bytes over TLS for what no client library would send, and HTTP/2 by hyper.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use breakglass::http::crypto_provider;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;

/// An answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The decision code as a client can tell it: that of a refusal, "override" or "pass" where the demo's echo
    /// answered.
    pub(crate) fn code(&self) -> String {
        if self.header("content-type") == Some("application/problem+json") {
            return self.json()["code"].as_str().unwrap().to_owned();
        }
        assert_eq!(self.status, 200, "{self:?}");
        let permitted = self.echoed("break-glass-grant").is_some();
        (if permitted { "override" } else { "pass" }).to_owned()
    }

    /// A header as the upstream saw it.
    pub(crate) fn echoed(&self, name: &str) -> Option<String> {
        let said = self.json();
        let found = said["headers"].as_array().unwrap().iter().find(|pair| pair[0] == name)?;
        Some(found[1].as_str().unwrap().to_owned())
    }
}

/// PEM files of a client's certificate and its key.
pub(crate) type Own<'a> = (&'a Path, &'a Path);

async fn connect(address: SocketAddr, ca: &Path, protocol: &[u8], own: Option<Own<'_>>) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = rustls::ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

/// Bytes over TLS, as they stand.
pub(crate) struct Raw {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn open(address: SocketAddr, ca: &Path) -> Self {
        Self::open_as(address, ca, b"http/1.1").await
    }

    /// Agrees on `protocol` and says nothing.
    pub(crate) async fn open_as(address: SocketAddr, ca: &Path, protocol: &[u8]) -> Self {
        Self { stream: connect(address, ca, protocol, None).await, read: Vec::new() }
    }

    /// Shows a certificate to whoever asks.
    pub(crate) async fn open_showing(address: SocketAddr, ca: &Path, own: Option<Own<'_>>) -> Self {
        Self { stream: connect(address, ca, b"http/1.1", own).await, read: Vec::new() }
    }

    /// The certificate the peer has shown.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Writes; a peer that has closed already is no failure here.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the peer reads");
        let _ = self.stream.flush().await;
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next answer. Panics where the connection ends without one.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer")
    }

    /// The next answer; `None` where the connection ends first.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        timeout(PATIENCE, self.read_answer()).await.expect("an answer in time")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let (status, headers) = self.head().await?;
        let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let body = if find("transfer-encoding") == Some("chunked") {
            self.chunked().await?
        } else if let Some(length) = find("content-length") {
            let length = length.parse().unwrap();
            self.take(length).await?
        } else if status == 204 || status == 304 || status < 200 {
            Vec::new()
        } else {
            while self.fill().await {}
            std::mem::take(&mut self.read)
        };
        Some(Answer { status, headers, body })
    }

    /// Status and headers of the next answer; its body stays to be read.
    pub(crate) async fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Some((status, lines.filter(|line| !line.is_empty()).map(pair).collect()))
    }

    async fn chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                while self.until(b"\r\n").await?.len() > 2 {}
                return Some(body);
            }
            body.extend(self.take(size).await?);
            self.take(2).await?;
        }
    }

    /// True once the peer has closed; what it still sent is dropped.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.rest().await;
        true
    }

    /// Everything until the peer closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let all = async { while self.fill().await {} };
        timeout(PATIENCE, all).await.expect("the peer closes");
        std::mem::take(&mut self.read)
    }

    /// Whether the peer's end was said in order (TLS close_notify), after all that still came.
    pub(crate) async fn ends_in_order(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("the peer closes") {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Reads on and keeps only the last bytes of all.
    pub(crate) async fn tail(&mut self) -> Vec<u8> {
        while self.some().await {
            let surplus = self.read.len().saturating_sub(64);
            self.read.drain(..surplus);
        }
        std::mem::take(&mut self.read)
    }

    /// Waits for some bytes; false at the end.
    pub(crate) async fn some(&mut self) -> bool {
        timeout(PATIENCE, self.fill()).await.expect("bytes in time")
    }

    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    pub(crate) async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }
}

/// A request as bytes: the target as it stands, headers in order, one length.
pub(crate) fn raw_request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

pub(crate) type Sent = BoxBody<Bytes, std::io::Error>;

/// One HTTP/2 connection.
pub(crate) struct H2 {
    sender: SendRequest<Sent>,
}

impl H2 {
    pub(crate) async fn open(address: SocketAddr, ca: &Path) -> Self {
        let stream = TokioIo::new(connect(address, ca, b"h2", None).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, Sent>(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// True once the peer takes no further request.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.sender.ready().await.is_err()
    }

    /// The answer's head, with its body still to come.
    pub(crate) async fn begin(&mut self, request: Request<Sent>) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        timeout(PATIENCE, self.sender.send_request(request)).await.expect("an answer in time")
    }

    /// The answer's head, to be awaited beside others.
    pub(crate) fn start(
        &self,
        request: Request<Sent>,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> + use<> {
        let mut sender = self.sender.clone();
        async move { timeout(PATIENCE, sender.send_request(request)).await.expect("an answer in time") }
    }

    /// One request without a body, or with one in one piece.
    pub(crate) async fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let response = self.begin(h2_request(method, target, headers, body)).await.unwrap();
        whole(response).await
    }
}

pub(crate) fn h2_request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Sent> {
    let mut request = Request::builder().method(method).uri(format!("https://localhost{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_empty() {
        Empty::new().map_err(|never| match never {}).boxed()
    } else {
        Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed()
    };
    request.body(body).unwrap()
}

pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let collected = timeout(PATIENCE, body.collect()).await.expect("a body in time").unwrap();
    let headers = listed(&parts.headers);
    Answer { status: parts.status.as_u16(), headers, body: collected.to_bytes().to_vec() }
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(pair).collect()
}
