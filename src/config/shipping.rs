//! `[audit]`, as far as it is about the way of the lines to the ledger: what must be there before an override may go, how
//! much may wait, how long shipped lines are kept.

use std::time::Duration;

use super::reader::Section;

/// How lines are shipped and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippingConfig {
    /// An override waits, within the write deadline, until the ledger has its intent.
    pub ledger_required: bool,
    /// Past so many bytes that are not shipped, overrides are refused.
    pub spool_bytes_max: u64,
    /// How fast it catches up.
    pub bytes_per_s_max: u64,
    /// Shipped segments are removed so long after they were last written; absent: that alone removes none.
    pub keep_shipped: Option<Duration>,
    /// Past so many bytes shipped segments are removed earlier; absent: that alone removes none.
    pub keep_bytes_max: Option<u64>,
}

impl Default for ShippingConfig {
    fn default() -> Self {
        Self {
            ledger_required: false,
            spool_bytes_max: 4 << 30,
            bytes_per_s_max: 8 << 20,
            keep_shipped: None,
            keep_bytes_max: None,
        }
    }
}

pub(super) fn read_shipping(section: &Section<'_>, ledger_required: bool) -> ShippingConfig {
    ShippingConfig {
        ledger_required,
        spool_bytes_max: section.integer("spool_bytes_max", 1 << 20..=(1 << 44), 4 << 30),
        bytes_per_s_max: section.integer("ship_bytes_per_s_max", 64 << 10..=(1 << 34), 8 << 20),
        keep_shipped: section
            .has("keep_shipped_s")
            .then(|| Duration::from_secs(section.integer("keep_shipped_s", 3_600..=(1 << 33), 2_592_000))),
        keep_bytes_max: section
            .has("keep_bytes_max")
            .then(|| section.integer("keep_bytes_max", 1 << 20..=(1 << 44), 1 << 30)),
    }
}
