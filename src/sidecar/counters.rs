//! What one worker counts. Each worker has its own; a scrape adds them up, so counting never crosses a core: relaxed
//! additions in cache lines that no other worker writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::meter;
use crate::decision::RefusalCode;
use crate::telemetry::metric::Histogram;

macro_rules! closed_set {
    ($(#[$of:meta])* $set:ident { $($(#[$doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set {
            $($(#[$doc])* $name,)*
        }

        impl $set {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

pub(super) use closed_set;

closed_set! {
    /// How a request went. A closed set: it is a label.
    RequestOutcome {
        /// Ordinary traffic, forwarded.
        Passed = "passed",
        /// Forwarded under a grant.
        Override = "override",
        Refused = "refused",
        /// The upstream gave no answer.
        UpstreamFailed = "upstream_failed",
        UpstreamTimeout = "upstream_timeout",
    }
}

closed_set! {
    /// What the client and the sidecar agreed to speak (ALPN).
    ClientProtocol {
        Http1 = "http/1.1",
        Http2 = "h2",
    }
}

closed_set! {
    /// Why no connection to the upstream came to be.
    ConnectFailure {
        /// Refused, unreachable, or its name is not known.
        Unreachable = "unreachable",
        Timeout = "timeout",
        /// It was there, and did not speak HTTP/1.1.
        Protocol = "protocol",
    }
}

/// Whole request, and the upstream's time to the head of its answer.
#[derive(Debug, Default)]
struct Durations {
    whole: Histogram,
    head: Histogram,
}

/// See the module.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    outcomes: [AtomicU64; RequestOutcome::ALL.len()],
    durations: [Durations; RequestOutcome::ALL.len()],
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    requests_open: AtomicU64,
    refusals: [AtomicU64; RefusalCode::ALL.len()],
    would_refuse: [AtomicU64; RefusalCode::ALL.len()],
    would_override: AtomicU64,
    intent_wait: Histogram,
    accepted: AtomicU64,
    accept_failures: AtomicU64,
    open: AtomicU64,
    handshakes: Histogram,
    handshakes_failed: AtomicU64,
    turned_away: AtomicU64,
    tunnels: AtomicU64,
    protocols: [AtomicU64; ClientProtocol::ALL.len()],
    pub upstream: UpstreamCounters,
}

/// Of one worker's connections to the upstream.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    open: AtomicU64,
    idle: AtomicU64,
    connects: Histogram,
    failures: [AtomicU64; ConnectFailure::ALL.len()],
    reuses: AtomicU64,
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::default())
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            outcomes: zeros(),
            durations: std::array::from_fn(|_| Durations::default()),
            request_bytes: AtomicU64::default(),
            response_bytes: AtomicU64::default(),
            requests_open: AtomicU64::default(),
            refusals: zeros(),
            would_refuse: zeros(),
            would_override: AtomicU64::default(),
            intent_wait: Histogram::default(),
            accepted: AtomicU64::default(),
            accept_failures: AtomicU64::default(),
            open: AtomicU64::default(),
            handshakes: Histogram::default(),
            handshakes_failed: AtomicU64::default(),
            turned_away: AtomicU64::default(),
            tunnels: AtomicU64::default(),
            protocols: zeros(),
            upstream: UpstreamCounters::default(),
        }
    }
}

fn add(cell: &AtomicU64, n: u64) {
    cell.fetch_add(n, Ordering::Relaxed);
}

