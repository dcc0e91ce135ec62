//! What one worker counts. Each worker has its own; a scrape adds them up, so counting never crosses a core.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::decision::RefusalCode;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// How a request went. A closed set: it is a label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum RequestOutcome {
            $($(#[$doc])* $name,)*
        }

        impl RequestOutcome {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

outcomes! {
    /// Ordinary traffic, forwarded.
    Passed = "passed",
    /// Forwarded under a grant.
    Override = "override",
    Refused = "refused",
    /// The upstream gave no answer.
    UpstreamFailed = "upstream_failed",
    UpstreamTimeout = "upstream_timeout",
}

/// See the module.
#[derive(Debug)]
pub struct Counters {
    outcomes: Vec<AtomicU64>,
    refusals: Vec<AtomicU64>,
    would_refuse: Vec<AtomicU64>,
    would_override: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    handshakes_failed: AtomicU64,
    turned_away: AtomicU64,
    tunnels: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let zeros = |count: usize| std::iter::repeat_with(AtomicU64::default).take(count).collect();
        Self {
            outcomes: zeros(RequestOutcome::ALL.len()),
            refusals: zeros(RefusalCode::ALL.len()),
            would_refuse: zeros(RefusalCode::ALL.len()),
            would_override: AtomicU64::default(),
            accepted: AtomicU64::default(),
            open: AtomicU64::default(),
            handshakes_failed: AtomicU64::default(),
            turned_away: AtomicU64::default(),
            tunnels: AtomicU64::default(),
        }
    }
}

fn count(cells: &[AtomicU64], index: usize) {
    if let Some(cell) = cells.get(index) {
        cell.fetch_add(1, Ordering::Relaxed);
    }
}

fn value(cells: &[AtomicU64], index: usize) -> u64 {
    cells.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed))
}

/// A connection that speaks another protocol, while it does.
#[derive(Debug)]
pub struct OpenTunnel<'c>(&'c Counters);

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

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
        count(&self.outcomes, outcome as usize);
    }

    pub fn count_refusal(&self, code: RefusalCode) {
        count(&self.outcomes, RequestOutcome::Refused as usize);
        count(&self.refusals, code as usize);
    }

    pub fn count_would_refuse(&self, code: RefusalCode) {
        count(&self.would_refuse, code as usize);
    }

    pub fn count_would_override(&self) {
        self.would_override.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_opened(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn count_handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    pub fn outcome(&self, outcome: RequestOutcome) -> u64 {
        value(&self.outcomes, outcome as usize)
    }

    pub fn refusals(&self, code: RefusalCode) -> u64 {
        value(&self.refusals, code as usize)
    }

    pub fn would_refuse(&self, code: RefusalCode) -> u64 {
        value(&self.would_refuse, code as usize)
    }

    pub fn would_override(&self) -> u64 {
        self.would_override.load(Ordering::Relaxed)
    }

    pub fn connections_accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub fn connections_open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Ordering::Relaxed)
    }

    /// Connections closed at once because the limit was reached.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}
