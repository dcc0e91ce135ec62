//! What became of the lines that are handed on: how many, how far behind, what stands in the way.

use super::View;
use crate::config::sinks::OutletConfig;
use crate::telemetry::metric::{Family, Label, Page, Values};

const NAME: Label = Label { name: "sink", values: Values::Text("its name in [[audit.sinks]]") };
const SINK: &[Label] = &[NAME];
const KIND: &[Label] = &[NAME, Label { name: "kind", values: Values::Of(|| OutletConfig::KINDS.to_vec()) }];

static UP: Family = Family::gauge(
    "breakglass_sidecar_sink_up",
    "1 while the last attempt to hand lines on succeeded, or none was made.",
    "0: the log says why. Its lines wait in the audit folder.",
)
.by(KIND);
static LAG_LINES: Family = Family::gauge(
    "breakglass_sidecar_sink_lag_lines",
    "Durable lines that the sink does not have yet.",
    "Growing: the sink is down, or slower than the lines come.",
)
.by(SINK);
static LAG_BYTES: Family = Family::gauge(
    "breakglass_sidecar_sink_lag_bytes",
    "Size of the segments that the sink has not taken, looked at every few seconds.",
    "They stay in the audit folder until it has: watch breakglass_sidecar_audit_free_bytes.",
)
.by(SINK);
static LAG_SECONDS: Family = Family::gauge(
    "breakglass_sidecar_sink_lag_seconds",
    "Age of the oldest line that waits for the sink; 0 without.",
    "Above a minute: the sink is down or slow.",
)
.by(SINK);
static LINES: Family =
    Family::counter("breakglass_sidecar_sink_lines_total", "Lines that the sink has taken.", "").by(SINK);
static BYTES: Family =
    Family::counter("breakglass_sidecar_sink_bytes_total", "Their size, without what the protocol adds.", "").by(SINK);
static ERRORS: Family = Family::counter(
    "breakglass_sidecar_sink_errors_total",
    "Attempts to hand lines on that failed, and were or will be repeated.",
    "Rising: the log says why.",
)
.by(SINK);
static REJECTED: Family = Family::counter(
    "breakglass_sidecar_sink_rejected_lines_total",
    "Lines that the receiver read and will not have.",
    "Above zero: its own log says why; the lines stand in the audit log.",
)
.by(SINK);
static UNREADABLE: Family = Family::counter(
    "breakglass_sidecar_sink_unreadable_total",
    "Places of the audit log that hold no line and were passed over.",
    "Above zero: docs/audit-log.md, Damage.",
)
.by(SINK);

pub(super) const FAMILIES: &[&Family] =
    &[&UP, &LAG_LINES, &LAG_BYTES, &LAG_SECONDS, &LINES, &BYTES, &ERRORS, &REJECTED, &UNREADABLE];

pub(super) fn fill(view: &View, page: &mut Page) {
    let durable = view.shared.audit.position();
    for sink in view.shared.sinks.all() {
        let (name, counts) = (sink.name.as_str(), sink.report.counts());
        let lines = view.shared.audit.readers().lines_behind(&sink.reader, &durable).unwrap_or_default();
        let age = counts.pending_since.filter(|_| lines > 0).map(|since| view.shared.clock.wall().since(since));
        page.show_by(&UP, &[name, sink.kind], !counts.failing);
        page.show_by(&LAG_LINES, &[name], lines);
        page.show_by(&LAG_BYTES, &[name], if lines > 0 { counts.behind_bytes } else { 0 });
        page.show_by(&LAG_SECONDS, &[name], age.unwrap_or_default().as_secs_f64());
        page.show_by(&LINES, &[name], counts.lines);
        page.show_by(&BYTES, &[name], counts.bytes);
        page.show_by(&ERRORS, &[name], counts.errors);
        page.show_by(&REJECTED, &[name], counts.rejected);
        page.show_by(&UNREADABLE, &[name], counts.unreadable);
    }
}
