//! Writing hints below the HTTP/1 parser, where the bytes of its answers pass (RFC 9110 §15.2).
//!
//! hyper calls the service of a request when the answer before it is wholly in its write buffer, and asks for a flush
//! only when that buffer is empty. So at a flush, with an exchange open, everything of the answers before has passed
//! and nothing of the exchange's own has come: here, and nowhere else, hints may be written. What was begun is finished
//! before any further byte of hyper's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWrite;

use super::hints::Hints;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HintWriter {
    hints: Hints,
    /// Whole hints, of which the first may be written in part. Never more than may wait.
    begun: BytesMut,
}

impl HintWriter {
    pub(super) fn hints(&self) -> Hints {
        self.hints.clone()
    }

    /// Finishes what was begun. To be called before anything else is written.
    pub(super) fn poll_finish<I>(&mut self, io: &mut I, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        I: AsyncWrite + Unpin,
    {
        while !self.begun.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.begun))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all that waits. To be called at a flush only.
    pub(super) fn poll_write_waiting<I>(&mut self, io: &mut I, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        I: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_finish(io, cx))?;
            match self.hints.take(cx) {
                Some(waiting) => self.begun = waiting,
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::rc::Rc;
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt as _, Empty, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::oneshot;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::sidecar::framing::FramingGuard;
    use crate::sidecar::hints::{Relay, Source};

    /// When a service reads what was uploaded.
    #[derive(Debug, Clone, Copy)]
    enum Reads {
        First,
        BesideTheHints,
        WhileAnswering,
    }

    /// One request, what is said before its answer, and its answer.
    #[derive(Debug, Clone)]
    struct Script {
        upload: usize,
        reads: Reads,
        /// Of each hint, how often others run before it, and its padding.
        hints: Vec<(usize, usize)>,
        pause: usize,
        /// Of each piece of the answer's body; without any it is a head alone.
        pieces: Vec<(usize, usize)>,
    }

    fn a_script() -> impl Strategy<Value = Script> {
        let steps = |most: usize| proptest::collection::vec((0usize..6, 1usize..most), 0..6);
        let reads = prop_oneof![Just(Reads::First), Just(Reads::BesideTheHints), Just(Reads::WhileAnswering)];
        let upload = prop_oneof![Just(0), 1usize..300];
        let pieces = prop_oneof![Just(Vec::new()), steps(400)];
        (upload, reads, steps(200), 0usize..6, pieces).prop_map(|(upload, reads, hints, pause, pieces)| Script {
            upload,
            reads,
            hints,
            pause,
            pieces,
        })
    }

    async fn others_run(times: usize) {
        for _ in 0..times {
            yield_now().await;
        }
    }

    fn hint(name: &str, padding: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-hint", HeaderValue::from_str(name).unwrap());
        headers.insert("x-padding", HeaderValue::from_str(&"h".repeat(padding)).unwrap());
        headers
    }

    /// What runs beside the connection, as an upstream's connection does; it goes on after the answer.
    async fn say_all(
        source: Source,
        number: usize,
        script: Script,
        done: oneshot::Sender<()>,
        over: oneshot::Receiver<()>,
    ) {
        for (index, (pause, padding)) in script.hints.iter().enumerate() {
            others_run(*pause).await;
            source.say(StatusCode::EARLY_HINTS, &hint(&format!("{number}-{index}"), *padding));
        }
        others_run(script.pause).await;
        let _ = done.send(());
        // Its exchange is over, and another may be open.
        let _ = over.await;
        for _ in 0..20 {
            source.say(StatusCode::EARLY_HINTS, &hint("too late", 1));
            yield_now().await;
        }
    }

    async fn respond(
        hints: Hints,
        number: usize,
        script: Script,
        request: Request<Incoming>,
    ) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let relay: Relay = hints.open();
        let (done, said) = oneshot::channel();
        let (ends, over) = oneshot::channel();
        let body = request.into_body().collect().map(|read| read.unwrap().to_bytes().len());
        let saying = say_all(relay.source(None), number, script.clone(), done, over);
        match script.reads {
            Reads::First => {
                assert_eq!(body.await, script.upload);
                spawn_local(saying);
            }
            Reads::BesideTheHints => {
                spawn_local(saying);
                assert_eq!(body.await, script.upload);
            }
            Reads::WhileAnswering => {
                spawn_local(saying);
                spawn_local(body);
            }
        }
        said.await.unwrap();
        relay.settle(None).await;
        drop(relay);
        let _ = ends.send(());
        let answer = Response::builder().header("x-answer", number);
        if script.pieces.is_empty() {
            return answer.body(Empty::new().boxed_unsync()).unwrap();
        }
        let pieces = futures_util::stream::unfold(script.pieces.into_iter(), |mut left| async move {
            let (pause, size) = left.next()?;
            others_run(pause).await;
            Some((Ok(Frame::data(Bytes::from(vec![b'a'; size]))), left))
        });
        answer.body(StreamBody::new(pieces).boxed_unsync()).unwrap()
    }

