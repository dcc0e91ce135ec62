//! A metric family as its description: what it is called, what its labels may be, what it means and what to do.

use std::fmt::Write as _;

use prometheus::proto::MetricType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    pub(super) const fn wire(self) -> MetricType {
        match self {
            Self::Counter => MetricType::COUNTER,
            Self::Gauge => MetricType::GAUGE,
            Self::Histogram => MetricType::HISTOGRAM,
        }
    }
}

/// One label and all it can be.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// What a label can be.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// A closed set, listed.
    Of(fn() -> Vec<&'static str>),
    /// A set that is bounded by the program or the configuration, described.
    Text(&'static str),
}

/// See the module.
#[derive(Debug)]
pub struct Family {
    /// The whole name, with its unit last where it has one.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [Label],
    pub help: &'static str,
    /// What an operator does about it.
    pub then: &'static str,
}

impl Family {
    pub const fn counter(name: &'static str, help: &'static str, then: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels: &[], help, then }
    }

    pub const fn gauge(name: &'static str, help: &'static str, then: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels: &[], help, then }
    }

    pub const fn histogram(name: &'static str, help: &'static str, then: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels: &[], help, then }
    }

    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// By the practice of naming, the unit stands at the end, before `_total`.
    pub fn unit(&self) -> &'static str {
        let base = self.name.strip_suffix("_total").unwrap_or(self.name);
        match base.rsplit('_').next() {
            Some("seconds") => "seconds",
            Some("bytes") => "bytes",
            _ => "",
        }
    }
}

/// The families as a table of Markdown.
pub fn table(families: &[&Family]) -> String {
    let mut text =
        String::from("| name | type | labels | unit | what it says | what to do |\n|---|---|---|---|---|---|\n");
    for family in families {
        let labels: Vec<_> = family.labels.iter().map(label).collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            family.name,
            family.kind.as_str(),
            labels.join("; "),
            family.unit(),
            family.help,
            family.then
        );
    }
    text
}

fn label(label: &Label) -> String {
    match label.values {
        Values::Of(values) => {
            let values: Vec<_> = values().into_iter().map(|value| format!("`{value}`")).collect();
            format!("`{}`: {}", label.name, values.join(", "))
        }
        Values::Text(text) => format!("`{}`: {text}", label.name),
    }
}
