//! A client that sends its body only once it is asked for it: `Expect: 100-continue` (RFC 9110 §10.1.1).
//!
//! The expectation goes to the upstream, and so does the decision: the client is asked when the upstream asks, or when
//! it has said nothing for a bounded time. A final answer before that reaches a client that was never asked. hyper asks
//! a client as soon as its body is looked at, so until then nobody looks.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Version};
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;

/// A body that nobody has looked at yet.
type Parked = Rc<RefCell<Option<Incoming>>>;

/// The side that waits for the upstream's answer.
#[derive(Debug)]
pub struct Expectation {
    parked: Parked,
    asked: Arc<Notify>,
}

/// The side that is the request's body.
pub struct Awaited {
    parked: Parked,
    asked: Pin<Box<dyn Future<Output = ()>>>,
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Awaited")
    }
}

/// True when the client waits to be asked. Over HTTP/2 the body is taken as it comes; HTTP/1.0 knows no expectations.
pub fn waits(headers: &HeaderMap, version: Version, body: &Incoming) -> bool {
    version == Version::HTTP_11
        && headers.contains_key(EXPECT)
        // The last one, as hyper reads it, since it is hyper that would ask.
        && headers.get_all(EXPECT).iter().next_back().is_some_and(is_continue)
        && !body.is_end_stream()
}

fn is_continue(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// Parks `body` until the upstream asks for it, or `wait` is over.
pub fn park(body: Incoming, wait: Duration) -> (Expectation, Awaited) {
    let parked: Parked = Rc::new(RefCell::new(Some(body)));
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    let asking = Box::pin(async move {
        let _ = tokio::time::timeout(wait, heard.notified()).await;
    });
    (Expectation { parked: Rc::clone(&parked), asked }, Awaited { parked, asked: asking })
}

impl Expectation {
    /// To be notified as soon as the upstream asks: then the client is asked.
    pub fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// The final answer has come: true when the client was not asked until now. It never will be.
    pub fn withhold(&self) -> bool {
        self.parked.borrow_mut().take().is_some()
    }
}

impl Awaited {
    pub fn size_hint(&self) -> SizeHint {
        self.parked.borrow().as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }

    /// The body, once it may be looked at. Never ready where it was withheld: the request is not to be completed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        ready!(self.asked.as_mut().poll(cx));
        match self.parked.borrow_mut().take() {
            Some(body) => Poll::Ready(body),
            None => Poll::Pending,
        }
    }
}
