//! The feed from the control plane, and the clocks.

use super::View;
use crate::decision::Feed;
use crate::sidecar::occurrences::FeedLine;
use crate::telemetry::metric::{Family, Label, Page, Values};

const KIND: &[Label] =
    &[Label { name: "kind", values: Values::Of(|| FeedLine::ALL.iter().map(|line| line.as_str()).collect()) }];

static CONNECTED: Family = Family::gauge(
    "breakglass_sidecar_feed_connected",
    "1 while a stream to the control plane is open.",
    "0 for longer than a minute: look at the control plane, the network and the feed's certificates.",
);
static SYNCED: Family = Family::gauge(
    "breakglass_sidecar_feed_synced",
    "1 once a snapshot has been completed.",
    "0: no override works; the log says why the feed can't be had.",
);
static AGE: Family = Family::gauge(
    "breakglass_sidecar_feed_age_seconds",
    "Age of the table: time since it equalled the control plane's; +Inf before the first snapshot.",
    "Past the service's staleness limit every override is refused with feed_stale.",
);
static REVISION: Family = Family::gauge(
    "breakglass_sidecar_feed_revision",
    "Revision up to which the feed is enforced.",
    "Behind breakglass_control_newest_revision for long: the sidecar does not follow.",
);
static STREAMS: Family = Family::counter(
    "breakglass_sidecar_feed_streams_total",
    "Streams to the control plane that were begun.",
    "Rising steadily: streams break; the log says why.",
);
static STREAM_ENDS: Family = Family::counter(
    "breakglass_sidecar_feed_disconnects_total",
    "Streams, and attempts at one, that ended.",
    "Rising without breakglass_sidecar_feed_streams_total: the control plane can't be reached or refuses.",
);
static LINES: Family =
    Family::counter("breakglass_sidecar_feed_lines_total", "Lines of the feed applied, by kind.", "").by(KIND);
static REJECTED: Family = Family::counter(
    "breakglass_sidecar_feed_lines_rejected_total",
    "Lines of the feed that were refused and reported back, by kind.",
    "Above zero: a grant or key that this sidecar does not accept; the log says why.",
)
.by(KIND);
static SKEW: Family = Family::gauge(
    "breakglass_sidecar_clock_skew_seconds",
    "This machine's wall clock minus the control plane's.",
    "Past 5 s either way: mend the time service. Past 60 s no new grant is taken.",
);
static JUMPS: Family = Family::counter(
    "breakglass_sidecar_clock_discontinuities_total",
    "Jumps of the wall clock against boot time.",
    "Above zero: clocks step, or the machine was suspended or restored; overrides waited for a heartbeat.",
);

pub(super) const FAMILIES: &[&Family] =
    &[&CONNECTED, &SYNCED, &AGE, &REVISION, &STREAMS, &STREAM_ENDS, &LINES, &REJECTED, &SKEW, &JUMPS];

pub(super) fn fill(view: &View, page: &mut Page) {
    let (standing, occurrences) = (&view.shared.standing, &view.shared.occurrences);
    let synced = standing.feed() != Feed::NeverSynced;
    let age = view.shared.clock.boot().since(standing.as_of()).as_secs_f64();
    page.show(&CONNECTED, standing.is_connected());
    page.show(&SYNCED, synced);
    page.show(&AGE, if synced { age } else { f64::INFINITY });
    page.show(&REVISION, standing.revision());
    page.show(&STREAMS, occurrences.streams());
    page.show(&STREAM_ENDS, occurrences.stream_ends());
    for line in FeedLine::ALL {
        page.show_by(&LINES, &[line.as_str()], occurrences.lines(*line));
        page.show_by(&REJECTED, &[line.as_str()], occurrences.rejected(*line));
    }
    page.show(&SKEW, standing.skew_ms() as f64 / 1e3);
    page.show(&JUMPS, occurrences.clock_jumps());
}
