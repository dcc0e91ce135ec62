//! What the files say and how reading them went: reloads, certificates, issuers' keys, the build.

use super::View;
use crate::telemetry::metric::{Family, Label, Page, Values, build};

const RESULTS: [&str; 2] = ["succeeded", "failed"];
const RESULT: &[Label] = &[Label { name: "result", values: Values::Of(|| RESULTS.to_vec()) }];
const CERTIFICATES: [&str; 2] = ["server", "feed_client"];
const CERTIFICATE: &[Label] = &[Label { name: "certificate", values: Values::Of(|| CERTIFICATES.to_vec()) }];
const ISSUER: &[Label] = &[Label { name: "issuer", values: Values::Text("an issuer of the configuration") }];
const MODE: &[Label] = &[
    Label { name: "service", values: Values::Text("the service of the configuration") },
    Label { name: "digest", values: Values::Text("the first 12 digits of the service file's SHA-256") },
];

static RELOADS: Family = Family::counter(
    "breakglass_sidecar_reloads_total",
    "Times the files were read anew, by result.",
    "`failed` rising: the log and /readyz say why; the former configuration goes on.",
)
.by(RESULT);
static RELOADED: Family = Family::gauge(
    "breakglass_sidecar_reload_success_timestamp_seconds",
    "When a reload last took effect, as Unix time; NaN before the first.",
    "",
);
static RELOAD_FAILING: Family = Family::gauge(
    "breakglass_sidecar_reload_failing",
    "1 while the last reading of the files was not taken.",
    "The files and what is in force differ: mend the files.",
);
static EXPIRY: Family = Family::gauge(
    "breakglass_sidecar_certificate_expiry_timestamp_seconds",
    "When a certificate ends, as Unix time; NaN where that can't be read.",
    "Within days: renew it; a changed file is taken without a restart.",
)
.by(CERTIFICATE);
static KEYS: Family = Family::gauge(
    "breakglass_sidecar_identity_keys",
    "Usable keys of an issuer.",
    "0: nobody of this issuer can be told; look at breakglass_sidecar_identity_refresh_failures_total.",
)
.by(ISSUER);
static KEYS_AGE: Family = Family::gauge(
    "breakglass_sidecar_identity_keys_age_seconds",
    "Time since an issuer's keys were last fetched; +Inf before.",
    "Hours: the issuer can't be reached; keys it withdrew go on being believed.",
)
.by(ISSUER);
static KEYS_FAILURES: Family = Family::counter(
    "breakglass_sidecar_identity_refresh_failures_total",
    "Fetches of an issuer's keys that failed.",
    "Rising: the log says why.",
)
.by(ISSUER);
static ASSERTIONS: Family = Family::counter(
    "breakglass_sidecar_assertions_signed_total",
    "Overrides that were signed for the upstream.",
    "More than the overrides the API has seen: look for requests that did not reach it.",
);
static ASSERTION_CERTIFICATES: Family = Family::counter(
    "breakglass_sidecar_assertion_certificates_total",
    "Certificates of assertion keys that were asked for, by result.",
    "`failed` rising: the control plane refuses this sidecar's keys, and overrides end with the present one.",
)
.by(RESULT);
static ASSERTION_EXPIRY: Family = Family::gauge(
    "breakglass_sidecar_assertion_key_expiry_timestamp_seconds",
    "When the certificate of the key that signs ends, as Unix time; NaN where none signs.",
    "Within the hour: no new key was certified; see breakglass_sidecar_assertion_certificates_total.",
);
static SERVICE: Family = Family::gauge(
    "breakglass_sidecar_service_info",
    "The service and its file as they are in force, always 1.",
    "Another digest than the other sidecars': files differ.",
)
.by(MODE);
static BUILD: Family =
    Family::gauge("breakglass_sidecar_build_info", "What was built, always 1.", "").by(build::LABELS);

pub(super) const FAMILIES: &[&Family] = &[
    &RELOADS,
    &RELOADED,
    &RELOAD_FAILING,
    &EXPIRY,
    &KEYS,
    &KEYS_AGE,
    &KEYS_FAILURES,
    &ASSERTIONS,
    &ASSERTION_CERTIFICATES,
    &ASSERTION_EXPIRY,
    &SERVICE,
    &BUILD,
];

pub(super) fn fill(view: &View, page: &mut Page) {
    let reloads = &view.shared.reloads;
    for (result, count) in RESULTS.into_iter().zip([reloads.succeeded(), reloads.failed()]) {
        page.show_by(&RELOADS, &[result], count);
    }
    page.show(&RELOADED, reloads.succeeded_at().map_or(f64::NAN, |at| at.unix_ms() as f64 / 1e3));
    page.show(&RELOAD_FAILING, reloads.last().is_some_and(|last| last.error.is_some()));
    let setup = view.shared.setup();
    for (name, end) in CERTIFICATES.into_iter().zip([setup.expiries.server, setup.expiries.feed]) {
        page.show_by(&EXPIRY, &[name], end.map_or(f64::NAN, |end| end as f64));
    }
    let now = view.shared.clock.wall();
    for issuer in setup.verifier.health() {
        let label = &[issuer.issuer.as_str()];
        page.show_by(&KEYS, label, issuer.keys.unwrap_or(0));
        page.show_by(&KEYS_AGE, label, issuer.refreshed.map_or(f64::INFINITY, |at| now.since(at).as_secs_f64()));
        page.show_by(&KEYS_FAILURES, label, issuer.failures);
    }
    let assertions = &view.shared.assertions;
    let counts = assertions.counts();
    page.show(&ASSERTIONS, counts.signed());
    for (result, count) in RESULTS.into_iter().zip([counts.certified(), counts.refused()]) {
        page.show_by(&ASSERTION_CERTIFICATES, &[result], count);
    }
    page.show(&ASSERTION_EXPIRY, assertions.signs_until().map_or(f64::NAN, |at| at.unix_ms() as f64 / 1e3));
    let digest: String = setup.service.digest.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    page.show_by(&SERVICE, &[setup.service.name.as_str(), &digest], 1_u64);
    build::show(page, &BUILD);
}
