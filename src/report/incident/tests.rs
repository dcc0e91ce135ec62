//! A grant's story by hand.

use serde_json::json;

use super::*;
use crate::report::sample::Writer;
use crate::wire::reports::Personal;

fn story(ledger: &Writer) -> GrantReport {
    let mut incident = Incident::new(GrantId::from_random(1));
    ledger.0.iter().for_each(|entry| incident.take(&entry.told()));
    incident.finish(SignedTree::default(), WallTime::from_unix_ms(800_000)).unwrap()
}

/// Asked for, approved with less time, granted.
fn ledger() -> Writer {
    let mut ledger = Writer::default();
    ledger.asked(0, 1, json!("alice"), "contract/C-1");
    let approved = json!({"elevation": "e-1", "number": 1, "complete": true, "groups": ["leads"], "duration_s": 600});
    ledger.add(30_000, "elevation_approved", approved, json!({"by": "bob"}));
    ledger.issued(40_000, 1, json!("alice"), "contract/C-1");
    ledger
}

fn line() -> serde_json::Value {
    let digest = "e3b0c442";
    json!(json!({"duration": 12, "http_request": {"url": {"path": "/v1/contracts/C-1/release"}}, "src_endpoint": {"ip": "192.0.2.7"},
        "unmapped": {"break_glass": {"request_id": "0b6f", "method": "POST", "person": "alice",
            "request": {"bytes": 4, "sha256": digest}, "response": {"bytes": 211}}}})
    .to_string())
}

/// Real ids are longer than the sample's: the story is told under one that parses.
fn id(ledger: &Writer) -> Writer {
    let id = GrantId::from_random(1);
    Writer(ledger.0.iter().map(|entry| entry.with("g-1", id.as_str())).collect())
}

#[test]
fn from_request_to_review() {
    let mut ledger = ledger();
    let intent = json!({"grant": "g-1", "seq": 2, "number": 1});
    ledger.line(60_000, "intent", intent, line());
    let outcome =
        json!({"grant": "g-1", "seq": 3, "intent": {"log_id": "aa", "seq": 2}, "end": "completed", "status": 200});
    ledger.line(62_000, "outcome", outcome, line());
    ledger.add(240_000, "grant_revoked", json!({"grant": "g-1", "revocation": "r-1"}), json!({"by": "carol"}));
    ledger.line(241_000, "refusal", json!({"grant": "g-1", "seq": 4, "decision": "grant_revoked"}), line());
    ledger.closed(250_000, 1, 1);
    let reviewed = json!({"grant": "g-1", "verdict": "justified", "late": false});
    ledger.add(700_000, "grant_reviewed", reviewed, json!({"by": "carol", "note": "as it should be"}));
    ledger.add(
        239_000,
        "revocation_ordered",
        json!({"revocation": "r-1", "of": "grant", "grants": 1}),
        json!({"by": "carol"}),
    );
    ledger.add(
        240_100,
        "revocation_enforced",
        json!({"revocation": "r-1", "enforced": 2, "elapsed_ms": 38}),
        json!({}),
    );
    let report = story(&id(&ledger));
    let usage = &report.usage;
    assert_eq!((usage.requested_ms, usage.granted_ms, usage.stood_ms), (Some(900_000), 600_000, Some(200_000)));
    assert_eq!((usage.used_ms, usage.time_to_access_ms, usage.overrides), (20_000, Some(40_000), 1));
    assert_eq!((usage.requested_uses, usage.granted_uses), (Some(5), Some(3)));
    assert_eq!(usage.actions, [("payment.release".to_owned(), 1)].into());
    let one = &report.overrides[0];
    let (asked, outcome) = (one.asked.as_ref().unwrap(), one.outcome.as_ref().unwrap());
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str(), asked.client.as_str()),
        ("POST", "/v1/contracts/C-1/release", "192.0.2.7")
    );
    assert_eq!((outcome.status, outcome.end.as_str(), outcome.duration_ms), (Some(200), "completed", Some(12)));
    assert_eq!(outcome.request.as_ref().unwrap().sha256.as_deref(), Some("e3b0c442"));
    assert_eq!((report.refusals.len(), report.refusals[0].code.as_str()), (1, "grant_revoked"));
    let end = report.end.as_ref().unwrap();
    assert_eq!((end.how.as_str(), end.enforcement.as_ref().unwrap().elapsed_ms), ("revoked", Some(38)));
    assert_eq!((report.approvals.len(), report.approvals[0].duration_s), (1, Some(600)));
    assert_eq!(report.reviews[0].findings.value.as_deref(), Some("as it should be"));
    assert_eq!(report.review_due_at, Some(WallTime::from_unix_ms(240_000 + 3_600_000)));
    assert!(report.completeness.complete, "{}", report.completeness.statement);
    assert_eq!(report.completeness.statement, "This is the only override of this grant.");
    let kinds: Vec<&str> = report.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds.first(), Some(&"elevation_requested"));
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn what_is_missing_is_said() {
    let mut ledger = ledger();
    ledger.used(60_000, 1, 1).used(70_000, 1, 3);
    ledger.add(640_000, "grant_expired", json!({"grant": "g-1"}), json!({}));
    let early = story(&id(&ledger));
    assert!(!early.completeness.complete && early.completeness.statement.contains("not closed yet"));
    ledger.closed(700_000, 1, 3);
    let report = story(&id(&ledger));
    assert!(!report.completeness.complete, "{}", report.completeness.statement);
    assert_eq!(report.completeness.missing_numbers, [2]);
    assert!(report.completeness.statement.contains("counts 3 overrides, the ledger holds 2 intents"));
    ledger.used(650_000, 1, 2);
    let late = story(&id(&ledger));
    assert!(late.completeness.complete, "a line that came late is counted: {}", late.completeness.statement);
    assert_eq!(late.usage.used_ms, 600_000, "no later than the end");
}

