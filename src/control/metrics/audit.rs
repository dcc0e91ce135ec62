//! The sidecars' audit lines on their way into the ledger.

use std::sync::atomic::AtomicU64;

use crate::control::feed::{AuditCounts, FeedCounts};
use crate::telemetry::metric::{Family, Page};

static LINES: Family =
    Family::counter("breakglass_control_audit_lines_total", "Lines of sidecars that became entries.", "");
static KNOWN: Family = Family::counter(
    "breakglass_control_audit_known_lines_total",
    "Lines of sidecars that were here already.",
    "Rising steadily: answers do not reach a sidecar, and it ships the same again and again.",
);
static BYTES: Family = Family::counter("breakglass_control_audit_received_bytes_total", "Bytes of batches read.", "");
static BATCHES: Family = Family::counter("breakglass_control_audit_batches_total", "Batches committed.", "");
static SECONDS: Family = Family::counter(
    "breakglass_control_audit_ingest_seconds_total",
    "Time that batches took in the database.",
    "Growing by nearly one a second: the database is the limit.",
);
static GAPS: Family = Family::counter(
    "breakglass_control_audit_gaps_total",
    "Batches that did not follow what is here; the sidecar ships from there on.",
    "Rising steadily: a sidecar does not find the place; its log says why.",
);
static FORKS: Family = Family::counter(
    "breakglass_control_audit_forks_total",
    "Places where a log goes on in two ways.",
    "Above zero: an audit folder was copied, restored or rewritten. The entry `audit_fork` names it.",
);
static LOST: Family = Family::counter(
    "breakglass_control_audit_losses_total",
    "Losses of audit lines that were named in the ledger.",
    "Above zero: the entry `audit_lost` says whose, and after which line.",
);
static REFUSED: Family = Family::counter(
    "breakglass_control_audit_refused_total",
    "Batches that were broken, or another sidecar's.",
    "Above zero: look into it; the log says which service.",
);
static BUSY: Family = Family::counter(
    "breakglass_control_audit_busy_total",
    "Batches for which there was no room or time, or no database.",
    "Rising steadily: sidecars fall behind; their metric breakglass_sidecar_audit_unshipped_bytes says how far.",
);

pub(super) const FAMILIES: &[&Family] =
    &[&LINES, &KNOWN, &BYTES, &BATCHES, &SECONDS, &GAPS, &FORKS, &LOST, &REFUSED, &BUSY];

pub(super) fn fill(counts: &AuditCounts, page: &mut Page) {
    let all: [(&'static Family, &AtomicU64); 9] = [
        (&LINES, &counts.lines),
        (&KNOWN, &counts.known),
        (&BYTES, &counts.bytes),
        (&BATCHES, &counts.batches),
        (&GAPS, &counts.gaps),
        (&FORKS, &counts.forks),
        (&LOST, &counts.lost),
        (&REFUSED, &counts.refused),
        (&BUSY, &counts.busy),
    ];
    for (family, count) in all {
        page.show(family, FeedCounts::read(count));
    }
    page.show(&SECONDS, FeedCounts::read(&counts.ingest_us) as f64 / 1e6);
}
