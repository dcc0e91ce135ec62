//! The API's answers, and what the workflow made of requests.

use super::ControlMetrics;
use crate::control::refusal::Cause;
use crate::telemetry::metric::{Family, Label, Values};

const ROUTE: Label = Label { name: "route", values: Values::Text("a path of the API as a template, or `none`") };
const METHOD: Label = Label { name: "method", values: Values::Text("a method of HTTP, or `other`") };
const STATUS: Label = Label { name: "status", values: Values::Text("the answer's status") };
const CODE: &[Label] =
    &[Label { name: "code", values: Values::Of(|| Cause::ALL.iter().map(|cause| cause.code()).collect()) }];
const ENDS: [&str; 2] = ["revoked", "expired"];
const END: &[Label] = &[Label { name: "cause", values: Values::Of(|| ENDS.to_vec()) }];

pub(super) static REQUESTS: Family = Family::counter(
    "breakglass_control_requests_total",
    "Answers of the API.",
    "Status 5xx rising: look at the log and at breakglass_control_database_readable.",
)
.by(&[ROUTE, METHOD, STATUS]);
pub(super) static DURATION: Family = Family::histogram(
    "breakglass_control_request_duration_seconds",
    "Time from a request's head to its answer's head; asking for elevation waits for the sidecars.",
    "",
)
.by(&[ROUTE]);
pub(super) static REFUSALS: Family =
    Family::counter("breakglass_control_refusals_total", "Refusals of the API, by problem code.", "").by(CODE);
pub(super) static ELEVATIONS_REFUSED: Family = Family::counter(
    "breakglass_control_elevations_refused_total",
    "Elevation requests that the policy refused, by problem code.",
    "`no_tier_fits` often: the policy and what people need differ.",
)
.by(CODE);
pub(super) static REFUSALS_UNRECORDED: Family = Family::counter(
    "breakglass_control_refusals_unrecorded_total",
    "Refused elevation requests beyond a person's budget of ledger entries.",
    "Above zero: somebody, or their script, asks again and again.",
);
const RECORDED: [&str; 2] = ["entry", "covered"];
const READ: &[Label] = &[Label { name: "recorded", values: Values::Of(|| RECORDED.to_vec()) }];
pub(super) static DATA_READS: Family = Family::counter(
    "breakglass_control_data_reads_total",
    "Looks at other people's data: recorded as a ledger entry, or covered by one of the minutes before.",
    "",
)
.by(READ);
const LIMITS: [&str; 4] = ["read", "write", "create", "sign_in"];
const LIMIT: &[Label] = &[Label { name: "limit", values: Values::Of(|| LIMITS.to_vec()) }];
pub(super) static RATE_LIMITED: Family = Family::counter(
    "breakglass_control_rate_limited_total",
    "Requests refused because their principal, or for `sign_in` their address, had too many in a minute.",
    "`sign_in` rising: somebody tries access tokens; the others: a script asks too often, or `[api.limits]` is too low.",
)
.by(LIMIT);
pub(super) static GRANTS_ISSUED: Family =
    Family::counter("breakglass_control_grants_issued_total", "Grants issued.", "Each is to be reviewed.");
pub(super) static GRANTS_ENDED: Family =
    Family::counter("breakglass_control_grants_ended_total", "Grants ended by revocation or time, by cause.", "")
        .by(END);
pub(super) static CONNECTIONS: Family =
    Family::gauge("breakglass_control_connections_open", "Connections to the API open now.", "");

pub(super) const FAMILIES: &[&Family] = &[
    &REQUESTS,
    &DURATION,
    &REFUSALS,
    &ELEVATIONS_REFUSED,
    &REFUSALS_UNRECORDED,
    &DATA_READS,
    &RATE_LIMITED,
    &GRANTS_ISSUED,
    &GRANTS_ENDED,
    &CONNECTIONS,
];

/// A count that is there from the start can be watched for its first rise.
pub(super) fn begin(metrics: &ControlMetrics) {
    for cause in Cause::ALL {
        metrics.refusals.with_label_values(&[cause.code()]);
        metrics.elevations_refused.with_label_values(&[cause.code()]);
    }
    for recorded in RECORDED {
        metrics.data_reads.with_label_values(&[recorded]);
    }
    for limit in LIMITS {
        metrics.rate_limited.with_label_values(&[limit]);
    }
    for cause in ENDS {
        metrics.grants_ended.with_label_values(&[cause]);
    }
}
