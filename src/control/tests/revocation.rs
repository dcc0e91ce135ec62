//! Revocations of every size, and freezes: who may, what they end, what is written down.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, problem, request};
use crate::control::StartError;
use crate::domain::{Person, Selector};
use crate::store::{OrderOutcome, Progress, sample};
use crate::wire::api::{GrantState, GrantView, Page};
use crate::wire::revocations::{
    FreezeLiftedView, FreezeView, RevocationEnforcement, RevocationPreview, RevocationView,
};

const REVOCATIONS: &str = "/v1/revocations";

fn person(name: &str) -> Value {
    json!({ "kind": "person", "person": name })
}

impl Bench {
    /// A lead, who may revoke.
    fn lea(&self) -> String {
        self.token("lea", &["leads"], json!({}))
    }

    fn root(&self) -> String {
        self.token("root", &["admins"], json!({}))
    }

    async fn order(&self, token: &str, what: Value, note: Option<&str>) -> crate::http::Answer {
        let mut body = json!({ "what": what });
        if let Some(note) = note {
            body["note"] = note.into();
        }
        self.post(token, REVOCATIONS, &body).await
    }

    async fn state_of(&self, grant: &GrantView) -> GrantState {
        let view: GrantView = self.get(&self.root(), &format!("/v1/grants/{}", grant.id)).await.json().unwrap();
        view.state
    }
}

#[tokio::test]
async fn a_person_s_grants_end_together_and_nobody_else_s() {
    let bench = Bench::start().await;
    let (alice, carol) = (bench.alice(), bench.token("carol", &["payments-oncall"], json!({})));
    let ask = |contract: &str| request(json!({ "resources": [format!("contract/{contract}")] }));
    let first = bench.granted(&alice, &ask("C-1")).await.grant.unwrap();
    let second = bench.granted(&alice, &ask("C-2")).await.grant.unwrap();
    let other = bench.granted(&carol, &ask("C-1")).await.grant.unwrap();
    let preview = bench.post(&bench.lea(), "/v1/revocations/preview", &json!({ "what": person("alice") })).await;
    let preview: RevocationPreview = preview.json().unwrap();
    assert_eq!((preview.grants, preview.first.len()), (2, 2));
    assert_eq!(bench.state_of(&first).await, GrantState::Active, "a preview ends nothing");
    let answer = bench.order(&bench.lea(), person("alice"), Some("left")).await;
    assert_eq!(answer.status, 201);
    let view: RevocationView = answer.json().unwrap();
    assert_eq!(answer.headers["location"], format!("/v1/revocations/{}", view.id));
    assert_eq!((view.grants_ended, view.complete, view.by.as_str()), (2, true, "lea"));
    assert_eq!(view.what, Selector::Person { person: "alice".parse().unwrap() });
    for (grant, state) in [(&first, GrantState::Revoked), (&second, GrantState::Revoked), (&other, GrantState::Active)]
    {
        assert_eq!(bench.state_of(grant).await, state);
    }
    let ended: GrantView = bench.get(&alice, &format!("/v1/grants/{}", first.id)).await.json().unwrap();
    assert_eq!((ended.revocation, ended.end_note.as_deref()), (Some(view.id.clone()), Some("left")));
    let by_resource = json!({ "kind": "resource", "resource": "contract/C-1" });
    let view: RevocationView = bench.order(&bench.lea(), by_resource, Some("wrong")).await.json().unwrap();
    assert_eq!((view.grants_ended, bench.state_of(&other).await), (1, GrantState::Revoked));
    bench.running.stop().await;
}

