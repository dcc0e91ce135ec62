//! An upstream that does nothing by itself: the test takes its connections, reads and writes on them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;
use super::upstream::Arrived;

/// See the module.
pub(crate) struct ByHand {
    listener: TcpListener,
}

impl ByHand {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The next connection.
    pub(crate) async fn next(&self) -> Line {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("a connection in time").unwrap();
        stream.set_nodelay(true).unwrap();
        Line { stream, read: Vec::new() }
    }

    /// The next connection, and the head of the request on it.
    pub(crate) async fn request(&self) -> (Line, Arrived) {
        let mut line = self.next().await;
        let head = line.head().await;
        (line, head)
    }
}

/// One connection.
pub(crate) struct Line {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the peer reads").unwrap();
    }

    /// Writes until nobody reads any more.
    pub(crate) async fn write_without_end(&mut self) {
        let block = [b'x'; 16 * 1024];
        let endless = async { while self.stream.write_all(&block).await.is_ok() {} };
        timeout(PATIENCE, endless).await.expect("the peer ends it");
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Breaks off: the peer gets a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// The next head.
    pub(crate) async fn head(&mut self) -> Arrived {
        let head = self.until(b"\r\n\r\n").await;
        Arrived { head: String::from_utf8_lossy(&head).into_owned() }
    }

    /// Everything up to and with `end`.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return self.read.drain(..at + end.len()).collect();
            }
            assert!(self.fill().await, "it ended with {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// The next `count` bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.fill().await, "it ended with {:?}", String::from_utf8_lossy(&self.read));
        }
        self.read.drain(..count).collect()
    }

    /// All that comes until the peer closes or breaks off.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.read)
    }

    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("bytes in time");
        let count = read.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }
}
