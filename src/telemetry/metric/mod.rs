//! What both planes' metrics are made of: families that describe themselves, histograms that one core counts alone, and
//! a page that is filled at each scrape (prometheus.io/docs/practices/naming).
//!
//! INVARIANT: a family is exposed only through its description, and `docs/metrics.md` is written from the descriptions.
//! Labels come from closed sets and from the operator's own configuration; nothing a client sends becomes one.

pub mod build;
pub mod family;
pub mod histogram;
pub mod page;
pub mod process;

pub use family::{Family, Kind, Label, Values};
pub use histogram::{Distribution, Histogram};
pub use page::{Exposed, Page, Source};

/// Media type of the exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