#[tokio::test]
async fn who_may_order_what() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let auditor = bench.token("ann", &["auditors"], json!({}));
    let stopper = bench.token("sam", &["stoppers"], json!({}));
    let all = || json!({ "kind": "everything" });
    for token in [&alice, &auditor, &stopper] {
        let refused = problem(&bench.order(token, all(), Some("why")).await);
        assert_eq!((refused.status, refused.code.as_str()), (403, "not_permitted"));
    }
    assert_eq!(problem(&bench.order(&auditor, person("alice"), Some("why")).await).code, "not_permitted");
    for note in [None, Some(" \t")] {
        assert_eq!(problem(&bench.order(&bench.lea(), all(), note).await).code, "note_missing");
    }
    let unknown = json!({ "kind": "service", "service": "paymants" });
    assert_eq!(problem(&bench.order(&bench.lea(), unknown, Some("why")).await).code, "unknown_service");
    for bad in [json!({ "kind": "freeze" }), json!({ "kind": "everything", "person": "x" }), json!({ "kind": "x" })] {
        assert_eq!(problem(&bench.order(&bench.root(), bad, Some("why")).await).status, 400);
    }
    let grant = bench.granted(&alice, &request(json!({}))).await.grant.unwrap();
    let revoke = format!("/v1/grants/{}/revoke", grant.id);
    assert_eq!(problem(&bench.post(&bench.lea(), &revoke, &json!({})).await).code, "note_missing", "not their own");
    let one = json!({ "kind": "grant", "grant": grant.id });
    let stranger = bench.token("mallory", &["payments-oncall"], json!({}));
    assert_eq!(problem(&bench.order(&stranger, one.clone(), Some("why")).await).code, "not_found");
    let own: RevocationView = bench.order(&alice, person("alice"), None).await.json().unwrap();
    assert_eq!((own.grants_ended, own.note), (1, None));
    assert_eq!(problem(&bench.order(&alice, one, None).await).code, "grant_ended");
    for (token, status) in [(&alice, 200), (&auditor, 200), (&stopper, 200), (&stranger, 404)] {
        assert_eq!(bench.get(token, &format!("{REVOCATIONS}/{}", own.id)).await.status, status);
        assert_eq!(bench.get(token, &format!("{REVOCATIONS}/{}/enforcement", own.id)).await.status, status);
    }
    let listed: Page<RevocationView> = bench.get(&auditor, REVOCATIONS).await.json().unwrap();
    assert_eq!(listed.items.iter().map(|one| &one.id).collect::<Vec<_>>(), [&own.id]);
    let listed: Page<RevocationView> = bench.get(&stranger, REVOCATIONS).await.json().unwrap();
    assert_eq!(listed.items, []);
    bench.running.stop().await;
}

#[tokio::test]
async fn one_whose_grant_was_ended_sees_who_did_and_why() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let grant = bench.granted(&alice, &request(json!({}))).await.grant.unwrap();
    let one = json!({ "kind": "grant", "grant": grant.id });
    let view: RevocationView = bench.order(&bench.lea(), one, Some("over")).await.json().unwrap();
    let seen: RevocationView = bench.get(&alice, &format!("{REVOCATIONS}/{}", view.id)).await.json().unwrap();
    assert_eq!((seen.by.as_str(), seen.note.as_deref(), seen.grants_ended), ("lea", Some("over"), 1));
    bench.running.stop().await;
}

