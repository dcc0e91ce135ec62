//! The audit log: what was written, what waits, what room is left.

use super::View;
use crate::sidecar::audit_log::{Cause, FSYNC_BOUNDS_MS, KINDS, Readiness};
use crate::telemetry::metric::{Distribution, Family, Label, Page, Values};

const KIND: &[Label] = &[Label { name: "kind", values: Values::Of(|| KINDS.to_vec()) }];
const CAUSES: [&str; 10] =
    ["full", "slow", "failed", "busy", "closed", "opening", "damaged", "spool", "ledger", "untaken"];
const CAUSE: &[Label] = &[Label { name: "cause", values: Values::Of(|| CAUSES.to_vec()) }];
const LACK: &[Label] =
    &[Label { name: "cause", values: Values::Of(|| Cause::ALL.iter().map(|cause| cause.as_str()).collect()) }];

static RECORDS: Family =
    Family::counter("breakglass_sidecar_audit_records_total", "Durable lines of the audit log, by kind.", "").by(KIND);
static READY: Family = Family::gauge(
    "breakglass_sidecar_audit_ready",
    "1 while an intent can be made durable.",
    "0: no override works; breakglass_sidecar_audit_unavailable says why.",
);
static UNAVAILABLE: Family = Family::gauge(
    "breakglass_sidecar_audit_unavailable",
    "1 for the cause why no intent can be made durable now.",
    "`full`: make room. `slow`, `failed`: look at the disk. `opening`: wait. `damaged`: docs/audit-log.md, Damage. `spool`, `ledger`: the control plane does not take the lines.",
)
.by(LACK);
static QUEUE: Family = Family::gauge(
    "breakglass_sidecar_audit_queue_records",
    "Records waiting for the writer.",
    "Staying high: the disk does not keep up.",
);
static OPEN: Family = Family::gauge(
    "breakglass_sidecar_audit_open_intents",
    "Overrides whose outcome is not recorded yet.",
    "Staying high without requests: report it.",
);
static FREE: Family = Family::gauge(
    "breakglass_sidecar_audit_free_bytes",
    "Space left for the audit log; NaN before the first look.",
    "Falling towards breakglass_sidecar_audit_reserved_bytes: archive closed segments, or enlarge the disk.",
);
static RESERVED: Family = Family::gauge(
    "breakglass_sidecar_audit_reserved_bytes",
    "Space that is kept for overrides and their outcomes.",
    "",
);
static SUMMARISED: Family = Family::counter(
    "breakglass_sidecar_audit_summarised_total",
    "Refusals and observations that were only counted, past their budget.",
    "Rising: somebody sends many bad requests with the header; the log of the proxy before shows who.",
);
static ERRORS: Family = Family::counter(
    "breakglass_sidecar_audit_storage_errors_total",
    "Writes and syncs of the audit log that failed.",
    "Above zero: look at the disk and the kernel's log.",
);
static REFUSED: Family = Family::counter(
    "breakglass_sidecar_audit_intents_refused_total",
    "Intents that could not be made durable, by cause.",
    "Each was an override refused with audit_unavailable.",
)
.by(CAUSE);
static BYTES: Family = Family::counter("breakglass_sidecar_audit_written_bytes_total", "Bytes made durable.", "");
static SEGMENTS: Family =
    Family::counter("breakglass_sidecar_audit_segments_total", "Segments begun by this process.", "");
static COMMIT: Family = Family::histogram(
    "breakglass_sidecar_audit_commit_seconds",
    "Time of writing and syncing one batch.",
    "Above the write deadline: overrides are refused with audit_unavailable.",
);

pub(super) const FAMILIES: &[&Family] = &[
    &RECORDS,
    &READY,
    &UNAVAILABLE,
    &QUEUE,
    &OPEN,
    &FREE,
    &RESERVED,
    &SUMMARISED,
    &ERRORS,
    &REFUSED,
    &BYTES,
    &SEGMENTS,
    &COMMIT,
];

pub(super) fn fill(view: &View, page: &mut Page) {
    let audit = view.shared.audit.metrics();
    for (kind, count) in audit.records {
        page.show_by(&RECORDS, &[kind], count);
    }
    let refused = audit.intents_refused;
    let counts = [
        refused.full,
        refused.slow,
        refused.failed,
        refused.busy,
        refused.closed,
        refused.opening,
        refused.damaged,
        refused.spool,
        refused.ledger,
        refused.untaken,
    ];
    for (cause, count) in CAUSES.into_iter().zip(counts) {
        page.show_by(&REFUSED, &[cause], count);
    }
    let readiness = view.shared.audit.readiness();
    page.show(&READY, readiness == Readiness::Ready);
    for cause in Cause::ALL {
        page.show_by(&UNAVAILABLE, &[cause.as_str()], readiness == Readiness::Unavailable(cause));
    }
    page.show(&QUEUE, audit.queue_records);
    page.show(&OPEN, audit.open_intents);
    page.show(&FREE, audit.free_bytes.map_or(f64::NAN, |bytes| bytes as f64));
    page.show(&RESERVED, view.shared.audit.reserve_bytes());
    page.show(&SUMMARISED, audit.summarised);
    page.show(&ERRORS, audit.storage_errors);
    page.show(&BYTES, audit.bytes_written);
    page.show(&SEGMENTS, audit.segments);
    page.spread(&COMMIT, &[], &Distribution::in_ms(&FSYNC_BOUNDS_MS, &audit.fsync, audit.fsync_sum));
}
