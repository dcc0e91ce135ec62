//! The sidecar's metrics, in a registry of its own (prometheus.io/docs/practices/naming).
//!
//! Workers count for themselves; a scrape adds their counts up. Labels come from closed enums only: nothing a client
//! sends becomes a label.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::counters::{Counters, RequestOutcome};
use super::shared::Shared;
use crate::decision::{Feed, Freeze, RefusalCode};

/// Media type of the exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// See the module.
#[derive(Debug)]
pub struct SidecarMetrics {
    registry: Registry,
    shared: Arc<Shared>,
    workers: Vec<Arc<Counters>>,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    would_refuse: IntCounterVec,
    would_override: IntCounter,
    connections: IntCounter,
    connections_open: IntGauge,
    handshakes_failed: IntCounter,
    turned_away: IntCounter,
    live_grants: IntGauge,
    feed_connected: IntGauge,
    feed_synced: IntGauge,
    feed_age: Gauge,
    feed_revision: IntGauge,
    clock_skew: Gauge,
    frozen: IntGauge,
    audit_records: IntCounterVec,
    audit_ready: IntGauge,
    audit_queue: IntGauge,
    audit_open_intents: IntGauge,
    audit_free: IntGauge,
    audit_summarised: IntCounter,
    audit_errors: IntCounter,
    audit_intents_refused: IntCounterVec,
}

/// Registers what `make` makes.
struct Maker<'r>(&'r Registry);

impl Maker<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: Result<C, prometheus::Error>) -> Result<C, prometheus::Error> {
        let metric = made?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help))
    }

    fn real(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.add(Gauge::new(name, help))
    }
}

impl SidecarMetrics {
    /// # Errors
    /// When a name is not one Prometheus takes, or stands twice: a fault of this file.
    pub fn new(shared: Arc<Shared>, workers: Vec<Arc<Counters>>) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new_custom(Some("breakglass_sidecar".to_owned()), None)?;
        let make = Maker(&registry);
        let build = Opts::new("build_info", "Version of the program, always 1.");
        let build = make.add(IntGaugeVec::new(build, &["version"]))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Arc::new(Self {
            requests: make.counters("requests_total", "Requests, by how they went.", "outcome")?,
            refusals: make.counters("refusals_total", "Requests refused, by decision code.", "code")?,
            would_refuse: make.counters(
                "would_refuse_total",
                "Requests that enforce mode would have refused, by decision code.",
                "code",
            )?,
            would_override: make
                .counter("would_override_total", "Requests that enforce mode would have forwarded under a grant.")?,
            connections: make.counter("connections_total", "Connections accepted.")?,
            connections_open: make.gauge("connections_open", "Connections open now.")?,
            handshakes_failed: make
                .counter("tls_handshakes_failed_total", "TLS handshakes that failed or took too long.")?,
            turned_away: make.counter(
                "connections_turned_away_total",
                "Connections closed at once because the limit was reached.",
            )?,
            live_grants: make.gauge("grants", "Grants in the table, ended ones included.")?,
            feed_connected: make.gauge("feed_connected", "1 while a stream to the control plane is open.")?,
            feed_synced: make.gauge("feed_synced", "1 once a snapshot has been completed.")?,
            feed_age: make.real("feed_age_seconds", "Age of the table: time since it equalled the control plane's.")?,
            feed_revision: make.gauge("feed_revision", "Revision up to which the feed is enforced.")?,
            clock_skew: make.real("clock_skew_seconds", "This machine's wall clock minus the control plane's.")?,
            frozen: make.gauge("frozen", "1 while no override is allowed here.")?,
            audit_records: make.counters("audit_records_total", "Durable lines of the audit log, by kind.", "kind")?,
            audit_ready: make.gauge("audit_ready", "1 while an intent can be made durable.")?,
            audit_queue: make.gauge("audit_queue_records", "Records waiting for the writer.")?,
            audit_open_intents: make.gauge("audit_open_intents", "Overrides whose outcome is not recorded yet.")?,
            audit_free: make.gauge("audit_free_bytes", "Space left for the audit log; -1 before the first look.")?,
            audit_summarised: make
                .counter("audit_summarised_total", "Refusals that were only counted, past their budget.")?,
            audit_errors: make
                .counter("audit_storage_errors_total", "Writes and syncs of the audit log that failed.")?,
            audit_intents_refused: make.counters(
                "audit_intents_refused_total",
                "Intents that could not be made durable, by cause.",
                "cause",
            )?,
            registry,
            shared,
            workers,
        }))
    }

    /// The exposition, as of now.
    ///
    /// # Errors
    /// When a metric can't be written: a fault of this file.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.observe_workers();
        self.observe_standing();
        self.observe_audit();
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.iter().map(|worker| of(worker)).sum()
    }

    fn observe_workers(&self) {
        for outcome in RequestOutcome::ALL {
            raise(&self.requests.with_label_values(&[outcome.as_str()]), self.sum(|worker| worker.outcome(*outcome)));
        }
        for code in RefusalCode::ALL {
            let label = &[code.as_str()];
            raise(&self.refusals.with_label_values(label), self.sum(|worker| worker.refusals(*code)));
            raise(&self.would_refuse.with_label_values(label), self.sum(|worker| worker.would_refuse(*code)));
        }
        raise(&self.would_override, self.sum(Counters::would_override));
        raise(&self.connections, self.sum(Counters::connections_accepted));
        raise(&self.handshakes_failed, self.sum(Counters::handshakes_failed));
        raise(&self.turned_away, self.sum(Counters::turned_away));
        self.connections_open.set(whole(self.sum(Counters::connections_open)));
    }

    fn observe_standing(&self) {
        let standing = &self.shared.standing;
        let feed = standing.feed();
        let age = self.shared.clock.boot().since(standing.as_of());
        self.live_grants.set(whole(self.shared.grants.len()));
        self.feed_connected.set(standing.is_connected().into());
        self.feed_synced.set((feed != Feed::NeverSynced).into());
        self.feed_age.set(if feed == Feed::NeverSynced { f64::INFINITY } else { age.as_secs_f64() });
        self.feed_revision.set(whole(standing.revision()));
        self.clock_skew.set(
            std::time::Duration::from_millis(standing.skew_ms().unsigned_abs())
                .as_secs_f64()
                .copysign(if standing.skew_ms() < 0 { -1.0 } else { 1.0 }),
        );
        self.frozen.set((standing.freeze() != Freeze::None).into());
    }

    fn observe_audit(&self) {
        let audit = self.shared.audit.metrics();
        for (kind, count) in audit.records {
            raise(&self.audit_records.with_label_values(&[kind]), count);
        }
        let refused = audit.intents_refused;
        for (cause, count) in [
            ("full", refused.full),
            ("slow", refused.slow),
            ("failed", refused.failed),
            ("busy", refused.busy),
            ("closed", refused.closed),
            ("opening", refused.opening),
            ("damaged", refused.damaged),
        ] {
            raise(&self.audit_intents_refused.with_label_values(&[cause]), count);
        }
        self.audit_ready.set(self.shared.audit_is_ready().into());
        self.audit_queue.set(whole(audit.queue_records));
        self.audit_open_intents.set(whole(audit.open_intents));
        self.audit_free.set(audit.free_bytes.map_or(-1, whole));
        raise(&self.audit_summarised, audit.summarised);
        raise(&self.audit_errors, audit.storage_errors);
    }
}

/// A counter that follows a count kept elsewhere.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
