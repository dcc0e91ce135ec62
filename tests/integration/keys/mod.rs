//! The control plane's keys in a hardware module (SoftHSM) and in files that are put there: what they sign is taken by a real
//! sidecar, they follow each other while overrides go on, and what is wrong with them is said in one sentence.

mod stage;

use std::os::unix::fs::PermissionsExt as _;

use breakglass::wire::api::ElevationView;
use breakglass::wire::problem::Problem;
use stage::{In, PIN, Stage, code};

use crate::harness::{SidecarFile, postgres, until};

/// How long a hardware module that came back may take to be begun anew.
const REQUESTS_MAX: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_and_grant_key_in_a_token_sign_what_a_real_sidecar_takes() {
    let stage = Stage::set(In::Token, In::Token).await;
    let why = stage.refused().await;
    assert!(why.contains("there is no root key") && why.contains("breakglass-control keys init"), "{why}");
    let made = stage.init();
    assert!(made.err.contains("in the token \"breakglass\" (label breakglass-grant)"), "{made:?}");
    let files = std::fs::read_dir(stage.keys()).unwrap().map(|file| file.unwrap().path());
    // The ledger's is in a file where `[keys.ledger]` says no other.
    let is_ours = |name: &str| name.ends_with(".pk8") && !name.starts_with("ledger-key-");
    let private: Vec<_> = files.filter(|file| is_ours(file.file_name().unwrap().to_str().unwrap())).collect();
    assert!(private.is_empty(), "no private key is a file: {private:?}");
    assert_eq!(stage.verb(["init"]).code, 1, "made once");

    let control = stage.serve().await;
    let sidecar = stage.site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let (grant, kid) = control.grant().await;
    assert_eq!(stage.listed("signs"), [kid]);
    assert_eq!(code(&stage.site, &sidecar, &grant).await, "override");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_hardware_the_control_plane_grants_nothing_and_recovers() {
    let stage = Stage::set(In::Token, In::Token).await;
    stage.init();
    let control = stage.serve().await;
    let sidecar = stage.site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let (grant, _) = control.grant().await;

    let unplugged = stage.unplug();
    for _ in 0..REQUESTS_MAX {
        let answer = control.ask().await;
        assert_eq!((answer.status.as_u16(), answer.headers["retry-after"].as_bytes()), (503, &b"1"[..]));
        assert_eq!(answer.json::<Problem>().unwrap().code, "key_unavailable");
    }
    assert_eq!(control.grants().await, 1, "nothing was stored");
    assert_eq!(code(&stage.site, &sidecar, &grant).await, "override", "what was granted goes on");
    unplugged.plug_in();
    until("grants are signed again", async || (control.ask().await.status == 201).then_some(())).await;
    let (grant, _) = control.grant().await;
    assert_eq!(code(&stage.site, &sidecar, &grant).await, "override");

    // A PIN that the token refuses is not sent again until the file holds another.
    stage.write_pin("0000");
    let unplugged = stage.unplug();
    assert_eq!(control.ask().await.status, 503);
    unplugged.plug_in();
    let refused = || control.program.said.all("a grant could not be signed");
    until("the cause", async || {
        assert_eq!(control.ask().await.status, 503);
        refused().iter().any(|line| line["error"].as_str().unwrap().contains("is not that of the token")).then_some(())
    })
    .await;
    stage.write_pin(PIN);
    until("grants are signed again", async || (control.ask().await.status == 201).then_some(())).await;
    assert!(!control.program.said.text().contains(PIN), "a PIN is shown nowhere");
}

const TWO_EYES: &str = r#"
[[tier]]
name = "two-eyes"
groups = ["payments-oncall"]
services = ["payments"]
role = "payments.override"
resources = ["contract/*"]
actions = ["payment.release"]
default_s = 900
maximum_s = 3600
staleness_max_s = 3
approvals = { count = 1, groups = ["payments-leads"] }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_whose_grant_cannot_be_signed_is_not_stored_and_can_be_given_again() {
    let stage = Stage::set(In::Token, In::Token).await;
    stage.add_tier(TWO_EYES);
    stage.init();
    let control = stage.serve().await;
    let asked = control.ask_in("two-eyes").await.json::<ElevationView>().unwrap();
    assert!(asked.grant.is_none());

    let unplugged = stage.unplug();
    let answer = control.approve("carol", &asked).await;
    assert_eq!((answer.status.as_u16(), answer.json::<Problem>().unwrap().code.as_str()), (503, "key_unavailable"));
    let stands = control.elevation(&asked).await;
    assert_eq!((stands.state, stands.approvals.len(), control.grants().await), (asked.state, 0, 0));
    unplugged.plug_in();
    until("the approval is taken", async || (control.approve("carol", &asked).await.status == 200).then_some(())).await;
    assert_eq!((control.elevation(&asked).await.approvals.len(), control.grants().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_follow_each_other_while_overrides_go_on() {
    let stage = Stage::set(In::Token, In::Token).await;
    stage.init();
    let control = stage.serve().await;
    let sidecar = stage.site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let (old, first) = control.grant().await;

    let second = stage.verb(["rotate"]).out.trim().to_owned();
    let taken = control.program.said.until("a grant key was taken in", 1).await;
    assert_eq!(taken["kid"], second);
    let mut new = None;
    while new.is_none() {
        assert_eq!(code(&stage.site, &sidecar, &old).await, "override");
        let (grant, kid) = control.grant().await;
        let has_begun = grant.issued_at.rfc3339().as_str() >= taken["begins"].as_str().unwrap();
        assert_eq!(
            kid,
            if has_begun { second.as_str() } else { first.as_str() },
            "{} {taken}",
            grant.issued_at.rfc3339()
        );
        assert_eq!(code(&stage.site, &sidecar, &grant).await, "override", "whichever key signed it");
        new = Some(grant).filter(|_| has_begun);
    }
    assert_eq!((stage.listed("holds"), stage.listed("signs")), (vec![first.clone()], vec![second.clone()]));
    assert_eq!(code(&stage.site, &sidecar, &old).await, "override");

    let asked = stage.verb(["retire", &first]);
    assert!(asked.code == 2 && asked.err.contains("say --yes"), "{asked:?}");
    assert_eq!(code(&stage.site, &sidecar, &old).await, "override");
    assert_eq!(stage.verb(["retire", &first, "--yes"]).code, 0);
    until("the removed key's grants end", async || {
        (code(&stage.site, &sidecar, &old).await == "grant_not_usable").then_some(())
    })
    .await;
    assert_eq!(code(&stage.site, &sidecar, &new.unwrap()).await, "override", "the other's go on");
    assert_eq!(stage.verb(["retire", &first, "--yes"]).code, 1, "it is gone from the token too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_loads_what_was_put_there_and_takes_in_what_comes() {
    let stage = Stage::set(In::Token, In::Files).await;
    stage.init();
    let control = stage.serve().await;
    let sidecar = stage.site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let (_, first) = control.grant().await;

    // The operator makes the next one in a copy, and carries it over: half of it arrives late.
    let elsewhere = stage.site.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o700)).unwrap();
    for file in std::fs::read_dir(stage.keys()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), elsewhere.join(file.file_name())).unwrap();
    }
    stage.configure(|text| text.replace("folder = \"keys\"", "folder = \"elsewhere\""));
    let second = stage.verb(["rotate", "--now"]).out.trim().to_owned();
    let carry = |ending: &str| {
        let name = format!("grant-key-{second}.{ending}");
        std::fs::copy(elsewhere.join(&name), stage.keys().join(&name)).unwrap();
    };
    carry("jwt");
    assert_eq!(control.grant().await.1, first);
    carry("pk8");
    until("the new key signs", async || (control.grant().await.1 == second).then_some(())).await;
    drop(control);

    // Another copy of the program finds the same keys, and makes none.
    let before = std::fs::read_dir(stage.keys()).unwrap().count();
    stage.configure(|text| text.replace("folder = \"elsewhere\"", "folder = \"keys\""));
    let control = stage.serve().await;
    sidecar.until_overrides().await;
    until("the sidecar is back", async || (control.ask().await.status == 201).then_some(())).await;
    assert_eq!(std::fs::read_dir(stage.keys()).unwrap().count(), before);
    assert_eq!(stage.listed("signs"), [second]);
    drop(control);
    for file in std::fs::read_dir(stage.keys()).unwrap().map(|file| file.unwrap().path()) {
        if file.to_str().unwrap().contains("grant-key-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let why = stage.refused().await;
    assert!(why.contains("there is no grant key") && why.contains("breakglass-control keys rotate"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_gone_from_the_token_are_told_and_leave_nothing_behind() {
    let stage = Stage::set(In::Token, In::Token).await;
    stage.configure(|text| text.replace("create = false\n", ""));
    stage.init();
    let control = stage.serve().await;
    let sidecar = stage.site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let (old, first) = control.grant().await;

    stage.remove_from_token("breakglass-grant", &first);
    let answer = control.ask().await;
    assert_eq!((answer.status.as_u16(), answer.json::<Problem>().unwrap().code.as_str()), (503, "key_unavailable"));
    let why = control.program.said.until("a grant could not be signed", 0).await;
    let wanted = format!("has no Ed25519 key {first} labelled breakglass-grant");
    assert!(why["error"].as_str().unwrap().contains(&wanted), "{why}");
    assert_eq!(control.grants().await, 1, "nothing was stored");
    assert_eq!(code(&stage.site, &sidecar, &old).await, "override", "what it signed holds");

    // Where keys may be made, the next one follows by itself.
    assert_eq!(stage.verb(["retire", &first, "--yes"]).code, 0);
    until("another key signs", async || (control.ask().await.status == 201).then_some(())).await;
    let (new, second) = control.grant().await;
    assert_ne!(first, second);
    assert_eq!(code(&stage.site, &sidecar, &new).await, "override");

    let root = stage.listed("certifies").remove(0);
    stage.remove_from_token("breakglass-root", &root);
    assert_eq!(stage.verb(["retire", &second, "--yes"]).code, 0);
    let why = control.program.said.until("grant keys could not be renewed", 0).await;
    assert!(why["error"].as_str().unwrap().contains(&format!("has no Ed25519 key {root}")), "{why}");
    until("the key that was not certified is removed", async || (stage.objects() == 0).then_some(())).await;
    assert_eq!(control.ask().await.json::<Problem>().unwrap().code, "key_unavailable");
    drop(control);
    let why = stage.refused().await;
    assert!(why.contains("the root key is not in the token \"breakglass\""), "{why}");
    assert!(why.contains("it was there before"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_on_postgresql_make_no_key_and_change_to_a_new_one_together() {
    let stage = Stage::set(In::Files, In::Token).await;
    let database = format!("database = \"{}\"", postgres::fresh_database());
    stage.configure(|text| text.replace("database = \"data/control.db\"", &database).replace("create = false\n", ""));
    let why = stage.refused().await;
    assert!(why.contains("this control plane makes none (keys.create): run `breakglass-control keys init`"), "{why}");
    assert!(!stage.keys().exists() && stage.objects() == 0);
    stage.init();
    let (one, other) = (stage.serve().await, stage.serve_another().await);
    let sidecar = stage.site.sidecar_with(&SidecarFile::default()).await;
    sidecar.until_overrides().await;
    let (_, first) = one.grant().await;

    let second = stage.verb(["rotate"]).out.trim().to_owned();
    for replica in [&one, &other] {
        replica.program.said.until("a grant key was taken in", 1).await;
    }
    until("the new key signs", async || (one.grant().await.1 == second).then_some(())).await;
    let grant = other.ask().await.json::<ElevationView>().unwrap().grant.unwrap();
    assert_eq!(other.signed_by(&grant).await, second, "what signs is a matter of the clock alone");
    until("the sidecar has it", async || (code(&stage.site, &sidecar, &grant).await == "override").then_some(())).await;
    assert_eq!((stage.listed("holds"), stage.listed("signs")), (vec![first], vec![second]));
    assert_eq!(stage.objects(), 4, "two keys with two halves each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_token_is_said_in_one_sentence() {
    let stage = Stage::set(In::Token, In::Token).await;
    stage.init();
    let kid = stage.listed("signs").remove(0);
    stage.write_pin("0000");
    let why = stage.refused().await;
    assert!(why.contains("is not that of the token \"breakglass\"; it is not tried again"), "{why}");
    stage.write_pin("");
    let why = stage.refused().await;
    assert!(why.contains("holds no PIN"), "{why}");
    stage.write_pin(PIN);
    let pin = stage.site.path().join("pin");
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o644)).unwrap();
    let why = stage.refused().await;
    assert!(why.contains("may be read by others (mode 644)"), "{why}");
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();

    let whole = std::fs::read_to_string(stage.file()).unwrap();
    // The grant keys' own label would be a mistake of the configuration.
    let as_root = |label: &str| format!("[keys.root]\nlabel = \"{label}\"\n");
    let no_grant = |text: &str| text.replace("[keys.grant]\n", "[keys.grant]\nlabel = \"nothing\"\n");
    for (from, to, wanted) in [
        ("token = \"breakglass\"", "token = \"other\"", "has no token \"other\"; it has \"breakglass\""),
        ("token = \"breakglass\"", "serial = \"77\"", "has no token 77; it has \"breakglass\""),
        ("libsofthsm2.so", "libnothing.so", "can't be loaded"),
        ("pin_file = \"pin\"", "pin_file = \"nothing\"", "can't be read"),
        ("[keys.root]\n", as_root("breakglass-grant").as_str(), "which every sidecar pins"),
        ("[keys.root]\n", "[keys.root]\nlabel = \"nothing\"\n", "the root key is not in the token"),
        ("[keys.root]\n", "[keys.root]\nid = \"00\"\n", "the root key is not in the token"),
        ("[keys.grant]\n", "[keys.grant]\nlabel = \"nothing\"\n", "has no Ed25519 key"),
    ] {
        assert!(whole.contains(from), "{from}");
        let changed = whole.replace(from, to);
        stage.configure(|_| if to.contains("breakglass-grant") { no_grant(&changed) } else { changed });
        let why = stage.refused().await;
        assert!(why.contains(wanted), "{wanted:?} is not in {why:?}");
    }
    stage.configure(|_| whole.clone());
    stage.verb(["rotate", "--now"]);
    stage.configure(|_| no_grant(&whole.replace("[keys.root]\n", &as_root("breakglass-grant"))));
    let why = stage.refused().await;
    assert!(why.contains("has 2 Ed25519 keys labelled breakglass-grant; name one by its id"), "{why}");
    stage.configure(|_| whole.clone());
    std::fs::remove_file(stage.keys().join(format!("grant-key-{kid}.jwt"))).unwrap();
    assert_eq!(stage.verb(["list"]).out.matches("not certified").count(), 1);
    assert_eq!(stage.verb(["retire", &kid, "--yes"]).code, 0);
    assert_eq!(stage.verb(["list"]).out.matches("not certified").count(), 0);
    drop(stage.serve().await);
}
