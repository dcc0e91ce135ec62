//! Erasing through the API: who may, what stands in the way, what is shown afterwards; and reading what is kept.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::approval::FOUR_EYES;
use super::bench::{Bench, NOW_S, bearer, problem, request};
use crate::ledger::entry::{PersonalField, PersonalValue};
use crate::store::StoredEntry;
use crate::store::faults::steps_of;
use crate::wire::api::{ElevationView, GrantState, GrantView, Page};
use crate::wire::erasures::{ErasurePreview, ErasureView, PersonalValues};

const REVIEWERS: &str = "reviewers = [\"reviewers\"]\n";
const DAY: Duration = Duration::from_secs(86_400);

fn of(person: &str) -> Value {
    json!({ "what": { "kind": "person", "person": person }, "reason": "requested" })
}

fn before(unix_ms: i64) -> Value {
    json!({ "what": { "kind": "age", "before": unix_ms }, "reason": "retention" })
}

fn root_of(bench: &Bench) -> String {
    bench.token("root", &["admins"], json!({}))
}

impl Bench {
    /// Nothing of alice's goes on any more.
    async fn is_over(&self, grant: &GrantView) {
        self.post(&self.alice(), &format!("/v1/grants/{}/revoke", grant.id), &json!({})).await;
        let ray = self.token("ray", &["reviewers"], json!({}));
        let findings = json!({ "verdict": "justified", "findings": "alice did what the ticket says" });
        let answer = self.post(&ray, &format!("/v1/grants/{}/review", grant.id), &findings).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        while !self.running.store().close_accounts().await.unwrap().is_empty() {}
    }

    async fn all_entries(&self) -> Vec<StoredEntry> {
        self.running.store().entries(0, 1000).await.unwrap()
    }

    async fn assert_sound(&self) {
        assert_eq!(self.running.store().check().await.unwrap().findings, vec![]);
    }
}

#[tokio::test]
async fn an_admin_erases_somebody_once_nothing_of_theirs_goes_on() {
    let bench = Bench::start_with(FOUR_EYES, REVIEWERS).await;
    let (root, alice) = (root_of(&bench), bench.alice());
    let asked = request(json!({ "tier": "on-call", "ticket": "INC-777" }));
    let elevation: ElevationView = bench.granted(&alice, &asked).await;
    let refused = problem(&bench.post(&root, "/v1/erasures", &of("alice")).await);
    assert_eq!((refused.status, refused.code.as_str()), (409, "erasure_obstructed"));
    let grant = elevation.grant.unwrap();
    assert_eq!(refused.detail, format!("a grant is live: {}", grant.id));
    let preview: ErasurePreview = bench.post(&root, "/v1/erasures/preview", &of("alice")).await.json().unwrap();
    assert_eq!(preview.obstacles[0].id.as_deref(), Some(grant.id.as_str()));
    bench.is_over(&grant).await;
    let preview: ErasurePreview = bench.post(&root, "/v1/erasures/preview", &of("alice")).await.json().unwrap();
    assert!(preview.obstacles.is_empty() && preview.values > 5 && preview.records == 2, "{preview:?}");
    let mut headers = bearer(&root);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("idempotency-key", HeaderValue::from_static("k-1"));
    let body = Bytes::from(of("alice").to_string());
    let answer = bench.call(Method::POST, "/v1/erasures", headers.clone(), body.clone()).await;
    assert_eq!(answer.status, 201);
    let done: ErasureView = answer.json().unwrap();
    assert_eq!(answer.headers[header::LOCATION], format!("/v1/erasures/{}", done.id));
    assert!(done.complete && done.values >= preview.values, "{done:?} {preview:?}");
    let again: ErasureView = bench.call(Method::POST, "/v1/erasures", headers, body).await.json().unwrap();
    assert_eq!(again.id, done.id, "the same call is carried out once");
    let auditor = bench.token("audrey", &["auditors"], json!({}));
    let path = format!("/v1/erasures/{}", done.id);
    let shown: ErasureView = bench.get(&auditor, &path).await.json().unwrap();
    assert_eq!(shown, done);
    let view: GrantView = bench.get(&root, &format!("/v1/grants/{}", grant.id)).await.json().unwrap();
    assert_eq!((Some(&view.person), view.ticket.as_str()), (done.called.as_ref(), "erased"));
    assert_eq!(view.review.reviewed_by.unwrap().as_str(), "ray");
    let named: Page<GrantView> = bench.get(&root, "/v1/grants?person=alice").await.json().unwrap();
    assert!(named.items.is_empty());
    bench.assert_sound().await;
    // She comes back as anybody would, and sees nothing of what was.
    let own: Page<GrantView> = bench.get(&alice, "/v1/grants").await.json().unwrap();
    assert!(own.items.is_empty());
    assert_eq!(problem(&bench.get(&alice, &path).await).code, "not_found");
    bench.running.stop().await;
}

