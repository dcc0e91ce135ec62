//! Erasure as an operator sees it: the command line, the export that others check, and a backup that brings things back.

use std::path::Path;
use std::process::Command;

use ::breakglass::cli::failure::Exit;
use ::breakglass::domain::ReviewState;
use ::breakglass::wire::api::GrantView;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Ask, Site, SmallDisk, breakglass, control_command, raw_request, until};

/// What `words` print for an administrator, who must succeed.
async fn done(site: &Site, words: &[&str]) -> (String, String) {
    let (ended, data, talk) = breakglass(site, "carol", words).await;
    assert!(ended.is_ok(), "{words:?}: {ended:?} {talk}");
    (data, talk)
}

/// A grant of alice's that was used, has ended, was reviewed, and whose account is closed.
async fn lived(site: &Site) -> GrantView {
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let answer = sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x")).await;
    assert_eq!(answer.status, 200);
    site.revoke(&grant).await;
    let path = format!("/v1/grants/{}", grant.id);
    let (_, view) = site.api(Method::GET, &path, "carol", json!(null)).await;
    let view: GrantView = serde_json::from_value(view).unwrap();
    if view.review.state == ReviewState::Due {
        let findings = json!({ "verdict": "justified", "findings": "alice did what the ticket says" });
        let (status, said) = site.api(Method::POST, &format!("{path}/review"), "carol", findings).await;
        assert_eq!(status, 200, "{said}");
    }
    let store = site.control().store().clone();
    until("the account is closed", async || {
        let entries = store.entries(0, 10_000).await.unwrap();
        entries.iter().any(|entry| entry.kind == "grant_closed").then_some(())
    })
    .await;
    view
}

fn go_accepts(folder: &Path, key: &str) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verifier/verify.go");
    let ended = Command::new("go")
        .args(["run", source, "log", folder.to_str().unwrap(), key])
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOFLAGS", "")
        .env("GOCACHE", concat!(env!("CARGO_MANIFEST_DIR"), "/target/go-cache"))
        .output()
        .expect("install golang-go and golang-golang-x-mod-dev");
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
}

struct Place {
    log: String,
    key: String,
}

impl Place {
    fn of(site: &Site) -> Self {
        let log = format!("https://localhost:{}/ledger", site.control().api_addr.port());
        Self { log, key: site.control().ledger_keys().remove(0) }
    }

