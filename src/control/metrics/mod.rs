//! What the control plane counts. The API and the workflow count as they go; the rest is looked at by each scrape.
//!
//! Labels come from closed sets and from the configuration only: nothing a caller sends becomes one.

mod api;
mod audit;
mod feed;
mod ledger;
mod on_call;
pub mod rechecks;
pub mod signals;
mod sinks;
mod standing;

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

pub use standing::{Expiries, Observed};

use super::sinks::View;
use crate::store::Awaited;
use crate::telemetry::metric::{Exposed, Family, Kind, process};

/// The metrics and their registry.
#[derive(Debug)]
pub struct ControlMetrics {
    registry: Registry,
    /// By route template, method and status.
    pub requests: IntCounterVec,
    pub request_seconds: HistogramVec,
    /// By problem code.
    pub refusals: IntCounterVec,
    pub elevations_refused: IntCounterVec,
    pub refusals_unrecorded: IntCounter,
    /// Looks at other people's data: those that are an entry, and those that an entry stands for already.
    pub data_reads: IntCounterVec,
    /// By class of call, or `sign_in`.
    pub rate_limited: IntCounterVec,
    pub grants_issued: IntCounter,
    /// By what became of them.
    pub elevations: IntCounterVec,
    pub approvals: IntCounter,
    /// By verdict.
    pub reviews: IntCounterVec,
    pub approvals_awaited: IntGauge,
    pub reviews_due: IntGauge,
    pub reviews_overdue: IntGauge,
    /// By cause: what ended through the feed's reports (used up) is counted by the feed.
    pub grants_ended: IntCounterVec,
    /// By what they are about.
    pub revocations: IntCounterVec,
    pub revocation_seconds: Histogram,
    pub sidecars_stopped: IntCounter,
    pub revocations_awaited: IntGauge,
    pub freezes: IntGauge,
    pub connections: IntGauge,
    /// By what does not agree.
    pub differences: IntCounterVec,
    pub grants_suspended: IntCounter,
    pub grants_resumed: IntCounter,
    /// Personal values.
    pub personal_erased: IntCounter,
    signals: signals::SignalMetrics,
    rechecks: rechecks::RecheckMetrics,
}

/// Every family of the control plane's own, by theme, with the theme's heading.
pub fn themes() -> [(&'static str, &'static [&'static Family]); 9] {
    [
        ("API and workflow", api::FAMILIES),
        ("Feed and sidecars", feed::FAMILIES),
        ("Audit lines of sidecars", audit::FAMILIES),
        ("On-call schedules", on_call::FAMILIES),
        ("Ledger", ledger::FAMILIES),
        ("Shared signals", signals::FAMILIES),
        ("Re-checks of identity", rechecks::FAMILIES),
        ("Standing", standing::FAMILIES),
        ("Sinks", sinks::FAMILIES),
    ]
}

impl ControlMetrics {
    /// # Errors
    /// When a name is not one Prometheus takes, or stands twice: a fault of a theme.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            requests: make.counters(&api::REQUESTS)?,
            request_seconds: make.histograms(&api::DURATION)?,
            refusals: make.counters(&api::REFUSALS)?,
            elevations_refused: make.counters(&api::ELEVATIONS_REFUSED)?,
            refusals_unrecorded: make.counter(&api::REFUSALS_UNRECORDED)?,
            data_reads: make.counters(&api::DATA_READS)?,
            rate_limited: make.counters(&api::RATE_LIMITED)?,
            grants_issued: make.counter(&api::GRANTS_ISSUED)?,
            elevations: make.counters(&api::ELEVATIONS)?,
            approvals: make.counter(&api::APPROVALS)?,
            reviews: make.counters(&api::REVIEWS)?,
            approvals_awaited: make.gauge(&api::APPROVALS_AWAITED)?,
            reviews_due: make.gauge(&api::REVIEWS_DUE)?,
            reviews_overdue: make.gauge(&api::REVIEWS_OVERDUE)?,
            grants_ended: make.counters(&api::GRANTS_ENDED)?,
            revocations: make.counters(&api::REVOCATIONS)?,
            revocation_seconds: make.histogram(&api::REVOCATION_SECONDS)?,
            sidecars_stopped: make.counter(&api::SIDECARS_STOPPED)?,
            revocations_awaited: make.gauge(&api::REVOCATIONS_AWAITED)?,
            freezes: make.gauge(&api::FREEZES)?,
            connections: make.gauge(&api::CONNECTIONS)?,
            differences: make.counters(&api::DIFFERENCES)?,
            grants_suspended: make.counter(&api::GRANTS_SUSPENDED)?,
            grants_resumed: make.counter(&api::GRANTS_RESUMED)?,
            personal_erased: make.counter(&api::PERSONAL_ERASED)?,
            signals: signals::SignalMetrics::new(&registry)?,
            rechecks: rechecks::RecheckMetrics::new(&registry)?,
            registry,
        };
        api::begin(&metrics);
        metrics.registry.register(Box::new(process::collector()))?;
        Ok(metrics.into())
    }

    /// What people are waited for, as the database has it.
    pub fn show_awaited(&self, awaited: &Awaited) {
        let gauges = [&self.approvals_awaited, &self.reviews_due, &self.reviews_overdue];
        for (gauge, count) in gauges.into_iter().zip([awaited.approvals, awaited.due, awaited.overdue]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// From now on a scrape looks at `observed` too.
    ///
    /// # Errors
    /// As [`ControlMetrics::new`], or when something is observed already.
    pub fn observe(&self, observed: Observed) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(Exposed::new(observed)?))
    }

    /// From now on a scrape looks at the sinks too.
    ///
    /// # Errors
    /// As [`ControlMetrics::observe`].
    pub fn observe_sinks(&self, views: Vec<View>) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(Exposed::new(sinks::Sinks(views))?))
    }

    /// The exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        String::from_utf8(buffer).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Makes and registers what a family describes.
struct Maker<'r>(&'r Registry);

impl Maker<'_> {
    fn add<C: Collector + Clone + 'static>(
        &self,
        family: &Family,
        kind: Kind,
        metric: C,
    ) -> Result<C, prometheus::Error> {
        if family.kind != kind {
            return Err(prometheus::Error::Msg(format!("{} is a {}", family.name, family.kind.as_str())));
        }
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, family: &Family) -> Result<IntCounter, prometheus::Error> {
        self.add(family, Kind::Counter, IntCounter::new(family.name, family.help)?)
    }

    fn counters(&self, family: &Family) -> Result<IntCounterVec, prometheus::Error> {
        self.add(family, Kind::Counter, IntCounterVec::new(Opts::new(family.name, family.help), &labels(family))?)
    }

    fn gauge(&self, family: &Family) -> Result<IntGauge, prometheus::Error> {
        self.add(family, Kind::Gauge, IntGauge::new(family.name, family.help)?)
    }

    fn histogram(&self, family: &Family) -> Result<Histogram, prometheus::Error> {
        self.add(family, Kind::Histogram, Histogram::with_opts(HistogramOpts::new(family.name, family.help))?)
    }

    fn histograms(&self, family: &Family) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(family.name, family.help);
        self.add(family, Kind::Histogram, HistogramVec::new(options, &labels(family))?)
    }
}

fn labels(family: &Family) -> Vec<&'static str> {
    family.labels.iter().map(|label| label.name).collect()
}
