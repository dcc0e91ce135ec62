//! What a scrape looks at: the feed's hub, the database, certificates, issuers' keys, schedules, the build.

use std::sync::Arc;

use tokio::sync::watch;

use super::feed::{self, Sidecars};
use super::{audit, ledger, on_call};
use crate::clock::Clock;
use crate::config::control::ControlConfig;
use crate::control::api::ApiState;
use crate::control::feed::Hub;
use crate::control::ledger::Ledger;
use crate::control::on_call::OnCall;
use crate::identity::Verifier;
use crate::policy::Rules;
use crate::store::Store;
use crate::telemetry::certificate::not_after;
use crate::telemetry::metric::{Family, Label, Page, Source, Values, build};

const CERTIFICATES: [&str; 2] = ["api", "feed"];
const CERTIFICATE: &[Label] = &[Label { name: "certificate", values: Values::Of(|| CERTIFICATES.to_vec()) }];
const ISSUER: &[Label] = &[Label { name: "issuer", values: Values::Text("an issuer of the configuration") }];

static NEWEST: Family = Family::gauge("breakglass_control_newest_revision", "Newest revision of the feed.", "");
static EXPIRY: Family = Family::gauge(
    "breakglass_control_certificate_expiry_timestamp_seconds",
    "When a certificate ends, as Unix time; NaN where that can't be read.",
    "Within days: renew it and restart.",
)
.by(CERTIFICATE);
static KEYS: Family = Family::gauge(
    "breakglass_control_identity_keys",
    "Usable keys of an issuer.",
    "0: nobody of this issuer can log in; look at breakglass_control_identity_refresh_failures_total.",
)
.by(ISSUER);
static KEYS_AGE: Family = Family::gauge(
    "breakglass_control_identity_keys_age_seconds",
    "Time since an issuer's keys were last fetched; +Inf before.",
    "Hours: the issuer can't be reached; keys it withdrew go on being believed.",
)
.by(ISSUER);
static KEYS_FAILURES: Family = Family::counter(
    "breakglass_control_identity_refresh_failures_total",
    "Fetches of an issuer's keys that failed.",
    "Rising: the log says why.",
)
.by(ISSUER);
static BUILD: Family =
    Family::gauge("breakglass_control_build_info", "What was built, always 1.", "").by(build::LABELS);

pub(super) const FAMILIES: &[&Family] = &[&NEWEST, &EXPIRY, &KEYS, &KEYS_AGE, &KEYS_FAILURES, &BUILD];

/// When the certificates that are shown end, as Unix seconds; `None` where one could not be read.
#[derive(Debug, Clone, Copy)]
pub struct Expiries {
    pub api: Option<i64>,
    pub feed: Option<i64>,
}

impl Expiries {
    /// Blocks on the disk.
    pub fn of(config: &ControlConfig) -> Self {
        Self { api: not_after(&config.api.certificate), feed: not_after(&config.feed.tls.certificate) }
    }
}

/// See the module. It holds no workflow: that one holds the metrics, and the two would keep each other alive.
#[derive(Debug)]
pub struct Observed {
    hub: Arc<Hub>,
    store: Store,
    verifier: Verifier,
    on_call: Arc<OnCall>,
    clock: Clock,
    rules: watch::Receiver<Arc<Rules>>,
    expiries: Expiries,
    ledger: Arc<Ledger>,
}

impl Observed {
    pub fn new(state: &ApiState, expiries: Expiries) -> Self {
        Self {
            hub: Arc::clone(&state.hub),
            store: state.workflow.store.clone(),
            verifier: state.verifier.clone(),
            on_call: Arc::clone(&state.workflow.on_call),
            clock: state.workflow.clock.clone(),
            rules: state.workflow.rules.follow(),
            expiries,
            ledger: Arc::clone(&state.ledger),
        }
    }
}

impl Source for Observed {
    fn families(&self) -> Vec<&'static Family> {
        let own = feed::FAMILIES.iter().chain(audit::FAMILIES).chain(on_call::FAMILIES).chain(ledger::FAMILIES);
        own.chain(FAMILIES).copied().collect()
    }

    fn fill(&self, page: &mut Page) {
        let hub = &self.hub;
        let rules = self.rules.borrow().clone();
        let sidecars = hub.sidecars(|service| rules.services.get(service).map(|service| service.digest.clone()));
        let outdated = sidecars.iter().filter(|sidecar| sidecar.connected && !sidecar.service_current).count();
        let sidecars = Sidecars {
            known: sidecars.len(),
            connected: hub.connected(),
            replicas: hub.other_replicas().saturating_add(1),
            reading_age: hub.reading_age(),
            outdated,
        };
        feed::fill(&sidecars, hub.counts(), page);
        audit::fill(&hub.counts().audit, page);
        page.show(&NEWEST, *self.store.subscribe().borrow());
        for (name, end) in CERTIFICATES.into_iter().zip([self.expiries.api, self.expiries.feed]) {
            page.show_by(&EXPIRY, &[name], end.map_or(f64::NAN, |end| end as f64));
        }
        ledger::fill(&self.ledger.standing(), page);
        on_call::fill(&self.on_call.health(self.clock.now()), page);
        let now = self.clock.wall();
        for issuer in self.verifier.health() {
            let label = &[issuer.issuer.as_str()];
            page.show_by(&KEYS, label, issuer.keys.unwrap_or(0));
            page.show_by(&KEYS_AGE, label, issuer.refreshed.map_or(f64::INFINITY, |at| now.since(at).as_secs_f64()));
            page.show_by(&KEYS_FAILURES, label, issuer.failures);
        }
        build::show(page, &BUILD);
    }
}
