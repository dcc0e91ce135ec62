//! The feed to the sidecars.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::control::feed::FeedCounts;
use crate::telemetry::metric::{Family, Page};

static KNOWN: Family =
    Family::gauge("breakglass_control_sidecars_known", "Sidecars ever heard of and not forgotten.", "");
static CONNECTED: Family = Family::gauge(
    "breakglass_control_sidecars_connected",
    "Sidecars connected to this control plane's feed.",
    "Below the number deployed: `breakglass sidecars` lists who is missing; revocations wait for them.",
);
static REPLICAS: Family = Family::gauge(
    "breakglass_control_replicas_present",
    "Control planes at work on this database, this one included.",
    "Below the number deployed: one is down, or cut off from the database.",
);
static READING_AGE: Family = Family::gauge(
    "breakglass_control_feed_reading_age_seconds",
    "Time since the newest revision was read from the database; +Inf before.",
    "Above a few seconds: this one is cut off from its database, and its sidecars' overrides stop at `staleness_max`.",
);
static OUTDATED: Family = Family::gauge(
    "breakglass_control_sidecars_outdated",
    "Connected sidecars with another service file.",
    "Above zero for longer than a roll-out: files differ.",
);
static SNAPSHOTS: Family =
    Family::counter("breakglass_control_feed_snapshots_total", "Streams begun with a snapshot.", "");
static RESUMPTIONS: Family =
    Family::counter("breakglass_control_feed_resumptions_total", "Streams begun with what was missed.", "");
static SENT: Family =
    Family::counter("breakglass_control_feed_revisions_sent_total", "Lines with a revision sent.", "");
static HEARTBEATS: Family = Family::counter("breakglass_control_feed_heartbeats_total", "Heartbeats sent.", "");
static ACKNOWLEDGEMENTS: Family =
    Family::counter("breakglass_control_feed_acknowledgements_total", "Acknowledgements received.", "");
static REJECTIONS: Family = Family::counter(
    "breakglass_control_feed_rejections_total",
    "Lines that sidecars rejected.",
    "Above zero: a sidecar does not accept a grant or key; the log says which and why.",
);
static REFUSALS: Family = Family::counter(
    "breakglass_control_feed_refusals_total",
    "Feed requests refused.",
    "Rising: a sidecar's certificate or service is not the one expected.",
);
static HANDSHAKES_FAILED: Family = Family::counter(
    "breakglass_control_feed_handshakes_failed_total",
    "Handshakes on the feed that failed.",
    "Rising: a sidecar's certificate is not, or no longer, accepted.",
);
static SLOW_CUT: Family = Family::counter(
    "breakglass_control_feed_slow_cut_total",
    "Sidecars cut off because they took no lines.",
    "Above zero: that sidecar or the network to it is overloaded.",
);
static PROTOCOL_ERRORS: Family = Family::counter(
    "breakglass_control_feed_protocol_errors_total",
    "Streams ended by a broken line.",
    "Above zero: versions do not fit, or something stands between.",
);
static OVERSPENT: Family = Family::counter(
    "breakglass_control_feed_overspent_total",
    "Reports of more uses spent than allotted.",
    "Above zero: look into it; a sidecar was restored from a copy, or forges.",
);
static BEHIND: Family = Family::counter(
    "breakglass_control_feed_behind_total",
    "Feed requests of sidecars that have seen a later revision than the newest in the database.",
    "Above zero: an older copy of the database was put in place without `breakglass-control restore`. Stop, and restore it.",
);
static RECALLS: Family = Family::counter("breakglass_control_feed_share_recalls_total", "Shares asked back.", "");

pub(super) const FAMILIES: &[&Family] = &[
    &KNOWN,
    &CONNECTED,
    &REPLICAS,
    &READING_AGE,
    &OUTDATED,
    &SNAPSHOTS,
    &RESUMPTIONS,
    &SENT,
    &HEARTBEATS,
    &ACKNOWLEDGEMENTS,
    &REJECTIONS,
    &REFUSALS,
    &HANDSHAKES_FAILED,
    &SLOW_CUT,
    &PROTOCOL_ERRORS,
    &OVERSPENT,
    &BEHIND,
    &RECALLS,
];

/// Sidecars in numbers.
pub(super) struct Sidecars {
    pub(super) known: usize,
    pub(super) connected: usize,
    /// With this one.
    pub(super) replicas: usize,
    pub(super) reading_age: Option<Duration>,
    pub(super) outdated: usize,
}

pub(super) fn fill(sidecars: &Sidecars, counts: &FeedCounts, page: &mut Page) {
    page.show(&KNOWN, sidecars.known);
    page.show(&CONNECTED, sidecars.connected);
    page.show(&REPLICAS, sidecars.replicas);
    page.show(&READING_AGE, sidecars.reading_age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
    page.show(&OUTDATED, sidecars.outdated);
    let all: [(&'static Family, &AtomicU64); 13] = [
        (&SNAPSHOTS, &counts.snapshots),
        (&RESUMPTIONS, &counts.resumptions),
        (&SENT, &counts.revisions_sent),
        (&HEARTBEATS, &counts.heartbeats),
        (&ACKNOWLEDGEMENTS, &counts.acknowledgements),
        (&REJECTIONS, &counts.rejections),
        (&REFUSALS, &counts.refusals),
        (&HANDSHAKES_FAILED, &counts.handshakes_failed),
        (&SLOW_CUT, &counts.slow_cut),
        (&PROTOCOL_ERRORS, &counts.protocol_errors),
        (&OVERSPENT, &counts.overspent),
        (&BEHIND, &counts.behind),
        (&RECALLS, &counts.share_recalls),
    ];
    for (family, count) in all {
        page.show(family, FeedCounts::read(count));
    }
}
