//! Hints: the informational answers (1xx) by which an upstream says something before its answer, on their way to an
//! HTTP/1.1 client. A proxy must forward them (RFC 9110 §15.2). 100 is none, it is [`super::expectation`]'s; nor is 101,
//! which is [`super::upgrade`]'s.
//!
//! hyper's server can't send them, so they wait here until [`super::framing_hints`], below it, finds the moment to.
//!
//! INVARIANT: what waits belongs to the one exchange that is open, and closing it drops what waits. So no hint is sent
//! after the answer it came before, or before the answer to another request. HTTP/1.0 knows none, and the library has no
//! way to send them over HTTP/2: there no exchange is ever opened.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TE};
use http::{HeaderMap, Request, StatusCode};

use super::cut::Under;
use super::expectation::Expectation;
use super::{forward_headers, intake};

/// How many hints may wait for a client that takes nothing, and of how many bytes. They are advice: more are dropped.
pub const WAITING_HINTS_MAX: usize = 16;
pub const WAITING_BYTES_MAX: usize = 16 * 1024;

/// The hints of one connection. Shared by the exchange, what hears its upstream, and the writer.
#[derive(Debug, Clone, Default)]
pub struct Hints(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// So that a connection without an open exchange pays no lock.
    open: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The exchange that is or was open, counted from one.
    exchange: u64,
    bytes: BytesMut,
    hints: usize,
    /// Runs the writer.
    connection: Option<Waker>,
    /// Holds the answer back until nothing waits.
    settling: Option<Waker>,
}

impl Waiting {
    fn has_room(&self, bytes: usize) -> bool {
        self.hints < WAITING_HINTS_MAX && self.bytes.len().saturating_add(bytes) <= WAITING_BYTES_MAX
    }
}

impl Hints {
    /// Opens the next exchange. To be called when the answers to all requests before are in hyper's hands.
    pub fn open(&self) -> Relay {
        let mut waiting = self.lock();
        waiting.exchange = waiting.exchange.wrapping_add(1);
        self.0.open.store(true, Ordering::Release);
        Relay { hints: self.clone(), exchange: waiting.exchange }
    }

    /// What waits, if anything. Whoever polls is woken for what is still to come.
    pub(super) fn take(&self, cx: &Context<'_>) -> Option<BytesMut> {
        if !self.0.open.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = self.lock();
        remember(&mut waiting.connection, cx);
        if let Some(settling) = waiting.settling.take() {
            settling.wake();
        }
        waiting.hints = 0;
        (!waiting.bytes.is_empty()).then(|| waiting.bytes.split())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

/// An exchange that is open until this is dropped: by its answer, its failure or its cut.
#[derive(Debug)]
pub struct Relay {
    hints: Hints,
    exchange: u64,
}

impl Relay {
    /// What hears the upstream. Under a grant, only while the grant lasts.
    pub fn source(&self, under: Option<Under>) -> Source {
        Source { hints: self.hints.clone(), exchange: self.exchange, under }
    }

    /// Waits until the writer has what came before the answer. As long as the client takes nothing it would not take the
    /// answer either. For ever where the grant has ended: nothing may follow, and the watch of the answer ends the connection.
    pub async fn settle(&self, under: Option<&Under>) {
        let mut ended = false;
        poll_fn(|cx| {
            let mut waiting = self.hints.lock();
            ended |= !waiting.bytes.is_empty() && under.is_some_and(|under| under.cause().is_some());
            if ended {
                waiting.bytes.clear();
                return Poll::Pending;
            }
            if waiting.bytes.is_empty() {
                return Poll::Ready(());
            }
            remember(&mut waiting.settling, cx);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut waiting = self.hints.lock();
        if waiting.exchange == self.exchange {
            self.hints.0.open.store(false, Ordering::Release);
            waiting.bytes.clear();
            waiting.hints = 0;
            waiting.settling = None;
        }
    }
}

/// Where one exchange's hints come in. May outlive it, and is not heard then.
#[derive(Debug)]
pub struct Source {
    hints: Hints,
    exchange: u64,
    under: Option<Under>,
}

impl Source {
    /// Puts one hint among those that wait.
    pub fn say(&self, status: StatusCode, headers: &HeaderMap) {
        let is_hint = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        if !is_hint || self.under.as_ref().is_some_and(|under| under.cause().is_some()) {
            return;
        }
        let hint = rendered(status, headers);
        let mut waiting = self.hints.lock();
        let is_open = self.hints.0.open.load(Ordering::Acquire) && waiting.exchange == self.exchange;
        if !is_open || !waiting.has_room(hint.len()) {
            tracing::debug!("an informational answer of the upstream was dropped");
            return;
        }
        waiting.bytes.extend_from_slice(&hint);
        waiting.hints += 1;
        if let Some(connection) = &waiting.connection {
            connection.wake_by_ref();
        }
    }
}

/// A hint as the client sees it: the head of a message that has no body (RFC 9112 §6.3), in the standard words.
fn rendered(status: StatusCode, headers: &HeaderMap) -> BytesMut {
    let mut headers = headers.clone();
    forward_headers::strip_hop_by_hop(&mut headers);
    intake::strip(&mut headers);
    for name in [CONNECTION, TE, CONTENT_LENGTH] {
        headers.remove(name);
    }
    let mut head = BytesMut::with_capacity(256);
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        head.put_slice(part.as_bytes());
    }
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.put_slice(part);
        }
    }
    head.put_slice(b"\r\n");
    head
}

/// Hears what the upstream says before its answer: that it wants the body, and hints. hyper has one place to hear it.
pub fn listen<B>(request: &mut Request<B>, expected: Option<&Expectation>, hints: Option<Source>) {
    if expected.is_none() && hints.is_none() {
        return;
    }
    let asked = expected.map(Expectation::asked);
    hyper::ext::on_informational(request, move |answer| match answer.status() {
        StatusCode::CONTINUE => asked.iter().for_each(|asked| asked.notify_one()),
        status => hints.iter().for_each(|hints| hints.say(status, answer.headers())),
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn link(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::LINK, HeaderValue::from_str(value).unwrap())])
    }

