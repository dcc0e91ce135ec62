//! Connections: of clients, and to the upstream.

use super::View;
use crate::sidecar::counters::{ClientProtocol, ConnectFailure};
use crate::telemetry::metric::{Family, Label, Page, Values};

const PROTOCOL: &[Label] =
    &[Label { name: "protocol", values: Values::Of(|| ClientProtocol::ALL.iter().map(|p| p.as_str()).collect()) }];
const CAUSE: &[Label] =
    &[Label { name: "cause", values: Values::Of(|| ConnectFailure::ALL.iter().map(|c| c.as_str()).collect()) }];

static ACCEPTED: Family = Family::counter(
    "breakglass_sidecar_connections_total",
    "Connections of clients accepted.",
    "High beside requests: clients do not keep their connections.",
);
static OPEN: Family = Family::gauge(
    "breakglass_sidecar_connections_open",
    "Connections of clients open now.",
    "Near listen.connections_max: raise it, or find who holds them.",
);
static TURNED_AWAY: Family = Family::counter(
    "breakglass_sidecar_connections_turned_away_total",
    "Connections closed at once because the limit was reached.",
    "Above zero: raise listen.connections_max or add sidecars.",
);
static ACCEPT_FAILURES: Family = Family::counter(
    "breakglass_sidecar_accept_failures_total",
    "Connections that could not be accepted.",
    "Above zero: file descriptors have run out; compare process_open_fds with process_max_fds.",
);
static HANDSHAKE: Family = Family::histogram(
    "breakglass_sidecar_tls_handshake_seconds",
    "Time of TLS handshakes that succeeded.",
    "Slow: processors are short, or clients are far away.",
);
static HANDSHAKES_FAILED: Family = Family::counter(
    "breakglass_sidecar_tls_handshakes_failed_total",
    "TLS handshakes that failed or took too long.",
    "After a change of certificates: clients may not trust the new one.",
);
static PROTOCOLS: Family = Family::counter(
    "breakglass_sidecar_connections_by_protocol_total",
    "Connections by the protocol that was agreed.",
    "",
)
.by(PROTOCOL);
static TUNNELS: Family = Family::gauge(
    "breakglass_sidecar_tunnels_open",
    "Connections that speak another protocol, such as WebSocket, now. They are among the open ones.",
    "",
);
static WORKERS: Family =
    Family::gauge("breakglass_sidecar_workers", "Workers, each a thread with its own listener.", "");
static UPSTREAM_OPEN: Family =
    Family::gauge("breakglass_sidecar_upstream_connections_open", "Connections to the upstream open now.", "");
static UPSTREAM_IDLE: Family = Family::gauge(
    "breakglass_sidecar_upstream_connections_idle",
    "Connections to the upstream kept for the next request.",
    "",
);
static UPSTREAM_CONNECT: Family = Family::histogram(
    "breakglass_sidecar_upstream_connect_seconds",
    "Time it took to connect to the upstream.",
    "Many beside requests: the upstream closes connections early; raise its keep-alive time.",
);
static UPSTREAM_FAILURES: Family = Family::counter(
    "breakglass_sidecar_upstream_connect_failures_total",
    "Connections to the upstream that did not come to be, by cause.",
    "Above zero: the contract API is down, or upstream.address is wrong.",
)
.by(CAUSE);
static UPSTREAM_REUSES: Family =
    Family::counter("breakglass_sidecar_upstream_reuses_total", "Requests begun on a kept connection.", "");

static DRAINING_STOPPED: Family = Family::gauge(
    "breakglass_sidecar_overrides_stopped",
    "Overrides cut because this sidecar ended, before their grant did.",
    "Above zero: raise listen.drain_timeout_ms_max, or end fewer sidecars at once.",
);
static HANDOVER: Family =
    Family::gauge("breakglass_sidecar_handover_under_way", "1 while a successor is being started.", "");
static HANDOVERS_FAILED: Family = Family::counter(
    "breakglass_sidecar_handovers_failed_total",
    "Successors that did not come to serve; this sidecar went on.",
    "Above zero: the log and /readyz say why.",
);

pub(super) const FAMILIES: &[&Family] = &[
    &ACCEPTED,
    &OPEN,
    &TURNED_AWAY,
    &ACCEPT_FAILURES,
    &HANDSHAKE,
    &HANDSHAKES_FAILED,
    &PROTOCOLS,
    &TUNNELS,
    &DRAINING_STOPPED,
    &HANDOVER,
    &HANDOVERS_FAILED,
    &WORKERS,
    &UPSTREAM_OPEN,
    &UPSTREAM_IDLE,
    &UPSTREAM_CONNECT,
    &UPSTREAM_FAILURES,
    &UPSTREAM_REUSES,
];

pub(super) fn fill(view: &View, page: &mut Page) {
    page.show(&ACCEPTED, view.sum(|worker| worker.connections_accepted()));
    page.show(&OPEN, view.sum(|worker| worker.connections_open()));
    page.show(&TURNED_AWAY, view.sum(|worker| worker.turned_away()));
    page.show(&ACCEPT_FAILURES, view.sum(|worker| worker.accept_failures()));
    page.spread(&HANDSHAKE, &[], &view.spread(|worker| Some(worker.handshakes())));
    page.show(&HANDSHAKES_FAILED, view.sum(|worker| worker.handshakes_failed()));
    for protocol in ClientProtocol::ALL {
        page.show_by(&PROTOCOLS, &[protocol.as_str()], view.sum(|worker| worker.protocol(*protocol)));
    }
    page.show(&TUNNELS, view.sum(|worker| worker.tunnels_open()));
    page.show(&DRAINING_STOPPED, view.shared.ending.stopped());
    page.show(&HANDOVER, view.shared.handovers.is_under_way());
    page.show(&HANDOVERS_FAILED, view.shared.handovers.failed());
    page.show(&WORKERS, view.workers.len());
    page.show(&UPSTREAM_OPEN, view.sum(|worker| worker.upstream.open()));
    page.show(&UPSTREAM_IDLE, view.sum(|worker| worker.upstream.idle()));
    page.spread(&UPSTREAM_CONNECT, &[], &view.spread(|worker| Some(worker.upstream.connects())));
    for cause in ConnectFailure::ALL {
        page.show_by(&UPSTREAM_FAILURES, &[cause.as_str()], view.sum(|worker| worker.upstream.failures(*cause)));
    }
    page.show(&UPSTREAM_REUSES, view.sum(|worker| worker.upstream.reuses()));
}
