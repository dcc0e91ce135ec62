//! Refusing what has no single length, before anyone parses it (RFC 9112 §6.3, RFC 9110 §5.5).
//!
//! A guard stands between TLS and the HTTP/1 parser. It releases a request's head only when it is whole and sound, and
//! follows the body by the one length the head gave, so it knows where the next head begins. Two lengths, a length
//! beside chunked, another transfer coding, folded lines, bare LF or CR, space before a colon, a chunk size that is
//! not plain hexadecimal: none of them reaches the parser. In the place of such a head the parser gets a harmless one,
//! and [`HeadNotes`] tells the connection to answer it with a refusal and close.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing_chunked::ChunkScanner;
use super::framing_goodbye::Goodbye;
use super::framing_head::{self, BodyLength, HeadFault};
use super::framing_hints::HintWriter;
use super::hints::Hints;

/// Stands in for a head that was not sound. The path is never looked at: the note says what to answer.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const READ_BYTES: usize = 16 * 1024;

/// What the guard saw of one head.
#[derive(Debug, Clone, Default)]
pub struct HeadNote {
    /// The head was not sound; the request the parser sees is a stand-in.
    pub fault: Option<HeadFault>,
    /// The target had a fragment, which the parser drops.
    pub fragment: bool,
    /// The unsound head had a header of ours, so its refusal is recorded.
    pub had_credential: bool,
}

/// One note a head, in the order of the heads. Shared by the guard and the connection's service.
#[derive(Debug, Clone, Default)]
pub struct HeadNotes(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    heads: VecDeque<HeadNote>,
    broken_body: bool,
}

impl HeadNotes {
    /// The note of the oldest request not yet asked about.
    pub fn next(&self) -> HeadNote {
        self.lock().heads.pop_front().unwrap_or_default()
    }

