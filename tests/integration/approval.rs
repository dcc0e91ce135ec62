//! A request that two others must agree to, from the command line to the sidecar: they look, they narrow, and what passes
//! is what all of them agreed to, from the last approval on.

use std::time::Duration;

use ::breakglass::cli::failure::Exit;
use ::breakglass::store::PolicyChange;
use ::breakglass::wire::api::{ElevationView, GrantView};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Site, breakglass, raw_request, until};

const FOUR_EYES: &str = r#"
[[tier]]
name = "four-eyes"
groups = ["payments-oncall"]
services = ["payments"]
role = "payments.override"
resources = ["contract/*"]
actions = ["payment.release", "payment.cancel"]
default_s = 900
maximum_s = 3600
max_uses = { default = 5, maximum = 20 }
staleness_max_s = 3
approvals = { count = 2, groups = ["payments-leads", "payments-oncall"], every_group = true }
"#;

/// A site whose policy has come to know the tier while it ran.
async fn site() -> Site {
    let site = Site::start().await;
    let policy = std::fs::read_to_string(site.path().join("policy.toml")).unwrap();
    let store = site.control().store();
    let applied = store.policy().await.unwrap().unwrap();
    let change = PolicyChange {
        text: format!("{policy}{FOUR_EYES}"),
        digest: "digest".to_owned(),
        services: applied.services,
        base: applied.revision,
        by: "root".parse().unwrap(),
        note: None,
    };
    store.apply_policy(&change, None, &|_, _| Ok(())).await.unwrap();
    site
}

const REQUEST: [&str; 15] = [
    "request",
    "--service",
    "payments",
    "--resource",
    "contract/C-1042",
    "--action",
    "payment.release",
    "--action",
    "payment.cancel",
    "--reason",
    "stuck_payment",
    "--ticket",
    "INC-2041",
    "--tier",
    "four-eyes",
];

/// The one request that `person` can approve, as soon as there is one.
async fn to_approve(site: &Site, person: &str) -> ElevationView {
    until("a request to approve", async || {
        let (_, said) = site.api(Method::GET, "/v1/elevations?to_approve=true", person, Value::Null).await;
        said["items"].get(0).map(|item| serde_json::from_value(item.clone()).unwrap())
    })
    .await
}

/// Looks at it, and approves what it saw.
async fn approve(site: &Site, person: &str, narrowing: &[&str]) {
    let id = to_approve(site, person).await.id.to_string();
    let (ended, shown, _) = breakglass(site, person, &["requests", "show", &id]).await;
    assert!(ended.is_ok(), "{ended:?}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((shown["person"].as_str(), shown["past"]["grants"].as_u64()), (Some("alice"), Some(0)), "{shown}");
    let etag = shown["etag"].as_str().unwrap();
    let line: Vec<&str> = ["approve", &id, "--yes", "--etag", etag].iter().chain(narrowing).copied().collect();
    let (ended, _, talk) = breakglass(site, person, &line).await;
    assert_eq!(ended, Ok(0), "{talk}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_agreed_to_passes_and_nothing_more() {
    let site = site().await;
    let sidecar = site.sidecar().await;
    let asking = async {
        let line: Vec<&str> = REQUEST.iter().copied().chain(["--for", "10m"]).collect();
        breakglass(&site, "alice", &line).await
    };
    let answering = async {
        approve(&site, "bob", &["--action", "payment.release", "--uses", "1"]).await;
        let before = ::breakglass::clock::Clock::System.wall();
        approve(&site, "carol", &["--for", "5m"]).await;
        before
    };
    let ((ended, data, talk), last_approval) = tokio::join!(asking, answering);
    assert_eq!(ended, Ok(0), "{talk}");
    assert!(talk.contains("waits for 2 approvals of payments-leads, payments-oncall, one of each"), "{talk}");
    assert!(talk.contains("breakglass approve e-") && talk.contains("bob approved it"), "{talk}");
    let view: ElevationView = serde_json::from_str(&data).unwrap();
    let grant: GrantView = view.grant.unwrap();
    assert_eq!((grant.actions.len(), grant.max_uses), (1, Some(1)));
    // The clock started at the last approval: five minutes from there, in whole seconds.
    let late = grant.expires_at.since(last_approval.plus(Duration::from_secs(300)));
    assert!(
        grant.expires_at > last_approval.plus(Duration::from_secs(298)) && late < Duration::from_secs(60),
        "{grant:?}"
    );

    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let send = async |method: &str, contract: &str| {
        let request = raw_request(method, &format!("/v1/contracts/{contract}/echo"), &headers, "");
        sidecar.send(&request).await.code()
    };
    assert_eq!(send("PUT", "C-1042").await, "action_out_of_scope", "bob took that off");
    assert_eq!(send("POST", "C-7").await, "resource_out_of_scope");
    assert_eq!(send("POST", "C-1042").await, "override");
    assert_eq!(send("POST", "C-1042").await, "grant_used_up", "once, as bob said");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_no_and_by_whom() {
    let site = site().await;
    let asking = async { breakglass(&site, "alice", &REQUEST).await };
    let answering = async {
        let id = to_approve(&site, "carol").await.id.to_string();
        let (refused, _, _) = breakglass(&site, "alice", &["approve", &id, "--yes", "--etag", "x"]).await;
        assert_eq!(refused.unwrap_err().exit, Exit::Refused, "nobody approves their own request");
        let (ended, _, talk) = breakglass(&site, "carol", &["deny", &id, "--note", "not tonight"]).await;
        assert_eq!(ended, Ok(0), "{talk}");
    };
    let ((ended, _, _), ()) = tokio::join!(asking, answering);
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit, Exit::Refused);
    assert!(failure.message.ends_with("was denied by carol: not tonight"), "{}", failure.message);

    let line: Vec<&str> = REQUEST.iter().copied().chain(["--approval-wait", "1s"]).collect();
    let (ended, _, _) = breakglass(&site, "alice", &line).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Unreachable, "no answer in time");
    let (ended, data, talk) = breakglass(&site, "alice", &[&REQUEST[..], &["--no-wait"]].concat()).await;
    assert_eq!(ended, Ok(0), "{talk}");
    let view: ElevationView = serde_json::from_str(&data).unwrap();
    let (ended, _, _) = breakglass(&site, "alice", &["withdraw", view.id.as_str()]).await;
    assert_eq!(ended, Ok(0));
    let (ended, _, _) = breakglass(&site, "alice", &["withdraw", view.id.as_str()]).await;
    let failure = ended.unwrap_err();
    assert!(failure.message.contains("state_conflict"), "{}", failure.message);
    let (status, said) =
        site.api(Method::POST, &format!("/v1/elevations/{}/approve", view.id), "carol", json!({})).await;
    assert_eq!((status, said["code"].as_str()), (428, Some("precondition_required")));
}
