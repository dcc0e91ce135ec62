//! A damaged audit log is named, overrides wait for an operator, ordinary traffic does not; the real command accepts it,
//! beside a running sidecar and while it is stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use breakglass::audit::{Expectation, verify_folder};
use serde_json::Value;

use crate::harness::{Ask, SidecarFile, Site, TestSidecar, raw_request};

const ECHO: &str = "/v1/contracts/C-1042/echo";

/// What is done, the kind of finding it must give, and how it is done.
type Damage<'a> = (&'a str, &'a str, &'a dyn Fn(&Path));

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Everything in a folder but its lock.
fn files(folder: &Path) -> Files {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| !path.ends_with("lock"));
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn restore(folder: &Path, to: &Files) {
    for path in files(folder).keys() {
        std::fs::remove_file(path).unwrap();
    }
    for (path, content) in to {
        std::fs::write(path, content).unwrap();
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_keys().filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).collect()
}

fn audit(sidecar: &TestSidecar, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_breakglass-sidecar"))
        .args(["audit", arguments[0], "--config"])
        .arg(&sidecar.file)
        .args(&arguments[1..])
        .output()
        .unwrap()
}

async fn run_audit(sidecar: &TestSidecar, arguments: &[&'static str]) -> Output {
    tokio::task::block_in_place(|| audit(sidecar, arguments))
}

/// Exit code and what is said.
async fn status(sidecar: &TestSidecar) -> (i32, Value) {
    let said = run_audit(sidecar, &["status", "--json"]).await;
    let document =
        serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
    (said.status.code().unwrap(), document)
}

async fn accept(sidecar: &TestSidecar) {
    let said = run_audit(sidecar, &["accept-loss", "--by", "ada", "--reason", "the disk was replaced", "--yes"]).await;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn cut_tail(folder: &Path) {
    let last = segments(folder).pop().unwrap();
    let text = std::fs::read(&last).unwrap();
    std::fs::write(last, &text[..text.len() - 1500]).unwrap();
}

fn remove(folder: &Path, index: usize) {
    std::fs::remove_file(&segments(folder)[index]).unwrap();
}

fn swap(folder: &Path) {
    let all = segments(folder);
    let (one, two) = (std::fs::read(&all[1]).unwrap(), std::fs::read(&all[2]).unwrap());
    std::fs::write(&all[1], two).unwrap();
    std::fs::write(&all[2], one).unwrap();
}

fn flip(folder: &Path) {
    let path = &segments(folder)[1];
    let mut text = std::fs::read(path).unwrap();
    let at = text.windows(8).position(|window| window == b"INC-2041").unwrap();
    text[at + 7] ^= 1;
    std::fs::write(path, text).unwrap();
}

fn keep_lineage_only(folder: &Path) {
    for path in files(folder).into_keys().filter(|path| !path.ends_with("lineage")) {
        std::fs::remove_file(path).unwrap();
    }
}

/// A sidecar, its requests, and its folder with four segments.
struct Stage {
    site: Site,
    sidecar: Option<TestSidecar>,
    with_grant: Vec<u8>,
    pristine: Files,
}

impl Stage {
    async fn set(max_uses: Option<u32>) -> Self {
        let site = Site::start().await;
        let mut sidecar = site.sidecar_with(&SidecarFile::default()).await;
        sidecar.until_overrides().await;
        let grant = site.grant(&Ask { max_uses, ..Ask::default() }).await;
        let identity = site.identity("alice");
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let with_grant = raw_request("POST", ECHO, &headers, "");
        for start in 0..4 {
            if start > 0 {
                sidecar = sidecar.restart().await;
                sidecar.until_overrides().await;
            }
            // With few uses only the first start spends one.
            if max_uses.is_none() || start == 0 {
                assert_eq!(sidecar.send(&with_grant).await.code(), "override");
            }
        }
        sidecar.stop().await;
        let pristine = files(&sidecar.audit);
        Self { site, sidecar: Some(sidecar), with_grant, pristine }
    }

    fn sidecar(&self) -> &TestSidecar {
        self.sidecar.as_ref().unwrap()
    }

    async fn restart(&mut self) {
        let sidecar = self.sidecar.take().unwrap();
        self.sidecar = Some(sidecar.restart().await);
    }

    async fn stop(&mut self) {
        self.sidecar.as_mut().unwrap().stop().await;
    }

    /// Overrides wait, ordinary traffic does not.
    async fn is_shut(&self, what: &str) {
        let sidecar = self.sidecar();
        sidecar.until_lacking("audit_damaged").await;
        sidecar.until_issuer().await;
        assert_eq!(sidecar.readyz().await["ready"], true, "{what}: ordinary traffic can flow");
        assert!((sidecar.metric("breakglass_sidecar_audit_ready").await - 0.0).abs() < 0.5, "{what}");
        let refused = sidecar.send(&self.with_grant).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "audit_unavailable"), "{what}");
        assert_eq!(sidecar.send(&raw_request("POST", ECHO, &[], "")).await.code(), "pass", "{what}");
    }

    async fn is_open(&self, what: &str) {
        let sidecar = self.sidecar();
        sidecar.until_overrides().await;
        assert!((sidecar.metric("breakglass_sidecar_audit_ready").await - 1.0).abs() < 0.5, "{what}");
        assert_eq!(sidecar.send(&self.with_grant).await.code(), "override", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_damage_is_named_shuts_overrides_only_and_is_accepted_by_the_command() {
    let mut stage = Stage::set(None).await;
    let other = stage.site.sidecar_with(&SidecarFile::default()).await;
    other.until_overrides().await;
    let foreign = std::fs::read(&segments(&other.audit)[0]).unwrap();
    drop(other);
    let replace = move |folder: &Path| std::fs::write(&segments(folder)[1], &foreign).unwrap();
    let damages: [Damage<'_>; 8] = [
        ("the tail is cut", "end_missing", &cut_tail),
        ("the last segment is deleted", "last_missing", &|folder: &Path| remove(folder, 3)),
        ("the first segment is deleted", "first_missing", &|folder: &Path| remove(folder, 0)),
        ("a middle segment is deleted", "broken", &|folder: &Path| remove(folder, 1)),
        ("two segments are swapped", "broken", &swap),
        ("a byte is flipped", "broken", &flip),
        ("a segment is another log's", "broken", &replace),
        ("all but the lineage is deleted", "all_missing", &keep_lineage_only),
    ];
    for (index, (what, kind, damage)) in damages.iter().enumerate() {
        let folder = stage.sidecar().audit.clone();
        restore(&folder, &stage.pristine);
        damage(&folder);
        let evidence: Files = files(&folder)
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|ending| ending == "jsonl"))
            .collect();
        stage.restart().await;
        stage.is_shut(what).await;
        let (code, said) = status(stage.sidecar()).await;
        assert_eq!((code, &said["sound"], &said["running"]), (1, &false.into(), &true.into()), "{what}: {said}");
        let findings = said["damage"]["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["kind"] == *kind), "{what}: {said}");
        if index % 2 == 0 {
            accept(stage.sidecar()).await;
        } else {
            stage.stop().await;
            accept(stage.sidecar()).await;
            stage.restart().await;
        }
        stage.is_open(what).await;
        let nothing = run_audit(stage.sidecar(), &["accept-loss", "--by", "ada", "--reason", "again", "--yes"]).await;
        assert_eq!(nothing.status.code(), Some(1), "{what}: there is nothing left to accept");
        stage.stop().await;
        let (code, said) = status(stage.sidecar()).await;
        assert_eq!((code, &said["sound"]), (0, &true.into()), "{what}: {said}");
        let report = verify_folder(&folder, Expectation::default()).unwrap();
        assert_eq!((report.first_problem, report.losses.len(), report.unaccepted), (None, 1, false), "{what}");
        assert!(report.refusals >= 1, "{what}: what was refused meanwhile is recorded");
        for (path, content) in evidence {
            assert!(std::fs::read(&path).unwrap() == content, "{what}: {} was touched", path.display());
        }
    }
    // A second, different damage needs a second word.
    cut_tail(&stage.sidecar().audit);
    stage.restart().await;
    stage.is_shut("a second damage").await;
    let bare = run_audit(stage.sidecar(), &["accept-loss"]).await;
    assert!(bare.status.success(), "{bare:?}");
    stage.is_open("a second damage").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_log_its_shares_of_uses_are_lost() {
    let mut stage = Stage::set(Some(3)).await;
    keep_lineage_only(&stage.sidecar().audit);
    stage.restart().await;
    stage.is_shut("everything is lost").await;
    accept(stage.sidecar()).await;
    stage.sidecar().until_overrides().await;
    let mut uses = 1;
    for _ in 0..6 {
        match stage.sidecar().send(&stage.with_grant).await.code().as_str() {
            "override" => uses += 1,
            other => assert!(["uses_elsewhere", "grant_used_up"].contains(&other), "{other}"),
        }
    }
    assert!(uses <= 3, "{uses} uses of 3");
}
