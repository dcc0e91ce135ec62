//! On whose behalf a line is logged: request id and trace context (W3C Trace Context, Level 1), known to the thread while
//! it works for a request. Costs nothing to ordinary traffic: no allocation, and an id is drawn only when one is told.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;

use aws_lc_rs::rand;
use http::{HeaderMap, HeaderName, HeaderValue};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Where a request stands in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: TraceId,
    /// Whose child the next hop is.
    pub span_id: SpanId,
    flags: u8,
}

/// 16 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

/// 8 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Trace {
    /// The trace of a request: exactly one header, of exactly the form that version 00 has. Anything else is no trace.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { Self::parse(value.as_bytes()) }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (version, rest) = text.split_at_checked(2)?;
        let (trace, rest) = rest.strip_prefix(b"-")?.split_at_checked(32)?;
        let (span, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let (flags, rest) = rest.strip_prefix(b"-")?.split_at_checked(2)?;
        let (trace_id, span_id) = (hex(trace)?, u64::try_from(hex(span)?).ok()?);
        let is_sound = version == b"00" && rest.is_empty() && trace_id != 0 && span_id != 0;
        let flags = u8::try_from(hex(flags)?).ok()?;
        is_sound.then_some(Self { trace_id: TraceId(trace_id), span_id: SpanId(span_id), flags })
    }

    /// A trace that begins here, not sampled.
    fn begin() -> Self {
        Self { trace_id: TraceId(random().max(1)), span_id: fresh_span(), flags: 0 }
    }

    /// The header for the next hop.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)).ok()
    }
}

/// Lower-case hexadecimal, as the format demands it; at most 32 digits.
fn hex(digits: &[u8]) -> Option<u128> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(u128::from(byte - b'0')),
        b'a'..=b'f' => Some(u128::from(byte - b'a' + 10)),
        _ => None,
    };
    digits.iter().try_fold(0_u128, |number, byte| Some(number << 4 | digit(byte)?))
}

/// If the system's randomness fails it is zero.
fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    let _ = rand::fill(&mut bytes);
    u128::from_be_bytes(bytes)
}

fn fresh_span() -> SpanId {
    SpanId(u64::try_from(random() & u128::from(u64::MAX)).unwrap_or(1).max(1))
}

/// A random UUID (RFC 9562 §5.4), unguessable and unique across processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u128);

impl RequestId {
    /// If the system's randomness fails it is all zeros but for version and variant, and still a valid UUID.
    pub fn fresh() -> Self {
        Self((random() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, digits: u32| (self.0 >> shift) & ((1 << (digits * 4)) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 8),
            part(80, 4),
            part(64, 4),
            part(48, 4),
            part(0, 12)
        )
    }
}

/// What is known of the request that is worked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestContext {
    id: Option<RequestId>,
    pub trace: Option<Trace>,
}

impl RequestContext {
    pub fn of(headers: &HeaderMap) -> Self {
        Self { id: None, trace: Trace::of(headers) }
    }

    /// The id, where one was drawn.
    pub fn known_id(&self) -> Option<RequestId> {
        self.id
    }

    fn id(&mut self) -> RequestId {
        *self.id.get_or_insert_with(RequestId::fresh)
    }
}

thread_local! {
    static CURRENT: Cell<Option<RequestContext>> = const { Cell::new(None) };
}

/// Works for the request of `context` while `work` runs.
pub fn within<T>(context: &mut RequestContext, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, even when the work panics.
    struct Former(Option<RequestContext>);
    impl Drop for Former {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _former = Former(CURRENT.replace(Some(*context)));
    let done = work();
    if let Some(known) = CURRENT.get() {
        *context = known;
    }
    done
}

/// Whose request is worked for now, if any.
pub fn current() -> Option<RequestContext> {
    CURRENT.get()
}

/// As [`current`], with its id drawn: what is told of a request can be found again.
pub fn current_with_id() -> Option<RequestContext> {
    let mut context = CURRENT.get()?;
    context.id();
    CURRENT.set(Some(context));
    Some(context)
}

/// The id of the request that is worked for now; of no use to anybody else where there is none.
pub fn request_id() -> RequestId {
    let Some(mut context) = CURRENT.get() else { return RequestId::fresh() };
    let id = context.id();
    CURRENT.set(Some(context));
    id
}

/// The trace of the request that is worked for.
pub fn trace() -> Option<Trace> {
    CURRENT.get()?.trace
}

/// A request without a trace has one from now on.
pub fn ensure_trace() {
    if let Some(context) = CURRENT.get() {
        let trace = context.trace.unwrap_or_else(Trace::begin);
        CURRENT.set(Some(RequestContext { trace: Some(trace), ..context }));
    }
}

/// The trace that the next hop is told: a child of ours of the client's trace, or of one that begins here. The lines
/// that follow belong to it.
pub fn next_hop() -> Trace {
    let mut context = CURRENT.get().unwrap_or_default();
    let trace = context.trace.map_or_else(Trace::begin, |trace| Trace { span_id: fresh_span(), ..trace });
    context.trace = Some(trace);
    if CURRENT.get().is_some() {
        CURRENT.set(Some(context));
    }
    trace
}

/// Works for the request of `context` whenever `future` is polled.
pub async fn attributed<F: Future>(mut context: RequestContext, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| within(&mut context, || future.as_mut().poll(cx))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_the_exact_form_is_a_trace() {
        let trace = Trace::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(trace.header().unwrap(), GOOD);
        for bad in [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(bad.as_bytes()), None, "{bad}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Trace::of(&headers), Some(trace));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Trace::of(&headers), None, "two are none");
    }

    #[test]
    fn ids_are_random_uuids() {
        let id = RequestId::fresh().to_string();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, RequestId::fresh().to_string());
    }

    #[test]
    fn an_id_is_drawn_once_a_request_and_no_other_request_has_it() {
        let (mut one, mut other) = (RequestContext::default(), RequestContext::default());
        let first = within(&mut one, request_id);
        let inner = within(&mut other, || {
            let nested = within(&mut one, request_id);
            assert_eq!(nested, first);
            request_id()
        });
        assert_ne!(inner, first);
        assert_eq!(within(&mut one, request_id), first);
        assert_eq!(current(), None);
    }

    #[test]
    fn the_next_hop_stays_in_the_trace_under_a_new_parent() {
        let trace = Trace::parse(GOOD.as_bytes()).unwrap();
        let mut context = RequestContext { trace: Some(trace), ..RequestContext::default() };
        let next = within(&mut context, next_hop);
        assert_eq!((next.trace_id, next.flags), (trace.trace_id, 1));
        assert_ne!(next.span_id, trace.span_id);
        assert_eq!(context.trace, Some(next), "what is logged from here on belongs to our hop");
        let begun = within(&mut RequestContext::default(), next_hop);
        assert!(Trace::parse(begun.header().unwrap().as_bytes()).is_some());
    }
}
