//! Shared signals: what came, what it did, how it stands with each transmitter.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{ControlMetrics, labels};
use crate::domain::WallTime;
use crate::identity::signals::EventKind;
use crate::telemetry::metric::{Family, Label, Values};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// It names nobody who has called here.
    UnknownPerson,
    /// Nothing is done about events of its kind.
    Noted,
    /// It came before.
    Replayed,
    Refused,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Applied, Self::UnknownPerson, Self::Noted, Self::Replayed, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::UnknownPerson => "unknown_person",
            Self::Noted => "noted",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
        }
    }
}

const TRANSMITTER: Label = Label { name: "transmitter", values: Values::Text("a transmitter of the configuration") };
const EVENT: Label =
    Label { name: "event", values: Values::Of(|| EventKind::ALL.iter().map(|kind| kind.as_str()).collect()) };
const OUTCOME: Label =
    Label { name: "outcome", values: Values::Of(|| Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect()) };

static RECEIVED: Family = Family::counter(
    "breakglass_control_signals_total",
    "Security events that came, by what became of them; a token that is refused counts as one of `other`.",
    "`refused` rising: the log says why; until it is mended a revoked session ends no grant.",
)
.by(&[TRANSMITTER, EVENT, OUTCOME]);
static STREAM: Family = Family::gauge(
    "breakglass_control_signals_stream_enabled",
    "0 after a transmitter said that it paused or disabled its stream to us.",
    "0: enable the stream at the transmitter; what happened meanwhile may never be told.",
)
.by(&[TRANSMITTER]);
static POLLED: Family = Family::gauge(
    "breakglass_control_signals_polled_timestamp_seconds",
    "When a transmitter that is asked for events last answered, as Unix time; 0 before.",
    "Minutes ago: it can't be reached, or turns us away; the log says why.",
)
.by(&[TRANSMITTER]);
static POLL_FAILURES: Family = Family::counter(
    "breakglass_control_signals_poll_failures_total",
    "Polls for events that failed.",
    "Rising: the log says why.",
)
.by(&[TRANSMITTER]);

pub(super) const FAMILIES: &[&Family] = &[&RECEIVED, &STREAM, &POLLED, &POLL_FAILURES];

/// See the module.
#[derive(Debug)]
pub(super) struct SignalMetrics {
    received: IntCounterVec,
    stream: IntGaugeVec,
    polled: GaugeVec,
    poll_failures: IntCounterVec,
}

impl SignalMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |family: &Family| Opts::new(family.name, family.help);
        let metrics = Self {
            received: IntCounterVec::new(opts(&RECEIVED), &labels(&RECEIVED))?,
            stream: IntGaugeVec::new(opts(&STREAM), &labels(&STREAM))?,
            polled: GaugeVec::new(opts(&POLLED), &labels(&POLLED))?,
            poll_failures: IntCounterVec::new(opts(&POLL_FAILURES), &labels(&POLL_FAILURES))?,
        };
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.stream.clone()))?;
        registry.register(Box::new(metrics.polled.clone()))?;
        registry.register(Box::new(metrics.poll_failures.clone()))?;
        Ok(metrics)
    }
}

impl ControlMetrics {
    /// A count that is there from the start can be watched for its first rise.
    pub fn begin_signals(&self, transmitter: &str, polled: bool) {
        for outcome in Outcome::ALL {
            for event in EventKind::ALL {
                self.signals.received.with_label_values(&[transmitter, event.as_str(), outcome.as_str()]);
            }
        }
        self.signals.stream.with_label_values(&[transmitter]).set(1);
        if polled {
            self.signals.polled.with_label_values(&[transmitter]).set(0.0);
            self.signals.poll_failures.with_label_values(&[transmitter]);
        }
    }

    pub fn count_signal(&self, transmitter: &str, event: EventKind, outcome: Outcome) {
        self.signals.received.with_label_values(&[transmitter, event.as_str(), outcome.as_str()]).inc();
    }

    pub fn show_stream(&self, transmitter: &str, enabled: bool) {
        self.signals.stream.with_label_values(&[transmitter]).set(i64::from(enabled));
    }

    /// A transmitter was asked, at this time.
    pub fn show_poll(&self, transmitter: &str, answered: bool, at: WallTime) {
        let failures = self.signals.poll_failures.with_label_values(&[transmitter]);
        if answered {
            self.signals.polled.with_label_values(&[transmitter]).set(at.unix_s() as f64);
        } else {
            failures.inc();
        }
    }
}
