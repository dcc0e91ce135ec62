//! Who looks at what is not theirs is recorded, and who asks too often is told to wait.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::approval::{FOUR_EYES, four_eyes};
use super::bench::{Bench, LIMITS, problem, request};
use crate::control::workflow::reads::ReadBook;

async fn looks(bench: &Bench) -> Vec<Value> {
    let entries = bench.running.store().entries(0, 1000).await.unwrap();
    let looks = entries.into_iter().filter(|entry| entry.kind == "data_read");
    looks.map(|entry| serde_json::from_str(&entry.canonical).unwrap()).collect()
}

#[tokio::test]
async fn a_look_at_other_people_s_data_is_an_entry_and_the_same_look_again_is_not() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let view = bench.granted(&alice, &request(json!({}))).await;
    let grant = view.grant.unwrap().id;
    let auditor = bench.token("ann", &["auditors"], json!({}));
    for own in ["/v1/grants", "/v1/elevations", &format!("/v1/grants/{grant}"), &format!("/v1/elevations/{}", view.id)]
    {
        assert_eq!(bench.get(&alice, own).await.status, 200);
    }
    assert_eq!(bench.get(&auditor, "/v1/grants?mine=true").await.status, 200);
    assert_eq!(bench.get(&auditor, "/v1/grants/g-000000000000").await.status, 404);
    assert_eq!(looks(&bench).await, Vec::<Value>::new(), "one's own, and nothing");

    for _ in 0..3 {
        assert_eq!(bench.get(&auditor, "/v1/grants?person=alice&reason=stuck_payment").await.status, 200);
    }
    let all = looks(&bench).await;
    assert_eq!(all.len(), 1, "{all:?}");
    let facts = json!({"view": "grants", "records": 1, "covers_s": 600, "filter": {"reason": "stuck_payment"}});
    assert_eq!(all[0]["facts"], facts);
    let fields: Vec<_> = all[0]["personal"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["by", "person"]);

    bench.get(&auditor, "/v1/grants?person=alice").await;
    assert_eq!(looks(&bench).await.len(), 2, "another filter is another look");
    bench.granted(&alice, &request(json!({}))).await;
    bench.get(&auditor, "/v1/grants?person=alice").await;
    assert_eq!(looks(&bench).await.len(), 3, "another record is another look");
    bench.get(&bench.token("otto", &["auditors"], json!({})), "/v1/grants?person=alice").await;
    assert_eq!(looks(&bench).await.len(), 4, "another reader is another look");
    bench.clock.advance(ReadBook::COVERED - Duration::from_millis(1));
    bench.get(&auditor, "/v1/grants?person=alice").await;
    assert_eq!(looks(&bench).await.len(), 4, "covered");
    bench.clock.advance(Duration::from_millis(1));
    bench.get(&auditor, "/v1/grants?person=alice").await;
    assert_eq!(looks(&bench).await.len(), 5, "no longer covered");

    for path in [format!("/v1/grants/{grant}"), format!("/v1/elevations/{}", view.id), "/v1/elevations".to_owned()] {
        let before = looks(&bench).await.len();
        assert_eq!(bench.get(&auditor, &path).await.status, 200);
        assert_eq!(looks(&bench).await.len(), before + 1, "{path}");
    }
    let lead = bench.token("lea", &["leads"], json!({}));
    bench.get(&lead, &format!("/v1/grants/{grant}")).await;
    let last = looks(&bench).await.pop().unwrap();
    assert_eq!(last["facts"]["filter"]["id"], grant.as_str(), "a revoker looks too");
    bench.running.stop().await;
}

#[tokio::test]
async fn what_a_stale_approval_is_shown_and_what_is_there_to_approve_are_looks() {
    let bench = Bench::start_with(FOUR_EYES, "").await;
    let asked = bench.granted(&bench.alice(), &four_eyes(json!({}))).await;
    let lead = bench.token("lea", &["leads"], json!({}));
    let outsider = bench.token("otto", &["payments-oncall"], json!({}));
    assert_eq!(bench.get(&outsider, "/v1/elevations?to_approve=true").await.status, 200);
    assert_eq!(looks(&bench).await, Vec::<Value>::new(), "nothing of others was shown, nor could be");
    assert_eq!(bench.get(&lead, "/v1/elevations?to_approve=true").await.status, 200);
    let all = looks(&bench).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["facts"]["filter"], json!({"to_approve": true}));
    let path = format!("/v1/elevations/{}/approve", asked.id);
    let refused = problem(&bench.post_if(&lead, &path, "\"unseen\"", &json!({})).await);
    assert_eq!((refused.status, refused.current.is_some()), (412, true));
    let all = looks(&bench).await;
    assert_eq!((all.len(), &all[1]["facts"]["filter"]["id"]), (2, &json!(asked.id)));
    bench.running.stop().await;
}

