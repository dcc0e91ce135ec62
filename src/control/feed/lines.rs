//! JSON lines with a greatest length, in both directions.
//!
//! Reading holds at most one unfinished line and one frame. Writing goes through a bounded queue: who does not take a
//! chunk within the limit is cut off, so nothing ever piles up here.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::wire::feed::{FromControl, FromSidecar, LINE_BYTES_MAX};

/// Why no further line can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("line {number} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong { number: u64 },
    #[error("line {number} has no end")]
    Unfinished { number: u64 },
    #[error("line {number} is not one of this protocol: {why}")]
    Malformed { number: u64, why: String },
    #[error("the stream broke")]
    Broken,
}

/// Takes a body apart into lines. Dropping a pending [`LineReader::next`] loses nothing.
#[derive(Debug)]
pub(super) struct LineReader<B> {
    body: B,
    buffer: BytesMut,
    /// The first bytes of `buffer` are known to hold no newline.
    scanned: usize,
    number: u64,
}

impl<B: Body<Data = Bytes> + Unpin> LineReader<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, number: 1 }
    }

    /// The next line; `None` at an orderly end.
    pub(super) async fn next(&mut self) -> Result<Option<FromSidecar>, LineError> {
        loop {
            if let Some(line) = self.take_line()? {
                return self.parse(&line).map(Some);
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(LineError::Unfinished { number: self.number }),
                Some(Err(_)) => return Err(LineError::Broken),
                Some(Ok(frame)) => self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<BytesMut>, LineError> {
        let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
        let end = unscanned.iter().position(|b| *b == b'\n').map(|at| self.scanned + at);
        if end.unwrap_or(self.buffer.len()) >= LINE_BYTES_MAX {
            return Err(LineError::TooLong { number: self.number });
        }
        self.scanned = if end.is_some() { 0 } else { self.buffer.len() };
        Ok(end.map(|at| self.buffer.split_to(at + 1)))
    }

    fn parse(&mut self, line: &[u8]) -> Result<FromSidecar, LineError> {
        let number = self.number;
        self.number += 1;
        serde_json::from_slice(line)
            .map_err(|error| LineError::Malformed { number, why: shortened(&error.to_string()) })
    }
}

/// What is said back to a peer, or kept of what it said, at most this long.
const REMARK_CHARS_MAX: usize = 200;

/// `text` without control characters, cut to [`REMARK_CHARS_MAX`].
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(REMARK_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Why a line did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the sidecar takes no lines")]
    Slow,
    #[error("the sidecar has gone")]
    Gone,
    #[error("a line would be longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

/// A line at least so long is worth sharing rather than copying.
const SHARED_BYTES_MIN: usize = 512;

/// A line as it is sent, newline included.
pub(super) fn serialised(line: &FromControl) -> Result<Bytes, WriteError> {
    let mut text = serde_json::to_vec(line).map_err(|_| WriteError::TooLong)?;
    if text.len() >= LINE_BYTES_MAX {
        return Err(WriteError::TooLong);
    }
    text.push(b'\n');
    Ok(text.into())
}

/// The way out: lines are gathered into chunks and queued in order.
#[derive(Debug)]
pub(super) struct Outbox {
    chunks: mpsc::Sender<Bytes>,
    gathered: BytesMut,
    chunk_bytes: usize,
    wait_max: Duration,
}

impl Outbox {
    /// The outbox, and the end from which its chunks are taken.
    pub(super) fn new(
        chunks_queued_max: usize,
        chunk_bytes: usize,
        wait_max: Duration,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, chunks) = mpsc::channel(chunks_queued_max.max(1));
        (Self { chunks: sender, gathered: BytesMut::new(), chunk_bytes, wait_max }, chunks)
    }

    /// Adds a line; queues what was gathered once it fills a chunk.
    pub(super) async fn push(&mut self, line: &FromControl) -> Result<(), WriteError> {
        self.push_line(&serialised(line)?).await
    }

    /// The same with a line that others send as well: a long one is not copied.
    pub(super) async fn push_line(&mut self, line: &Bytes) -> Result<(), WriteError> {
        if line.len() >= SHARED_BYTES_MIN {
            return self.push_chunk(line.clone()).await;
        }
        self.gathered.extend_from_slice(line);
        if self.gathered.len() >= self.chunk_bytes { self.flush().await } else { Ok(()) }
    }

    /// Queues whole lines that others send as well, after what was gathered.
    pub(super) async fn push_chunk(&mut self, chunk: Bytes) -> Result<(), WriteError> {
        self.flush().await?;
        self.queue(chunk).await
    }

    /// Queues what was gathered.
    pub(super) async fn flush(&mut self) -> Result<(), WriteError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = self.gathered.split().freeze();
        self.queue(chunk).await
    }

    async fn queue(&self, chunk: Bytes) -> Result<(), WriteError> {
        match tokio::time::timeout(self.wait_max, self.chunks.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(WriteError::Gone),
            Err(_) => Err(WriteError::Slow),
        }
    }

    /// Returns once nobody takes lines any more.
    pub(super) async fn gone(&self) {
        self.chunks.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    fn reader(pieces: &[&[u8]]) -> LineReader<impl Body<Data = Bytes> + Unpin> {
        let frames: Vec<_> =
            pieces.iter().map(|p| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(p)))).collect();
        LineReader::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn lines_are_found_across_frames() {
        let mut lines = reader(&[
            b"{\"kind\":\"pi",
            b"ng\",\"n\":1}\n{\"kind\":\"ping\",\"n\":2}\n{\"kind\"",
            b":\"ping\",\"n\":3}\n",
        ]);
        for n in 1..=3 {
            assert_eq!(lines.next().await.unwrap(), Some(FromSidecar::Ping { n, at: None }));
        }
        assert_eq!(lines.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_line_is_named_by_number() {
        let mut lines = reader(&[b"{\"kind\":\"ping\",\"n\":1}\n{\"kind\":\"poke\"}\n"]);
        lines.next().await.unwrap();
        let error = lines.next().await.unwrap_err();
        assert!(error.to_string().starts_with("line 2 is not one of this protocol: unknown variant"), "{error}");
        assert_eq!(reader(&[b"{\"kind\""]).next().await, Err(LineError::Unfinished { number: 1 }));
        assert_eq!(
            reader(&[&vec![b' '; LINE_BYTES_MAX / 2], &vec![b' '; LINE_BYTES_MAX / 2]]).next().await,
            Err(LineError::TooLong { number: 1 })
        );
    }

    #[tokio::test]
    async fn who_takes_nothing_is_slow_and_who_left_is_gone() {
        let (mut out, chunks) = Outbox::new(1, 1, Duration::from_millis(10));
        let line = FromControl::SnapshotEnd { revision: 1 };
        out.push(&line).await.unwrap();
        assert_eq!(out.push(&line).await, Err(WriteError::Slow));
        drop(chunks);
        assert_eq!(out.push(&line).await, Err(WriteError::Gone));
    }
}
