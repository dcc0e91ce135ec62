//! Transitions against a real file: whole or not at all, dense numbers, shares that never sum above the limit.

use std::time::Duration;

mod audit;
mod bench;
mod checking;
mod erasing;
mod faults;
mod ledger;
mod lifecycle;
mod migration;
mod model;
mod policies;
mod rechecks;
mod replicas;
mod reports;
mod revocations;
mod signals;
mod sinks;

use bench::{Bench, allot, break_table, count, hand_back, make_newer, mend_table, on_both_databases, stream};

use super::sample::{create, service};
use super::*;
use crate::clock::Clock;
use crate::domain::*;
use crate::secret::Secret;
use crate::wire::api::GrantState;
use crate::wire::feed::{AuditPosition, EndCause};

const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);

fn new_grant(n: u64, max_uses: u32) -> NewElevation {
    sample::granted(n, max_uses, NOW)
}

/// The grant that comes with it.
fn grant(new: &NewElevation) -> &Grant {
    &new.grant.as_ref().unwrap().grant
}

on_both_databases! {
    an_issued_grant_is_read_back_whole_and_fed,
    revoking_ends_once_and_says_who,
    time_ends_a_grant_by_sweep_and_revoking_it_then_says_expired,
    a_failure_anywhere_leaves_nothing_half_written,
    numbers_are_dense_under_concurrent_writers,
    shares_never_sum_above_the_limit,
    the_last_use_ends_the_grant_in_the_same_step,
    an_idempotency_key_answers_once_and_is_forgotten_after_a_day,
    a_freeze_is_told_as_it_stands_for_the_service,
    everything_outlives_a_restart,
    pages_follow_one_another,
    a_newer_schema_is_refused,
}

async fn an_issued_grant_is_read_back_whole_and_fed(bench: Bench) {
    let Bench { store, .. } = bench;
    let mut wake = store.subscribe();
    let new = new_grant(1, 3);
    assert_eq!(create(&store, &new).await.unwrap(), Created::New { revision: Some(1) });
    wake.changed().await.unwrap();
    assert_eq!(*wake.borrow(), 1);
    let record = store.grant(&grant(&new).id).await.unwrap().unwrap();
    assert_eq!((record.grant, record.state, record.revision), (grant(&new).clone(), GrantState::Active, 1));
    let elevation = store.elevation(&new.record.elevation.id).await.unwrap().unwrap();
    assert_eq!(elevation, new.record);
    let snapshot = store.snapshot(&service()).await.unwrap();
    assert_eq!((snapshot.revision, snapshot.frozen, snapshot.tokens.len()), (1, false, 1));
    assert_eq!(snapshot.tokens[0].token, new.grant.as_ref().unwrap().token.clone().unwrap());
    let changes = store.changes_after(&service(), 0, 10).await.unwrap();
    assert_eq!(
        changes[0].body,
        ChangeBody::Put {
            grant: grant(&new).id.clone(),
            token: new.grant.as_ref().unwrap().token.clone().unwrap(),
            identity_since: None,
        }
    );
    assert_eq!(store.snapshot(&"other".parse().unwrap()).await.unwrap().tokens, vec![]);
    assert_eq!(store.changes_after(&"other".parse().unwrap(), 0, 10).await.unwrap(), vec![]);
}

async fn revoking_ends_once_and_says_who(bench: Bench) {
    let Bench { store, .. } = bench;
    let new = new_grant(1, 3);
    create(&store, &new).await.unwrap();
    let bob: Person = "bob".parse().unwrap();
    let RevokeOutcome::Revoked(record) = store.revoke(&grant(&new).id, &bob, Some("done")).await.unwrap() else {
        panic!("it was active");
    };
    assert_eq!((record.state, record.revision), (GrantState::Revoked, 2));
    let ended = record.ended.clone().unwrap();
    assert_eq!((ended.at, ended.by, ended.note.as_deref()), (NOW, Some(bob.clone()), Some("done")));
    let again = store.revoke(&grant(&new).id, &bob, None).await.unwrap();
    assert_eq!(again, RevokeOutcome::Ended(record));
    assert_eq!(store.revoke(&GrantId::from_random(9), &bob, None).await.unwrap(), RevokeOutcome::Unknown);
    let snapshot = store.snapshot(&service()).await.unwrap();
    assert_eq!((snapshot.revision, snapshot.tokens), (2, vec![]));
    assert_eq!(snapshot.ended_recently[0].cause, EndCause::Revoked);
}

