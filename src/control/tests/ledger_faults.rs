//! Every write of the file that remembers what was signed fails in every way, and the disk under it is really full.
//!
//! INVARIANT shown: a checkpoint that anybody saw is remembered, what is remembered is never torn, and whatever failed, the
//! control plane starts again on it and signs on what it signed before.

use http::HeaderMap;
use serde_json::json;

use super::bench::{Bench, request};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::tree;
use crate::whole_file::{Step, faults};

const PUBLIC: &str = "[ledger]\npublic = true\n";

/// The newest checkpoint that is served; `None` before the first.
async fn served(bench: &Bench) -> Option<SignedCheckpoint> {
    let answer = bench.fetch("/ledger/checkpoint", HeaderMap::new()).await;
    (answer.status == 200).then(|| SignedCheckpoint::read(std::str::from_utf8(&answer.body).unwrap()).unwrap())
}

fn remembered(bench: &Bench) -> SignedCheckpoint {
    let text = std::fs::read_to_string(bench.folder().join("data/control.db.ledger-head")).unwrap();
    SignedCheckpoint::read(&text).unwrap()
}

async fn step(bench: &Bench) -> Result<(), String> {
    let stepped = bench.running.state.ledger.step().await;
    stepped.map_err(|error| crate::error_chain::error_chain(&error))
}

/// The tree that was signed before is how the one that is signed now begins.
async fn assert_grown(bench: &Bench, before: &SignedCheckpoint, now: &SignedCheckpoint) {
    let (old, new) = (&before.checkpoint, &now.checkpoint);
    let proof = bench.running.store().prove_growth(old.size, new.size).await.unwrap();
    assert_eq!(tree::check_consistency(&proof, (old.size, old.root), (new.size, new.root)), Ok(()));
}

#[tokio::test]
async fn whatever_fails_what_was_signed_is_remembered_before_anybody_sees_it() {
    let mut bench = Bench::start_with("", PUBLIC).await;
    step(&bench).await.unwrap();
    let head = bench.folder().join("data/control.db.ledger-head");
    for failing in faults::STEPS {
        for is_done in [false, true] {
            let what = format!("{failing:?}, {is_done}");
            faults::plan(&head, failing, is_done);
            let before = served(&bench).await.unwrap();
            bench.granted(&bench.alice(), &request(json!({}))).await;
            let said = step(&bench).await.unwrap_err();
            assert!(said.contains("can't be written") && said.contains("ledger-head"), "{what}: {said}");
            let (then, kept) = (served(&bench).await.unwrap(), remembered(&bench));
            assert_eq!(then.checkpoint, before.checkpoint, "{what}: nothing is shown that is not remembered");
            let is_renamed = failing == Step::SyncFolder || (failing == Step::Rename && is_done);
            assert_eq!(kept.checkpoint != before.checkpoint, is_renamed, "{what}");
            bench = bench
                .restart_after(async |_| faults::clear(&head))
                .await
                .unwrap_or_else(|error| panic!("{what}: {}", crate::error_chain::error_chain(&error)));
            step(&bench).await.unwrap();
            let now = served(&bench).await.unwrap();
            assert!(now.checkpoint.size > before.checkpoint.size, "{what}");
            assert_grown(&bench, &before, &now).await;
            assert_grown(&bench, &kept, &now).await;
            assert_eq!(remembered(&bench).checkpoint, now.checkpoint, "{what}");
        }
    }
    assert_eq!(bench.running.store().check().await.unwrap().findings, vec![]);
}

#[tokio::test]
async fn a_head_that_cannot_be_looked_at_is_not_taken_for_none() {
    let bench = Bench::start_with("", PUBLIC).await;
    step(&bench).await.unwrap();
    let moved = bench
        .restart_after(async |folder| {
            // Where the folder of the head was, there is a file.
            std::fs::write(folder.join("not-a-folder"), "x").unwrap();
            let file = folder.join("control.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace(PUBLIC, &format!("{PUBLIC}head = \"not-a-folder/head\"\n"))).unwrap();
        })
        .await;
    let Err(error) = moved else { panic!("it started, and would have signed on what it could not look at") };
    assert!(crate::error_chain::error_chain(&error).contains("can't be looked at"), "{error}");
}

#[tokio::test]
async fn a_disk_that_is_full_under_the_head_stops_signing_and_nothing_else() {
    let Some(disk) = crate::small_disk::SmallDisk::mount("256k") else { return };
    let head = disk.path().join("head");
    let bench = Bench::start_with("", &format!("{PUBLIC}head = \"{}\"\n", head.display())).await;
    step(&bench).await.unwrap();
    let before = served(&bench).await.unwrap();
    disk.fill();
    bench.granted(&bench.alice(), &request(json!({}))).await;
    let said = step(&bench).await.unwrap_err();
    assert!(said.contains("No space left on device"), "{said}");
    let kept = SignedCheckpoint::read(&std::fs::read_to_string(&head).unwrap()).unwrap();
    assert_eq!(served(&bench).await.unwrap().checkpoint, before.checkpoint);
    assert_eq!(kept.checkpoint, before.checkpoint, "whole, as it was");
    disk.make_room();
    step(&bench).await.unwrap();
    let now = served(&bench).await.unwrap();
    assert!(now.checkpoint.size > before.checkpoint.size);
    assert_grown(&bench, &before, &now).await;
    let bench = bench.restart().await;
    step(&bench).await.unwrap();
}
