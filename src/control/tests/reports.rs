//! Reports over the API, by a clock that stands still: every number is known.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::approval::FOUR_EYES;
use super::bench::{Bench, NOW_S, bearer, problem, request};
use crate::domain::WallTime;
use crate::wire::api::GrantView;
use crate::wire::reports::{GrantReport, PeriodReport, RowKind};

const TEAM: &str =
    "[[team]]\nname = \"core-payments\"\nservices = [\"payments-demo\"]\ngroups = [\"payments-oncall\"]\n";
/// A browser would run it, a spreadsheet would calculate it.
const HOSTILE: &str = "=1+1</td><script>alert(1)</script>";

impl Bench {
    fn auditor(&self) -> String {
        self.token("audrey", &["auditors"], json!({}))
    }

    /// Granted at once for 900 s; revoked by a lead after `open`.
    async fn ended_after(&self, open: Duration) -> GrantView {
        let asked = request(json!({ "tier": "on-call", "duration_s": 900 }));
        let grant = self.granted(&self.alice(), &asked).await.grant.unwrap();
        self.clock.advance(open);
        let path = format!("/v1/grants/{}/revoke", grant.id);
        self.post(&self.lead(), &path, &json!({ "note": HOSTILE })).await.json().unwrap()
    }

    async fn period(&self, since_s: i64, before_s: i64) -> PeriodReport {
        let (since, before) = (since_s * 1000, before_s * 1000);
        let path = format!("/v1/reports/periods?since_at={since}&before_at={before}");
        self.get(&self.auditor(), &path).await.json().unwrap()
    }

