//! What the control plane counts, in a registry of its own (prometheus.io/docs/practices/naming).
//!
//! Labels come from closed enums only: nothing a caller sends becomes a label.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::feed::{FeedCounts, Hub};

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
    pub grants_issued: IntCounter,
    /// By cause: what ended through the feed's reports (used up) is counted by the feed.
    pub grants_ended: IntCounterVec,
    pub connections: IntGauge,
    pub newest_revision: IntGauge,
    sidecars_connected: IntGauge,
    sidecars_known: IntGauge,
    sidecars_outdated: IntGauge,
    feed: Vec<FeedCounter>,
}

impl ControlMetrics {
    /// # Errors
    /// When a name is not one Prometheus takes, or stands twice: a fault of this file.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let labels = &["route", "method", "status"];
        let requests =
            register(r, IntCounterVec::new(Opts::new(full("requests_total"), "Answers of the API."), labels)?)?;
        let seconds = HistogramOpts::new(full("request_seconds"), "Time from a request's head to its answer's head.");
        let request_seconds = register(r, HistogramVec::new(seconds, &["route"])?)?;
        let metrics = Self {
            requests,
            request_seconds,
            refusals: counters(r, "refusals_total", "Refusals of the API, by problem code.", "code")?,
            elevations_refused: counters(
                r,
                "elevations_refused_total",
                "Elevation requests that the policy refused, by problem code.",
                "code",
            )?,
            refusals_unrecorded: counter(
                r,
                "refusals_unrecorded_total",
                "Refused elevation requests beyond a person's budget of ledger entries.",
            )?,
            grants_issued: counter(r, "grants_issued_total", "Grants issued.")?,
            grants_ended: counters(r, "grants_ended_total", "Grants ended by revocation or time, by cause.", "cause")?,
            connections: gauge(r, "connections", "Connections to the API.")?,
            newest_revision: gauge(r, "newest_revision", "Newest revision of the feed.")?,
            sidecars_connected: gauge(r, "sidecars_connected", "Sidecars connected to the feed.")?,
            sidecars_known: gauge(r, "sidecars_known", "Sidecars ever heard of and not forgotten.")?,
            sidecars_outdated: gauge(r, "sidecars_outdated", "Connected sidecars with another service file.")?,
            feed: feed_counters(r)?,
            registry,
        };
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics.into())
    }

    /// Takes over what the feed counts.
    pub fn observe_feed(&self, hub: &Hub, digest: impl Fn(&crate::domain::ServiceName) -> Option<String>) {
        let sidecars = hub.sidecars(digest);
        let count = |matching: usize| i64::try_from(matching).unwrap_or(i64::MAX);
        self.sidecars_known.set(count(sidecars.len()));
        self.sidecars_connected.set(count(hub.connected()));
        let outdated = sidecars.iter().filter(|sidecar| sidecar.connected && !sidecar.service_current);
        self.sidecars_outdated.set(count(outdated.count()));
        for (counter, read) in &self.feed {
            counter.inc_by(read(hub.counts()).saturating_sub(counter.get()));
        }
    }

    /// The exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut buffer = Vec::new();
        prometheus::TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        String::from_utf8(buffer).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Media type of [`ControlMetrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Every name of ours begins alike; those of the process keep their usual ones.
fn full(name: &str) -> String {
    format!("breakglass_control_{name}")
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(full(name), help)?)
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(full(name), help), &[label])?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(full(name), help)?)
}

type FeedCounter = (IntCounter, fn(&FeedCounts) -> u64);

fn feed_counters(r: &Registry) -> Result<Vec<FeedCounter>, prometheus::Error> {
    Ok(vec![
        (counter(r, "feed_snapshots_total", "Streams begun with a snapshot.")?, |c| FeedCounts::read(&c.snapshots)),
        (counter(r, "feed_resumptions_total", "Streams begun with what was missed.")?, |c| {
            FeedCounts::read(&c.resumptions)
        }),
        (counter(r, "feed_revisions_sent_total", "Lines with a revision sent.")?, |c| {
            FeedCounts::read(&c.revisions_sent)
        }),
        (counter(r, "feed_heartbeats_total", "Heartbeats sent.")?, |c| FeedCounts::read(&c.heartbeats)),
        (counter(r, "feed_acknowledgements_total", "Acknowledgements received.")?, |c| {
            FeedCounts::read(&c.acknowledgements)
        }),
        (counter(r, "feed_rejections_total", "Lines that sidecars rejected.")?, |c| FeedCounts::read(&c.rejections)),
        (counter(r, "feed_refusals_total", "Feed requests refused.")?, |c| FeedCounts::read(&c.refusals)),
        (counter(r, "feed_handshakes_failed_total", "Handshakes on the feed that failed.")?, |c| {
            FeedCounts::read(&c.handshakes_failed)
        }),
        (counter(r, "feed_slow_cut_total", "Sidecars cut off because they took no lines.")?, |c| {
            FeedCounts::read(&c.slow_cut)
        }),
        (counter(r, "feed_protocol_errors_total", "Streams ended by a broken line.")?, |c| {
            FeedCounts::read(&c.protocol_errors)
        }),
        (counter(r, "feed_overspent_total", "Reports of more uses spent than allotted.")?, |c| {
            FeedCounts::read(&c.overspent)
        }),
        (counter(r, "feed_share_recalls_total", "Shares asked back.")?, |c| FeedCounts::read(&c.share_recalls)),
    ])
}
