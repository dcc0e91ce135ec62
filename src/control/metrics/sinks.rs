//! The sinks that entries are handed on to.

use std::sync::atomic::Ordering;

use crate::config::sinks::OutletConfig;
use crate::control::sinks::View;
use crate::telemetry::metric::{Family, Label, Page, Source, Values};

const NAME: Label = Label { name: "sink", values: Values::Text("its name in [[sinks]]") };
const SINK: &[Label] = &[NAME];
const KIND: &[Label] = &[NAME, Label { name: "kind", values: Values::Of(|| OutletConfig::KINDS.to_vec()) }];

static TURN: Family = Family::gauge(
    "breakglass_control_sink_turn",
    "1 at the replica that hands entries on to the sink now.",
    "0 at all of them: no replica reaches the database.",
)
.by(KIND);
static UP: Family = Family::gauge(
    "breakglass_control_sink_up",
    "1 while the last attempt to hand entries on succeeded, or none was made here.",
    "0: the log says why. The entries wait in the database.",
)
.by(SINK);
static LAG: Family = Family::gauge(
    "breakglass_control_sink_lag_entries",
    "Entries that the sink does not have; told by the replica whose turn it is.",
    "Growing: the sink is down, or slower than entries come.",
)
.by(SINK);
static ENTRIES: Family =
    Family::counter("breakglass_control_sink_entries_total", "Entries that the sink has taken from this replica.", "")
        .by(SINK);
static ERRORS: Family = Family::counter(
    "breakglass_control_sink_errors_total",
    "Attempts to hand entries on that failed, and were or will be repeated.",
    "Rising: the log says why.",
)
.by(SINK);
static REJECTED: Family = Family::counter(
    "breakglass_control_sink_rejected_entries_total",
    "Entries that the receiver read and will not have.",
    "Above zero: its own log says why.",
)
.by(SINK);

pub(super) const FAMILIES: &[&Family] = &[&TURN, &UP, &LAG, &ENTRIES, &ERRORS, &REJECTED];

/// What a scrape looks at.
#[derive(Debug)]
pub(in crate::control) struct Sinks(pub(in crate::control) Vec<View>);

impl Source for Sinks {
    fn families(&self) -> Vec<&'static Family> {
        FAMILIES.to_vec()
    }

    fn fill(&self, page: &mut Page) {
        for sink in &self.0 {
            let (name, counts) = (sink.name.as_str(), sink.report.counts());
            let is_ours = sink.is_ours.load(Ordering::Relaxed);
            page.show_by(&TURN, &[name, sink.kind], is_ours);
            page.show_by(&UP, &[name], !counts.failing);
            page.show_by(&LAG, &[name], if is_ours { sink.lag.load(Ordering::Relaxed) } else { 0 });
            page.show_by(&ENTRIES, &[name], counts.lines);
            page.show_by(&ERRORS, &[name], counts.errors);
            page.show_by(&REJECTED, &[name], counts.rejected);
        }
    }
}