    async fn report_text(&self, path: &str) -> String {
        let answer = self.get(&self.auditor(), path).await;
        assert_eq!(answer.status, 200, "{path}");
        String::from_utf8(answer.body.to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_period_is_counted_by_the_control_plane_s_clock() {
    let bench = Bench::start_with(TEAM, "").await;
    bench.ended_after(Duration::from_secs(200)).await;
    bench.clock.advance(Duration::from_secs(1_000));
    bench.ended_after(Duration::from_secs(100)).await;
    let all = bench.period(NOW_S - 10, NOW_S + 10_000).await;
    let whole = &all.whole;
    assert_eq!((whole.requests, whole.grants, whole.revoked, whole.revocations), (2, 2, 2, 2));
    assert_eq!((whole.time_to_access.count, whole.time_to_access.max_ms), (2, Some(0)));
    assert_eq!(whole.reviews_due, 2);
    let team = &all.teams[0];
    assert_eq!((team.name.as_deref(), team.totals.grants), (Some("core-payments"), 2));
    // The first ends at 200 s, the second begins at 1200 s and ends at 1300 s.
    let later = bench.period(NOW_S + 1_250, NOW_S + 10_000).await;
    assert_eq!((later.whole.grants, later.whole.revoked, later.whole.reviews_due), (0, 1, 1));
    let alice = &later.persons[0];
    assert_eq!((alice.name.as_deref(), alice.totals.revoked), (Some("alice"), 1), "whose it was is recalled");
    assert_eq!(later.teams[0].name.as_deref(), Some("core-payments"));
    let begun = bench.period(NOW_S, NOW_S + 200).await;
    assert_eq!((begun.whole.grants, begun.whole.revoked), (1, 0), "a period ends before its end");
    assert_eq!((begun.end.size, later.begin.size > begun.end.size), (begun.begin.size + begun.entries, true));
    assert!(!begun.end.consistency.is_empty());
}

#[tokio::test]
async fn a_live_grant_has_a_story_and_what_was_typed_stays_text() {
    let bench = Bench::start_with("", "").await;
    let grant = bench.ended_after(Duration::from_secs(200)).await;
    let path = format!("/v1/reports/grants/{}", grant.id);
    let report: GrantReport = bench.get(&bench.auditor(), &path).await.json().unwrap();
    let usage = &report.usage;
    assert_eq!((usage.granted_ms, usage.stood_ms, usage.used_ms), (900_000, Some(200_000), 0));
    assert_eq!(usage.actions, [("payment.release".to_owned(), 0)].into());
    assert_eq!(report.end.as_ref().unwrap().at, WallTime::from_unix_s(NOW_S + 200));
    let ordered = report.events.iter().find(|event| event.kind == "revocation_ordered").unwrap();
    assert_eq!((ordered.note.value.as_deref(), ordered.by.value.as_deref()), (Some(HOSTILE), Some("lea")));
    let html = bench.report_text(&format!("{path}?format=html")).await;
    assert!(!html.contains("<script") && html.contains("alert(1)"), "{html}");
    let csv = bench.report_text(&format!("{path}?format=csv")).await;
    assert!(csv.contains(HOSTILE) && csv.contains("revocation_ordered"), "{csv}");
    let kinds = bench.running.store().entries(0, 1_000).await.unwrap();
    let looks = kinds.iter().filter(|entry| entry.canonical.contains("grant_report")).count();
    assert_eq!(looks, 3, "each look is an entry");
    let open = bench.granted(&bench.alice(), &request(json!({ "tier": "on-call" }))).await.grant.unwrap();
    let live: GrantReport =
        bench.get(&bench.auditor(), &format!("/v1/reports/grants/{}", open.id)).await.json().unwrap();
    assert!(live.end.is_none() && live.usage.stood_ms.is_none() && !live.completeness.complete);
}

#[tokio::test]
async fn reports_are_for_those_who_look_at_what_others_did() {
    let bench = Bench::start_with(FOUR_EYES, "reviewers = [\"reviewers\"]\n").await;
    let grant = bench.ended_after(Duration::from_secs(1)).await;
    let path = format!("/v1/reports/grants/{}", grant.id);
    let period = "/v1/reports/periods?since_at=0&before_at=1000";
    let ray = bench.token("ray", &["reviewers"], json!({}));
    let stranger = bench.token("mallory", &[], json!({}));
    assert_eq!(bench.get(&ray, &path).await.status, 200, "a reviewer");
    let told = [
        (&path[..], bench.alice(), "not_permitted"),
        (&path, bench.lead(), "not_permitted"),
        (&path, stranger.clone(), "not_found"),
        (period, ray, "not_permitted"),
        (period, bench.alice(), "not_permitted"),
        (period, stranger, "not_permitted"),
        ("/v1/reports/grants/g-0123456789ab", bench.auditor(), "not_found"),
        ("/v1/reports/periods?since_at=1000&before_at=1000", bench.auditor(), "period_invalid"),
        ("/v1/reports/periods?since_at=0&before_at=34560000001", bench.auditor(), "period_invalid"),
        ("/v1/reports/periods?since_at=tomorrow&before_at=1", bench.auditor(), "malformed_request"),
    ];
    for (path, token, code) in told {
        assert_eq!(problem(&bench.get(&token, path).await).code, code, "{path}");
    }
    assert_eq!(bench.period(0, 1).await.whole, Default::default(), "nothing is a report, too");
    let answer = bench.call(Method::HEAD, &path, bearer(&bench.auditor()), Bytes::new()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
}

#[tokio::test]
async fn what_was_erased_is_told_as_erased() {
    let bench = Bench::start_with("", "").await;
    let grant = bench.ended_after(Duration::from_secs(10)).await;
    bench.running.store().forget_values_for_test().await;
    let path = format!("/v1/reports/grants/{}?format=html", grant.id);
    let html = bench.report_text(&path).await;
    assert!(html.contains(">erased<") && !html.contains("alice") && !html.contains(">lea<"), "{html}");
    let report = bench.period(NOW_S - 10, NOW_S + 10_000).await;
    assert_eq!((report.persons.len(), report.persons[0].kind), (1, RowKind::Erased));
    assert_eq!(report.persons[0].totals.grants, 1, "the numbers stay");
    let plain: Value = serde_json::to_value(&report).unwrap();
    assert!(!plain.to_string().contains("alice"));
}

#[tokio::test]
async fn a_page_runs_nothing() {
    let bench = Bench::start_with("", "").await;
    let path = "/v1/reports/periods?since_at=0&before_at=1000&format=html";
    let answer = bench.get(&bench.auditor(), path).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert_eq!(policy, crate::report::html::content_security_policy());
    assert_eq!(answer.headers[header::REFERRER_POLICY], HeaderValue::from_static("no-referrer"));
}
