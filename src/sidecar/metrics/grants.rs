//! Grants in the table, and this sidecar's shares of their uses. Sums only: whose grants they are is no label.

use super::View;
use crate::decision::{Freeze, GrantStanding};
use crate::sidecar::grant_table::LiveGrant;
use crate::telemetry::metric::{Family, Label, Page, Values};

const STANDINGS: [&str; 5] = ["live", "expired", "used_up", "suspended", "revoked"];
const STANDING: &[Label] = &[Label { name: "standing", values: Values::Of(|| STANDINGS.to_vec()) }];
const FREEZES: [&str; 2] = ["local", "control_plane"];
const BY: &[Label] = &[Label { name: "by", values: Values::Of(|| FREEZES.to_vec()) }];

static GRANTS: Family = Family::gauge(
    "breakglass_sidecar_grants",
    "Grants in the table, by standing.",
    "`live` means that the glass is open; long above zero is worth a look.",
)
.by(STANDING);
static NEXT_END: Family = Family::gauge(
    "breakglass_sidecar_next_grant_end_seconds",
    "Time until the next live grant ends; +Inf without one.",
    "",
);
static ALLOTTED: Family = Family::gauge(
    "breakglass_sidecar_shares_allotted",
    "Uses allotted to this sidecar, of all live grants that have a number of uses.",
    "",
);
static SPENT: Family = Family::gauge(
    "breakglass_sidecar_shares_spent",
    "Uses spent by this sidecar, of all live grants that have a number of uses.",
    "",
);
static FROZEN: Family = Family::gauge(
    "breakglass_sidecar_frozen",
    "1 while no override is allowed here, by who froze it.",
    "`local`: the freeze file, or DELETE /freeze on the admin port. `control_plane`: lift it there.",
)
.by(BY);

pub(super) const FAMILIES: &[&Family] = &[&GRANTS, &NEXT_END, &ALLOTTED, &SPENT, &FROZEN];

pub(super) fn fill(view: &View, page: &mut Page) {
    let (now, standing) = (view.shared.clock.now(), &view.shared.standing);
    let mut counts = STANDINGS.map(|name| (name, 0_u64));
    let (mut next_end, mut allotted, mut spent) = (f64::INFINITY, 0_u64, 0_u64);
    for live in view.shared.grants.all() {
        let deadline = live.deadline(standing);
        let word = word(&live, deadline.has_passed(now));
        counts.iter_mut().filter(|(name, _)| *name == word).for_each(|(_, count)| *count += 1);
        if word == "live" {
            next_end = next_end.min(deadline.boot.since(now.boot).as_secs_f64());
            if live.grant().max_uses.is_some() {
                allotted = allotted.saturating_add(live.share().allotted().into());
                spent = spent.saturating_add(live.spent().into());
            }
        }
    }
    for (name, count) in counts {
        page.show_by(&GRANTS, &[name], count);
    }
    page.show(&NEXT_END, next_end);
    page.show(&ALLOTTED, allotted);
    page.show(&SPENT, spent);
    let freeze = standing.freeze();
    for (name, by) in FREEZES.into_iter().zip([Freeze::Local, Freeze::ByControlPlane]) {
        page.show_by(&FROZEN, &[name], freeze == by);
    }
}

fn word(live: &LiveGrant, has_passed: bool) -> &'static str {
    match live.standing() {
        GrantStanding::Revoked => "revoked",
        GrantStanding::UsedUp => "used_up",
        GrantStanding::Suspended => "suspended",
        GrantStanding::Live if has_passed => "expired",
        GrantStanding::Live => "live",
    }
}