async fn time_ends_a_grant_by_sweep_and_revoking_it_then_says_expired(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let (first, second) = (new_grant(1, 3), new_grant(2, 3));
    create(&store, &first).await.unwrap();
    assert_eq!(store.expire_due().await.unwrap(), vec![]);
    clock.advance(Duration::from_secs(900));
    assert_eq!(store.grant(&grant(&first).id).await.unwrap().unwrap().state, GrantState::Expired, "even unswept");
    create(&store, &second).await.unwrap();
    let RevokeOutcome::Ended(record) = store.revoke(&grant(&second).id, &grant(&first).person, None).await.unwrap()
    else {
        panic!("its time was over");
    };
    assert_eq!(record.state, GrantState::Expired);
    assert_eq!(store.expire_due().await.unwrap(), vec![grant(&first).id.clone()]);
    assert_eq!(store.expire_due().await.unwrap(), vec![]);
    let kinds: Vec<_> = store.entries(0, 100).await.unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "grant_expired").count(), 2);
}

/// Every table a transition writes, made to fail in turn: nothing of the transition may stay.
async fn a_failure_anywhere_leaves_nothing_half_written(bench: Bench) {
    const TABLES: [&str; 6] = ["elevations", "grants", "changes", "entries", "entry_values", "idempotency_keys"];
    for broken in TABLES {
        let fresh = bench.another().await;
        let store = &fresh.store;
        let standing = new_grant(1, 1);
        create(store, &standing).await.unwrap();
        let a = stream(store, "a").await;
        allot(store, &grant(&standing).id, &a, 1).await.unwrap();
        let mut before = Vec::new();
        for table in TABLES {
            before.push(count(store, table).await);
        }
        break_table(store, broken).await;
        let mut new = new_grant(2, 3);
        new.once = Some(OnceKey { key: "k".into(), operation: Operation::Request, digest: "d".into() });
        create(store, &new).await.unwrap_err();
        if !matches!(broken, "elevations" | "idempotency_keys") {
            store.revoke(&grant(&standing).id, &grant(&standing).person, Some("n")).await.unwrap_err();
        }
        if matches!(broken, "grants" | "changes" | "entries") {
            store.record_spent(&grant(&standing).id, &a, 1).await.unwrap_err();
            assert_eq!(store.shares_of(&grant(&standing).id).await.unwrap()[0].spent, 0, "{broken}");
        }
        let mut after = Vec::new();
        for table in TABLES {
            after.push(count(store, table).await);
        }
        assert_eq!(before, after, "{broken}");
        assert_eq!(store.grant(&grant(&standing).id).await.unwrap().unwrap().state, GrantState::Active, "{broken}");
        mend_table(store).await;
        assert_eq!(
            create(store, &new).await.unwrap(),
            Created::New { revision: Some(3) },
            "no number was lost: {broken}"
        );
        let indices: Vec<_> = store.entries(0, 100).await.unwrap().into_iter().map(|entry| entry.index).collect();
        assert_eq!(indices, vec![0, 1, 2, 3], "{broken}");
    }
}