#[tokio::test]
async fn who_may_not_erases_nothing_and_neither_does_a_mistake() {
    let bench = Bench::start_with(FOUR_EYES, REVIEWERS).await;
    let grant = bench.granted(&bench.alice(), &request(json!({ "tier": "on-call" }))).await.grant.unwrap();
    bench.is_over(&grant).await;
    let before_all = bench.running.store().would_erase(&erasable(&of("alice")), &[]).await.unwrap();
    for (person, groups) in
        [("alice", "payments-oncall"), ("audrey", "auditors"), ("lea", "leads"), ("sam", "stoppers")]
    {
        let token = bench.token(person, &[groups], json!({}));
        for path in ["/v1/erasures", "/v1/erasures/preview"] {
            assert_eq!(problem(&bench.post(&token, path, &of("alice")).await).code, "not_permitted", "{person} {path}");
            assert_eq!(problem(&bench.post(&token, path, &before(1)).await).code, "not_permitted", "{person} {path}");
        }
    }
    let root = root_of(&bench);
    for (body, code) in [
        (of("root"), "own_request"),
        (of("nobody-here"), "not_found"),
        (of("erased:000000000001"), "not_found"),
        (before(NOW_S * 1000 + 86_400_000), "malformed_request"),
        (json!({ "what": { "kind": "person", "person": "alice" } }), "malformed_request"),
        (json!({ "what": { "kind": "person", "person": "alice" }, "reason": "because" }), "malformed_request"),
        (json!({ "what": { "kind": "person", "person": "alice" }, "reason": "restored" }), "malformed_request"),
        (json!({ "what": { "kind": "everything" }, "reason": "requested" }), "malformed_request"),
        (json!({ "what": { "kind": "person", "person": "two words" }, "reason": "requested" }), "malformed_request"),
    ] {
        assert_eq!(problem(&bench.post(&root, "/v1/erasures", &body).await).code, code, "{body}");
    }
    for id in ["x-000000000001", "x", "alice"] {
        assert_eq!(problem(&bench.get(&root, &format!("/v1/erasures/{id}")).await).code, "not_found");
    }
    let after_all = bench.running.store().would_erase(&erasable(&of("alice")), &[]).await.unwrap();
    assert_eq!(before_all, after_all);
    assert!(!bench.entry_kinds().await.contains(&"personal_erased".to_owned()));
    bench.running.stop().await;
}

fn erasable(body: &Value) -> crate::domain::Erasable {
    serde_json::from_value(body["what"].clone()).unwrap()
}

#[tokio::test]
async fn what_is_over_by_its_time_waits_for_no_erasure() {
    let bench = Bench::start_with(FOUR_EYES, &format!("{REVIEWERS}[retention]\ndays = 2\n")).await;
    let grant = bench.granted(&bench.alice(), &request(json!({ "tier": "on-call" }))).await.grant.unwrap();
    let workflow = &bench.running.state.workflow;
    bench.clock.advance(3 * DAY);
    let swept = steps_of(workflow.sweep()).await;
    assert!(swept.iter().any(|step| step.starts_with("SELECT") && step.contains("grants")), "{swept:?}");
    let erases = |step: &&str| step.contains("erasures") || step.starts_with("DELETE FROM entry_values");
    assert_eq!(swept.iter().copied().filter(erases).collect::<Vec<_>>(), Vec::<&str>::new());
    let ended = bench.running.store().grant(&grant.id).await.unwrap().unwrap();
    assert_ne!(ended.state, GrantState::Active);
    bench.running.stop().await;
}

