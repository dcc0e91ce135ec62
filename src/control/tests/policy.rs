//! The policy changes as a whole: looked at first, by administrators, and what it no longer allows ends with it.

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::bench::{Bench, bearer, problem, request};
use crate::domain::Person;
use crate::http::Answer;
use crate::wire::api::{GrantState, GrantView, Page};
use crate::wire::policy::{PolicyChanged, PolicyPreview, PolicyView, ProposalView};

const POLICY: &str = include_str!("../../../config/policy.toml");
const SERVICE: &str = include_str!("../../../config/services/payments-demo.toml");

fn texts(policy: &str) -> Value {
    json!({ "policy": policy, "services": [SERVICE], "note": "after the audit" })
}

fn admin(bench: &Bench, person: &str) -> String {
    bench.token(person, &["admins"], json!({}))
}

async fn in_force(bench: &Bench, token: &str) -> (PolicyView, HeaderValue) {
    let answer = bench.get(token, "/v1/policy").await;
    assert_eq!(answer.status, 200);
    (answer.json().unwrap(), answer.headers[header::ETAG].clone())
}

async fn put(bench: &Bench, token: &str, tag: &HeaderValue, body: &Value) -> Answer {
    let mut headers: HeaderMap = bearer(token);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::IF_MATCH, tag.clone());
    bench.call(Method::PUT, "/v1/policy", headers, body.to_string().into()).await
}

async fn state(bench: &Bench, grant: &GrantView) -> GrantView {
    bench.get(&admin(bench, "root"), &format!("/v1/grants/{}", grant.id)).await.json().unwrap()
}

/// The example without one of its actions.
fn narrower() -> String {
    let narrower = POLICY.replacen("\"payment.release\", ", "", 1);
    assert_ne!(narrower, POLICY);
    narrower
}

#[tokio::test]
async fn a_change_ends_what_it_no_longer_allows_and_says_so_before() {
    let bench = Bench::start().await;
    let (alice, root) = (bench.alice(), admin(&bench, "root"));
    let doomed = bench.granted(&alice, &request(json!({}))).await.grant.unwrap();
    let spared = bench.granted(&alice, &request(json!({ "actions": ["limit.set"] }))).await.grant.unwrap();
    let (before, tag) = in_force(&bench, &root).await;
    let file = std::fs::read_to_string(bench.folder().join("policy.toml")).unwrap();
    assert_eq!((before.revision, &before.policy, &before.applied_by), (1, &file, &None));
    assert_eq!((before.services[0].name.as_str(), before.services[0].text.as_str()), ("payments-demo", SERVICE));

    let body = texts(&narrower());
    let preview: PolicyPreview = bench.post(&root, "/v1/policy/preview", &body).await.json().unwrap();
    assert_eq!((preview.mistakes, preview.second_administrator), (vec![], false));
    let ends: Vec<_> = preview.ends.iter().map(|end| (end.grant.clone(), end.why.as_str())).collect();
    assert_eq!(ends, [(doomed.id.clone(), "the tier no longer covers payment.release")]);
    assert_eq!(state(&bench, &doomed).await.state, GrantState::Active, "nothing was changed");

    let answer = put(&bench, &root, &tag, &body).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let changed: PolicyChanged = answer.json().unwrap();
    assert_eq!((changed.revision, changed.proposal, &changed.ended), (Some(2), None, &preview.ends));
    let ended = state(&bench, &doomed).await;
    assert_eq!((ended.state, ended.ended_by), (GrantState::Revoked, None));
    assert_eq!(ended.end_note.unwrap(), "policy revision 2: the tier no longer covers payment.release");
    assert_eq!(state(&bench, &spared).await.state, GrantState::Active);
    assert_eq!(problem(&bench.post(&alice, "/v1/elevations", &request(json!({}))).await).code, "no_tier_fits");
    let later = bench.granted(&alice, &request(json!({ "actions": ["limit.set"] }))).await.grant.unwrap();
    assert_eq!(later.policy_revision, 2);
    let after = in_force(&bench, &root).await.0;
    assert_eq!((after.revision, &after.applied_by), (2, &Some("root".parse::<Person>().unwrap())));
    assert_eq!(problem(&put(&bench, &root, &tag, &body).await).code, "precondition_failed", "it was changed meanwhile");
    let kinds = bench.entry_kinds().await;
    let applied = kinds.iter().rposition(|kind| kind == "policy_applied").unwrap();
    assert_eq!(kinds[applied..applied + 3], ["policy_applied", "service_applied", "grant_revoked"]);
    let revisions: Page<PolicyView> = bench.get(&root, "/v1/policy/revisions?before=2").await.json().unwrap();
    assert_eq!(revisions.items, [before]);
    let bench = bench.restart().await;
    assert_eq!(in_force(&bench, &root).await.0, after, "and not what the files say");
    bench.running.stop().await;
}

#[tokio::test]
async fn every_mistake_is_named_and_nothing_is_applied() {
    let bench = Bench::start().await;
    let root = admin(&bench, "root");
    let (before, tag) = in_force(&bench, &root).await;
    let wrong = POLICY.replace("maximum_s = 1800", "maximum_s = 99999\nmaximun_s = 1");
    let body = json!({ "policy": wrong, "services": [SERVICE.replace("name = \"payments-demo\"", "name = 7")] });
    let preview: PolicyPreview = bench.post(&root, "/v1/policy/preview", &body).await.json().unwrap();
    for wanted in ["services[0]:", "policy:", "maximun_s: unknown key (did you mean \"maximum_s\"?)"] {
        assert!(preview.mistakes.iter().any(|mistake| mistake.contains(wanted)), "{wanted}: {:?}", preview.mistakes);
    }
    let refused = problem(&put(&bench, &root, &tag, &body).await);
    assert_eq!((refused.status, refused.code.as_str()), (422, "policy_invalid"));
    assert!(refused.detail.contains("maximun_s: unknown key"), "{}", refused.detail);
    assert_eq!(in_force(&bench, &root).await.0, before);
    bench.running.stop().await;
}