    async fn export(&self, site: &Site, grant: &GrantView, folder: &Path, more: &[&str]) -> Value {
        let words = ["audit", "export", "--grant", grant.id.as_str(), "--log", &self.log, "--key", &self.key];
        let mut words = words.to_vec();
        words.extend(["--out", folder.to_str().unwrap()]);
        words.extend(more);
        done(site, &words).await;
        let values = std::fs::read_to_string(folder.join("personal-values.json"));
        values.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_with_values_is_checked_by_anybody_and_says_what_was_erased() {
    let site = Site::start().await;
    let grant = lived(&site).await;
    let place = Place::of(&site);
    let bare = site.path().join("bare");
    assert_eq!(place.export(&site, &grant, &bare, &[]).await, Value::Null, "no value is in it unless it is asked for");
    let text = std::fs::read_dir(&bare).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    assert!(!text.collect::<String>().contains("alice"));
    let folder = site.path().join("whole");
    let kept = place.export(&site, &grant, &folder, &["--personal"]).await;
    let file = folder.join("personal-values.json");
    assert_eq!(mode(&file), 0o600);
    let has = |field: &str, part: &str| {
        let values = kept["values"].as_array().unwrap().iter();
        values.filter(|value| value["field"] == field).any(|value| value["value"].as_str().unwrap().contains(part))
    };
    assert!(has("person", "alice") && has("line", "alice") && has("note", "did what the ticket says"), "{kept}");
    assert_eq!(kept["erased"], json!([]));
    let check = ["audit", "check-proof", folder.to_str().unwrap(), "--key", &place.key];
    done(&site, &check).await;
    // Each value that is not what its entry commits to is named.
    for (path, change, what) in [
        ("/values/0/value", json!("mallory"), "does not fit the commitment"),
        ("/values/0/salt", json!("00"), "has no salt of 32 bytes"),
        ("/values/0/field", json!("shoe_size"), "that no entry here commits to"),
        ("/values/0/entry", json!(0), "that no entry here commits to"),
    ] {
        let mut altered = kept.clone();
        *altered.pointer_mut(path).unwrap() = change;
        std::fs::write(&file, altered.to_string()).unwrap();
        let (ended, ..) = breakglass(&site, "carol", &check).await;
        let failure = ended.unwrap_err();
        assert!(failure.exit == Exit::Unverified && failure.message.contains(what), "{path}: {failure:?}");
    }
    let mut shorter = kept.clone();
    shorter["values"].as_array_mut().unwrap().remove(0);
    std::fs::write(&file, shorter.to_string()).unwrap();
    let (ended, ..) = breakglass(&site, "carol", &check).await;
    assert!(ended.unwrap_err().message.contains("does not say that it was erased"));
    // Who does not see everything gets none.
    let nowhere = site.path().join("nowhere");
    let words = ["audit", "export", "--grant", grant.id.as_str(), "--log", &place.log, "--key", &place.key];
    let words: Vec<_> = words.iter().copied().chain(["--out", nowhere.to_str().unwrap(), "--personal"]).collect();
    breakglass(&site, "alice", &words).await.0.unwrap_err();
    assert!(!nowhere.exists(), "nothing is written for who is refused");
    // Where the room ends, nothing half is left.
    if let Some(disk) = SmallDisk::mount("64k") {
        disk.fill();
        let half = disk.path().join("half");
        let words: Vec<_> = words
            .iter()
            .map(|word| if *word == nowhere.to_str().unwrap() { half.to_str().unwrap() } else { word })
            .collect();
        let (ended, ..) = breakglass(&site, "carol", &words).await;
        assert!(ended.unwrap_err().message.contains("No space left"));
        let left: Vec<_> = std::fs::read_dir(disk.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["filler"]);
    }

    erase_and_look_again(&site, &grant, &place).await;
}

async fn erase_and_look_again(site: &Site, grant: &GrantView, place: &Place) {
    let (counted, _) = done(site, &["erase", "person", "alice", "--reason", "requested", "--dry-run"]).await;
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert!(counted["values"].as_u64().unwrap() > 5 && counted["obstacles"] == json!([]), "{counted}");
    let (ended, ..) = breakglass(site, "carol", &["erase", "person", "alice", "--reason", "requested"]).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Usage, "nobody can be asked");
    let (erased, _) = done(site, &["erase", "person", "alice", "--reason", "requested", "--yes"]).await;
    let erased: Value = serde_json::from_str(&erased).unwrap();
    assert_eq!(erased["complete"], true, "{erased}");
    let (shown, _) = done(site, &["erase", "show", erased["id"].as_str().unwrap()]).await;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), erased);
    // The log holds as it did, here and by other people's tools; what was there is named as erased.
    let copy = site.path().join("copy");
    done(site, &["audit", "verify", &place.log, "--key", &place.key, "--copy-to", copy.to_str().unwrap()]).await;
    go_accepts(&copy, &place.key);
    let folder = site.path().join("afterwards");
    let kept = place.export(site, grant, &folder, &["--personal"]).await;
    assert!(!kept.to_string().contains("alice") && !kept["erased"].as_array().unwrap().is_empty(), "{kept}");
    done(site, &["audit", "check-proof", folder.to_str().unwrap(), "--key", &place.key]).await;
    assert_eq!(site.control().store().check().await.unwrap().findings, vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backup_brings_back_is_erased_again_by_a_copy_of_the_log() {
    let mut site = Site::start().await;
    lived(&site).await;
    let file = site.path().join("control.toml");
    let backup = site.path().join("backup.db");
    let (status, said, _) = control_command(&file, &["backup", backup.to_str().unwrap()]);
    assert_eq!(status, 0, "{said}");
    done(&site, &["erase", "person", "alice", "--reason", "departed", "--yes"]).await;
    let (place, copy) = (Place::of(&site), site.path().join("copy"));
    until("what was signed tells of the erasure", async || {
        done(&site, &["audit", "verify", &place.log, "--key", &place.key, "--copy-to", copy.to_str().unwrap()]).await;
        let bundles = std::fs::read_dir(copy.join("tile/entries/000.p")).unwrap();
        let mut bundles = bundles.map(|bundle| std::fs::read(bundle.unwrap().path()).unwrap());
        bundles.any(|bundle| String::from_utf8_lossy(&bundle).contains("personal_erased")).then_some(())
    })
    .await;
    site.stop_control().await;
    let data = site.path().join("data");
    let holds = |what: &str| {
        std::fs::read_dir(&data).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            path.is_file() && String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(what)
        })
    };
    assert!(!holds("alice"), "what was erased is in no file");
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "lock") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (status, said, _) = control_command(&file, &["restore", backup.to_str().unwrap()]);
    assert_eq!(status, 0, "{said}");
    assert!(holds("alice"), "the backup brought it back");
    let (status, said, _) = control_command(&file, &["erase-again", copy.to_str().unwrap()]);
    assert!(status == 0 && said.contains("erased again as x-"), "{said}");
    assert!(!holds("alice"), "and it is gone again");
    let (status, said, _) = control_command(&file, &["erase-again", copy.to_str().unwrap()]);
    assert!(status == 0 && said.contains("1 earlier erasures looked at") && !said.contains("again as"), "{said}");
    let (status, said, _) = control_command(&file, &["check"]);
    assert!(status == 0 && said.starts_with("sound: "), "{said}");
    let (status, _, said) = control_command(&file, &["erase-again", site.path().join("nothing").to_str().unwrap()]);
    assert!(status == 1 && said.contains("can't be read"), "{said}");
}