#[tokio::test]
async fn nobody_is_let_in_by_a_name_that_stands_for_the_erased() {
    let bench = Bench::start().await;
    let erased = bench.token("erased:000000000001", &["admins"], json!({}));
    assert_eq!(bench.get(&erased, "/v1/grants").await.status, 401);
    bench.running.stop().await;
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_goes_by_itself() {
    let bench = Bench::start_with(FOUR_EYES, &format!("{REVIEWERS}[retention]\ndays = 2\n")).await;
    let grant = bench.granted(&bench.alice(), &request(json!({ "tier": "on-call", "ticket": "INC-777" }))).await;
    bench.is_over(&grant.grant.unwrap()).await;
    let store = bench.running.store();
    bench.running.state.workflow.erase_aged().await;
    assert_eq!(store.open_erasures().await.unwrap(), vec![], "it is not old enough");
    bench.clock.advance(3 * DAY);
    bench.running.state.workflow.erase_aged().await;
    // The upkeep does the same at the same time.
    for open in store.open_erasures().await.unwrap() {
        while store.carry_on_erasure(&open).await.unwrap().open {}
    }
    let told: Vec<Value> = bench
        .all_entries()
        .await
        .iter()
        .filter(|entry| entry.kind == "personal_erased")
        .map(|entry| serde_json::from_str(&entry.canonical).unwrap())
        .collect();
    let last = &told.last().unwrap()["facts"];
    assert_eq!((&last["of"], &last["reason"], &last["complete"]), (&"age".into(), &"retention".into(), &true.into()));
    assert_eq!(told[0].get("personal"), None, "nobody ordered it");
    let elevation = store.elevation(&grant.id).await.unwrap().unwrap();
    assert_eq!(elevation.elevation.person.as_str(), "erased:1");
    bench.running.state.workflow.erase_aged().await;
    assert_eq!(store.open_erasures().await.unwrap(), vec![], "there is nothing more");
    bench.assert_sound().await;
    let metrics = String::from_utf8(bench.admin("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("breakglass_control_personal_values_erased_total "), "{metrics}");
    bench.running.stop().await;
}

#[tokio::test]
async fn who_sees_everything_reads_values_that_fit_their_entries() {
    let bench = Bench::start_with(FOUR_EYES, REVIEWERS).await;
    let ask = request(json!({ "tier": "on-call", "ticket": "INC-777" }));
    let grant = bench.granted(&bench.alice(), &ask).await.grant.unwrap();
    bench.granted(&bench.token("bea", &["payments-oncall"], json!({})), &ask).await;
    bench.is_over(&grant).await;
    let entries = bench.all_entries().await;
    let all = json!({ "entries": entries.iter().map(|entry| entry.index).collect::<Vec<_>>() });
    let path = format!("/v1/grants/{}/personal-values", grant.id);
    for (person, groups, code) in [
        ("alice", "payments-oncall", "not_permitted"),
        ("lea", "leads", "not_permitted"),
        ("stan", "nothing", "not_found"),
    ] {
        let token = bench.token(person, &[groups], json!({}));
        assert_eq!(problem(&bench.post(&token, &path, &all).await).code, code, "{person}");
    }
    let auditor = bench.token("audrey", &["auditors"], json!({}));
    let many = json!({ "entries": (0..501).collect::<Vec<_>>() });
    assert_eq!(problem(&bench.post(&auditor, &path, &many).await).code, "malformed_request");
    let read: PersonalValues = bench.post(&auditor, &path, &all).await.json().unwrap();
    let fields: Vec<_> = read.values.iter().map(|value| (value.field.as_str(), value.value.as_str())).collect();
    for wanted in
        [("person", "alice"), ("ticket", "INC-777"), ("by", "ray"), ("note", "alice did what the ticket says")]
    {
        assert!(fields.contains(&wanted), "{wanted:?}: {fields:?}");
    }
    assert!(!fields.iter().any(|(_, value)| *value == "bea"), "only what is about this grant");
    for value in &read.values {
        let entry: Value = serde_json::from_str(&entries[value.entry as usize].canonical).unwrap();
        let field: PersonalField = serde_json::from_value(value.field.clone().into()).unwrap();
        let salt: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&value.salt[n * 2..n * 2 + 2], 16).unwrap()).collect();
        let kept = PersonalValue { field, value: value.value.clone(), salt: salt.try_into().unwrap() };
        assert_eq!(entry["personal"][&value.field], kept.commitment());
    }
    let look: Value = serde_json::from_str(&bench.all_entries().await.last().unwrap().canonical).unwrap();
    assert_eq!((&look["kind"], &look["facts"]["view"]), (&"data_read".into(), &"personal_values".into()));
    assert_eq!(look["facts"]["records"], read.values.len());
    bench.running.stop().await;
}