fn get(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

fn count(cells: &[AtomicU64], index: usize) {
    if let Some(cell) = cells.get(index) {
        add(cell, 1);
    }
}

fn value(cells: &[AtomicU64], index: usize) -> u64 {
    cells.get(index).map_or(0, get)
}

/// A connection that speaks another protocol, while it does.
#[derive(Debug)]
pub struct OpenTunnel<'c>(&'c Counters);

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counting.
impl Counters {
    /// Counts a tunnel until the value is dropped.
    pub fn count_tunnel(&self) -> OpenTunnel<'_> {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(self)
    }

    /// Connections that speak another protocol now. They are among the open ones.
    pub fn tunnels_open(&self) -> u64 {
        self.tunnels.load(Ordering::Relaxed)
    }

    pub fn count_outcome(&self, outcome: RequestOutcome) {
        meter::note(outcome);
        count(&self.outcomes, outcome as usize);
    }

    pub fn count_refusal(&self, code: RefusalCode) {
        self.count_outcome(RequestOutcome::Refused);
        count(&self.refusals, code as usize);
    }

    pub fn count_would_refuse(&self, code: RefusalCode) {
        count(&self.would_refuse, code as usize);
    }

    pub fn count_would_override(&self) {
        add(&self.would_override, 1);
    }

    /// A request's head is here; it is answered once [`Counters::count_finished`] is called.
    pub fn count_begun(&self) {
        add(&self.requests_open, 1);
    }

    pub fn count_finished(&self, outcome: Option<RequestOutcome>, whole: Duration, response_bytes: u64) {
        self.requests_open.fetch_sub(1, Ordering::Relaxed);
        add(&self.response_bytes, response_bytes);
        if let Some(durations) = outcome.and_then(|outcome| self.durations.get(outcome as usize)) {
            durations.whole.observe(whole);
        }
    }

    /// The head of the upstream's answer came after `waited`.
    pub fn count_head(&self, outcome: RequestOutcome, waited: Duration) {
        if let Some(durations) = self.durations.get(outcome as usize) {
            durations.head.observe(waited);
        }
    }

    pub fn count_request_bytes(&self, bytes: usize) {
        add(&self.request_bytes, u64::try_from(bytes).unwrap_or(0));
    }

    pub fn count_intent(&self, waited: Duration) {
        self.intent_wait.observe(waited);
    }

    pub fn count_opened(&self) {
        add(&self.accepted, 1);
        add(&self.open, 1);
    }

    pub fn count_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn count_accept_failure(&self) {
        add(&self.accept_failures, 1);
    }

    pub fn count_handshake(&self, took: Duration) {
        self.handshakes.observe(took);
    }

    pub fn count_handshake_failed(&self) {
        add(&self.handshakes_failed, 1);
    }

    pub fn count_turned_away(&self) {
        add(&self.turned_away, 1);
    }

    pub fn count_protocol(&self, protocol: ClientProtocol) {
        count(&self.protocols, protocol as usize);
    }
}

/// Reading, at a scrape.
impl Counters {
    pub fn outcome(&self, outcome: RequestOutcome) -> u64 {
        value(&self.outcomes, outcome as usize)
    }

    pub fn whole(&self, outcome: RequestOutcome) -> Option<&Histogram> {
        self.durations.get(outcome as usize).map(|durations| &durations.whole)
    }

    pub fn head(&self, outcome: RequestOutcome) -> Option<&Histogram> {
        self.durations.get(outcome as usize).map(|durations| &durations.head)
    }

    pub fn requests_open(&self) -> u64 {
        get(&self.requests_open)
    }

    /// Bytes of bodies: from clients, to clients.
    pub fn bytes(&self) -> (u64, u64) {
        (get(&self.request_bytes), get(&self.response_bytes))
    }

    pub fn refusals(&self, code: RefusalCode) -> u64 {
        value(&self.refusals, code as usize)
    }

    pub fn would_refuse(&self, code: RefusalCode) -> u64 {
        value(&self.would_refuse, code as usize)
    }

    pub fn would_override(&self) -> u64 {
        get(&self.would_override)
    }

    pub fn intent_wait(&self) -> &Histogram {
        &self.intent_wait
    }

    pub fn connections_accepted(&self) -> u64 {
        get(&self.accepted)
    }

    pub fn accept_failures(&self) -> u64 {
        get(&self.accept_failures)
    }

    pub fn connections_open(&self) -> u64 {
        get(&self.open)
    }

    pub fn handshakes(&self) -> &Histogram {
        &self.handshakes
    }

    pub fn handshakes_failed(&self) -> u64 {
        get(&self.handshakes_failed)
    }

    /// Connections closed at once because the limit was reached.
    pub fn turned_away(&self) -> u64 {
        get(&self.turned_away)
    }

    pub fn protocol(&self, protocol: ClientProtocol) -> u64 {
        value(&self.protocols, protocol as usize)
    }
}

impl UpstreamCounters {
    pub fn count_connected(&self, took: Duration) {
        self.connects.observe(took);
    }

    pub fn count_opened(&self) {
        add(&self.open, 1);
    }

    pub fn count_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn count_failure(&self, failure: ConnectFailure) {
        count(&self.failures, failure as usize);
    }

    pub fn count_reuse(&self) {
        add(&self.reuses, 1);
    }

    pub fn set_idle(&self, connections: usize) {
        self.idle.store(u64::try_from(connections).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn open(&self) -> u64 {
        get(&self.open)
    }

    pub fn idle(&self) -> u64 {
        get(&self.idle)
    }

    pub fn connects(&self) -> &Histogram {
        &self.connects
    }

    pub fn failures(&self, failure: ConnectFailure) -> u64 {
        value(&self.failures, failure as usize)
    }

    pub fn reuses(&self) -> u64 {
        get(&self.reuses)
    }
}