#[test]
fn what_does_not_agree_is_named_wherever_the_report_is_read() {
    let mut ledger = ledger();
    ledger.used(60_000, 1, 1);
    ledger.add(640_000, "grant_expired", json!({"grant": "g-1"}), json!({}));
    let closed = json!({"grant": "g-1", "overrides": 1, "ends": {"completed": 1}, "open": 0, "refusals": 0, "assertions": 1,
        "signed": 2, "differences": ["assertions"], "reconciled": false});
    ledger.add(700_000, "grant_closed", closed, json!({}));
    let report = story(&id(&ledger));
    let account = report.account.as_ref().unwrap();
    assert_eq!(
        (account.assertions, account.signed, account.differences.as_slice()),
        (Some(1), Some(2), &["assertions".to_owned()][..])
    );
    let statement = &report.completeness.statement;
    assert!(
        !report.completeness.complete && statement.ends_with("numbers that do not agree: assertions."),
        "{statement}"
    );
    let html = crate::report::html::render(&crate::report::page::of_grant(&report)).unwrap();
    for said in ["1 that outcomes tell of, 2 signed", "assertions: more were signed than outcomes tell of"] {
        assert!(html.contains(said), "{html}");
    }
    let csv = String::from_utf8(crate::report::csv::of_grant(&report).unwrap()).unwrap();
    assert!(
        csv.contains("1 override, 1 assertion told of and 2 signed, not reconciled: assertions do not agree"),
        "{csv}"
    );
    // An entry of a version that did not count them says nothing of them.
    let mut ledger = id(&self::ledger());
    ledger.closed(700_000, 1, 0);
    let old = story(&id(&ledger)).account.unwrap();
    assert_eq!((old.assertions, old.signed), (None, None));
}

#[test]
fn what_was_erased_is_shown_as_erased() {
    let mut ledger = Writer::default();
    ledger.asked(0, 1, json!(null), "contract/C-1").issued(0, 1, json!(null), "contract/C-1").used(1_000, 1, 1);
    let report = story(&id(&ledger));
    assert_eq!(report.granted.person, Personal { value: None, erased: true });
    assert!(report.overrides[0].asked.is_none(), "the line is gone");
    assert_eq!(report.overrides[0].outcome.as_ref().unwrap().status, Some(200), "the entry still says how it ended");
    let page = crate::report::page::of_grant(&report);
    let html = crate::report::html::render(&page).unwrap();
    assert!(html.contains(">erased<") && !html.contains("alice"));
}

#[test]
fn more_overrides_than_are_listed_are_counted() {
    let mut ledger = ledger();
    let count = u64::try_from(LISTED_MAX).unwrap() + 3;
    for number in 1..=count {
        ledger.used(60_000, 1, number);
    }
    let report = story(&id(&ledger));
    assert_eq!((report.overrides.len(), report.overrides_left_out), (LISTED_MAX, 3));
    assert_eq!((report.usage.overrides, report.completeness.outcomes), (count, count));
}

#[test]
fn another_grant_s_entries_are_not_this_one_s() {
    let mut ledger = ledger();
    ledger.issued(50_000, 2, json!("mallory"), "contract/C-9").used(60_000, 2, 1);
    let report = story(&id(&ledger));
    assert_eq!((report.usage.overrides, report.granted.person.value.as_deref()), (0, Some("alice")));
}
