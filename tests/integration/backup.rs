//! Backup, restore and check as an operator runs them, on both databases, with a sidecar that has seen more than the
//! backup knows.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::json;

use crate::harness::{Ask, SidecarFile, Site, control_command, postgres, raw_request};

/// Runs `breakglass-control` with the site's file.
/// What has to be true after a restore, whatever the database.
async fn begins_anew(site: &mut Site, file: &Path, live: &str) {
    let (status, said, _) = control_command(file, &["check"]);
    assert!(status == 0 && said.starts_with("sound: epoch "), "{said}");
    site.start_control().await;
    let sidecar = site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_lacking("frozen").await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", live), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x");
    assert_eq!(sidecar.send(&request).await.code(), "grant_revoked");
    let (status, view) = site.api(Method::GET, &format!("/v1/grants/{live}"), "alice", json!(null)).await;
    assert_eq!((status, &view["state"]), (200, &json!("revoked")), "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_backup_put_in_place_begins_anew() {
    let mut site = Site::start().await;
    let file = site.path().join("control.toml");
    let live = site.grant(&Ask::default()).await;
    let backup = site.path().join("backup.db");
    let backup_text = backup.to_str().unwrap();
    assert_eq!(control_command(&file, &["backup", backup_text]).0, 0, "while it is in use");
    let (status, _, said) = control_command(&file, &["backup", backup_text]);
    assert!(status == 1 && said.contains("cannot be made"), "nothing is written over: {said}");
    site.revoke(&live).await;
    let (status, _, said) = control_command(&file, &["restore", backup_text]);
    assert!(status == 1 && said.contains("in use by another control plane"), "{said}");
    site.stop_control().await;
    let (status, _, said) = control_command(&file, &["restore", backup_text]);
    assert!(status == 1 && said.contains("move it away first"), "{said}");
    for file in database_files(&site) {
        std::fs::remove_file(file).unwrap();
    }
    let (status, said, _) = control_command(&file, &["restore", backup_text]);
    assert!(status == 0 && said.contains("everything frozen, 1 grants ended"), "{said}");
    begins_anew(&mut site, &file, live.id.as_str()).await;
}

fn database_files(site: &Site) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(site.path().join("data")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_none_or(|ending| ending != "lock")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_backup_put_in_place_begins_anew() {
    let mut site = Site::start().await;
    site.stop_control().await;
    let url = postgres::fresh_database();
    site.database = url.clone();
    site.start_control().await;
    let file = site.path().join("control.toml");
    let live = site.grant(&Ask::default()).await;
    let dump = site.path().join("dump");
    postgres::run("pg_dump", &["--format=custom", "--file", dump.to_str().unwrap(), &url]);
    site.revoke(&live).await;
    site.database = postgres::fresh_database();
    postgres::run("pg_restore", &["--exit-on-error", "--no-owner", "--dbname", &site.database, dump.to_str().unwrap()]);
    site.stop_control().await;
    site.write_control();
    let (status, said, _) = control_command(&file, &["restore"]);
    assert!(status == 0 && said.contains("everything frozen, 1 grants ended"), "{said}");
    begins_anew(&mut site, &file, live.id.as_str()).await;
    let (status, _, said) = control_command(&file, &["restore"]);
    assert!(status == 1 && said.contains("1 other control planes have the database open"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_together_is_named_and_not_restored() {
    let mut site = Site::start().await;
    let file = site.path().join("control.toml");
    site.grant(&Ask::default()).await;
    let backup = site.path().join("backup.db");
    assert_eq!(control_command(&file, &["backup", backup.to_str().unwrap()]).0, 0);
    site.stop_control().await;
    let mut bytes = std::fs::read(&backup).unwrap();
    let at = bytes.windows(14).position(|window| window == b"\"grant_issued\"").unwrap();
    bytes[at + 1] = b'G';
    std::fs::write(&backup, bytes).unwrap();
    for file in database_files(&site) {
        std::fs::remove_file(file).unwrap();
    }
    let (status, said, _) = control_command(&file, &["restore", backup.to_str().unwrap()]);
    assert!(status == 7 && said.contains("its kind is not what its row says"), "{status} {said}");
    assert!(database_files(&site).iter().all(|file| !file.ends_with("control.db")), "nothing is put in place");
}
