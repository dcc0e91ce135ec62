//! Numbers by hand: what entries add up to.

use serde_json::json;

use super::*;
use crate::report::sample::Writer;
use crate::wire::reports::{Row, RowKind, Totals};

pub(in crate::report) fn placed() -> Placed {
    let at = WallTime::EPOCH;
    let tree = SignedTree::default();
    Placed { since: at, before: at, made: at, begin: TreeAt::default(), end: TreeAt::default(), tree }
}

fn report(ledger: &Writer) -> PeriodReport {
    let mut period = Period::default();
    ledger.0.iter().for_each(|entry| period.take(&entry.told()));
    period.finish(placed())
}

fn row<'a>(rows: &'a [Row], name: &str) -> &'a Totals {
    &rows.iter().find(|row| row.name.as_deref() == Some(name)).unwrap().totals
}

/// One that is revoked after 200 of its 600 seconds, used twice; one that expires unused; one request that is denied.
fn busy() -> Writer {
    let mut ledger = Writer::default();
    ledger.asked(0, 1, json!("alice"), "contract/C-1").asked(1_000, 2, json!("bob"), "contract/C-2");
    ledger.issued(40_000, 1, json!("alice"), "contract/C-1").issued(1_000, 2, json!("bob"), "contract/C-2");
    ledger.asked(50_000, 3, json!("alice"), "contract/C-1");
    ledger.add(51_000, "elevation_denied", json!({"elevation": "e-3"}), json!({"by": "carol", "note": "no"}));
    ledger.used(60_000, 1, 1).used(100_000, 1, 2);
    ledger.add(
        239_000,
        "revocation_ordered",
        json!({"revocation": "r-1", "of": "grant", "grants": 1}),
        json!({"by": "carol"}),
    );
    ledger.add(240_000, "grant_revoked", json!({"grant": "g-1", "revocation": "r-1"}), json!({"by": "carol"}));
    ledger.add(
        240_100,
        "revocation_enforced",
        json!({"revocation": "r-1", "enforced": 2, "elapsed_ms": 38}),
        json!({}),
    );
    ledger.line(241_000, "refusal", json!({"grant": "g-1", "seq": 9, "decision": "grant_revoked"}), json!(null));
    ledger.add(601_000, "grant_expired", json!({"grant": "g-2"}), json!({}));
    ledger.closed(602_000, 1, 2).closed(602_000, 2, 0);
    ledger.add(
        700_000,
        "grant_reviewed",
        json!({"grant": "g-1", "verdict": "justified", "late": false}),
        json!({"by": "carol"}),
    );
    ledger.add(5_000_000, "review_overdue", json!({"grant": "g-2"}), json!({}));
    ledger
}

#[test]
fn a_busy_period() {
    let report = report(&busy());
    let whole = &report.whole;
    assert_eq!((whole.requests, whole.grants, whole.denied), (3, 2, 1));
    assert_eq!((whole.revoked, whole.expired, whole.used_up), (1, 1, 0));
    // 40 s for alice; bob's was granted as it was asked for.
    let access = &whole.time_to_access;
    assert_eq!((access.count, access.mean_ms, access.max_ms), (2, Some(20_000), Some(40_000)));
    assert_eq!(access.median_ms, Some(0));
    assert_eq!((whole.accounts, whole.accounts_incomplete, whole.unused), (2, 0, 1));
    // Twice 600 s granted; open for 200 s and 600 s; used until 60 s after the beginning of alice's.
    assert_eq!((whole.granted_ms, whole.stood_ms, whole.used_ms), (1_200_000, 800_000, 60_000));
    assert_eq!((whole.uses_granted, whole.uses_spent), (6, 2));
    assert_eq!((whole.overrides, whole.completed, whole.not_completed, whole.refusals), (2, 2, 0, 1));
    assert_eq!((whole.revocations, whole.revocation_latency.median_ms), (1, Some(38)));
    assert_eq!((whole.reviews_due, whole.reviews_done, whole.reviews_late, whole.reviews_overdue), (2, 1, 0, 1));
    assert_eq!((whole.justified, whole.unjustified, whole.unclear), (1, 0, 0));
    assert_eq!(report.refusals, [RefusalCount { by: "sidecar".into(), code: "grant_revoked".into(), count: 1 }]);
}

#[test]
fn what_sidecars_only_summarised_is_counted_apart() {
    let mut ledger = busy();
    let counts = json!([{"kind": "refusal", "code": "identity_missing", "count": 4000},
        {"kind": "refusal", "code": "grant_revoked", "count": 2}, {"kind": "observed", "code": "pass", "count": 70}]);
    let summary = json!({"service": "payments", "instance": "s-1", "log_id": "aa", "line": "refusal_summary",
        "recorded_at": 950_000, "counts": counts});
    ledger.add(950_000, "audit_line", summary, json!({"line": null}));
    let report = report(&ledger);
    assert_eq!((report.whole.refusals, report.whole.refusals_summarised), (1, 4002));
    assert_eq!(row(&report.services, "payments").refusals_summarised, 4002);
    let count = |by: &str, code: &str, count| RefusalCount { by: by.into(), code: code.into(), count };
    assert_eq!(
        report.refusals,
        [
            count("sidecar_summary", "identity_missing", 4000),
            count("sidecar_summary", "grant_revoked", 2),
            count("sidecar", "grant_revoked", 1)
        ]
    );
    let html = crate::report::html::render(&crate::report::page::of_period(&report)).unwrap();
    assert!(html.contains("4\u{202f}002 only counted") && html.contains("1 recorded"), "{html}");
    let csv = crate::report::csv::of_period(&report).unwrap();
    let mut csv = csv::Reader::from_reader(csv.as_slice());
    let place = csv.headers().unwrap().iter().position(|name| name == "refusals_summarised").unwrap();
    assert_eq!(&csv.records().next().unwrap().unwrap()[place], "4002");
}

