//! Requests: how they went, how long they took, what was refused, what was cut.

use super::View;
use crate::decision::RefusalCode;
use crate::sidecar::counters::RequestOutcome;
use crate::telemetry::metric::{Distribution, Family, Label, Page, Values};

const OUTCOME: &[Label] =
    &[Label { name: "outcome", values: Values::Of(|| RequestOutcome::ALL.iter().map(|o| o.as_str()).collect()) }];
const FORWARDED: &[Label] = &[Label { name: "outcome", values: Values::Of(|| vec!["passed", "override"]) }];
const CODE: &[Label] =
    &[Label { name: "code", values: Values::Of(|| RefusalCode::ALL.iter().map(|code| code.as_str()).collect()) }];

static REQUESTS: Family = Family::counter(
    "breakglass_sidecar_requests_total",
    "Requests answered, by how they went.",
    "`upstream_failed` or `upstream_timeout` rising: look at the contract API. `override` is what reviewers look at.",
)
.by(OUTCOME);
static OPEN: Family = Family::gauge(
    "breakglass_sidecar_requests_open",
    "Requests whose answer is not yet sent whole.",
    "Growing without end: the upstream or the clients are slow.",
);
static DURATION: Family = Family::histogram(
    "breakglass_sidecar_request_duration_seconds",
    "Time from a request's head to the last byte of its answer, by how it went.",
    "Compare with breakglass_sidecar_upstream_head_seconds to see whose time it is.",
)
.by(OUTCOME);
static HEAD: Family = Family::histogram(
    "breakglass_sidecar_upstream_head_seconds",
    "Time from asking the upstream to the head of its answer, connecting included.",
    "Slow here: the contract API is slow, not the sidecar.",
)
.by(FORWARDED);
static INTENT: Family = Family::histogram(
    "breakglass_sidecar_intent_wait_seconds",
    "Time an override waited until its intent was durable, or could not be made so.",
    "Near the write deadline: the audit disk is slow; overrides will be refused.",
);
static REQUEST_BYTES: Family =
    Family::counter("breakglass_sidecar_request_body_bytes_total", "Bytes of request bodies passed on.", "");
static RESPONSE_BYTES: Family = Family::counter(
    "breakglass_sidecar_response_body_bytes_total",
    "Bytes of answers' bodies sent, counted when an answer ends.",
    "",
);
static REFUSALS: Family = Family::counter(
    "breakglass_sidecar_refusals_total",
    "Requests refused, by decision code.",
    "docs/refusals.md says what each code means and what helps.",
)
.by(CODE);
static WOULD_REFUSE: Family = Family::counter(
    "breakglass_sidecar_would_refuse_total",
    "Requests that enforce mode would have refused, by decision code.",
    "Level at zero for what is wanted: the service can go from observe to enforce.",
)
.by(CODE);
static WOULD_OVERRIDE: Family = Family::counter(
    "breakglass_sidecar_would_override_total",
    "Requests that enforce mode would have forwarded under a grant.",
    "",
);
static CUTS: Family = Family::counter(
    "breakglass_sidecar_cuts_total",
    "Overrides ended while bytes were in flight, by decision code.",
    "`feed_stale` or `frozen`: find out why; the others are grants that ended as they should.",
)
.by(CODE);
static CUT_LAG: Family = Family::histogram(
    "breakglass_sidecar_cut_lag_seconds",
    "Time from the cause of a cut (revocation arrived, deadline passed, feed too old) to the cut.",
    "Above 0.1 s: the machine is overloaded or was suspended.",
);

pub(super) const FAMILIES: &[&Family] = &[
    &REQUESTS,
    &OPEN,
    &DURATION,
    &HEAD,
    &INTENT,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &REFUSALS,
    &WOULD_REFUSE,
    &WOULD_OVERRIDE,
    &CUTS,
    &CUT_LAG,
];

pub(super) fn fill(view: &View, page: &mut Page) {
    for outcome in RequestOutcome::ALL {
        let label = &[outcome.as_str()];
        page.show_by(&REQUESTS, label, view.sum(|worker| worker.outcome(*outcome)));
        page.spread(&DURATION, label, &view.spread(|worker| worker.whole(*outcome)));
    }
    for outcome in [RequestOutcome::Passed, RequestOutcome::Override] {
        page.spread(&HEAD, &[outcome.as_str()], &view.spread(|worker| worker.head(outcome)));
    }
    page.show(&OPEN, view.sum(|worker| worker.requests_open()));
    page.spread(&INTENT, &[], &view.spread(|worker| Some(worker.intent_wait())));
    page.show(&REQUEST_BYTES, view.sum(|worker| worker.bytes().0));
    page.show(&RESPONSE_BYTES, view.sum(|worker| worker.bytes().1));
    let occurrences = &view.shared.occurrences;
    for code in RefusalCode::ALL {
        let label = &[code.as_str()];
        page.show_by(&REFUSALS, label, view.sum(|worker| worker.refusals(*code)));
        page.show_by(&WOULD_REFUSE, label, view.sum(|worker| worker.would_refuse(*code)));
        page.show_by(&CUTS, label, occurrences.cuts(*code));
    }
    page.show(&WOULD_OVERRIDE, view.sum(|worker| worker.would_override()));
    page.spread(&CUT_LAG, &[], &Distribution::of(std::iter::once(occurrences.cut_lag())));
}
