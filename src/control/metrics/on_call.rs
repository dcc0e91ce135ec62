//! The schedules of the policy: how old, how often they failed, how many people.

use crate::control::on_call::{FailureKind, Freshness, ScheduleHealth};
use crate::telemetry::metric::{Family, Label, Page, Values};

const SCHEDULE: Label = Label { name: "schedule", values: Values::Text("a schedule of the policy") };
const KIND: Label =
    Label { name: "kind", values: Values::Of(|| FailureKind::ALL.iter().map(|kind| kind.as_str()).collect()) };

static KNOWN: Family = Family::gauge(
    "breakglass_control_on_call_known",
    "1 while a schedule's answer is new enough to be used.",
    "0: its fallback group stands in, or nobody is on call; see breakglass_control_on_call_failures_total.",
)
.by(&[SCHEDULE]);
static AGE: Family = Family::gauge(
    "breakglass_control_on_call_age_seconds",
    "Time since a schedule was last fetched; +Inf before.",
    "Well above its refresh_s: the source can't be reached. At its stale_max_s it is no longer used.",
)
.by(&[SCHEDULE]);
static FAILURES: Family = Family::counter(
    "breakglass_control_on_call_failures_total",
    "Fetches of a schedule that failed, by kind.",
    "Rising: the log says why. `credential`, `unauthorised`, `not_found`: mend the policy or the token.",
)
.by(&[SCHEDULE, KIND]);
static PEOPLE: Family = Family::gauge(
    "breakglass_control_on_call_people",
    "People of ours on call now by a schedule; 0 while it is not known.",
    "0 where somebody should be: a gap in the rota, a schedule in no escalation policy, or people called otherwise here.",
)
.by(&[SCHEDULE]);
static UNREAD: Family = Family::gauge(
    "breakglass_control_on_call_unread",
    "Entries of a schedule's last answer that could not be read, or are of nobody known here.",
    "Above zero where all should be ours: look at the schedule's `person` and `persons`, or at its calendar.",
)
.by(&[SCHEDULE]);

pub(super) const FAMILIES: &[&Family] = &[&KNOWN, &AGE, &FAILURES, &PEOPLE, &UNREAD];

pub(super) fn fill(schedules: &[ScheduleHealth], page: &mut Page) {
    for schedule in schedules {
        let name = schedule.name.as_str();
        page.show_by(&KNOWN, &[name], schedule.freshness == Freshness::Current);
        page.show_by(&AGE, &[name], schedule.age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
        page.show_by(&PEOPLE, &[name], schedule.people);
        page.show_by(&UNREAD, &[name], schedule.unread);
        for (kind, count) in &schedule.failures {
            page.show_by(&FAILURES, &[name, kind.as_str()], *count);
        }
    }
}
