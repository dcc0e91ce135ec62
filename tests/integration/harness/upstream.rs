//! An upstream that writes down the very bytes that arrive, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One request head that arrived, and what came of its body.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// Request line and headers, as sent.
    pub(crate) head: String,
}

impl Arrived {
    pub(crate) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Whether a body arrived whole, and what arrived of it.
pub(crate) type Body = (bool, Vec<u8>);

/// See the module.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<Arrived>>>,
    /// Bodies that arrived whole, or what came of them before the connection ended.
    bodies: Arc<Mutex<Vec<Body>>>,
}

impl Recorder {
    /// Calls `look` with each head, at the moment it arrives and before it is answered with `answer`.
    pub(crate) async fn start(answer: &'static [u8], look: impl Fn(&Arrived) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self { address: listener.local_addr().unwrap(), heads: Arc::default(), bodies: Arc::default() };
        let (own, look) = (recorder.clone(), Arc::new(look));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, look) = (own.clone(), Arc::clone(&look));
                tokio::spawn(async move { own.serve(stream, answer, &*look).await });
            }
        });
        recorder
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn heads(&self) -> Vec<Arrived> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<Body> {
        self.bodies.lock().unwrap().clone()
    }

    async fn serve(&self, mut stream: TcpStream, answer: &[u8], look: &(dyn Fn(&Arrived) + Send + Sync)) {
        let mut read = Vec::new();
        while let Some(at) = fill_until(&mut stream, &mut read, b"\r\n\r\n").await {
            let head = String::from_utf8_lossy(&read[..at]).into_owned();
            read.drain(..at);
            let arrived = Arrived { head };
            look(&arrived);
            self.heads.lock().unwrap().push(arrived.clone());
            let (whole, body) = body_of(&arrived, &mut stream, &mut read).await;
            self.bodies.lock().unwrap().push((whole, body));
            if !whole || stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// The body by its one length, and whether it came whole.
async fn body_of(head: &Arrived, stream: &mut TcpStream, read: &mut Vec<u8>) -> Body {
    if head.header("transfer-encoding").is_some() {
        let end = fill_until(stream, read, b"0\r\n").await;
        let end = match end {
            Some(at) => fill_from(stream, read, at, b"\r\n").await,
            None => None,
        };
        let count = end.unwrap_or(read.len());
        return (end.is_some(), read.drain(..count).collect());
    }
    let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
    while read.len() < length {
        if !fill(stream, read).await {
            return (false, std::mem::take(read));
        }
    }
    (true, read.drain(..length).collect())
}

async fn fill(stream: &mut TcpStream, read: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer).await {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            read.extend_from_slice(&buffer[..count]);
            true
        }
    }
}

async fn fill_until(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    fill_from(stream, read, 0, end).await
}

/// Where `end` ends at or after `from`.
async fn fill_from(stream: &mut TcpStream, read: &mut Vec<u8>, from: usize, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = read[from..].windows(end.len()).position(|window| window == end) {
            return Some(from + at + end.len());
        }
        if !fill(stream, read).await {
            return None;
        }
    }
}