#[test]
fn rows_have_what_is_theirs_and_add_up() {
    let report = report(&busy());
    let (alice, bob) = (row(&report.persons, "alice"), row(&report.persons, "bob"));
    assert_eq!((alice.requests, alice.grants, alice.overrides, alice.denied), (2, 1, 2, 1));
    assert_eq!((alice.stood_ms, alice.used_ms, alice.revocation_latency.count), (200_000, 60_000, 1));
    assert_eq!((bob.requests, bob.grants, bob.unused, bob.reviews_overdue), (1, 1, 1, 1));
    assert_eq!(bob.revocation_latency.count, 0, "a revocation counts for whom it ended");
    assert_eq!(
        (row(&report.resources, "contract/C-1").overrides, row(&report.resources, "contract/C-2").grants),
        (2, 1)
    );
    for rows in [&report.teams, &report.reasons, &report.services] {
        assert_eq!((rows.len(), &rows[0].totals.grants), (1, &2));
    }
    assert_eq!((report.teams[0].name.as_deref(), report.teams[0].totals.reviews_done), (Some("core"), 1));
    let sum: u64 = report.persons.iter().map(|row| row.totals.granted_ms).sum();
    assert_eq!(sum, report.whole.granted_ms);
}

/// What happened before the period is needed to say whose it was, and is not counted.
#[test]
fn what_began_before_the_period_is_recalled() {
    let ledger = busy();
    let (before, within) = ledger.0.split_at(10);
    let page: Vec<Told<'_>> = within.iter().map(|entry| entry.told()).collect();
    let mut period = Period::default();
    let unknown = period.unknown(&page);
    let grants = ["g-1", "g-2"].map(|id| Subject::Grant(id.to_owned()));
    assert_eq!(unknown, grants.into());
    before.iter().for_each(|entry| period.recall(&entry.told()));
    assert!(period.unknown(&page).is_empty());
    page.iter().for_each(|told| period.take(told));
    let report = period.finish(placed());
    let whole = &report.whole;
    assert_eq!((whole.requests, whole.grants, whole.overrides, whole.revoked), (0, 0, 0, 1));
    assert_eq!((whole.stood_ms, whole.used_ms), (800_000, 60_000), "as from the beginning");
    assert_eq!(row(&report.persons, "alice").revoked, 1);
    assert_eq!(row(&report.teams, "core").revoked, 1);
}

#[test]
fn what_was_erased_is_shown_as_erased() {
    let mut ledger = Writer::default();
    ledger.asked(0, 1, json!(null), "contract/C-1").issued(10, 1, json!(null), "contract/C-1");
    let facts = json!({"code": "no_tier_fits", "service": "payments", "resources": [], "actions": [], "reason": "x"});
    ledger.add(20, "elevation_refused", facts, json!({"person": "dave", "ticket": "INC-2"}));
    let report = report(&ledger);
    let kinds: Vec<_> = report.persons.iter().map(|row| (row.kind, row.name.as_deref())).collect();
    assert_eq!(kinds, [(RowKind::Erased, None), (RowKind::Named, Some("dave"))]);
    let refused = row(&report.persons, "dave");
    assert_eq!((refused.requests, refused.requests_refused), (0, 1));
    assert!(report.teams.iter().any(|row| row.kind == RowKind::None && row.totals.requests_refused == 1));
}

#[test]
fn an_amended_account_and_a_grant_that_nobody_knows_count_once_and_in_the_whole() {
    let mut ledger = busy();
    let amended = json!({"grant": "g-1", "overrides": 3, "ends": {}, "open": 1, "reconciled": false, "amends": 16});
    ledger.add(900_000, "grant_closed", amended, json!({}));
    ledger.add(900_001, "grant_expired", json!({"grant": "g-9"}), json!({}));
    let report = report(&ledger);
    assert_eq!((report.whole.accounts, report.whole.accounts_incomplete), (2, 0));
    assert_eq!(report.whole.expired, 2);
    assert!(report.persons.iter().any(|row| row.kind == RowKind::None && row.totals.expired == 1));
}

#[test]
fn a_grant_that_is_claimed_can_be_used_from_then_on() {
    let mut ledger = Writer::default();
    ledger.asked(0, 1, json!("alice"), "contract/C-1");
    let facts = json!({"grant": "g-1", "elevation": "e-1", "service": "payments", "resources": ["contract/C-1"],
        "actions": ["payment.release"], "reason": "stuck_payment", "not_before": 1_000, "expires": 601_000});
    ledger.add(1_000, "grant_issued", facts, json!({"person": "alice"}));
    assert_eq!(report(&ledger).whole.time_to_access.count, 0, "nobody can use it yet");
    ledger.add(30_000, "grant_claimed", json!({"grant": "g-1", "binding": "dpop"}), json!({"person": "alice"}));
    let access = report(&ledger).whole.time_to_access;
    assert_eq!((access.count, access.max_ms), (1, Some(30_000)));
}

#[test]
fn nothing_is_a_report_too() {
    let report = Period::default().finish(placed());
    assert_eq!((report.entries, &report.whole), (0, &Totals::default()));
    assert!(report.persons.is_empty());
}
