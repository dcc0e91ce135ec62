//! Measuring one request from the last byte of its head to the last byte of its answer: two readings of the clock and a
//! handful of relaxed additions, nothing allocated. What is logged meanwhile is told of this request.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use super::body::{BodyError, ResponseBody};
use super::counters::{Counters, RequestOutcome};
use crate::telemetry::request_context::{self, RequestContext};

thread_local! {
    /// How the request that is worked for went, once that is known.
    static OUTCOME: Cell<Option<RequestOutcome>> = const { Cell::new(None) };
}

/// The request that is worked for went this way.
pub(super) fn note(outcome: RequestOutcome) {
    OUTCOME.set(Some(outcome));
}

/// One request under way.
#[derive(Debug)]
struct Meter {
    counters: Arc<Counters>,
    began: Instant,
    context: RequestContext,
    outcome: Option<RequestOutcome>,
    response_bytes: u64,
}

impl Meter {
    /// Works for this request. INVARIANT: what another request left on this thread is neither read nor lost.
    fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let former = OUTCOME.replace(self.outcome);
        let done = request_context::within(&mut self.context, work);
        self.outcome = OUTCOME.replace(former);
        done
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.counters.count_finished(self.outcome, self.began.elapsed(), self.response_bytes);
    }
}

/// Measures what answers the request of `context`.
pub async fn metered(
    counters: &Arc<Counters>,
    context: RequestContext,
    answering: impl Future<Output = Response<ResponseBody>>,
) -> Response<MeteredBody> {
    counters.count_begun();
    let mut meter =
        Meter { counters: Arc::clone(counters), began: Instant::now(), context, outcome: None, response_bytes: 0 };
    let mut answering = pin!(answering);
    let response = poll_fn(|cx| meter.work(|| answering.as_mut().poll(cx))).await;
    response.map(|body| MeteredBody { body, meter })
}

/// An answer's body, counted to its end.
#[derive(Debug)]
pub struct MeteredBody {
    body: ResponseBody,
    meter: Meter,
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let body = Pin::new(&mut this.body);
        let meter = &mut this.meter;
        let polled = meter.work(|| body.poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            meter.response_bytes = meter.response_bytes.saturating_add(u64::try_from(data.len()).unwrap_or(0));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
