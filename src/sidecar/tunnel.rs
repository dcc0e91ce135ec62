//! Bytes passed both ways between a client and the upstream after a switch of protocols, until one side ends, both fall
//! silent, or the grant does.
//!
//! Nothing is read from one side before the other has taken what came before, so no more than [`BUFFER_BYTES`] wait in
//! each direction. A side that has said all it has to say is closed towards the other only; the other may still speak.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::body::Watched;
use super::exchange::{Direction, Exchange};
use crate::audit::End;

/// How much waits in each direction.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// How long the tunnel may be silent once one side has closed.
pub const HALF_CLOSED_MAX: Duration = Duration::from_secs(60);

/// What bounds a tunnel in time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Silence in both directions.
    pub idle: Duration,
}

/// Whom a tunnel tells what has passed and how it ended: nobody, or the exchange of an override.
#[derive(Debug)]
pub struct Ends(Option<Watched>);

impl Ends {
    pub fn new(watched: Option<Watched>) -> Self {
        Self(watched)
    }

    fn exchange(&self) -> Option<Rc<Exchange>> {
        self.0.as_ref().map(|watched| Rc::clone(&watched.exchange))
    }

    /// Ready once the grant has ended; the watch has recorded why. Never where there is no grant.
    async fn cut(&mut self) {
        match &mut self.0 {
            Some(watched) => {
                poll_fn(|cx| watched.watch.poll(cx)).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// See the module. Dropped, it closes both sides at once.
#[derive(Debug)]
pub struct Tunnel {
    upstream: OnUpgrade,
    ends: Ends,
    limits: Limits,
}

/// What both directions share.
struct Progress {
    exchange: Option<Rc<Exchange>>,
    moved: Cell<Instant>,
    /// How the side that ended first ended.
    first: Cell<Option<End>>,
}

impl Progress {
    fn note(&self, direction: Direction, bytes: &[u8]) {
        self.moved.set(Instant::now());
        if let Some(exchange) = &self.exchange {
            exchange.count(direction, bytes);
        }
    }

    fn note_end(&self, end: End) {
        if self.first.get().is_none() {
            self.first.set(Some(end));
        }
    }

    /// Resolves after too long a silence.
    async fn silence(&self, limits: Limits) {
        loop {
            let limit = if self.first.get().is_some() { limits.idle.min(HALF_CLOSED_MAX) } else { limits.idle };
            let until = self.moved.get() + limit;
            if until <= Instant::now() {
                return;
            }
            // Looked at now and then, since a side that closes shortens the limit.
            tokio::time::sleep_until(until.min(Instant::now() + HALF_CLOSED_MAX)).await;
        }
    }
}

impl Tunnel {
    pub fn new(upstream: OnUpgrade, ends: Ends, limits: Limits) -> Self {
        Self { upstream, ends, limits }
    }

    /// Runs to its end. `unread` came from the client together with its request.
    pub async fn run<I>(self, client: I, unread: [Bytes; 2])
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { upstream, mut ends, limits } = self;
        let progress = Progress { exchange: ends.exchange(), moved: Cell::new(Instant::now()), first: Cell::new(None) };
        let end = tokio::select! {
            biased;
            () = ends.cut() => None,
            end = pass(&progress, client, unread, upstream) => Some(end),
            () = progress.silence(limits) => Some(progress.first.get().unwrap_or(End::Idle)),
        };
        if let (Some(exchange), Some(end)) = (&progress.exchange, end) {
            exchange.settle(end);
        }
    }
}

/// Passes bytes until both sides have ended, or one has broken off.
async fn pass<I>(progress: &Progress, client: I, unread: [Bytes; 2], upstream: OnUpgrade) -> End
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(upstream) = upstream.await else { return End::UpstreamFailed };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let up = async {
        for first in &unread {
            send(progress, Direction::Request, first, &mut to_upstream).await.map_err(|_| End::UpstreamFailed)?;
        }
        let passed = relay(progress, Direction::Request, &mut from_client, &mut to_upstream).await;
        finish(progress, passed, End::ClientClosed, End::ClientAborted, End::UpstreamFailed)
    };
    let down = async {
        let passed = relay(progress, Direction::Response, &mut from_upstream, &mut to_client).await;
        finish(progress, passed, End::UpstreamClosed, End::UpstreamFailed, End::ClientAborted)
    };
    match tokio::try_join!(up, down) {
        Ok(((), ())) => progress.first.get().unwrap_or(End::Completed),
        Err(end) => progress.first.get().unwrap_or(end),
    }
}

fn finish(
    progress: &Progress,
    passed: Result<(), Broken>,
    closed: End,
    reader_broke: End,
    writer_broke: End,
) -> Result<(), End> {
    match passed {
        Ok(()) => {
            progress.note_end(closed);
            Ok(())
        }
        Err(Broken::Reader) => Err(reader_broke),
        Err(Broken::Writer) => Err(writer_broke),
    }
}

/// Which side of one direction broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Reader,
    Writer,
}

/// One direction, to the end of what `from` says; then `to` is told that no more will come.
async fn relay<R, W>(progress: &Progress, direction: Direction, from: &mut R, to: &mut W) -> Result<(), Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await.map_err(|_| Broken::Reader)?;
        if count == 0 {
            return to.shutdown().await.map_err(|_| Broken::Writer);
        }
        if progress.exchange.as_ref().is_some_and(|exchange| exchange.cause().is_some()) {
            // What came after the end goes nowhere; the watch is about to end the tunnel.
            std::future::pending::<()>().await;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        send(progress, direction, bytes, to).await.map_err(|_| Broken::Writer)?;
    }
}

/// Writes all of `bytes`; what the other side has taken is counted, no more.
async fn send<W>(progress: &Progress, direction: Direction, bytes: &[u8], to: &mut W) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut left = bytes;
    while !left.is_empty() {
        let taken = to.write(left).await?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let (sent, rest) = left.split_at_checked(taken).unwrap_or((left, &[]));
        progress.note(direction, sent);
        left = rest;
    }
    if bytes.is_empty() { Ok(()) } else { to.flush().await }
}