    /// True once a body on this connection broke its framing.
    pub fn body_is_broken(&self) -> bool {
        self.lock().broken_body
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in the stream of requests the next byte stands.
#[derive(Debug)]
enum Position {
    /// In a head, of which this many bytes hold no end yet.
    Head {
        scanned: usize,
    },
    /// In a body with this many bytes to come.
    Sized(u64),
    Chunked(ChunkScanner),
    /// After a head that asks for another protocol. What follows is judged once the parser asks for it: then the answer
    /// was an ordinary one. After a switch of protocols it is handed over as it is, by [`FramingGuard::into_inner`].
    Held,
    /// After a fault nothing more is read.
    Closed,
}

/// The guard.
#[derive(Debug)]
pub struct FramingGuard<I> {
    io: I,
    notes: HeadNotes,
    head_bytes_max: usize,
    position: Position,
    /// Read and not yet judged.
    pending: BytesMut,
    /// Judged and not yet handed on.
    released: BytesMut,
    /// Why the body after what is released can't be read.
    broken: Option<&'static str>,
    goodbye: Goodbye,
    hints: HintWriter,
    /// A write could not be carried out, and nothing was flushed since.
    held_up: bool,
}

impl<I> FramingGuard<I> {
    pub fn new(io: I, head_bytes_max: usize) -> (Self, HeadNotes) {
        let notes = HeadNotes::default();
        let guard = Self {
            io,
            notes: notes.clone(),
            head_bytes_max,
            position: Position::Head { scanned: 0 },
            pending: BytesMut::new(),
            released: BytesMut::new(),
            broken: None,
            goodbye: Goodbye::default(),
            hints: HintWriter::default(),
            held_up: false,
        };
        (guard, notes)
    }

    /// What is to be written between answers.
    pub fn hints(&self) -> Hints {
        self.hints.hints()
    }

    /// The stream itself and what was read of it and not yet handed on, for another protocol.
    pub fn into_inner(self) -> (I, Bytes) {
        let mut unread = self.released;
        unread.unsplit(self.pending);
        (self.io, unread.freeze())
    }

    /// Moves what can be judged from `pending` to `released`.
    fn judge(&mut self) {
        while !self.pending.is_empty() {
            let advanced = match &mut self.position {
                Position::Head { .. } => self.judge_head(),
                Position::Sized(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.pending.len());
                    *left -= u64::try_from(take).unwrap_or(0);
                    if *left == 0 {
                        self.position = Position::Head { scanned: 0 };
                    }
                    self.release(take);
                    true
                }
                Position::Chunked(_) => self.judge_chunks(),
                Position::Held => false,
                Position::Closed => {
                    self.pending.clear();
                    false
                }
            };
            if !advanced {
                break;
            }
        }
    }

    fn release(&mut self, count: usize) {
        let judged = self.pending.split_to(count);
        if self.released.is_empty() {
            self.released = judged;
        } else {
            self.released.extend_from_slice(&judged);
        }
    }

    /// False while the head is not whole.
    fn judge_head(&mut self) -> bool {
        let Position::Head { scanned } = self.position else { return true };
        // An empty line before a request line is skipped (RFC 9112 §2.2).
        if scanned == 0 && self.pending.starts_with(b"\r\n") {
            self.pending.advance(2);
            return true;
        }
        match framing_head::end_of_head(&self.pending, scanned) {
            Ok(Some(end)) if end <= self.head_bytes_max => self.judge_whole_head(end),
            Ok(Some(_)) => self.refuse_head(HeadFault::TooLarge),
            Ok(None) if self.pending.len() > self.head_bytes_max => self.refuse_head(HeadFault::TooLarge),
            Ok(None) => {
                // The end may be split over two reads: look at the last three bytes again.
                self.position = Position::Head { scanned: self.pending.len().saturating_sub(3) };
                return false;
            }
            Err(fault) => self.refuse_head(fault),
        }
        true
    }

    fn judge_whole_head(&mut self, end: usize) {
        let judged = self.pending.get(..end).map(framing_head::judge);
        match judged {
            Some(Ok(head)) => {
                self.position = match head.body {
                    BodyLength::None if head.upgrade => Position::Held,
                    BodyLength::None => Position::Head { scanned: 0 },
                    BodyLength::Sized(length) => Position::Sized(length),
                    BodyLength::Chunked => Position::Chunked(ChunkScanner::default()),
                };
                self.notes.lock().heads.push_back(HeadNote { fragment: head.fragment, ..HeadNote::default() });
                self.release(end);
            }
            Some(Err(fault)) => self.refuse_head(fault),
            None => self.refuse_head(HeadFault::Incomplete),
        }
    }

    fn refuse_head(&mut self, fault: HeadFault) {
        let had_credential = framing_head::names_our_header(&self.pending);
        self.notes.lock().heads.push_back(HeadNote { fault: Some(fault), fragment: false, had_credential });
        self.pending.clear();
        self.released.extend_from_slice(STAND_IN);
        self.position = Position::Closed;
    }

    /// What came before a broken chunk is still handed on: its requests are answered.
    fn judge_chunks(&mut self) -> bool {
        let Position::Chunked(scanner) = &mut self.position else { return true };
        match scanner.scan(&self.pending) {
            Ok(progress) => {
                if progress.finished {
                    self.position = Position::Head { scanned: 0 };
                }
                self.release(progress.judged);
            }
            Err(what) => {
                self.notes.lock().broken_body = true;
                self.broken = Some(what);
                self.pending.clear();
                self.position = Position::Closed;
            }
        }
        true
    }
}

impl<I: AsyncRead + Unpin> FramingGuard<I> {
    /// Reads more into `pending`. Ready with 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let filled = self.pending.len();
        self.pending.resize(filled + READ_BYTES, 0);
        let polled = {
            let mut space = ReadBuf::new(self.pending.get_mut(filled..).unwrap_or_default());
            Pin::new(&mut self.io).poll_read(cx, &mut space).map_ok(|()| space.filled().len())
        };
        let read = if let Poll::Ready(Ok(read)) = polled { read } else { 0 };
        self.pending.truncate(filled + read);
        polled
    }