/// Where there is no sidecar nothing is awaited: that is written down once, and nothing is guessed.
#[tokio::test]
async fn the_arrival_is_written_down_once() {
    let bench = Bench::start().await;
    bench.granted(&bench.alice(), &request(json!({}))).await;
    let view: RevocationView = bench.order(&bench.alice(), person("alice"), None).await.json().unwrap();
    let path = format!("{REVOCATIONS}/{}/enforcement?wait_ms=1", view.id);
    let recorded = loop {
        let stands: RevocationEnforcement = bench.get(&bench.alice(), &path).await.json().unwrap();
        if let Some(recorded) = stands.recorded {
            break recorded;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((recorded.enforced, recorded.stopped, recorded.elapsed_ms), (0, 0, None));
    let bench = bench.restart().await;
    let kinds = bench.entry_kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "revocation_enforced").count(), 1);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_freeze_stops_grants_over_a_restart_until_an_admin_lifts_it() {
    let bench = Bench::start().await;
    let (alice, stopper) = (bench.alice(), bench.token("sam", &["stoppers"], json!({})));
    let (of_service, of_all) = ("/v1/freezes/payments-demo", "/v1/freezes");
    let note = json!({ "note": "the ledger disagrees" });
    assert_eq!(problem(&bench.put(&alice, of_service, &note).await).code, "not_permitted");
    assert_eq!(problem(&bench.put(&stopper, of_service, &json!({ "note": "" })).await).code, "note_missing");
    assert_eq!(problem(&bench.put(&stopper, "/v1/freezes/paymants", &note).await).code, "unknown_service");
    let answer = bench.put(&stopper, of_service, &note).await;
    assert_eq!(answer.status, 201);
    let frozen: FreezeView = answer.json().unwrap();
    let again = bench.put(&bench.lea(), of_service, &json!({ "note": "another" })).await;
    assert_eq!(
        (again.status.as_u16(), again.json::<FreezeView>().unwrap()),
        (200, frozen.clone()),
        "it stays as it was"
    );
    let seen: Page<FreezeView> = bench.get(&alice, of_all).await.json().unwrap();
    assert_eq!(seen.items, [FreezeView { by: None, note: None, ..frozen.clone() }]);
    let refused = problem(&bench.post(&alice, "/v1/elevations", &request(json!({}))).await);
    assert_eq!((refused.status, refused.code.as_str()), (409, "frozen"));
    let bench = bench.restart().await;
    let whole: Page<FreezeView> = bench.get(&bench.lea(), of_all).await.json().unwrap();
    assert_eq!(whole.items, std::slice::from_ref(&frozen));
    let refused = problem(&bench.post(&alice, "/v1/elevations", &request(json!({}))).await);
    assert_eq!(refused.code, "frozen", "it outlives a restart");
    for token in [&alice, &stopper, &bench.lea()] {
        assert_eq!(problem(&bench.delete(token, of_service).await).code, "not_permitted");
    }
    assert_eq!(problem(&bench.delete(&bench.root(), of_all).await).status, 404, "that one was never set");
    let lifted: FreezeLiftedView = bench.delete(&bench.root(), of_service).await.json().unwrap();
    assert_eq!((lifted.service, lifted.enforcement.sidecars), (frozen.service.clone(), 0));
    bench.granted(&alice, &request(json!({}))).await;
    assert_eq!(bench.put(&stopper, of_all, &note).await.status, 201);
    let refused = problem(&bench.post(&alice, "/v1/elevations", &request(json!({}))).await);
    assert_eq!(refused.code, "frozen", "everything is this service, too");
    let revocation = frozen.revocation.unwrap();
    let view: RevocationView = bench.get(&stopper, &format!("{REVOCATIONS}/{revocation}")).await.json().unwrap();
    assert_eq!((view.what, view.grants_ended), (Selector::Freeze { service: frozen.service }, 0));
    let kinds = bench.entry_kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "freeze_changed").count(), 3);
    bench.running.stop().await;
}

#[tokio::test]
async fn who_cannot_read_the_freezes_does_not_start() {
    let bench = Bench::start().await;
    bench.put(&bench.root(), "/v1/freezes", &json!({ "note": "why" })).await;
    let damage = async |folder: &Path| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("data/control.db"));
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("UPDATE freezes SET revocation = 'damaged'").execute(&pool).await.unwrap();
        pool.close().await;
    };
    let error = bench.restart_after(damage).await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Freezes(_)), "{error}");
}

/// As a process leaves it that ends in the middle of a large revocation.
#[tokio::test]
async fn an_order_left_half_carried_out_is_carried_on() {
    const GRANTS: u64 = 205;
    let bench = Bench::start().await;
    let store = bench.running.store();
    for n in 1..=GRANTS {
        let mut new = sample::granted(n, 3, bench.clock.now().wall);
        let person: Person = format!("person-{n}").parse().unwrap();
        new.record.elevation.person = person.clone();
        new.grant.as_mut().unwrap().grant.person = person;
        sample::create(store, &new).await.unwrap();
    }
    let all = Selector::Everything {};
    let ordered = store.order(&all, &"lea".parse().unwrap(), Some("why"), None).await.unwrap();
    let OrderOutcome::Ordered(id, Progress { open: true, .. }) = ordered else { panic!("{ordered:?}") };
    let path = format!("{REVOCATIONS}/{id}");
    let view = loop {
        let view: RevocationView = bench.get(&bench.lea(), &path).await.json().unwrap();
        if view.complete {
            break view;
        }
        assert!(!view.enforcement.settled, "grants remain: {view:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(view.grants_ended, GRANTS);
    bench.running.stop().await;
}