    fn taken(hints: &Hints) -> Option<String> {
        let taken = hints.take(&Context::from_waker(Waker::noop()))?;
        Some(String::from_utf8(taken.to_vec()).unwrap())
    }

    #[test]
    fn a_hint_says_what_the_upstream_said_and_nothing_of_one_hop_or_of_ours() {
        let mut headers = link("</a>; rel=preload");
        for (name, value) in [
            ("link", "</b>; rel=preload"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "9"),
            ("break-glass-grant", "forged"),
            ("break_glass.role", "forged"),
        ] {
            headers
                .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let head = rendered(StatusCode::EARLY_HINTS, &headers);
        let expected =
            "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>; rel=preload\r\n\r\n".as_bytes();
        assert_eq!(head, expected);
        let unknown = rendered(StatusCode::from_u16(199).unwrap(), &HeaderMap::new());
        assert_eq!(&unknown[..], b"HTTP/1.1 199 \r\n\r\n");
    }

    #[test]
    fn what_is_said_waits_for_the_exchange_it_was_said_in_alone() {
        let hints = Hints::default();
        let first = hints.open();
        let of_first = first.source(None);
        of_first.say(StatusCode::EARLY_HINTS, &link("1"));
        assert!(taken(&hints).unwrap().contains("link: 1"));
        assert_eq!(taken(&hints), None);
        of_first.say(StatusCode::EARLY_HINTS, &link("2"));
        drop(first);
        assert_eq!(taken(&hints), None, "an answer closes");
        of_first.say(StatusCode::EARLY_HINTS, &link("3"));
        let second = hints.open();
        of_first.say(StatusCode::EARLY_HINTS, &link("4"));
        assert_eq!(taken(&hints), None, "a source is not heard in another exchange");
        second.source(None).say(StatusCode::EARLY_HINTS, &link("5"));
        assert!(taken(&hints).unwrap().contains("link: 5"));
    }

    /// Whether it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn the_writer_is_woken_for_what_is_said() {
        let hints = Hints::default();
        let relay = hints.open();
        let woken = Arc::new(Woken::default());
        assert!(hints.take(&Context::from_waker(&Arc::clone(&woken).into())).is_none());
        assert!(!woken.0.load(Ordering::Acquire));
        relay.source(None).say(StatusCode::PROCESSING, &HeaderMap::new());
        assert!(woken.0.load(Ordering::Acquire));
    }

    #[test]
    fn neither_a_switch_nor_an_answer_is_a_hint() {
        let hints = Hints::default();
        let relay = hints.open();
        for status in [StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK, StatusCode::FORBIDDEN] {
            relay.source(None).say(status, &link("1"));
        }
        assert_eq!(taken(&hints), None);
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        let hints = Hints::default();
        let relay = hints.open();
        let source = relay.source(None);
        for _ in 0..WAITING_HINTS_MAX + 5 {
            source.say(StatusCode::PROCESSING, &HeaderMap::new());
        }
        assert_eq!(taken(&hints).unwrap().matches("HTTP/1.1 102 Processing\r\n\r\n").count(), WAITING_HINTS_MAX);
        for _ in 0..3 {
            source.say(StatusCode::EARLY_HINTS, &link(&"x".repeat(WAITING_BYTES_MAX / 2)));
        }
        let taken = taken(&hints).unwrap();
        assert_eq!(taken.matches("103").count(), 1, "two with their heads are more than fits");
        assert!(taken.len() <= WAITING_BYTES_MAX);
    }

    #[test]
    fn an_answer_waits_until_what_came_before_it_was_taken() {
        let hints = Hints::default();
        let relay = hints.open();
        relay.source(None).say(StatusCode::EARLY_HINTS, &link("1"));
        let mut settling = std::pin::pin!(relay.settle(None));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(settling.as_mut().poll(cx).is_pending());
        assert!(taken(&hints).is_some());
        assert!(settling.as_mut().poll(cx).is_ready());
    }
}
