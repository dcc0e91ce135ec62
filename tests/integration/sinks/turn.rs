//! Replicas that share one PostgreSQL hand on to a sink one at a time; when the one whose turn it is dies, another goes on.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use serde_json::Value;

use crate::harness::{Ask, Fleet, until_within};
use crate::replicas::{PATIENCE, wish};

/// What one replica has handed on, in order.
fn handed_on(folder: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    // Who was killed may have been in the midst of a line.
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect()
}

/// Some more entries, by whichever replica lives.
async fn some(fleet: &Fleet, at: usize, count: usize) {
    for n in 0..count {
        let asked = wish(&Ask::default());
        until_within(PATIENCE, "a grant", async || {
            let (status, _) = fleet.ask(at, Method::POST, "/v1/elevations", "alice", None, &asked).await?;
            (status == 201).then_some(n)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_turn_passes_on_when_its_holder_is_killed_and_nothing_is_left_out() {
    let fleet = Fleet::start_with(2, |at| {
        let ours = format!("entries-{at}");
        format!("sinks = [{{ name = \"files\", kind = \"file\", directory = \"{ours}\" }}]")
    })
    .await;
    let store = fleet.store().await;
    let folders: Vec<_> = (0..2).map(|at| fleet.path().join(format!("entries-{at}"))).collect();
    let all = || folders.iter().map(|folder| handed_on(folder)).collect::<Vec<_>>();
    let until_all = async || {
        until_within(PATIENCE, "every entry", async || {
            let stored = store.entries(0, 10_000).await.unwrap().len() as u64;
            let seen: BTreeSet<_> = all().concat().into_iter().collect();
            (seen == (0..stored).collect()).then_some(stored)
        })
        .await
    };
    some(&fleet, 0, 3).await;
    until_all().await;
    let holder = usize::from(!handed_on(&folders[1]).is_empty());
    let other = 1 - holder;
    assert_eq!(handed_on(&folders[other]), [0; 0], "one at a time");
    let before = handed_on(&folders[holder]).len() as u64;
    // It is killed while entries come, so that some are with it and not settled.
    some(&fleet, other, 2).await;
    fleet.kill(holder);
    some(&fleet, other, 3).await;
    let stored = until_all().await;
    assert!(stored > before);
    let of_the_other = handed_on(&folders[other]);
    assert!(of_the_other.is_sorted() && !of_the_other.is_empty(), "in order: {of_the_other:?}");
    // Only what the killed one had not settled came twice.
    let of_the_holder = handed_on(&folders[holder]);
    let once = of_the_holder.iter().take_while(|index| !of_the_other.contains(index)).count();
    assert!(of_the_holder[once..].iter().all(|index| of_the_other.contains(index)), "{of_the_holder:?}");
    // It comes back, and does not take the turn from who has it.
    fleet.restart(holder).await;
    let had = handed_on(&folders[holder]).len();
    some(&fleet, other, 2).await;
    until_all().await;
    assert_eq!(handed_on(&folders[holder]).len(), had);
}