    /// In the middle of a sized body bytes go straight to the parser, without a copy.
    fn poll_sized(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>, left: u64) -> Poll<io::Result<()>> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining());
        let mut space = ReadBuf::new(out.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        out.advance(read);
        let left = left - u64::try_from(read).unwrap_or(0);
        self.position = if left == 0 { Position::Head { scanned: 0 } } else { Position::Sized(left) };
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FramingGuard<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.released.is_empty() {
                let count = this.released.len().min(out.remaining());
                out.put_slice(&this.released.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if let Some(what) = this.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
            match this.position {
                Position::Closed => return Poll::Ready(Ok(())),
                Position::Sized(left) if this.pending.is_empty() => return this.poll_sized(cx, out, left),
                Position::Held => {
                    this.position = Position::Head { scanned: 0 };
                    this.judge();
                    continue;
                }
                Position::Sized(_) | Position::Head { .. } | Position::Chunked(_) => {}
            }
            if ready!(this.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
            this.judge();
        }
    }
}

impl<I: AsyncWrite + Unpin> FramingGuard<I> {
    fn poll_write_by<F>(&mut self, cx: &mut Context<'_>, write: F) -> Poll<io::Result<usize>>
    where
        F: FnOnce(Pin<&mut I>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    {
        let polled = match self.hints.poll_finish(&mut self.io, cx) {
            Poll::Ready(Ok(())) => write(Pin::new(&mut self.io), cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.held_up |= polled.is_pending();
        polled
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FramingGuard<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_by(cx, |io, cx| io.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_by(cx, |io, cx| io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.hints.poll_write_waiting(&mut this.io, cx))?;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        if std::mem::take(&mut this.held_up) {
            // While an answer was held up, hyper (1.12) may have read the next request and put it off until its buffer is
            // empty, which it now is; but hyper does not look again by itself.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.hints.poll_finish(&mut this.io, cx))?;
        let between = matches!(this.position, Position::Head { .. }) && this.pending.is_empty();
        this.goodbye.poll(&mut this.io, !between, cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What the parser would see of `input` delivered in pieces of `step` bytes, and the faults noted.
    fn seen(input: &[u8], step: usize) -> (Vec<u8>, Vec<HeadFault>, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(step);
            let (mut guard, notes) = FramingGuard::new(server, 4096);
            let input = input.to_vec();
            let write = async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut client, &input).await;
                drop(client);
            };
            let mut out = Vec::new();
            let (read, ()) = tokio::join!(
                async {
                    let result = guard.read_to_end(&mut out).await;
                    drop(guard);
                    result
                },
                write
            );
            let faults = std::iter::from_fn(|| notes.lock().heads.pop_front()).filter_map(|note| note.fault).collect();
            (out, faults, read.is_err())
        })
    }

    const PIPELINED: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /c HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\nx-t: 1\r\n\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n";

    #[test]
    fn sound_requests_pass_unchanged_however_they_are_cut() {
        for step in [1, 2, 3, 7, 64, 4096] {
            let (out, faults, failed) = seen(PIPELINED, step);
            assert_eq!(out, PIPELINED, "in steps of {step}");
            assert!(faults.is_empty() && !failed);
        }
    }

    #[test]
    fn an_unsound_head_is_replaced_and_ends_the_reading() {
        let input = b"GET /ok HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
        for step in [1, 5, 4096] {
            let (out, faults, _) = seen(input, step);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("GET /ok") && text.ends_with("connection: close\r\n\r\n"), "{text}");
            assert!(!text.contains("smuggled") && !text.contains("chunked"));
            assert_eq!(faults, [HeadFault::LengthWithTransferEncoding]);
        }
    }

    const SWITCHING: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn behind_an_upgrade_bytes_are_handed_over_as_they_came() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(4096);
            let (mut guard, _notes) = FramingGuard::new(server, 4096);
            let opaque = b"GET /\nContent-Length: x\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut client, &[SWITCHING, opaque].concat()).await.unwrap();
            let mut head = vec![0; SWITCHING.len()];
            guard.read_exact(&mut head).await.unwrap();
            assert_eq!(head, SWITCHING);
            assert_eq!(guard.into_inner().1, &opaque[..]);
        });
    }

    #[test]
    fn behind_an_upgrade_that_did_not_come_requests_are_judged() {
        let unsound = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        for step in [1, 5, 4096] {
            let (out, faults, _) = seen(&[SWITCHING, SWITCHING, unsound].concat(), step);
            assert_eq!(out, [SWITCHING, SWITCHING, STAND_IN].concat(), "in steps of {step}");
            assert_eq!(faults, [HeadFault::LengthWithTransferEncoding]);
        }
    }

    #[test]
    fn a_head_without_end_is_bounded() {
        let mut input = b"GET / HTTP/1.1\r\nx: ".to_vec();
        input.extend(std::iter::repeat_n(b'a', 10_000));
        assert_eq!(seen(&input, 4096).1, [HeadFault::TooLarge]);
    }

    #[test]
    fn a_broken_chunk_fails_the_body() {
        let input = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n";
        let (_, faults, failed) = seen(input, 4096);
        assert!(faults.is_empty() && failed);
    }

    #[test]
    fn a_request_behind_an_answer_that_was_held_up_is_answered() {
        let (mut client, server) = tokio::io::duplex(64);
        let (guard, _notes) = FramingGuard::new(server, 4096);
        // Answers at once, and reads what was sent meanwhile.
        let service = hyper::service::service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
            tokio::task::spawn_local(request.into_body().collect());
            Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::from_static(&[b'a'; 1000]))))
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guard), service);
        let asking = async {
            client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n").await.unwrap();
            let mut all = vec![client.read_u8().await.unwrap()];
            client.write_all(b"bodyGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
            // Nothing is read until the server has taken all that.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            client.read_to_end(&mut all).await.unwrap();
            String::from_utf8(all).unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        let all = tasks.run_until(async {
            tokio::task::spawn_local(connection);
            tokio::time::timeout(std::time::Duration::from_secs(5), asking).await
        });
        assert_eq!(runtime.block_on(all).expect("both answers").matches("HTTP/1.1 200 OK").count(), 2);
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(step in 1usize..80, noise in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut input = PIPELINED.to_vec();
            input.extend(noise);
            let whole = seen(&input, 1 << 16);
            let cut = seen(&input, step);
            prop_assert_eq!(whole.1, cut.1);
            prop_assert_eq!(whole.0, cut.0);
        }
    }
}