#[tokio::test]
async fn what_can_not_be_recorded_is_not_shown() {
    let bench = Bench::start().await;
    let view = bench.granted(&bench.alice(), &request(json!({}))).await;
    let database = format!("sqlite://{}", bench.folder().join("data/control.db").display());
    let mut aside = sqlx::SqliteConnection::connect(&database).await.unwrap();
    let fault = "CREATE TRIGGER fault BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'fault'); END";
    sqlx::raw_sql(fault).execute(&mut aside).await.unwrap();
    let auditor = bench.token("ann", &["auditors"], json!({}));
    for path in ["/v1/grants".to_owned(), "/v1/elevations".to_owned(), format!("/v1/elevations/{}", view.id)] {
        let answer = bench.get(&auditor, &path).await;
        assert_eq!(problem(&answer).code, "store_unavailable", "{path}");
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert!(!String::from_utf8_lossy(&answer.body).contains("alice"), "{path}");
        assert_eq!(bench.get(&bench.alice(), &path).await.status, 200, "one's own needs no entry");
    }
    sqlx::raw_sql("DROP TRIGGER fault").execute(&mut aside).await.unwrap();
    assert_eq!(bench.get(&auditor, "/v1/grants").await.status, 200);
    bench.running.stop().await;
}

/// A bench with other limits.
async fn limited(limits: &str) -> Bench {
    let bench = Bench::start().await;
    let file = bench.folder().join("control.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace(LIMITS, &format!("[api.limits]\n{limits}\n"));
    std::fs::write(&file, text).unwrap();
    bench.restart().await
}

#[tokio::test]
async fn who_asks_too_often_waits_and_others_do_not() {
    let bench = limited("reads_per_minute_max = 3\ncreates_per_minute_max = 1").await;
    let (alice, bob) = (bench.alice(), bench.token("bob", &["payments-oncall"], json!({})));
    let other_token = bench.token("alice", &["payments-oncall"], json!({"jti": "2"}));
    for left in ["\"read\";r=2;t=20", "\"read\";r=1;t=40"] {
        let answer = bench.get(&alice, "/v1/grants").await;
        assert_eq!(answer.headers["ratelimit"], left);
        assert_eq!(answer.headers["ratelimit-policy"], "\"read\";q=3;w=60");
    }
    assert_eq!(bench.get(&other_token, "/v1/grants/g-000000000000").await.status, 404, "a refusal counts too");
    let refused = bench.get(&alice, "/v1/grants").await;
    assert_eq!((problem(&refused).status, problem(&refused).code.as_str()), (429, "rate_limited"));
    assert_eq!(refused.headers[header::RETRY_AFTER], "20");
    assert_eq!(refused.headers["ratelimit"], "\"read\";r=0;t=80");
    assert_eq!(bench.get(&bob, "/v1/grants").await.status, 200);
    bench.granted(&alice, &request(json!({}))).await;
    let refused = bench.post(&alice, "/v1/elevations", &request(json!({}))).await;
    assert_eq!(problem(&refused).code, "rate_limited");
    bench.clock.advance(Duration::from_secs(20));
    assert_eq!(bench.get(&alice, "/v1/grants").await.status, 200);
    let text = String::from_utf8(bench.admin("/metrics").await.body.to_vec()).unwrap();
    for line in ["{limit=\"read\"} 1", "{limit=\"create\"} 1", "{limit=\"sign_in\"} 0"] {
        assert!(text.contains(&format!("breakglass_control_rate_limited_total{line}")), "{text}");
    }
    bench.running.stop().await;
}

#[tokio::test]
async fn a_stranger_can_not_have_signatures_checked_for_ever() {
    let bench = limited("failed_authentications_per_minute_max = 3").await;
    let alice = bench.alice();
    let (head, _) = alice.rsplit_once('.').unwrap();
    for n in 0..20 {
        // Whoever signs in is not counted.
        let fresh = bench.token("bob", &["payments-oncall"], json!({ "jti": n.to_string() }));
        assert_eq!(bench.get(&fresh, "/v1/grants").await.status, 200);
    }
    for _ in 0..3 {
        let forged = format!("{head}.{}", "A".repeat(86));
        assert_eq!(problem(&bench.get(&forged, "/v1/grants").await).code, "identity_invalid");
    }
    let refused = bench.get("x", "/v1/grants").await;
    assert_eq!(problem(&refused).code, "rate_limited");
    assert_eq!(refused.headers[header::RETRY_AFTER], "20");
    let late = bench.token("bob", &["payments-oncall"], json!({ "jti": "late" }));
    assert_eq!(problem(&bench.get(&late, "/v1/grants").await).code, "rate_limited", "unknown as yet");
    let known = bench.token("bob", &["payments-oncall"], json!({ "jti": "7" }));
    assert_eq!(bench.get(&known, "/v1/grants").await.status, 200, "known already");
    let keys = bench.call(Method::GET, "/v1/keys", HeaderMap::new(), Bytes::new()).await;
    assert_eq!(keys.status, 200, "public");
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(bench.get(&late, "/v1/grants").await.status, 200);
    bench.running.stop().await;
}