async fn numbers_are_dense_under_concurrent_writers(bench: Bench) {
    let Bench { store, .. } = bench;
    let tasks: Vec<_> = (1..=20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { create(&store, &new_grant(n, 3)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let revisions: Vec<_> =
        store.changes_after(&service(), 0, 100).await.unwrap().into_iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (1..=20).collect::<Vec<_>>());
    let indices: Vec<_> = store.entries(0, 100).await.unwrap().into_iter().map(|entry| entry.index).collect();
    assert_eq!(indices, (0..40).collect::<Vec<_>>());
    assert_eq!(store.newest_revision().await.unwrap(), 20);
    assert_eq!(store.oldest_change().await.unwrap(), 1);
}

async fn shares_never_sum_above_the_limit(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = grant(&new_grant(1, 5)).id.clone();
    create(&store, &new_grant(1, 5)).await.unwrap();
    let (a, b, c) = (stream(&store, "a").await, stream(&store, "b").await, stream(&store, "c").await);
    assert_eq!(allot(&store, &id, &a, 2).await, Some(2));
    assert_eq!(allot(&store, &id, &b, 9).await, Some(3));
    assert_eq!(allot(&store, &id, &c, 1).await, None, "nothing is free");
    let spent = store.record_spent(&id, &b, 1).await.unwrap();
    assert_eq!(spent, SpentOutcome::default());
    assert_eq!(hand_back(&store, &id, &b, 0).await, 1, "never below what is spent");
    assert_eq!(hand_back(&store, &id, &b, 4).await, 1, "never up");
    assert_eq!(allot(&store, &id, &a, 1).await, Some(3), "the sum is cumulative");
    let stranger = ShareHolder { service: "other".parse().unwrap(), ..stream(&store, "x").await };
    assert_eq!(allot(&store, &id, &stranger, 1).await, None);
    assert_eq!(store.record_spent(&id, &stranger, 5).await.unwrap(), SpentOutcome::default());
    let shares = store.shares_of(&id).await.unwrap();
    assert_eq!(shares.iter().map(|share| (share.allotted, share.spent)).collect::<Vec<_>>(), vec![(3, 0), (1, 1)]);
    assert_eq!(store.shares_of_lineage(&a).await.unwrap(), shares[..1].to_vec());
    let told = store.changes_after(&service(), 1, 10).await.unwrap();
    assert!(
        told.iter().all(|change| match &change.body {
            ChangeBody::Share { lineage, allotted, .. } => *allotted == if lineage == "a" { 3 } else { 1 },
            _ => false,
        }),
        "what stands now is told, never an earlier, larger share: {told:?}"
    );
}

async fn the_last_use_ends_the_grant_in_the_same_step(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = grant(&new_grant(1, 2)).id.clone();
    create(&store, &new_grant(1, 2)).await.unwrap();
    let (a, b, c) = (stream(&store, "a").await, stream(&store, "b").await, stream(&store, "c").await);
    allot(&store, &id, &a, 1).await.unwrap();
    allot(&store, &id, &b, 1).await.unwrap();
    assert_eq!(store.record_spent(&id, &a, 1).await.unwrap().used_up, None);
    assert_eq!(store.record_spent(&id, &a, 0).await.unwrap(), SpentOutcome::default(), "never down");
    let last = store.record_spent(&id, &b, 1).await.unwrap();
    assert_eq!(last, SpentOutcome { used_up: Some(4), above_share: false });
    let record = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((record.state, record.spent), (GrantState::UsedUp, 2));
    let late = store.record_spent(&id, &a, 4).await.unwrap();
    assert_eq!(late, SpentOutcome { used_up: None, above_share: true }, "recorded, but it ends only once");
    assert_eq!(store.grant(&id).await.unwrap().unwrap().spent, 5);
    assert_eq!(allot(&store, &id, &c, 1).await, None);
}

async fn an_idempotency_key_answers_once_and_is_forgotten_after_a_day(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let once = |digest: &str| Some(OnceKey { key: "k-1".into(), operation: Operation::Request, digest: digest.into() });
    let first = NewElevation { once: once("body"), ..new_grant(1, 3) };
    assert_eq!(create(&store, &first).await.unwrap(), Created::New { revision: Some(1) });
    let again = NewElevation { once: once("body"), ..new_grant(2, 3) };
    assert_eq!(
        create(&store, &again).await.unwrap(),
        Created::Kept(Kept::Before(first.record.elevation.id.to_string()))
    );
    let other = NewElevation { once: once("other"), ..new_grant(3, 3) };
    assert_eq!(create(&store, &other).await.unwrap(), Created::Kept(Kept::Reused));
    assert_eq!(count(&store, "grants").await, 1);
    clock.advance(Store::ONCE_KEYS_KEPT);
    assert_eq!(create(&store, &other).await.unwrap(), Created::New { revision: Some(2) });
}

async fn a_freeze_is_told_as_it_stands_for_the_service(bench: Bench) {
    let Bench { store, .. } = bench;
    let bob: Person = "bob".parse().unwrap();
    store.freeze(Some(&service()), &bob, None).await.unwrap();
    store.freeze(None, &bob, None).await.unwrap();
    store.lift_freeze(None, &bob).await.unwrap().unwrap();
    assert!(store.snapshot(&service()).await.unwrap().frozen, "its own freeze stands");
    assert!(!store.snapshot(&"other".parse().unwrap()).await.unwrap().frozen);
    let told = store.changes_after(&service(), 2, 10).await.unwrap();
    assert_eq!(told[0].body, ChangeBody::Freeze { frozen: true });
}

async fn everything_outlives_a_restart(bench: Bench) {
    let Bench { store, clock, place } = bench;
    create(&store, &new_grant(1, 3)).await.unwrap();
    let key = NewKey { kid: "kid".into(), root_kid: "root".into(), certificate: "cert".into() };
    assert_eq!(store.record_key(&key).await.unwrap(), Some(2));
    assert_eq!(store.record_key(&key).await.unwrap(), None, "a key is told once");
    let seen = SidecarSeen {
        service: service(),
        instance: "sidecar-1".parse().unwrap(),
        version: "0.1.0".into(),
        service_digest: "d".into(),
        lineage: "l".into(),
        revision: 2,
        acked: NOW,
        heard: NOW,
        audit: AuditPosition { log_id: "log".into(), sequence: 4, head: "h".into() },
        replica: store.replica().to_owned(),
        generation: 7,
        connected: true,
        fresh: NOW,
        skew_ms: Some(-3),
        rejections: vec![(1, "above the \"ceiling\"".into())],
    };
    store.report(1, std::slice::from_ref(&seen)).await.unwrap();
    store
        .establish_policy("text", "digest", &[AppliedFile { name: "a".into(), text: "t".into(), digest: "x".into() }])
        .await
        .unwrap();
    let epoch = store.epoch().to_owned();
    store.close().await;
    let store = place.open(&clock).await.unwrap();
    assert_eq!(store.epoch(), epoch);
    assert_eq!(*store.subscribe().borrow(), 2);
    assert_eq!(store.sidecars().await.unwrap(), vec![seen]);
    let policy = store.policy().await.unwrap().unwrap();
    assert_eq!((policy.revision, policy.text.as_str(), policy.services[0].name.as_str()), (1, "text", "a"));
    assert_eq!(store.grants(&Listing { limit: 10, ..Listing::default() }).await.unwrap().items.len(), 1);
}

async fn pages_follow_one_another(bench: Bench) {
    let Bench { store, .. } = bench;
    for n in 1..=5 {
        create(&store, &new_grant(n, 3)).await.unwrap();
    }
    let mut listing = Listing { limit: 2, ..Listing::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.grants(&listing).await.unwrap();
        seen.extend(page.items.into_iter().map(|record| record.grant.id));
        listing.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=5).rev().map(GrantId::from_random).collect::<Vec<_>>());
}

async fn a_newer_schema_is_refused(bench: Bench) {
    let Bench { store, clock, place } = bench;
    make_newer(&store).await;
    store.close().await;
    let error = place.open(&clock).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    std::fs::write(&path, "this is a text, not a database, and long enough to be looked at as one").unwrap();
    let error = Store::open(&path, Clock::System).await.unwrap_err();
    assert!(matches!(error, OpenError::Open { .. } | OpenError::Migrate { .. }), "{error:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is a text"));
}

#[tokio::test]
async fn only_its_owner_may_read_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let Bench { store, place, .. } = Bench::sqlite().await;
    create(&store, &new_grant(1, 3)).await.unwrap();
    for file in std::fs::read_dir(place.folder()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.file_name());
    }
}
