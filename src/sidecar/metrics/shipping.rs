//! Shipping: how far the ledger is behind the local log.

use super::View;
use crate::sidecar::shipping::RESULTS;
use crate::telemetry::metric::{Family, Label, Page, Values};

const RESULT: &[Label] = &[Label { name: "result", values: Values::Of(|| RESULTS.to_vec()) }];

static LINES: Family = Family::counter(
    "breakglass_sidecar_audit_shipped_lines_total",
    "Lines that the control plane has acknowledged.",
    "",
);
static BYTES: Family = Family::counter("breakglass_sidecar_audit_shipped_bytes_total", "The same in bytes.", "");
static ATTEMPTS: Family = Family::counter(
    "breakglass_sidecar_audit_ship_attempts_total",
    "Batches brought to the control plane, by what came of it.",
    "`unreached`, `busy`: lines are kept and tried again. `refused`: look into it; the log says why.",
)
.by(RESULT);
static LOSSES: Family = Family::counter(
    "breakglass_sidecar_audit_ship_losses_total",
    "Times that lines could not be shipped because they are damaged or gone.",
    "Above zero: the ledger's entry `audit_lost` says which; docs/audit-log.md, Damage.",
);
static UNSHIPPED_LINES: Family = Family::gauge(
    "breakglass_sidecar_audit_unshipped_lines",
    "Durable lines that the control plane has not acknowledged.",
    "",
);
static UNSHIPPED_BYTES: Family = Family::gauge(
    "breakglass_sidecar_audit_unshipped_bytes",
    "The same in bytes.",
    "Growing: the control plane does not take lines. At breakglass_sidecar_audit_spool_bytes overrides are refused.",
);
static SPOOL: Family = Family::gauge("breakglass_sidecar_audit_spool_bytes", "Bytes that may wait to be shipped.", "");
static OLDEST: Family = Family::gauge(
    "breakglass_sidecar_audit_unshipped_age_seconds",
    "Age of the oldest line that is not shipped; 0 where there is none.",
    "Above a minute: the control plane can't be reached, or does not keep up.",
);

static PRUNED: Family = Family::counter(
    "breakglass_sidecar_audit_pruned_segments_total",
    "Segments that were removed after they were shipped and kept long enough.",
    "",
);

pub(super) const FAMILIES: &[&Family] =
    &[&LINES, &BYTES, &ATTEMPTS, &LOSSES, &UNSHIPPED_LINES, &UNSHIPPED_BYTES, &SPOOL, &OLDEST, &PRUNED];

pub(super) fn fill(view: &View, page: &mut Page) {
    let shipped = view.shared.shipped.counts();
    page.show(&LINES, shipped.lines);
    page.show(&BYTES, shipped.bytes);
    for (result, count) in shipped.attempts {
        page.show_by(&ATTEMPTS, &[result], count);
    }
    page.show(&LOSSES, shipped.losses);
    page.show(&UNSHIPPED_LINES, shipped.unshipped_lines);
    page.show(&UNSHIPPED_BYTES, shipped.unshipped_bytes);
    page.show(&SPOOL, shipped.spool_bytes_max);
    let age = shipped.oldest.map_or(0.0, |oldest| view.shared.clock.wall().since(oldest).as_secs_f64());
    page.show(&OLDEST, age);
    page.show(&PRUNED, shipped.pruned_segments);
}