#[tokio::test]
async fn only_administrators_change_it_and_on_what_they_have_seen() {
    let bench = Bench::start().await;
    let (root, auditor) = (admin(&bench, "root"), bench.token("ann", &["auditors"], json!({})));
    let (_, tag) = in_force(&bench, &root).await;
    assert_eq!(in_force(&bench, &auditor).await.1, tag, "auditors see it");
    for (token, code) in [(&auditor, "not_permitted"), (&bench.alice(), "not_permitted")] {
        assert_eq!(problem(&put(&bench, token, &tag, &texts(POLICY)).await).code, code);
    }
    for path in ["/v1/policy", "/v1/policy/revisions", "/v1/policy/proposals"] {
        assert_eq!(problem(&bench.get(&bench.alice(), path).await).code, "not_permitted", "{path}");
    }
    let unseen = bench.call(Method::PUT, "/v1/policy", bearer(&root), texts(POLICY).to_string().into()).await;
    assert_eq!(problem(&unseen).code, "precondition_required");
    bench.running.stop().await;
}

#[tokio::test]
async fn where_two_are_wanted_one_proposes_and_another_confirms() {
    let bench = Bench::start().await;
    let (root, other) = (admin(&bench, "root"), admin(&bench, "other"));
    let (_, tag) = in_force(&bench, &root).await;
    let two = POLICY.replacen("[organisation]\n", "[organisation]\nsecond_administrator = true\n", 1);
    assert_eq!(put(&bench, &root, &tag, &texts(&two)).await.status, 200, "until then one is enough");
    let grant = bench.granted(&bench.alice(), &request(json!({}))).await.grant.unwrap();

    let (_, tag) = in_force(&bench, &root).await;
    let answer = put(&bench, &root, &tag, &texts(&narrower())).await;
    assert_eq!(answer.status, 202);
    let proposal = answer.json::<PolicyChanged>().unwrap().proposal.unwrap();
    assert_eq!(state(&bench, &grant).await.state, GrantState::Active, "nothing has changed yet");
    let path = format!("/v1/policy/proposals/{proposal}");
    let shown: ProposalView = bench.get(&other, &path).await.json().unwrap();
    assert_eq!((shown.base, shown.proposed_by.as_str(), shown.policy), (2, "root", narrower()));
    let confirm = format!("{path}/confirm");
    assert_eq!(problem(&bench.post(&root, &confirm, &json!({})).await).code, "second_administrator");
    assert_eq!(problem(&bench.post(&bench.alice(), &confirm, &json!({})).await).code, "not_permitted");

    let stale = put(&bench, &root, &tag, &texts(POLICY)).await.json::<PolicyChanged>().unwrap().proposal.unwrap();
    let confirmed: PolicyChanged = bench.post(&other, &confirm, &json!({})).await.json().unwrap();
    assert_eq!((confirmed.revision, confirmed.ended.len()), (Some(3), 1));
    assert_eq!(state(&bench, &grant).await.state, GrantState::Revoked);
    let after = in_force(&bench, &root).await.0;
    assert_eq!(after.applied_by.unwrap().as_str(), "root");
    assert_eq!(after.confirmed_by.unwrap().as_str(), "other");
    assert_eq!(problem(&bench.post(&other, &confirm, &json!({})).await).code, "proposal_decided");
    let path = format!("/v1/policy/proposals/{stale}");
    let refused = bench.post(&other, &format!("{path}/confirm"), &json!({})).await;
    assert_eq!(problem(&refused).code, "precondition_failed", "it followed revision 2");
    assert_eq!(bench.post(&root, &format!("{path}/withdraw"), &json!({})).await.status, 200);
    assert_eq!(problem(&bench.post(&root, &format!("{path}/withdraw"), &json!({})).await).code, "proposal_decided");
    let all: Page<ProposalView> = bench.get(&root, "/v1/policy/proposals").await.json().unwrap();
    let states: Vec<_> = all.items.iter().map(|proposal| proposal.state.as_str()).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"applied") && states.contains(&"withdrawn"));
    bench.running.stop().await;
}

#[tokio::test]
async fn a_schedule_of_a_new_policy_counts_at_once_and_what_stands_in_for_it_is_recorded() {
    let bench = Bench::start().await;
    let root = admin(&bench, "root");
    let (_, tag) = in_force(&bench, &root).await;
    let on_call = POLICY.replacen("groups = [\"payments-oncall\"]", "on_call = [\"primary\"]", 1)
        + "\n[[schedule]]\nname = \"primary\"\nsource = \"opsgenie\"\nschedule = \"a-b\"\ntoken_file = \"none\"\n\
           fallback_group = \"payments-leads\"\n";
    let answer = put(&bench, &root, &tag, &texts(&on_call)).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let refused = bench.post(&bench.alice(), "/v1/elevations", &request(json!({}))).await;
    assert_eq!(problem(&refused).code, "no_tier_fits", "nobody knows who is on call");
    let lead = bench.token("lea", &["payments-leads"], json!({}));
    bench.granted(&lead, &request(json!({}))).await;
    let entries = bench.running.store().entries(0, 1000).await.unwrap();
    let asked = entries.iter().rfind(|entry| entry.kind == "elevation_requested").unwrap();
    let asked: Value = serde_json::from_str(&asked.canonical).unwrap();
    assert_eq!(
        (&asked["facts"]["admitted_by"], &asked["facts"]["stood_in"]),
        (&json!("on_call:primary"), &json!("payments-leads"))
    );
    bench.running.stop().await;
}
