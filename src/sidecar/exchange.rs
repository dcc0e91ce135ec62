//! One override in flight: what has passed in each direction, and the receipt that its outcome settles.
//!
//! INVARIANT: an exchange settles exactly once, at the latest when its last holder is dropped.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::{Response, StatusCode};

use super::audit_log::IntentReceipt;
use super::capture::{Capture, Passed};
use super::cut::Under;
use super::ending::OverrideInFlight;
use crate::audit::{Captured, End, Outcome};
use crate::decision::RefusalCode;
use crate::domain::BootTime;
use crate::telemetry::request_context::{self, RequestContext};

/// See the module.
pub struct Exchange {
    receipt: RefCell<Option<(IntentReceipt, OverrideInFlight)>>,
    under: Under,
    cut_noted: Cell<bool>,
    context: RefCell<RequestContext>,
    began: BootTime,
    status: Cell<Option<u16>>,
    assertion: Cell<Option<u64>>,
    /// Decided, while its last facts are awaited.
    decided: Cell<Option<End>>,
    request_complete: Cell<bool>,
    request: RefCell<Tally>,
    response: RefCell<Tally>,
    capture: RefCell<Option<Capture>>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Response,
}

/// Bytes of one direction, counted and digested.
struct Tally {
    bytes: u64,
    digest: Context,
}

impl Tally {
    fn new() -> Self {
        Self { bytes: 0, digest: Context::new(&SHA256) }
    }

    fn sum(&self) -> Option<[u8; 32]> {
        self.digest.clone().finish().as_ref().try_into().ok()
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Exchange {
    pub fn new(receipt: IntentReceipt, under: Under, capture: Option<Capture>) -> Self {
        Self {
            receipt: RefCell::new(Some((receipt, OverrideInFlight::new(Arc::clone(&under.shared))))),
            began: under.shared.clock.boot(),
            under,
            cut_noted: Cell::new(false),
            context: RefCell::new(request_context::current_with_id().unwrap_or_default()),
            status: Cell::new(None),
            assertion: Cell::new(None),
            decided: Cell::new(None),
            request_complete: Cell::new(false),
            request: RefCell::new(Tally::new()),
            response: RefCell::new(Tally::new()),
            capture: RefCell::new(capture),
        }
    }

    /// Why nothing more may be passed on, if so.
    pub fn cause(&self) -> Option<RefusalCode> {
        self.under.cause()
    }

    pub fn count(&self, direction: Direction, data: &[u8]) {
        let tally = match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        };
        let mut tally = tally.borrow_mut();
        tally.bytes = tally.bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        tally.digest.update(data);
        if let Some(capture) = &mut *self.capture.borrow_mut() {
            capture.take(direction, data);
        }
    }

    pub fn note_request_complete(&self) {
        self.request_complete.set(true);
    }

    /// The upstream has, or may soon have, the whole request.
    pub fn request_is_complete(&self) -> bool {
        self.request_complete.get()
    }

    /// The name of the intent's line.
    pub fn record(&self) -> Option<String> {
        Some(self.receipt.borrow().as_ref()?.0.link()?.uid().to_string())
    }

    /// Which assertion under its grant tells the upstream of it.
    pub fn note_assertion(&self, number: u64) {
        self.assertion.set(Some(number));
    }

    pub fn note_status(&self, status: u16) {
        self.status.set(Some(status));
    }

    /// The head of the upstream's answer.
    pub fn note_answer<B>(&self, answer: &Response<B>) {
        self.note_status(answer.status().as_u16());
        if let Some(capture) = &mut *self.capture.borrow_mut() {
            capture.note_head(Direction::Response, answer.headers());
        }
    }

    /// How it will have ended, even if nothing more is learned of it.
    pub fn decide(&self, end: End) {
        self.decided.set(Some(end));
    }

    pub fn elapsed(&self) -> Duration {
        self.under.shared.clock.boot().since(self.began)
    }

    /// The grant has ended first: counted once, at the moment of the cut. Its outcome may come later.
    pub fn note_cut(&self, code: RefusalCode) {
        if self.cut_noted.replace(true) {
            return;
        }
        self.under.count_cut(code);
        // It may be asked by a task of its own, which works for the same request.
        request_context::within(&mut self.context.borrow_mut(), || {
            tracing::info!(code = code.as_str(), grant = %self.under.live.grant().id, "an override was cut");
        });
    }

    /// Records how it ended; later calls do nothing.
    pub fn settle(&self, end: End) {
        if let End::Cut(code) = end {
            self.note_cut(code);
        }
        // The receipt goes first: what waits for no override to be in flight finds the outcome on its way.
        let Some((receipt, _in_flight)) = self.receipt.borrow_mut().take() else { return };
        let (request, response) = (self.request.borrow(), self.response.borrow());
        receipt.outcome(Outcome {
            at: self.under.shared.clock.wall(),
            status: self.status.get(),
            assertion: self.assertion.get(),
            request_bytes: request.bytes,
            response_bytes: response.bytes,
            request_sha256: request.sum(),
            response_sha256: response.sum(),
            duration: self.elapsed(),
            end,
            captured: self.captured(end),
        });
    }

    /// Nothing, where nothing was forwarded.
    fn captured(&self, end: End) -> Option<Box<Captured>> {
        let capture = self.capture.borrow_mut().take().filter(|_| !matches!(end, End::NotForwarded(_)))?;
        let switched_protocols = self.status.get() == Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let (request_whole, response_whole) = (self.request_is_complete(), end == End::Completed);
        Some(Box::new(capture.finish(Passed { request_whole, response_whole, switched_protocols })))
    }
}

/// Nobody is left to say how it ended: the client has gone, or this sidecar goes.
impl Drop for Exchange {
    fn drop(&mut self) {
        let end = match (self.decided.get(), &*self.receipt.borrow()) {
            (Some(decided), _) => decided,
            (None, Some((_, in_flight))) if in_flight.is_being_cut() => {
                in_flight.note_stopped();
                End::Stopped
            }
            (None, _) => End::ClientAborted,
        };
        self.settle(end);
    }
}
