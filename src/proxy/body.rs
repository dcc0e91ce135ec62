//! A request's body on its way through. Where the request may be refused for want of a nonce, what has passed is kept as
//! long as it is small, so that the request can be sent again as it was.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::KEPT_BYTES_MAX;
use crate::wire::own_headers;

/// Why a body came to no end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the client's request broke off")]
    Client(#[source] hyper::Error),
    /// The request was taken over by its repetition.
    #[error("the request is sent anew")]
    Superseded,
}

/// See the module.
#[derive(Debug)]
pub struct RequestBody {
    tape: Arc<Mutex<Tape>>,
    turn: u32,
    at: usize,
}

#[derive(Debug)]
struct Tape {
    incoming: Incoming,
    /// What has passed, while all of it is here.
    kept: Option<Kept>,
    /// Which sending may read on.
    turn: u32,
    /// Of the sending that waits for more.
    waiting: Option<Waker>,
}

#[derive(Debug, Default)]
struct Kept {
    frames: Vec<Part>,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl RequestBody {
    /// `keeps`: it may have to be sent again.
    pub(super) fn new(incoming: Incoming, keeps: bool) -> Self {
        let tape = Tape { incoming, kept: keeps.then(Kept::default), turn: 0, waiting: None };
        Self { tape: Arc::new(Mutex::new(tape)), turn: 0, at: 0 }
    }

    /// What can make the same body anew.
    pub(super) fn again(&self) -> Again {
        Again(Arc::clone(&self.tape))
    }
}

/// A body that may be sent once more.
pub(super) struct Again(Arc<Mutex<Tape>>);

impl Again {
    /// The body from its beginning; nothing, where some of it is gone. The one before it ends where it is.
    pub(super) fn body(&self) -> Option<RequestBody> {
        let mut tape = lock(&self.0);
        tape.turn += 1;
        if let Some(waiting) = tape.waiting.take() {
            waiting.wake();
        }
        tape.kept.as_ref()?;
        Some(RequestBody { tape: Arc::clone(&self.0), turn: tape.turn, at: 0 })
    }
}

fn lock(tape: &Mutex<Tape>) -> MutexGuard<'_, Tape> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tape {
    fn keep(&mut self, part: &Part) {
        let Some(kept) = &mut self.kept else { return };
        kept.bytes += match part {
            Part::Data(data) => data.len(),
            Part::Trailers(trailers) => trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        };
        kept.frames.push(part.clone());
        // An empty part counts for nothing, so their number has a limit too.
        if kept.bytes > KEPT_BYTES_MAX || kept.frames.len() > KEPT_BYTES_MAX / 64 {
            self.kept = None;
        }
    }

    fn recorded(&self, at: usize) -> &[Part] {
        self.kept.as_ref().and_then(|kept| kept.frames.get(at..)).unwrap_or_default()
    }
}

impl Part {
    fn of(frame: Frame<Bytes>) -> Option<Self> {
        match frame.into_data() {
            Ok(data) => Some(Self::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(|mut trailers| {
                own_headers::strip(&mut trailers);
                Self::Trailers(trailers)
            }),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = Arc::clone(&self.tape);
        let mut tape = lock(&shared);
        if tape.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(part) = tape.recorded(self.at).first() {
            self.at += 1;
            return Poll::Ready(Some(Ok(part.clone().into_frame())));
        }
        let frame = match Pin::new(&mut tape.incoming).poll_frame(cx) {
            Poll::Pending => {
                tape.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(BodyError::Client(error)))),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        // There are no other frames than these two.
        let Some(part) = Part::of(frame) else { return Poll::Ready(None) };
        tape.keep(&part);
        self.at += 1;
        Poll::Ready(Some(Ok(part.into_frame())))
    }

    fn is_end_stream(&self) -> bool {
        let tape = lock(&self.tape);
        tape.recorded(self.at).is_empty() && tape.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let tape = lock(&self.tape);
        let again: usize =
            tape.recorded(self.at).iter().map(|part| if let Part::Data(d) = part { d.len() } else { 0 }).sum();
        let again = u64::try_from(again).unwrap_or(u64::MAX);
        let to_come = tape.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(again.saturating_add(to_come.lower()));
        if let Some(upper) = to_come.upper() {
            hint.set_upper(again.saturating_add(upper));
        }
        hint
    }
}
