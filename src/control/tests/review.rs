//! After the end of a grant: somebody else looks at it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::approval::{FOUR_EYES, four_eyes};
use super::bench::{Bench, bearer, problem, request};
use crate::domain::{ReviewState, Verdict};
use crate::wire::api::{GrantView, Page};

const REVIEWERS: &str = "reviewers = [\"reviewers\"]\n";

fn findings(text: &str) -> Value {
    json!({ "verdict": "justified", "findings": text })
}

impl Bench {
    /// A grant of alice's that has ended.
    async fn ended(&self) -> GrantView {
        let grant = self.granted(&self.alice(), &request(json!({ "tier": "on-call" }))).await.grant.unwrap();
        let path = format!("/v1/grants/{}/revoke", grant.id);
        self.post(&self.alice(), &path, &json!({})).await.json().unwrap()
    }

    async fn listed(&self, token: &str, review: &str) -> usize {
        let page: Page<GrantView> = self.get(token, &format!("/v1/grants?review={review}")).await.json().unwrap();
        page.items.len()
    }
}

#[tokio::test]
async fn somebody_else_reviews_what_has_ended() {
    let bench = Bench::start_with(FOUR_EYES, REVIEWERS).await;
    let live = bench.granted(&bench.alice(), &request(json!({ "tier": "on-call" }))).await.grant.unwrap();
    assert_eq!(live.review.state, ReviewState::None);
    let grant = bench.ended().await;
    assert_eq!(grant.review.state, ReviewState::Due);
    assert_eq!(grant.review.due_at, Some(grant.ended_at.unwrap().plus(Duration::from_secs(86_400))));
    let path = |grant: &GrantView| format!("/v1/grants/{}/review", grant.id);
    let ray = bench.token("ray", &["reviewers"], json!({}));
    let early = problem(&bench.post(&ray, &path(&live), &findings("x")).await);
    assert_eq!((early.code.as_str(), early.state.as_deref()), ("state_conflict", Some("none")));
    let own = bench.token("alice", &["reviewers", "admins"], json!({}));
    assert_eq!(problem(&bench.post(&own, &path(&grant), &findings("x")).await).code, "own_request");
    let revoker = bench.token("rev", &["revokers-of-nothing"], json!({}));
    assert_eq!(problem(&bench.post(&revoker, &path(&grant), &findings("x")).await).code, "not_found");
    let lead = bench.token("lea", &["leads"], json!({}));
    assert_eq!(problem(&bench.post(&lead, &path(&grant), &findings("x")).await).code, "not_permitted");
    assert_eq!((bench.listed(&ray, "due").await, bench.listed(&bench.alice(), "due").await), (1, 1));
    let answer = bench.post(&ray, &path(&grant), &findings("one release, as the ticket says")).await;
    let view: GrantView = answer.json().unwrap();
    assert_eq!((view.review.state, view.review.verdict), (ReviewState::Reviewed, Some(Verdict::Justified)));
    assert_eq!(view.review.reviewed_by.unwrap().as_str(), "ray");
    let again = problem(&bench.post(&ray, &path(&grant), &findings("x")).await);
    assert_eq!((again.status, again.state.as_deref()), (409, Some("reviewed")));
    assert_eq!((bench.listed(&ray, "due").await, bench.listed(&ray, "reviewed").await), (0, 1));
    assert_eq!(bench.entry_kinds().await.last().unwrap(), "grant_reviewed");
    bench.running.stop().await;
}

#[tokio::test]
async fn who_approves_in_a_tier_reviews_in_it_too() {
    let bench = Bench::start_with(FOUR_EYES, "").await;
    let asked = bench.granted(&bench.alice(), &four_eyes(json!({}))).await;
    let lead = bench.token("lea", &["leads"], json!({}));
    bench.approved(&lead, &asked, json!({})).await;
    let done = bench.approved(&bench.token("rick", &["risk"], json!({})), &asked, json!({})).await;
    let grant = done.grant.unwrap();
    bench.post(&bench.alice(), &format!("/v1/grants/{}/revoke", grant.id), &json!({})).await;
    assert_eq!(bench.listed(&lead, "due").await, 1);
    let answer = bench.post(&lead, &format!("/v1/grants/{}/review", grant.id), &findings("fine")).await;
    assert_eq!(answer.status, 200);
    let other = bench.token("oz", &["payments-oncall"], json!({}));
    assert_eq!(bench.listed(&other, "reviewed").await, 0);
    bench.running.stop().await;
}

#[tokio::test]
async fn what_nobody_reviewed_is_overdue_and_counted() {
    let bench = Bench::start_with("", REVIEWERS).await;
    let grant = bench.ended().await;
    let ray = bench.token("ray", &["reviewers"], json!({}));
    bench.clock.advance(Duration::from_secs(86_400));
    assert_eq!((bench.listed(&ray, "due").await, bench.listed(&ray, "overdue").await), (0, 1));
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let metrics = String::from_utf8(bench.admin("/metrics").await.body.to_vec()).unwrap();
            if metrics.contains("breakglass_control_reviews_overdue 1") {
                break;
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(bench.entry_kinds().await.iter().filter(|kind| *kind == "review_overdue").count(), 1);
    let late = bench.post(&ray, &format!("/v1/grants/{}/review", grant.id), &findings("late, but fine")).await;
    assert_eq!(late.status, 200);
    let mut entries = bench.running.store().entries(0, 100).await.unwrap();
    entries.retain(|entry| entry.kind == "grant_reviewed");
    let entry = entries.pop().unwrap();
    let canonical: Value = serde_json::from_str(&entry.canonical).unwrap();
    assert_eq!((canonical["facts"]["late"].as_bool(), entry.canonical.contains("fine")), (Some(true), false));
    bench.running.stop().await;
}

#[tokio::test]
async fn each_bad_review_has_its_own_code() {
    let bench = Bench::start_with("", REVIEWERS).await;
    let grant = bench.ended().await;
    let ray = bench.token("ray", &["reviewers"], json!({}));
    let path = format!("/v1/grants/{}/review", grant.id);
    for (body, status, code) in [
        (json!({ "verdict": "justified" }), 400, "malformed_request"),
        (json!({ "verdict": "fine", "findings": "x" }), 400, "malformed_request"),
        (json!({ "verdict": "justified", "findings": " " }), 422, "note_missing"),
        (json!({ "verdict": "justified", "findings": "x".repeat(2001) }), 422, "note_too_long"),
        (json!({ "verdict": "justified", "findings": "x", "grant": "g-1" }), 400, "malformed_request"),
        (json!({ "verdict": ["justified"], "findings": "x" }), 400, "malformed_request"),
    ] {
        let refused = problem(&bench.post(&ray, &path, &body).await);
        assert_eq!((refused.status, refused.code.as_str()), (status, code), "{body}: {}", refused.detail);
    }
    let mut headers = bearer(&ray);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let huge = Bytes::from(vec![b' '; 10 * 1024 * 1024]);
    assert_eq!(problem(&bench.call(Method::POST, &path, headers, huge).await).code, "body_too_large");
    assert_eq!(problem(&bench.get(&ray, "/v1/grants?review=maybe").await).code, "malformed_request");
    let note = findings("'; DROP TABLE grants; -- {{7*7}} \u{0430}");
    let done: GrantView = bench.post(&ray, &path, &note).await.json().unwrap();
    assert_eq!(done.review.findings.as_deref(), note["findings"].as_str());
    bench.running.stop().await;
}
