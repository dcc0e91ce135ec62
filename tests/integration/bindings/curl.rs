//! Plain curl with a client certificate, over HTTP/1.1 and HTTP/2; and every certificate that must not pass for it.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use super::grant_by_certificate;
use crate::harness::clients::Shows;
use crate::harness::{SidecarFile, Site, TestSidecar};

/// Runs curl against the sidecar; what it printed is the body, then status and protocol on a line of their own.
async fn curl(sidecar: &TestSidecar, folder: &Path, shows: Option<Shows>, words: &[&str]) -> (String, u16, String) {
    let mut command = Command::new("curl");
    let port = sidecar.address.port();
    command.args([
        "-q",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code} %{http_version}",
    ]);
    command.arg("--cacert").arg(folder.join("ca.pem")).arg("--resolve").arg(format!("localhost:{port}:127.0.0.1"));
    if let Some(shows) = shows {
        command.arg("--cert").arg(shows.certificate(folder)).arg("--key").arg(shows.key(folder));
    }
    command.args(words).arg(format!("https://localhost:{port}/v1/contracts/K-2/echo"));
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    assert!(status.success(), "{words:?} {shows:?}: {}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    let (body, told) = text.rsplit_once('\n').unwrap();
    let (code, version) = told.split_once(' ').unwrap();
    (body.to_owned(), code.parse().unwrap(), version.to_owned())
}

fn refusal(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_curl_makes_an_override_with_its_certificate_and_with_no_other() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = grant_by_certificate(&site, "contract/K-2", Shows::Own).await;
    let token = site.token(&grant).await;
    let (by_id, by_token) = (format!("Break-Glass: {}", grant.id), format!("Break-Glass: {token}"));
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for header in [&by_id, &by_token] {
            let words = [flag, "-X", "POST", "-H", header];
            let (body, status, spoken) = curl(&sidecar, site.path(), Some(Shows::Own), &words).await;
            assert_eq!((status, spoken.as_str()), (200, version), "{body}");
            assert!(body.contains("break-glass-grant"), "{body}");
            let (body, status, _) = curl(&sidecar, site.path(), None, &words).await;
            assert_eq!((status, refusal(&body).as_str()), (401, "identity_missing"), "a stolen token alone");
            for (shows, status, code) in [
                (Shows::SameName, 403, "grant_not_usable"),
                (Shows::OtherAuthority, 401, "certificate_untrusted"),
                (Shows::Expired, 401, "certificate_untrusted"),
                (Shows::ForServers, 401, "certificate_untrusted"),
            ] {
                let (body, found, _) = curl(&sidecar, site.path(), Some(shows), &words).await;
                assert_eq!((found, refusal(&body).as_str()), (status, code), "{shows:?}");
                let nothing = [flag, "-X", "POST", "-H", "Break-Glass: g-0123456789ab"];
                let (body, found, _) = curl(&sidecar, site.path(), Some(shows), &nothing).await;
                assert_eq!((found, refusal(&body).as_str()), (status, code), "{shows:?}, of a grant that never was");
            }
        }
    }
    let intent = sidecar.until_facts("intent", 4).await.remove(0);
    let thumbprint = serde_json::to_value(grant.confirmation.unwrap()).unwrap()["x5t#S256"].clone();
    assert_eq!((&intent["grant"]["binding"], &intent["grant"]["confirmation"]), (&"mtls".into(), &thumbprint));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_traffic_flows_whatever_certificate_it_shows() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    for shows in [None].into_iter().chain(Shows::ALL.map(Some)) {
        for flag in ["--http1.1", "--http2"] {
            let (body, status, _) = curl(&sidecar, site.path(), shows, &[flag, "-X", "POST"]).await;
            assert_eq!(status, 200, "{shows:?}: {body}");
            assert!(!body.contains("break-glass-grant"));
        }
    }
}

/// An authority that is put in place while connections stand counts for the next request on them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_taken_away_counts_no_more_on_an_open_connection() {
    let site = Site::start().await;
    let file = SidecarFile::default();
    let sidecar = site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let grant = grant_by_certificate(&site, "contract/K-2", Shows::Own).await;
    let (certificate, key) = (Shows::Own.certificate(site.path()), Shows::Own.key(site.path()));
    let own = Some((certificate.as_path(), key.as_path()));
    let mut open = crate::harness::Raw::open_showing(sidecar.address, &site.path().join("ca.pem"), own).await;
    let header = [("Break-Glass", grant.id.as_str())];
    let request = crate::harness::raw_request("POST", "/v1/contracts/K-2/echo", &header, "");
    open.write(&request).await;
    assert_eq!(open.answer().await.code(), "override");
    std::fs::copy(site.path().join("ca.pem"), site.path().join("clients.pem")).unwrap();
    sidecar.reload().await.unwrap();
    open.write(&request).await;
    assert_eq!(open.answer().await.code(), "certificate_untrusted");
}
