//! The API's answers, and what the workflow made of requests.

use super::ControlMetrics;
use crate::control::refusal::Cause;
use crate::domain::{ElevationState, Verdict};
use crate::store::audit::Difference;
use crate::telemetry::metric::{Family, Label, Values};

const ROUTE: Label = Label { name: "route", values: Values::Text("a path of the API as a template, or `none`") };
const METHOD: Label = Label { name: "method", values: Values::Text("a method of HTTP, or `other`") };
const STATUS: Label = Label { name: "status", values: Values::Text("the answer's status") };
const CODE: &[Label] =
    &[Label { name: "code", values: Values::Of(|| Cause::ALL.iter().map(|cause| cause.code()).collect()) }];
const STATES: &[Label] =
    &[Label { name: "state", values: Values::Of(|| ElevationState::ALL.iter().map(|state| state.as_str()).collect()) }];
const VERDICT: &[Label] =
    &[Label { name: "verdict", values: Values::Of(|| Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect()) }];
const DIFFERENCE: &[Label] =
    &[Label { name: "of", values: Values::Of(|| Difference::ALL.iter().map(|what| what.as_str()).collect()) }];
const ENDS: [&str; 2] = ["revoked", "expired"];
const REVOKED: [&str; 5] = ["person", "resource", "service", "everything", "freeze"];
const OF: &[Label] = &[Label { name: "of", values: Values::Of(|| REVOKED.to_vec()) }];
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
pub(super) static ELEVATIONS: Family = Family::counter(
    "breakglass_control_elevations_total",
    "Elevation requests, by what became of them: each is counted as requested, and later under its end.",
    "`lapsed` rising: nobody answers; look at who may approve.",
)
.by(STATES);
pub(super) static APPROVALS: Family =
    Family::counter("breakglass_control_approvals_total", "Approvals given, each person's counted.", "");
pub(super) static REVIEWS: Family = Family::counter(
    "breakglass_control_reviews_total",
    "Reviews done, by verdict.",
    "`unjustified`: read what was found.",
)
.by(VERDICT);
pub(super) static APPROVALS_AWAITED: Family = Family::gauge(
    "breakglass_control_approvals_awaited",
    "Requests that wait for approvals now, of the whole database.",
    "Above zero for minutes: tell those who may approve (`breakglass requests --to-approve`).",
);
pub(super) static REVIEWS_DUE: Family = Family::gauge(
    "breakglass_control_reviews_due",
    "Ended grants that somebody must review and whose deadline has not passed, of the whole database.",
    "",
);
pub(super) static REVIEWS_OVERDUE: Family = Family::gauge(
    "breakglass_control_reviews_overdue",
    "Ended grants that nobody reviewed in time, of the whole database.",
    "Above zero: `GET /v1/grants?review=overdue` lists them.",
);
pub(super) static GRANTS_ENDED: Family =
    Family::counter("breakglass_control_grants_ended_total", "Grants ended by revocation or time, by cause.", "")
        .by(END);
pub(super) static DIFFERENCES: Family = Family::counter(
    "breakglass_control_grant_differences_total",
    "Closed accounts of grants of which numbers of sidecars, ledger and assertions do not agree, by what differs.",
    "Above zero: the entry `grant_closed` has the numbers; an API's own log of assertions says which override is meant.",
)
.by(DIFFERENCE);
pub(super) static GRANTS_SUSPENDED: Family = Family::counter(
    "breakglass_control_grants_suspended_total",
    "Live grants suspended until their person has authenticated afresh.",
    "",
);
pub(super) static GRANTS_RESUMED: Family =
    Family::counter("breakglass_control_grants_resumed_total", "Suspended grants taken up again.", "");
pub(super) static PERSONAL_ERASED: Family = Family::counter(
    "breakglass_control_personal_values_erased_total",
    "Personal values beside entries that this replica has erased, of persons and by age.",
    "",
);
pub(super) static REVOCATIONS: Family = Family::counter(
    "breakglass_control_revocations_total",
    "Revocations of many grants, and freezes, by what they are about. Those of one grant are counted as grants ended.",
    "",
)
.by(OF);
pub(super) static REVOCATION_SECONDS: Family = Family::histogram(
    "breakglass_control_revocation_enforced_duration_seconds",
    "Time from a revocation to the last sidecar's acknowledgement, where it is known.",
    "Above a second: look at the sidecars' feeds, with `breakglass sidecars`.",
);
pub(super) static SIDECARS_STOPPED: Family = Family::counter(
    "breakglass_control_revocation_sidecars_stopped_total",
    "Sidecars that did not acknowledge a revocation and stopped by themselves instead.",
    "Rising: sidecars lose their feed; see `breakglass sidecars`.",
);
pub(super) static REVOCATIONS_AWAITED: Family = Family::gauge(
    "breakglass_control_revocations_awaited",
    "Revocations and freezes whose acknowledgements are not all there yet.",
    "Above zero for a minute: a sidecar is silent; `breakglass revocations` shows which are waited for.",
);
pub(super) static FREEZES: Family = Family::gauge(
    "breakglass_control_freezes",
    "Freezes that stand.",
    "Above zero for long: somebody forgot to lift it; `breakglass freezes` says who set it and why.",
);
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
    &ELEVATIONS,
    &APPROVALS,
    &REVIEWS,
    &APPROVALS_AWAITED,
    &REVIEWS_DUE,
    &REVIEWS_OVERDUE,
    &GRANTS_ENDED,
    &DIFFERENCES,
    &GRANTS_SUSPENDED,
    &GRANTS_RESUMED,
    &PERSONAL_ERASED,
    &REVOCATIONS,
    &REVOCATION_SECONDS,
    &SIDECARS_STOPPED,
    &REVOCATIONS_AWAITED,
    &FREEZES,
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
    for state in ElevationState::ALL {
        metrics.elevations.with_label_values(&[state.as_str()]);
    }
    for verdict in Verdict::ALL {
        metrics.reviews.with_label_values(&[verdict.as_str()]);
    }
    for of in REVOKED {
        metrics.revocations.with_label_values(&[of]);
    }
    for difference in Difference::ALL {
        metrics.differences.with_label_values(&[difference.as_str()]);
    }
    for cause in ENDS {
        metrics.grants_ended.with_label_values(&[cause]);
    }
}
