//! One scrape: a page that sources fill, as a collector of a registry.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily};

use super::family::{Family, Kind};
use super::histogram::Distribution;

/// Whoever has numbers to show.
pub trait Source: Send + Sync {
    /// Everything that [`Source::fill`] may show.
    fn families(&self) -> Vec<&'static Family>;

    fn fill(&self, page: &mut Page);
}

/// What is shown at one scrape.
#[derive(Debug, Default)]
pub struct Page {
    families: Vec<MetricFamily>,
    metrics: Vec<Vec<Metric>>,
    by_name: HashMap<&'static str, usize>,
}

impl Page {
    /// A counter or gauge without labels.
    pub fn show(&mut self, family: &'static Family, value: impl Number) {
        self.show_by(family, &[], value);
    }

    /// A counter or gauge; `labels` in the order of the family's.
    pub fn show_by(&mut self, family: &'static Family, labels: &[&str], value: impl Number) {
        let mut metric = Metric::from_label(pairs(family, labels));
        match family.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value.real());
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value.real());
                metric.set_gauge(gauge);
            }
        }
        self.add(family, metric);
    }

    /// A histogram; `labels` in the order of the family's.
    pub fn spread(&mut self, family: &'static Family, labels: &[&str], values: &Distribution) {
        let mut metric = Metric::from_label(pairs(family, labels));
        let mut below = 0_u64;
        let buckets = values.bounds_us.iter().zip(&values.counts).map(|(bound, count)| {
            below = below.wrapping_add(*count);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.real() / 1e6);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(values.sum.as_secs_f64());
        metric.set_histogram(histogram);
        self.add(family, metric);
    }

    fn add(&mut self, family: &'static Family, metric: Metric) {
        let (families, metrics) = (&mut self.families, &mut self.metrics);
        let position = *self.by_name.entry(family.name).or_insert_with(|| {
            let mut described = MetricFamily::default();
            described.set_name(family.name.to_owned());
            described.set_help(family.help.to_owned());
            described.set_field_type(family.kind.wire());
            families.push(described);
            metrics.push(Vec::new());
            families.len() - 1
        });
        if let Some(metrics) = self.metrics.get_mut(position) {
            metrics.push(metric);
        }
    }

    fn into_families(self) -> Vec<MetricFamily> {
        let filled = self.families.into_iter().zip(self.metrics);
        filled
            .map(|(mut family, metrics)| {
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

fn pairs(family: &Family, values: &[&str]) -> Vec<LabelPair> {
    let pair = |(label, value): (&super::Label, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name(label.name.to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    family.labels.iter().zip(values).map(pair).collect()
}

/// What can be shown as a sample.
pub trait Number {
    fn real(&self) -> f64;
}

/// Exact up to 2^53, which a count of anything here does not reach.
impl Number for u64 {
    fn real(&self) -> f64 {
        *self as f64
    }
}

impl Number for usize {
    fn real(&self) -> f64 {
        *self as f64
    }
}

impl Number for f64 {
    fn real(&self) -> f64 {
        *self
    }
}

impl Number for bool {
    fn real(&self) -> f64 {
        u8::from(*self).into()
    }
}

/// A source as a collector.
#[derive(Debug)]
pub struct Exposed<S> {
    source: S,
    descriptions: Vec<Desc>,
}

impl<S: Source> Exposed<S> {
    /// # Errors
    /// When a name or label is not one Prometheus takes: a fault of the description.
    pub fn new(source: S) -> Result<Self, prometheus::Error> {
        let describe = |family: &'static Family| {
            let labels = family.labels.iter().map(|label| label.name.to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
        };
        let descriptions = source.families().into_iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { source, descriptions })
    }
}

impl<S: Source> Collector for Exposed<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::default();
        self.source.fill(&mut page);
        page.into_families()
    }
}
