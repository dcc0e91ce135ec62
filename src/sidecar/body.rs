//! Bodies on their way through: streamed both ways, nothing gathered.
//!
//! On all traffic, trailers lose what looks like ours (P7). Under a grant, bytes are counted and digested, and the
//! answer is watched: when the grant ends, the body ends with an error, which resets the client's stream.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::counters::Counters;
use super::cut::AnswerWatch;
use super::exchange::{Direction, Exchange};
use super::expectation::Awaited;
use super::intake;
use super::upstream::Lease;
use crate::audit::End;
use crate::decision::RefusalCode;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the other side broke off")]
    Hyper(#[from] hyper::Error),
    #[error("the grant ended: {}", .0.as_str())]
    Cut(RefusalCode),
}

/// When the request's body last moved; shared with whoever waits for the answer.
pub type LastMove = Rc<Cell<Instant>>;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    last_move: Option<LastMove>,
    exchange: Option<Rc<Exchange>>,
    counters: Option<Arc<Counters>>,
}

/// Where a request's body comes from.
#[derive(Debug)]
pub enum Source {
    Flowing(Incoming),
    /// Its client waits to be asked for it.
    Awaited(Awaited),
}

impl RequestBody {
    pub fn new(source: Source, last_move: Option<LastMove>, exchange: Option<Rc<Exchange>>) -> Self {
        let body = Self { source, last_move, exchange, counters: None };
        if body.is_end_stream() {
            body.note_complete();
        }
        body
    }

    /// Counts its bytes into `counters`, where there can be any.
    pub fn count_with(&mut self, counters: &Arc<Counters>) {
        if self.counters.is_none() && !self.is_end_stream() {
            self.counters = Some(Arc::clone(counters));
        }
    }

    pub fn is_under_grant(&self) -> bool {
        self.exchange.is_some()
    }

    fn note_complete(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.note_request_complete();
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Source::Awaited(awaited) = &mut this.source {
            this.source = Source::Flowing(ready!(awaited.poll(cx)));
        }
        let Source::Flowing(incoming) = &mut this.source else { return Poll::Pending };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        let last = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        let ended = last || incoming.is_end_stream();
        if let Some(last_move) = &this.last_move {
            last_move.set(Instant::now());
        }
        if let (Some(counters), Some(Ok(frame))) = (&this.counters, &frame) {
            frame.data_ref().into_iter().for_each(|data| counters.count_request_bytes(data.len()));
        }
        if let Some(exchange) = &this.exchange {
            if exchange.cause().is_some() {
                // The watch ends the exchange; this piece is not sent, and neither is an end that would make it whole.
                return Poll::Pending;
            }
            match &frame {
                Some(Ok(frame)) => {
                    frame.data_ref().into_iter().for_each(|data| exchange.count(Direction::Request, data))
                }
                Some(Err(_)) => exchange.settle(End::ClientAborted),
                None => {}
            }
        }
        if ended {
            this.note_complete();
        }
        Poll::Ready(frame.map(|frame| frame.map(without_our_trailers)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Flowing(incoming) => incoming.is_end_stream(),
            Source::Awaited(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Flowing(incoming) => incoming.size_hint(),
            Source::Awaited(awaited) => awaited.size_hint(),
        }
    }
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub enum ResponseBody {
    /// A document of ours; `None` once taken.
    Whole(Option<Bytes>),
    /// None, though the head tells a length: the answer to a condition (RFC 9110 §15.4.5).
    Described(u64),
    Upstream(UpstreamBody),
}

/// The upstream's answer. The connection is given back when it has been read whole.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Lease,
    watched: Option<Watched>,
}

/// What an answer under a grant carries along.
#[derive(Debug)]
pub struct Watched {
    pub exchange: Rc<Exchange>,
    pub watch: AnswerWatch,
}

impl UpstreamBody {
    pub fn new(incoming: Incoming, lease: Lease, watched: Option<Watched>) -> Self {
        let mut body = Self { incoming, lease, watched };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        self.lease.give_back();
        if let Some(watched) = self.watched.take() {
            watched.exchange.settle(End::Completed);
        }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<RefusalCode> {
        let Some(watched) = &mut self.watched else { return Poll::Pending };
        let code = match watched.watch.poll(cx) {
            Poll::Ready(code) => code,
            Poll::Pending => match watched.exchange.cause() {
                Some(code) => code,
                None => return Poll::Pending,
            },
        };
        watched.exchange.settle(End::Cut(code));
        self.watched = None;
        Poll::Ready(code)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(code) = self.poll_cut(cx) {
            return Poll::Ready(Some(Err(BodyError::Cut(code))));
        }
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let (Some(watched), Some(data)) = (&self.watched, frame.data_ref()) {
                    watched.exchange.count(Direction::Response, data);
                }
                // Whoever asked for the body does not ask again after its trailers.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(without_our_trailers(frame))))
            }
            Some(Err(error)) => {
                if let Some(watched) = self.watched.take() {
                    watched.exchange.settle(End::UpstreamFailed);
                }
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Described(_) => Poll::Ready(None),
            Self::Upstream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            // hyper leaves the length out of an HTTP/1.1 head unless a body seems to follow; of a 304 it writes none.
            Self::Described(_) => false,
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0)))
            }
            Self::Described(length) => SizeHint::with_exact(*length),
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

fn without_our_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            intake::strip(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
