//! A change of the policy against the store: all of it, with what it ends, or nothing.

use super::bench::{Bench, break_table, mend_table, on_both_databases};
use super::{grant, new_grant, service};
use crate::domain::{Person, ProposalId, ProposalState, WallTime};
use crate::store::sample::create;
use crate::store::{Created, LiveGrant, PolicyChange, PolicyOutcome, Proposed, Store};
use crate::wire::api::GrantState;

on_both_databases! {
    a_change_that_fails_anywhere_leaves_policy_and_grants_as_they_were,
    what_is_granted_while_a_policy_changes_is_held_to_it,
    the_first_start_of_many_replicas_makes_one_revision,
    a_proposal_is_decided_once,
}

fn change(base: u64) -> PolicyChange {
    let by: Person = "root".parse().unwrap();
    PolicyChange { text: "text".into(), digest: "digest".into(), services: vec![], base, by, note: Some("n".into()) }
}

fn none(_: &LiveGrant, _: WallTime) -> Result<(), String> {
    Err("not any more".to_owned())
}

async fn standing(store: &Store) -> (u64, u64, usize, GrantState) {
    let entries = store.entries(0, 1000).await.unwrap().len();
    let state = store.grant(&grant(&new_grant(1, 1)).id).await.unwrap().unwrap().state;
    (store.policy_revision().await.unwrap(), store.newest_revision().await.unwrap(), entries, state)
}

async fn a_change_that_fails_anywhere_leaves_policy_and_grants_as_they_were(bench: Bench) {
    let store = &bench.store;
    store.establish_policy("first", "d", &[]).await.unwrap();
    create(store, &new_grant(1, 1)).await.unwrap();
    let proposal = ProposalId::from_random(1);
    assert_eq!(store.propose_policy(&proposal, &change(1)).await.unwrap(), Proposed::Open);
    let other: Person = "other".parse().unwrap();
    let before = standing(store).await;
    for broken in ["policy_revisions", "policy_proposals", "grants", "changes", "entries", "entry_values", "counters"] {
        break_table(store, broken).await;
        store.apply_policy(&change(1), Some((&proposal, &other)), &none).await.unwrap_err();
        mend_table(store).await;
        assert_eq!(standing(store).await, before, "{broken}");
        assert_eq!(store.proposal(&proposal).await.unwrap().unwrap().state, ProposalState::Open, "{broken}");
    }
    let applied = store.apply_policy(&change(1), Some((&proposal, &other)), &none).await.unwrap();
    let PolicyOutcome::Applied { revision: 2, ended } = applied else { panic!("{applied:?}") };
    assert_eq!((ended.len(), ended[0].why.as_str()), (1, "not any more"));
    assert_eq!(standing(store).await.3, GrantState::Revoked);
    let policy = store.policy().await.unwrap().unwrap();
    assert_eq!((policy.by.unwrap().as_str(), policy.confirmed_by.unwrap().as_str()), ("root", "other"));
    let stale = store.apply_policy(&change(1), None, &none).await.unwrap();
    assert_eq!(stale, PolicyOutcome::Stale { newest: 2 });
}

/// Grants are made while a policy that allows none is applied: each was there and ended, or rests on the revision before,
/// which its creation would have found out (see `Basis`).
async fn what_is_granted_while_a_policy_changes_is_held_to_it(bench: Bench) {
    let store = &bench.store;
    store.establish_policy("first", "d", &[]).await.unwrap();
    let creating: Vec<_> = (1..=20)
        .map(|n| {
            let store = store.clone();
            let mut new = new_grant(n, 1);
            // People of their own: nobody's history stands in another's way.
            let person: Person = format!("p-{n}").parse().unwrap();
            new.basis.policy_revision = 1;
            new.record.elevation.person = person.clone();
            new.grant.as_mut().unwrap().grant.person = person;
            tokio::spawn(async move { store.create(&new).await.unwrap() })
        })
        .collect();
    let applied = store.apply_policy(&change(1), None, &none).await.unwrap();
    let mut made = 0;
    for task in creating {
        match task.await.unwrap() {
            Created::New { .. } => made += 1,
            other => assert_eq!(other, Created::Stale),
        }
    }
    let PolicyOutcome::Applied { ended, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(ended.len(), made, "whatever was made was there to be ended");
    assert_eq!(store.snapshot(&service()).await.unwrap().tokens, vec![]);
}

async fn the_first_start_of_many_replicas_makes_one_revision(bench: Bench) {
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let store = bench.store.clone();
            tokio::spawn(async move { store.establish_policy("text", "digest", &[]).await.unwrap() })
        })
        .collect();
    let mut made = Vec::new();
    for task in starting {
        made.extend(task.await.unwrap());
    }
    assert_eq!(made, [1]);
    assert_eq!(bench.store.policy_revisions(None, 10).await.unwrap().len(), 1);
}

async fn a_proposal_is_decided_once(bench: Bench) {
    let (store, id, by) = (&bench.store, ProposalId::from_random(7), "root".parse().unwrap());
    store.establish_policy("first", "d", &[]).await.unwrap();
    assert_eq!(store.propose_policy(&id, &change(0)).await.unwrap(), Proposed::Stale { newest: 1 });
    for n in 0..20 {
        assert_eq!(store.propose_policy(&ProposalId::from_random(n), &change(1)).await.unwrap(), Proposed::Open);
    }
    assert_eq!(store.propose_policy(&ProposalId::from_random(99), &change(1)).await.unwrap(), Proposed::TooMany);
    assert!(store.withdraw_proposal(&id, &by).await.unwrap());
    assert!(!store.withdraw_proposal(&id, &by).await.unwrap());
    let decided = store.apply_policy(&change(1), Some((&id, &by)), &none).await.unwrap();
    assert_eq!(decided, PolicyOutcome::Decided);
    assert_eq!(store.policy_revision().await.unwrap(), 1);
}
