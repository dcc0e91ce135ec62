//! Re-checks of identity: what issuers said of the tokens of people who have something here.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{ControlMetrics, labels};
use crate::control::on_call::FailureKind;
use crate::domain::WallTime;
use crate::telemetry::metric::{Family, Label, Values};

/// What came of looking at one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Active,
    /// It stands no more, and what rested on it has ended.
    Ended,
    /// It stands no more, and its person has a newer one.
    SignedInAnew,
    /// Its own time was over: nothing follows from that.
    Expired,
    /// It stands no more, and is asked about once more before anything ends.
    InactiveOnce,
    /// It is said to stand no more, and was never said to stand: we may not be let ask.
    NeverActive,
    /// The answer is about somebody else.
    Contradiction,
    /// The issuer has no place where it can be asked.
    NoEndpoint,
    /// Our own database failed.
    Database,
    /// The issuer was away, so it was not asked about this one.
    Postponed,
    Failed(FailureKind),
}

impl Outcome {
    fn all() -> impl Iterator<Item = Self> {
        use Outcome::{
            Active, Contradiction, Database, Ended, Expired, InactiveOnce, NeverActive, NoEndpoint, Postponed,
            SignedInAnew,
        };
        let own = [
            Active,
            InactiveOnce,
            Ended,
            SignedInAnew,
            Expired,
            NeverActive,
            Contradiction,
            NoEndpoint,
            Database,
            Postponed,
        ];
        own.into_iter().chain(FailureKind::ALL.into_iter().map(Self::Failed))
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
            Self::SignedInAnew => "signed_in_anew",
            Self::Expired => "expired",
            Self::InactiveOnce => "inactive_once",
            Self::NeverActive => "never_active",
            Self::Contradiction => "contradiction",
            Self::NoEndpoint => "no_endpoint",
            Self::Database => "database",
            Self::Postponed => "postponed",
            Self::Failed(kind) => kind.as_str(),
        }
    }
}

const ISSUER: Label = Label { name: "issuer", values: Values::Text("an issuer that is asked") };
const RESULT: Label = Label { name: "result", values: Values::Of(|| Outcome::all().map(Outcome::as_str).collect()) };

static ASKED: Family = Family::counter(
    "breakglass_control_identity_rechecks_total",
    "Looks at the token of somebody who has a live grant or a waiting request, by what came of it.",
    "Others than `active`, `inactive_once`, `ended`, `signed_in_anew` and `expired` rising: the log says why; until it is mended a session that is over ends nothing.",
)
.by(&[ISSUER, RESULT]);
static HELD: Family = Family::gauge(
    "breakglass_control_identity_rechecks_held",
    "People whose newest token is held here, so that their issuer is asked about it.",
    "",
)
.by(&[ISSUER]);
static UNHELD: Family = Family::counter(
    "breakglass_control_identity_rechecks_unheld_total",
    "Tokens that were not held because there was no place left.",
    "Rising: more people have something here than are looked after; the others' sessions are not asked about.",
)
.by(&[ISSUER]);
static ANSWERED: Family = Family::gauge(
    "breakglass_control_identity_rechecks_answered_timestamp_seconds",
    "When an issuer last answered whether a token still stands, as Unix time; 0 before.",
    "Well above its every_s ago while people are held: it can't be asked; the log says why.",
)
.by(&[ISSUER]);

pub(super) const FAMILIES: &[&Family] = &[&ASKED, &HELD, &UNHELD, &ANSWERED];

/// See the module.
#[derive(Debug)]
pub(super) struct RecheckMetrics {
    asked: IntCounterVec,
    held: IntGaugeVec,
    unheld: IntCounterVec,
    answered: GaugeVec,
}

impl RecheckMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |family: &Family| Opts::new(family.name, family.help);
        let metrics = Self {
            asked: IntCounterVec::new(opts(&ASKED), &labels(&ASKED))?,
            held: IntGaugeVec::new(opts(&HELD), &labels(&HELD))?,
            unheld: IntCounterVec::new(opts(&UNHELD), &labels(&UNHELD))?,
            answered: GaugeVec::new(opts(&ANSWERED), &labels(&ANSWERED))?,
        };
        registry.register(Box::new(metrics.asked.clone()))?;
        registry.register(Box::new(metrics.held.clone()))?;
        registry.register(Box::new(metrics.unheld.clone()))?;
        registry.register(Box::new(metrics.answered.clone()))?;
        Ok(metrics)
    }
}

impl ControlMetrics {
    /// A count that is there from the start can be watched for its first rise.
    pub fn begin_rechecks(&self, issuer: &str) {
        for outcome in Outcome::all() {
            self.rechecks.asked.with_label_values(&[issuer, outcome.as_str()]);
        }
        self.rechecks.held.with_label_values(&[issuer]).set(0);
        self.rechecks.unheld.with_label_values(&[issuer]);
        self.rechecks.answered.with_label_values(&[issuer]).set(0.0);
    }

    pub fn count_recheck(&self, issuer: &str, outcome: Outcome) {
        self.rechecks.asked.with_label_values(&[issuer, outcome.as_str()]).inc();
    }

    pub fn count_unheld(&self, issuer: &str) {
        self.rechecks.unheld.with_label_values(&[issuer]).inc();
    }

    pub fn show_held(&self, issuer: &str, persons: usize) {
        self.rechecks.held.with_label_values(&[issuer]).set(i64::try_from(persons).unwrap_or(i64::MAX));
    }

    pub fn show_answered(&self, issuer: &str, at: WallTime) {
        self.rechecks.answered.with_label_values(&[issuer]).set(at.unix_s() as f64);
    }
}
