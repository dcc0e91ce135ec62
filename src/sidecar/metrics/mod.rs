//! The sidecar's metrics, a file a theme. Workers count for themselves; a scrape adds their counts up.
//!
//! Each theme lists its families and fills them at a scrape; `docs/metrics.md` is written from the lists.

mod audit;
mod connections;
mod feed;
mod grants;
mod requests;
mod setup;
mod shipping;
mod sinks;

use std::sync::Arc;

use prometheus::{Encoder as _, Registry, TextEncoder};

use super::counters::Counters;
use super::shared::Shared;
use crate::telemetry::metric::histogram::Histogram;
use crate::telemetry::metric::{Distribution, Exposed, Family, Page, Source, process};

/// What a scrape looks at.
#[derive(Debug)]
struct View {
    shared: Arc<Shared>,
    workers: Vec<Arc<Counters>>,
}

impl View {
    fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.iter().map(|worker| of(worker)).sum()
    }

    fn spread<'v>(&'v self, of: impl Fn(&'v Counters) -> Option<&'v Histogram>) -> Distribution {
        Distribution::of(self.workers.iter().filter_map(|worker| of(worker)))
    }
}

/// Every family of the sidecar's own, by theme, with the theme's heading.
pub fn themes() -> [(&'static str, &'static [&'static Family]); 8] {
    [
        ("Requests", requests::FAMILIES),
        ("Connections", connections::FAMILIES),
        ("Grants", grants::FAMILIES),
        ("Feed and clock", feed::FAMILIES),
        ("Audit log", audit::FAMILIES),
        ("Shipping of the audit log", shipping::FAMILIES),
        ("Sinks", sinks::FAMILIES),
        ("Configuration, keys, certificates", setup::FAMILIES),
    ]
}

impl Source for View {
    fn families(&self) -> Vec<&'static Family> {
        themes().into_iter().flat_map(|(_, families)| families.iter().copied()).collect()
    }

    fn fill(&self, page: &mut Page) {
        requests::fill(self, page);
        connections::fill(self, page);
        grants::fill(self, page);
        feed::fill(self, page);
        audit::fill(self, page);
        shipping::fill(self, page);
        sinks::fill(self, page);
        setup::fill(self, page);
    }
}

/// See the module.
#[derive(Debug)]
pub struct SidecarMetrics {
    registry: Registry,
}

impl SidecarMetrics {
    /// # Errors
    /// When a name is not one Prometheus takes, or stands twice: a fault of a theme.
    pub fn new(shared: Arc<Shared>, workers: Vec<Arc<Counters>>) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Exposed::new(View { shared, workers })?))?;
        registry.register(Box::new(process::collector()))?;
        Ok(Arc::new(Self { registry }))
    }

    /// The exposition, as of now.
    ///
    /// # Errors
    /// When a metric can't be written: a fault of a theme.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
