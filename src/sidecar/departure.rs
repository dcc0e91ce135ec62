//! How one connection ends once the drain has begun, so that no request is lost on its way.
//!
//! A client learns that its connection ends only after it may have written its next request. So nothing is closed the
//! moment it falls idle: over HTTP/1.1 every answer says `Connection: close` (RFC 9112 §9.6) and a connection is closed
//! once nothing was asked on it for [`GRACE`]; over HTTP/2 a GOAWAY names the last stream only after the client has
//! answered a ping (RFC 9113 §6.8), and a connection on which nothing was ever asked may ask once.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;

use crate::drain::Drain;

/// How long a connection must have been idle before it is closed.
pub(super) const GRACE: Duration = Duration::from_secs(1);
const GRACE_LOOKS: u32 = 4;

/// What is asked on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    in_flight: Cell<usize>,
    /// Beginnings and ends of requests.
    moves: Cell<u64>,
    asked: Notify,
    leaving: Cell<bool>,
}

/// One request, until its answer's body is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Activity>);

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { in_flight: Cell::new(0), moves: Cell::new(0), asked: Notify::new(), leaving: Cell::new(false) })
    }

    pub(super) fn begin(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
        if !self.was_asked() {
            self.asked.notify_one();
        }
        self.note_move();
        InFlight(Rc::clone(self))
    }

    fn note_move(&self) {
        self.moves.set(self.moves.get().wrapping_add(1));
    }

    /// Whether there ever was a request.
    pub(super) fn was_asked(&self) -> bool {
        self.moves.get() > 0
    }

    /// An answer over HTTP/1.1, which says so where it is the connection's last.
    pub(super) fn answer_http1<B>(&self, mut response: Response<B>, in_flight: InFlight) -> Response<Tracked<B>> {
        if self.leaving.get() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Tracked { body, _in_flight: in_flight })
    }

    pub(super) fn answer_http2<B>(response: Response<B>, in_flight: InFlight) -> Response<Tracked<B>> {
        response.map(|body| Tracked { body, _in_flight: in_flight })
    }

    /// Drives `connection` until it ends (its result) or nothing moved on it for [`GRACE`] (`None`).
    async fn until_idle<C: Future>(&self, mut connection: Pin<&mut C>) -> Option<C::Output> {
        let mut quiet = 0;
        while quiet < GRACE_LOOKS {
            let moves = self.moves.get();
            if let Ok(ended) = tokio::time::timeout(GRACE / GRACE_LOOKS, connection.as_mut()).await {
                return Some(ended);
            }
            quiet = if self.in_flight.get() == 0 && self.moves.get() == moves { quiet + 1 } else { 0 };
        }
        None
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.in_flight.set(activity.in_flight.get().saturating_sub(1));
        activity.note_move();
    }
}

/// Serves an HTTP/1.1 connection to its end. `close` tells hyper to take no further request.
pub(super) async fn http1<C>(
    connection: C,
    close: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    drain: &Drain,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        () = drain.begun() => activity.leaving.set(true),
        ended = connection.as_mut() => return ended,
    }
    if let Some(ended) = activity.until_idle(connection.as_mut()).await {
        return ended;
    }
    close(connection.as_mut());
    connection.await
}

/// Serves an HTTP/2 connection to its end. `go_away` makes hyper send GOAWAY.
pub(super) async fn http2<C>(
    connection: C,
    go_away: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    drain: &Drain,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        () = drain.begun() => {}
        ended = connection.as_mut() => return ended,
    }
    if !activity.was_asked() {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = activity.asked.notified() => {}
            () = tokio::time::sleep(GRACE) => {}
        }
    }
    go_away(connection.as_mut());
    // A client that does not answer the ping holds no one up.
    activity.until_idle(connection).await.unwrap_or(Ok(()))
}

/// A body that says when it is done with.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: HttpBody + Unpin> HttpBody for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_idle_only_after_a_whole_grace_without_a_move() {
        let activity = Activity::new();
        let forever = std::pin::pin!(std::future::pending::<()>());
        let mut idle = std::pin::pin!(activity.until_idle(forever));
        let request = activity.begin();
        assert!(tokio::time::timeout(GRACE * 5 / 2, idle.as_mut()).await.is_err(), "a request is in flight");
        drop(request);
        let ended = tokio::time::Instant::now();
        assert!(idle.await.is_none());
        assert!(ended.elapsed() >= GRACE, "{:?}", ended.elapsed());
        assert_eq!(activity.in_flight.get(), 0);
    }

    #[test]
    fn only_answers_of_a_leaving_connection_say_close_and_never_a_switch() {
        let activity = Activity::new();
        let close = |status: StatusCode| {
            let mut response = Response::new(());
            *response.status_mut() = status;
            activity.answer_http1(response, activity.begin()).headers().contains_key(CONNECTION)
        };
        assert!(!close(StatusCode::OK));
        activity.leaving.set(true);
        assert!(close(StatusCode::OK) && !close(StatusCode::SWITCHING_PROTOCOLS));
    }
}
