//! A policy is put in force from the command line: shown first, and what it no longer allows is cut at the sidecar.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Ask, Site, breakglass, raw_request, until};

/// The site's files as an administrator has them, with the policy changed.
fn files(site: &Site, change: impl Fn(String) -> String) -> Vec<String> {
    let folder = site.path().join("changed");
    std::fs::create_dir_all(&folder).unwrap();
    let read = |name: &str| std::fs::read_to_string(site.path().join(name)).unwrap();
    std::fs::write(folder.join("policy.toml"), change(read("policy.toml"))).unwrap();
    for service in ["payments.toml", "ledger.toml"] {
        std::fs::write(folder.join(service), read(service)).unwrap();
    }
    vec!["--files".to_owned(), folder.to_str().unwrap().to_owned()]
}

async fn apply(site: &Site, person: &str, files: &[String], more: &[&str]) -> (Result<u8, String>, String, String) {
    let words: Vec<&str> =
        ["policy", "apply"].into_iter().chain(files.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    let (ended, data, talk) = breakglass(site, person, &words).await;
    (ended.map_err(|failure| format!("{failure:?}")), data, talk)
}

/// Without the action that the site's grants are for.
fn without_release(policy: String) -> String {
    let without = policy.replace("\"payment.release\", ", "");
    assert_ne!(without, policy);
    without
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_no_longer_allows_is_shown_first_and_ends_at_the_sidecar() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x");
    assert_eq!(sidecar.send(&request).await.code(), "override");

    let changed = files(&site, without_release);
    let (ended, _, talk) = apply(&site, "carol", &changed, &["--dry-run"]).await;
    assert_eq!(ended, Ok(0), "{talk}");
    assert!(talk.contains(&format!("ends now: {}", grant.id)), "{talk}");
    assert!(talk.contains("the tier no longer covers payment.release"), "{talk}");
    assert_eq!(sidecar.send(&request).await.code(), "override", "nothing was changed");

    let (ended, _, _) = apply(&site, "alice", &changed, &["--yes"]).await;
    assert!(ended.unwrap_err().contains("not_permitted"), "alice is no administrator");
    let (ended, _, _) = apply(&site, "carol", &changed, &[]).await;
    assert!(ended.unwrap_err().contains("nobody can be asked here"), "and nobody can be asked");
    let (ended, data, talk) = apply(&site, "carol", &changed, &["--yes", "--note", "after the audit"]).await;
    assert_eq!(ended, Ok(0), "{talk}");
    let done: Value = serde_json::from_str(&data).unwrap();
    assert_eq!((done["revision"].as_u64(), done["ended"][0]["grant"].as_str()), (Some(2), Some(grant.id.as_str())));
    let enforced = site.enforcement(&grant, "alice").await;
    assert_eq!(enforced.enforced, 1);
    assert_eq!(sidecar.send(&request).await.code(), "grant_revoked");

    let (ended, _, talk) = apply(&site, "carol", &changed, &["--yes"]).await;
    assert_eq!(ended, Ok(0));
    assert!(talk.contains("nothing to apply"), "{talk}");
    let (_, shown, _) = breakglass(&site, "carol", &["policy", "show"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((shown["applied_by"].as_str(), shown["note"].as_str()), (Some("carol"), Some("after the audit")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_the_files_is_told_with_its_place_and_nothing_is_sent() {
    let site = Site::start().await;
    let wrong = files(&site, |policy| policy.replace("[organisation]", "[organisation]\nlifetime_maximum_s = 3"));
    let (ended, _, _) = apply(&site, "carol", &wrong, &["--yes"]).await;
    let told = ended.unwrap_err();
    assert!(told.contains("policy.toml:") && told.contains("organisation.lifetime_maximum_s: unknown key"), "{told}");
    assert_eq!(site.control().store().policy_revision().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_waits_for_another_administrator() {
    let site = Site::start().await;
    let two = files(&site, |policy| policy.replace("[organisation]", "[organisation]\nsecond_administrator = true"));
    assert_eq!(apply(&site, "carol", &two, &["--yes"]).await.0, Ok(0));
    let back = files(&site, |policy| policy);
    let (ended, data, talk) = apply(&site, "carol", &back, &["--yes"]).await;
    assert_eq!(ended, Ok(0), "{talk}");
    let proposal = serde_json::from_str::<Value>(&data).unwrap()["proposal"].as_str().unwrap().to_owned();
    let (ended, _, _) = breakglass(&site, "carol", &["policy", "confirm", &proposal, "--yes"]).await;
    assert!(format!("{:?}", ended.unwrap_err()).contains("second_administrator"));
    let (_, listed, _) = breakglass(&site, "carol", &["policy", "proposals"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed[0]["id"].as_str(), listed[0]["state"].as_str()), (Some(proposal.as_str()), Some("open")));
    let (ended, _, talk) = breakglass(&site, "carol", &["policy", "withdraw", &proposal]).await;
    assert_eq!(ended, Ok(0), "{talk}");
    assert_eq!(site.control().store().policy_revision().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_silent_sidecar_counts_follows_the_policy_that_allows_more() {
    let site = Site::start().await;
    let hub = || site.control().hub().staleness_max();
    assert_eq!(hub(), Duration::from_secs(3));
    for (revision, now, then) in [(2, 3, 20), (3, 20, 5)] {
        // The organisation's stands first; each tier has its own.
        let widened = format!("staleness_max_s = {then}\n");
        let changed = files(&site, |policy| policy.replacen("staleness_max_s = 3\n", &widened, 1));
        let (ended, _, talk) = apply(&site, "carol", &changed, &["--yes"]).await;
        assert_eq!(ended, Ok(0), "{talk}");
        assert_eq!(site.control().store().policy_revision().await.unwrap(), revision);
        until("the hub allows as much", async || (hub() == Duration::from_secs(then.max(now))).then_some(())).await;
    }
}
