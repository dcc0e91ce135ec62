//! Clients that ask without pause and try nothing twice: what is refused, reset or answered wrongly is a failure.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use breakglass::http::crypto_provider;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    pub(crate) ordinary: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    /// Overrides that could not be recorded just then.
    pub(crate) not_now: AtomicUsize,
    /// Requests over HTTP/2 that a GOAWAY forestalled.
    pub(crate) forestalled: AtomicUsize,
    failures: Mutex<Vec<String>>,
    /// Request ids of overrides that were answered by the upstream.
    acknowledged: Mutex<BTreeSet<String>>,
}

/// Where to ask.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    h1: Arc<rustls::ClientConfig>,
    h2: Arc<rustls::ClientConfig>,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, ca: &Path) -> Self {
        let config = |protocol: &[u8]| {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
                roots.add(certificate.unwrap()).unwrap();
            }
            let mut config = rustls::ClientConfig::builder_with_provider(crypto_provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Self { address, h1: config(b"http/1.1"), h2: config(b"h2") }
    }

    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) async fn secure(&self, stream: TcpStream, h2: bool) -> io::Result<TlsStream<TcpStream>> {
        let config = if h2 { &self.h2 } else { &self.h1 };
        TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    async fn open(&self, h2: bool) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.connect().await?;
        self.secure(stream, h2).await
    }
}

impl Load {
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    pub(crate) fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    fn told_before(&self) {
        self.forestalled.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, what: &str, result: io::Result<()>) {
        match result {
            Ok(()) => {
                self.ordinary.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.failures.lock().unwrap().push(format!("{what}: {error:?}")),
        }
    }

    /// A connection a request.
    pub(crate) async fn connecting(self: Arc<Self>, target: Target, request: Vec<u8>) {
        while self.goes_on() {
            let asked = async {
                let mut stream = target.open(false).await?;
                self.connections.fetch_add(1, Ordering::Relaxed);
                let answer = ask(&mut stream, &request).await?;
                // Whoever closes first should not be a client with bytes unread.
                let _ = stream.shutdown().await;
                expect_ok(&answer)
            };
            self.note("connecting", asked.await);
        }
    }

    /// One connection for as long as it is kept.
    pub(crate) async fn keeping(self: Arc<Self>, target: Target, request: Vec<u8>) {
        while self.goes_on() {
            let held = async {
                let mut stream = target.open(false).await?;
                self.connections.fetch_add(1, Ordering::Relaxed);
                loop {
                    let answer = ask(&mut stream, &request).await?;
                    expect_ok(&answer)?;
                    self.note("keeping", Ok(()));
                    if answer.closes || !self.goes_on() {
                        return Ok(());
                    }
                }
            };
            let result: io::Result<()> = held.await;
            if result.is_err() {
                self.note("keeping", result);
            }
        }
    }

    /// HTTP/2, four streams at a time; a GOAWAY means another connection. What hyper hands back was never sent.
    pub(crate) async fn multiplexing(self: Arc<Self>, target: Target, path: &'static str) {
        while self.goes_on() {
            let stream = match target.open(true).await {
                Ok(stream) => TokioIo::new(stream),
                Err(error) => {
                    self.note("multiplexing", Err(error));
                    continue;
                }
            };
            self.connections.fetch_add(1, Ordering::Relaxed);
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = shaken.unwrap();
            let driving = tokio::spawn(connection);
            let streams = (0..4).map(|_| {
                let (load, mut sender) = (Arc::clone(&self), sender.clone());
                async move {
                    while load.goes_on() && sender.ready().await.is_ok() {
                        let request = Request::get(format!("https://localhost{path}"));
                        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
                        let answered = match sender.try_send_request(request).await {
                            Ok(response) if response.status() == 200 => {
                                response.into_body().collect().await.map(drop).map_err(io::Error::other)
                            }
                            Ok(response) => Err(io::Error::other(response.status().to_string())),
                            Err(mut error) => match error.take_message() {
                                Some(_unsent) => return,
                                None if is_goodbye(error.error()) => return load.told_before(),
                                None => Err(io::Error::other(error.into_error())),
                            },
                        };
                        load.note("multiplexing", answered);
                    }
                }
            });
            futures_util::future::join_all(streams).await;
            drop(sender);
            driving.abort();
        }
    }

    /// Overrides, on one connection for as long as it is kept. `not now` is an answer.
    pub(crate) async fn overriding(self: Arc<Self>, target: Target, request: Vec<u8>) {
        while self.goes_on() {
            let held = async {
                let mut stream = target.open(false).await?;
                while self.goes_on() {
                    let answer = ask(&mut stream, &request).await?;
                    self.note_override(&answer)?;
                    if answer.closes {
                        break;
                    }
                }
                io::Result::Ok(())
            };
            if let Err(error) = held.await {
                self.failures.lock().unwrap().push(format!("overriding: {error}"));
            }
        }
    }

    fn note_override(&self, answer: &Heard) -> io::Result<()> {
        if answer.status == 503 {
            self.not_now.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        expect_ok(answer)?;
        let said: Value = serde_json::from_slice(&answer.body)?;
        let headers = said["headers"].as_array().unwrap();
        let id = headers.iter().find(|pair| pair[0] == "break-glass-request-id").map(|pair| pair[1].clone());
        let id = id.ok_or_else(|| io::Error::other("it was forwarded as ordinary traffic"))?;
        self.acknowledged.lock().unwrap().insert(id.as_str().unwrap().to_owned());
        Ok(())
    }
}

/// A GOAWAY without an error came before the request was written: hyper did not send it, and if it had, the server would
/// not have processed it (RFC 9113 §6.8).
fn is_goodbye(error: &hyper::Error) -> bool {
    format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
}

/// An answer with a length.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) closes: bool,
    pub(crate) body: Vec<u8>,
}

fn expect_ok(answer: &Heard) -> io::Result<()> {
    if answer.status == 200 {
        return Ok(());
    }
    Err(io::Error::other(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))))
}

/// One request and its answer.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> io::Result<Heard> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        fill(stream, &mut read).await?;
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let length: usize = length.unwrap_or_else(|| panic!("an answer without a length: {head}"));
    while read.len() < end + length {
        fill(stream, &mut read).await?;
    }
    let closes = head.lines().any(|line| line == "connection: close");
    Ok(Heard { status, closes, body: read.split_off(end) })
}

async fn fill(stream: &mut TlsStream<TcpStream>, read: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            read.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}
