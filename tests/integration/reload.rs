//! Reload: certificates, routes and limits change under traffic, whole or not at all, and no connection is dropped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use breakglass::certs::DevAuthority;
use breakglass::clock::Clock;
use breakglass::wire::api::GrantView;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Ask, Raw, Recorder, SERVICE, SidecarFile, Site, TestSidecar, h2_request, raw_request, until};

const ECHO: &str = "/v1/contracts/C-1042/echo";

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "the edit must change something");
    std::fs::write(file, changed).unwrap();
}

fn service_file(sidecar: &TestSidecar) -> std::path::PathBuf {
    sidecar.file.parent().unwrap().join("service.toml")
}

async fn under(sidecar: &TestSidecar, grant: &GrantView, identity: &str) -> String {
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity)];
    sidecar.send(&raw_request("POST", ECHO, &headers, "x")).await.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_changes_on_disk_is_served_without_dropping_a_connection() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let mut kept = sidecar.raw().await;
    let mut h2 = sidecar.h2().await;
    let ordinary = raw_request("POST", "/v1/echo", &[], "x");
    kept.write(&ordinary).await;
    assert_eq!(kept.answer().await.code(), "pass");
    let before = kept.certificate();

    let authority = DevAuthority::new(Clock::System.wall(), Duration::from_secs(3_600)).unwrap();
    let leaf = authority.server("server", &["localhost", "127.0.0.1"]).unwrap();
    let ca = site.path().join("other-ca.pem");
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    std::fs::write(site.path().join("server.pem"), &leaf.certificate_pem).unwrap();
    std::fs::write(site.path().join("server.key"), leaf.key_pem.expose()).unwrap();
    // Nobody says so: the files are watched. What fits together in the end is what counts.
    until("the new certificate is loaded", async || {
        let reload = sidecar.readyz().await["reload"].clone();
        reload.is_object().then(|| reload["error"].is_null()).filter(|took_effect| *took_effect)
    })
    .await;

    let mut fresh = Raw::open(sidecar.address, &ca).await;
    assert_ne!(fresh.certificate(), before);
    fresh.write(&ordinary).await;
    assert_eq!(fresh.answer().await.code(), "pass");
    kept.write(&ordinary).await;
    assert_eq!(kept.answer().await.code(), "pass", "the connection from before goes on");
    assert_eq!(h2.send("POST", "/v1/echo", &[], "x").await.code(), "pass");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrower_ceiling_refuses_and_cuts_and_a_wider_one_brings_the_grant_back() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let identity = site.identity("alice");
    let actions = vec!["payment.release".to_owned(), "statement.read".to_owned()];
    let grant = site.grant(&Ask { actions, ..Ask::default() }).await;
    assert_eq!(under(&sidecar, &grant, &identity).await, "override");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let mut h2 = sidecar.h2().await;
    let endless = h2_request("GET", "/v1/contracts/C-1042/statement?bytes=8589934592", &headers, "");
    let download = h2.begin(endless).await.unwrap();
    assert_eq!(download.status(), 200);

    edit(&service_file(&sidecar), |text| {
        text.replace("roles = [\"payments.override\"]", "roles = [\"payments.other\"]")
    });
    sidecar.reload().await.unwrap();
    let cut = until("the download is cut", async || {
        sidecar.facts("outcome").into_iter().find(|outcome| outcome["end"] == "cut")
    })
    .await;
    assert_eq!(cut["cause"], "over_ceiling", "{cut}");
    sidecar.until_overrides().await;
    assert_ne!(under(&sidecar, &grant, &identity).await, "override");

    edit(&service_file(&sidecar), |text| text.replace("payments.other", "payments.override"));
    sidecar.reload().await.unwrap();
    until("the grant is usable again", async || (under(&sidecar, &grant, &identity).await == "override").then_some(()))
        .await;
    drop(download);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_and_seals_change_with_the_next_request_on_the_same_connection() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let mut kept = sidecar.raw().await;
    let ordinary = raw_request("POST", ECHO, &[], "x");
    kept.write(&ordinary).await;
    assert_eq!(kept.answer().await.code(), "pass");
    edit(&service_file(&sidecar), |text| text.replace("query = [\"dry_run\"]", "without_grant = \"refuse\""));
    sidecar.reload().await.unwrap();
    kept.write(&ordinary).await;
    assert_eq!(kept.answer().await.code(), "grant_required");
    std::fs::write(service_file(&sidecar), SERVICE).unwrap();
    sidecar.reload().await.unwrap();
    kept.write(&ordinary).await;
    assert_eq!(kept.answer().await.code(), "pass");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_changes_nothing_and_says_so() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let setup = sidecar.shared().setup();
    let key = site.path().join("server.key");
    let key_before = std::fs::read(&key).unwrap();
    let broken: [(&str, &dyn Fn(), &str); 4] = [
        ("no TOML", &|| std::fs::write(service_file(&sidecar), "routes = [[[").unwrap(), "service.toml"),
        (
            "a foreign key",
            &|| {
                std::fs::write(service_file(&sidecar), SERVICE).unwrap();
                std::fs::write(&key, std::fs::read(site.path().join("feed-payments.key")).unwrap()).unwrap();
            },
            "server.key",
        ),
        (
            "another address",
            &|| {
                std::fs::write(&key, &key_before).unwrap();
                edit(&sidecar.file, |text| text.replacen("127.0.0.1:0", "127.0.0.1:1", 1));
            },
            "listen.address",
        ),
        (
            "another service",
            &|| {
                edit(&sidecar.file, |text| text.replacen("127.0.0.1:1", "127.0.0.1:0", 1));
                edit(&service_file(&sidecar), |text| text.replace("name = \"payments\"", "name = \"ledger\""));
            },
            "the service's name",
        ),
    ];
    for (what, break_it, named) in broken {
        break_it();
        let error = sidecar.reload().await.unwrap_err();
        let said = breakglass::error_chain::error_chain(&error);
        assert!(said.contains(named), "{what}: {said}");
        assert!(Arc::ptr_eq(&setup, &sidecar.shared().setup()), "{what}");
        assert_eq!(under(&sidecar, &grant, &identity).await, "override", "{what}");
        let readyz = sidecar.readyz().await;
        assert_eq!((&readyz["ready"], &readyz["overrides"]), (&json!(true), &json!(true)), "{what}: {readyz}");
        assert!(readyz["reload"]["error"].as_str().unwrap().contains(named), "{what}: {readyz}");
    }
    let reloads = &sidecar.shared().reloads;
    assert!(reloads.failed() >= 4);
    std::fs::write(service_file(&sidecar), SERVICE).unwrap();
    sidecar.reload().await.unwrap();
    assert_eq!(sidecar.readyz().await["reload"]["error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_change_is_carried_over() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let before = sidecar.shared().setup();
    sidecar.reload().await.unwrap();
    let after = sidecar.shared().setup();
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(Arc::ptr_eq(&before.tls, &after.tls), "TLS sessions can be resumed");
    assert!(Arc::ptr_eq(&before.upstream, &after.upstream), "kept connections stay");
    assert!(before.verifier.is_same(&after.verifier), "checked tokens stay");
    assert!(sidecar.shared().standing.is_connected(), "the feed's stream stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_upstream_takes_the_next_request_and_the_one_before_ends_what_it_has() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let mut h2 = sidecar.h2().await;
    let slow = h2_request("GET", "/v1/contracts/C-1042/statement?bytes=655360&pause_ms=20", &[], "");
    let under_way = h2.begin(slow).await.unwrap();
    let other = Recorder::start(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", |_| {}).await;
    let (from, to) = (format!("http://{}", site.upstream), other.url());
    edit(&sidecar.file, |text| text.replace(&from, &to));
    sidecar.reload().await.unwrap();
    let answer = sidecar.send(&raw_request("GET", "/v1/echo", &[], "")).await;
    assert_eq!(answer.body, b"other");
    let whole = http_body_util::BodyExt::collect(under_way.into_body()).await.unwrap().to_bytes();
    assert_eq!(whole.len(), 655_360);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_file_named_later_freezes() {
    let site = Site::start().await;
    let sidecar = site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let file = site.path().join("freeze");
    std::fs::write(&file, "").unwrap();
    edit(&sidecar.file, |text| format!("freeze_file = \"{}\"\n{text}", file.display()));
    sidecar.reload().await.unwrap();
    sidecar.until_lacking("frozen").await;
    std::fs::remove_file(&file).unwrap();
    sidecar.until_overrides().await;
    sidecar.admin(Method::GET, "/livez").await;
}