    async fn serve(stream: DuplexStream, scripts: Vec<Script>) {
        let (guard, _notes) = FramingGuard::new(stream, 4096);
        let (hints, scripts, asked) = (guard.hints(), Rc::new(scripts), Cell::new(0));
        let service = service_fn(move |request| {
            let (hints, scripts, number) = (hints.clone(), Rc::clone(&scripts), asked.replace(asked.get() + 1));
            async move { Ok::<_, Infallible>(respond(hints, number, scripts[number].clone(), request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(guard), service);
        connection.await.unwrap();
    }

    /// All that a client sees that sends its requests at once, `step` bytes at a time, and reads as slowly.
    fn seen(scripts: &[Script], pipe: usize, step: usize, pause: usize) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (client, server) = tokio::io::duplex(pipe);
        let (mut reading, mut writing) = tokio::io::split(client);
        let requests: Vec<u8> = scripts.iter().flat_map(|script| as_bytes(script.upload)).collect();
        let mut out = Vec::new();
        let all = async {
            let serving = spawn_local(serve(server, scripts.to_vec()));
            let asking = spawn_local(async move {
                for piece in requests.chunks(step) {
                    writing.write_all(piece).await.unwrap();
                    others_run(pause).await;
                }
                writing.shutdown().await.unwrap();
            });
            let mut buffer = vec![0; step];
            loop {
                let read = reading.read(&mut buffer).await.unwrap();
                if read == 0 {
                    break;
                }
                out.extend_from_slice(&buffer[..read]);
                others_run(pause).await;
            }
            asking.await.unwrap();
            serving.await.unwrap();
        };
        let timed = async { tokio::time::timeout(Duration::from_secs(10), all).await };
        runtime.block_on(LocalSet::new().run_until(timed)).expect("it came to its end");
        out
    }

    fn as_bytes(upload: usize) -> Vec<u8> {
        let head = match upload {
            0 => "GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            length => format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"),
        };
        [head.into_bytes(), vec![b'u'; upload]].concat()
    }

    /// Takes a head from `bytes`: its status line and a header.
    fn head(bytes: &mut &[u8]) -> (String, String) {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
        *bytes = &bytes[end..];
        let mut lines = text.lines();
        let status = lines.next().unwrap().to_owned();
        let named = lines.find_map(|line| line.strip_prefix("x-hint: ").or(line.strip_prefix("x-answer: ")));
        (status, named.unwrap_or_default().to_owned())
    }

    fn skip_chunks(bytes: &mut &[u8]) -> usize {
        let mut all = 0;
        loop {
            let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
            assert!(bytes[end + 2..][..size].iter().all(|byte| *byte == b'a'));
            assert_eq!(&bytes[end + 2 + size..][..2], b"\r\n");
            *bytes = &bytes[end + 4 + size..];
            if size == 0 {
                return all;
            }
            all += size;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 20, ..ProptestConfig::default() })]
        #[test]
        fn every_hint_comes_whole_and_before_its_own_answer(
            scripts in proptest::collection::vec(a_script(), 1..5),
            pipe in prop_oneof![1usize..80, 80usize..600],
            step in 1usize..200,
            pause in 0usize..4,
        ) {
            let seen = seen(&scripts, pipe, step, pause);
            let mut left = &seen[..];
            for (number, script) in scripts.iter().enumerate() {
                for index in 0..script.hints.len() {
                    let expected = ("HTTP/1.1 103 Early Hints".to_owned(), format!("{number}-{index}"));
                    prop_assert_eq!(head(&mut left), expected);
                }
                prop_assert_eq!(head(&mut left), ("HTTP/1.1 200 OK".to_owned(), number.to_string()));
                let length = if script.pieces.is_empty() { 0 } else { skip_chunks(&mut left) };
                prop_assert_eq!(length, script.pieces.iter().map(|(_, size)| size).sum::<usize>());
            }
            prop_assert!(left.is_empty(), "{:?}", String::from_utf8_lossy(left));
        }
    }

    /// Polls once, with a waker that does nothing.
    fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    fn writes(guard: &mut FramingGuard<DuplexStream>, bytes: &[u8]) -> Option<usize> {
        match poll(|cx| Pin::new(&mut *guard).poll_write(cx, bytes)) {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    async fn reads(client: &mut DuplexStream, count: usize) -> String {
        let mut bytes = vec![0; count];
        client.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    const HINT: &str = "HTTP/1.1 102 Processing\r\n\r\n";

    #[tokio::test]
    async fn a_hint_once_begun_is_finished_before_anything_else_even_the_end() {
        let (mut client, server) = tokio::io::duplex(10);
        let (mut guard, _notes) = FramingGuard::new(server, 4096);
        let relay = guard.hints().open();
        relay.source(None).say(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(writes(&mut guard, b"old"), Some(3), "not begun at a write");
        assert!(poll(|cx| Pin::new(&mut guard).poll_flush(cx)).is_pending());
        drop(relay);
        assert_eq!(reads(&mut client, 10).await, format!("old{}", &HINT[..7]));
        assert_eq!(writes(&mut guard, b"new"), None);
        assert_eq!(reads(&mut client, 10).await, HINT[7..17]);
        assert!(poll(|cx| Pin::new(&mut guard).poll_shutdown(cx)).is_ready());
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, HINT[17..], "and then nothing");
    }

    #[tokio::test]
    async fn what_waits_when_its_exchange_closes_is_never_written() {
        let (mut client, server) = tokio::io::duplex(100);
        let (mut guard, _notes) = FramingGuard::new(server, 4096);
        let relay = guard.hints().open();
        relay.source(None).say(StatusCode::PROCESSING, &HeaderMap::new());
        drop(relay);
        assert!(poll(|cx| Pin::new(&mut guard).poll_flush(cx)).is_ready());
        assert_eq!(writes(&mut guard, b"answer"), Some(6));
        drop(guard);
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "answer");
    }
}
