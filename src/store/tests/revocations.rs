//! Orders to end grants: all that were live, nothing later, whole or not at all, once.

use super::bench::{Bench, break_table, count, mend_table, on_both_databases, raw};
use super::lifecycle::beside_tokens;
use super::*;
use crate::store::revocations::BATCH_MAX;

on_both_databases! {
    an_order_ends_what_it_names_and_nothing_else,
    one_grant_is_an_order_too,
    what_a_person_waits_for_ends_with_their_grants,
    an_order_is_given_once_under_a_key,
    a_large_order_is_carried_on_after_a_crash_and_leaves_later_grants_alone,
    a_failure_anywhere_leaves_nothing_of_an_order,
    every_grant_is_ended_or_came_after,
    a_revocation_is_settled_once,
    a_freeze_stops_new_grants_until_it_is_lifted,
    no_grant_slips_past_a_freeze,
    what_cannot_be_read_counts_as_frozen,
}

fn bob() -> Person {
    "bob".parse().unwrap()
}

/// A grant of `person` at `service` for `resource`, for half an hour.
fn grant_of(n: u64, person: &str, service: &str, resource: &str) -> NewElevation {
    let mut new = sample::request(n, 3, NOW);
    let elevation = &mut new.record.elevation;
    elevation.scope = Scope::new([resource.parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap();
    (elevation.person, elevation.service) = (person.parse().unwrap(), service.parse().unwrap());
    elevation.duration = Duration::from_secs(1800);
    let grant = sample::grant_of(&new.record, Bounds::of(&new.record.elevation), n, NOW);
    new.record.elevation.state = ElevationState::Approved;
    new.record.elevation.grant = Some(grant.grant.id.clone());
    new.record.lapses = None;
    new.record.decided = Some(Decided { at: NOW, by: None, note: None });
    NewElevation { grant: Some(grant), ..new }
}

/// Each of a person of their own.
fn anybodys(n: u64) -> NewElevation {
    grant_of(n, &format!("person-{n}"), "payments-demo", "contract/C-1042")
}

/// A request that waits.
fn waiting(n: u64, person: &str) -> NewElevation {
    let mut new = sample::request(n, 3, NOW);
    new.record.elevation.person = person.parse().unwrap();
    new
}

async fn order(store: &Store, selector: &Selector) -> (RevocationId, Progress) {
    match store.order(selector, &bob(), Some("why"), None).await.unwrap() {
        OrderOutcome::Ordered(id, progress) => (id, progress),
        kept => panic!("{kept:?}"),
    }
}

async fn active(store: &Store) -> Vec<u64> {
    let mut active = Vec::new();
    for n in 1..=9 {
        let grant = store.grant(&GrantId::from_random(n)).await.unwrap();
        active.extend(grant.filter(|grant| grant.state == GrantState::Active).map(|_| n));
    }
    active
}

fn selectors() -> [(Selector, &'static [u64]); 5] {
    let (payments, contract): (ServiceName, Resource) =
        ("payments-demo".parse().unwrap(), "contract/C-1".parse().unwrap());
    [
        (Selector::Person { person: "alice".parse().unwrap() }, &[1, 2]),
        (Selector::Resource { resource: contract.clone(), service: None }, &[1, 3, 4]),
        (Selector::Resource { resource: contract, service: Some(payments.clone()) }, &[1, 3]),
        (Selector::Service { service: payments }, &[1, 2, 3]),
        (Selector::Everything {}, &[1, 2, 3, 4]),
    ]
}

async fn an_order_ends_what_it_names_and_nothing_else(bench: Bench) {
    for (selector, ended) in selectors() {
        let fresh = bench.another().await;
        let (store, clock) = (&fresh.store, &fresh.clock);
        create(store, &new_grant(9, 3)).await.unwrap();
        clock.advance(Duration::from_secs(900));
        for (n, person, service, resource) in [
            (1, "alice", "payments-demo", "contract/C-1"),
            (2, "alice", "payments-demo", "contract/C-10"),
            (3, "carol", "payments-demo", "contract/C-1"),
            (4, "carol", "limits", "contract/C-1"),
        ] {
            create(store, &grant_of(n, person, service, resource)).await.unwrap();
        }
        assert_eq!(store.would_end(&selector).await.unwrap().len(), ended.len(), "{selector:?}");
        let (id, progress) = order(store, &selector).await;
        assert_eq!(progress, Progress { ended: ended.len(), open: false }, "{selector:?}");
        let left: Vec<u64> = (1..=4).filter(|n| !ended.contains(n)).collect();
        assert_eq!(active(store).await, left, "{selector:?}");
        let record = store.revocation(&id).await.unwrap().unwrap();
        assert_eq!((record.grants_ended, record.open, record.settled), (ended.len() as u64, false, None));
        assert_eq!((&record.selector, &record.by, record.note.as_deref()), (&selector, &bob(), Some("why")));
        let newest = store.newest_revision().await.unwrap();
        assert_eq!(record.reach.iter().map(|reach| reach.revision).max(), Some(newest), "{selector:?}");
        let first = store.grant(&GrantId::from_random(ended[0])).await.unwrap().unwrap().ended.unwrap();
        assert_eq!((first.revocation, first.by), (Some(id.clone()), Some(bob())));
        let entries = store.entries(10, 100).await.unwrap();
        let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
        assert_eq!(kinds[0], "revocation_ordered", "{selector:?}");
        assert_eq!(kinds[1..], vec!["grant_revoked"; ended.len()], "the expired one is the sweep's business");
        assert!(entries.iter().all(|entry| entry.canonical.contains(id.as_str())), "{selector:?}");
        assert!(!entries[0].canonical.contains("alice") && !entries[0].canonical.contains("why"), "{selector:?}");
        let (nothing, again) = order(store, &selector).await;
        assert_eq!(again, Progress::default());
        assert!(store.revocation(&nothing).await.unwrap().unwrap().settled.is_some(), "nothing is awaited of it");
    }
}

async fn one_grant_is_an_order_too(bench: Bench) {
    let Bench { store, .. } = bench;
    let new = new_grant(1, 3);
    create(&store, &new).await.unwrap();
    store.revoke(&grant(&new).id, &bob(), Some("done")).await.unwrap();
    let listed = store.revocations(&RevocationListing { limit: 10, ..Default::default() }).await.unwrap();
    let [record] = listed.items.as_slice() else { panic!("{listed:?}") };
    assert_eq!(record.selector, Selector::Grant { grant: grant(&new).id.clone() });
    assert_eq!((record.grants_ended, record.reach.len(), record.reach[0].revision), (1, 1, 2));
    assert_eq!(store.unsettled(10).await.unwrap(), listed.items);
    let mine = RevocationListing { by: Some("carol".parse().unwrap()), limit: 10, ..Default::default() };
    assert_eq!(store.revocations(&mine).await.unwrap().items, vec![]);
}

async fn what_a_person_waits_for_ends_with_their_grants(bench: Bench) {
    let Bench { store, .. } = bench;
    create(&store, &grant_of(1, "alice", "payments-demo", "contract/C-1")).await.unwrap();
    create(&store, &waiting(2, "alice")).await.unwrap();
    create(&store, &waiting(3, "carol")).await.unwrap();
    create(&store, &waiting(4, "bob")).await.unwrap();
    let (id, progress) = order(&store, &Selector::Person { person: "alice".parse().unwrap() }).await;
    let record = store.revocation(&id).await.unwrap().unwrap();
    assert_eq!((progress.ended, record.requests_denied), (1, 1));
    let (own, _) = order(&store, &Selector::Person { person: bob() }).await;
    assert_eq!(store.revocation(&own).await.unwrap().unwrap().requests_denied, 1);
    for (n, state) in [(2, "denied"), (3, "requested"), (4, "withdrawn")] {
        let record = store.elevation(&ElevationId::from_random(n)).await.unwrap().unwrap();
        assert_eq!(record.elevation.state.as_str(), state, "{n}");
    }
    let denied = store.elevation(&ElevationId::from_random(2)).await.unwrap().unwrap().decided.unwrap();
    assert_eq!((denied.by, denied.note.as_deref()), (Some(bob()), Some("why")));
    let entries = store.entries(0, 100).await.unwrap();
    let denied = entries.iter().find(|entry| entry.kind == "elevation_denied").unwrap();
    assert!(denied.canonical.contains(id.as_str()));
    order(&store, &Selector::Everything {}).await;
    let waits = store.elevation(&ElevationId::from_random(3)).await.unwrap().unwrap();
    assert_eq!(waits.elevation.state, ElevationState::Requested, "its approvers decide");
}

async fn an_order_is_given_once_under_a_key(bench: Bench) {
    let Bench { store, .. } = bench;
    let once = |digest: &str| OnceKey { key: "k".into(), operation: Operation::RevokeAll, digest: digest.into() };
    let all = Selector::Everything {};
    create(&store, &anybodys(1)).await.unwrap();
    let first = store.order(&all, &bob(), None, Some(&once("d"))).await.unwrap();
    let OrderOutcome::Ordered(id, Progress { ended: 1, open: false }) = first else { panic!("{first:?}") };
    create(&store, &anybodys(2)).await.unwrap();
    let again = store.order(&all, &bob(), None, Some(&once("d"))).await.unwrap();
    assert_eq!(again, OrderOutcome::Kept(Kept::Before(id.to_string())));
    let other = store.order(&all, &bob(), None, Some(&once("e"))).await.unwrap();
    assert_eq!(other, OrderOutcome::Kept(Kept::Reused));
    assert_eq!(active(&store).await, [2]);
}

async fn a_large_order_is_carried_on_after_a_crash_and_leaves_later_grants_alone(bench: Bench) {
    const GRANTS: u64 = BATCH_MAX as u64 + 5;
    let Bench { store, clock, place } = bench;
    for n in 1..=GRANTS {
        create(&store, &anybodys(n)).await.unwrap();
    }
    let (id, progress) = order(&store, &Selector::Everything {}).await;
    assert_eq!(progress, Progress { ended: BATCH_MAX, open: true });
    assert_eq!(store.unsettled(10).await.unwrap(), vec![], "it is not carried out yet");
    let settled = Settled { enforced: 0, stopped: 0, rejected: 0, elapsed_ms: None };
    assert!(!store.settle(&id, settled).await.unwrap());
    let later = anybodys(GRANTS + 1);
    create(&store, &later).await.unwrap();
    store.close().await;
    let store = place.open(&clock).await.unwrap();
    assert_eq!(store.open_orders().await.unwrap(), vec![id.clone()]);
    assert_eq!(store.carry_on(&id).await.unwrap(), Progress { ended: 5, open: false });
    assert_eq!(store.carry_on(&id).await.unwrap(), Progress::default());
    assert_eq!(store.open_orders().await.unwrap(), vec![]);
    let record = store.revocation(&id).await.unwrap().unwrap();
    assert_eq!((record.grants_ended, record.open), (GRANTS, false));
    let active = Listing { state: Some(GrantState::Active), limit: 10, ..Listing::default() };
    let active = store.grants(&active).await.unwrap().items;
    assert_eq!(active.iter().map(|record| &record.grant.id).collect::<Vec<_>>(), [&grant(&later).id]);
    assert_eq!(store.newest_revision().await.unwrap(), 2 * GRANTS + 1);
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
}

/// Every table that an order writes, made to fail in turn.
async fn a_failure_anywhere_leaves_nothing_of_an_order(bench: Bench) {
    const TABLES: [&str; 6] = ["revocations", "revocation_reach", "grants", "changes", "entries", "entry_values"];
    for broken in TABLES {
        let fresh = bench.another().await;
        let store = &fresh.store;
        for n in 1..=3 {
            create(store, &anybodys(n)).await.unwrap();
        }
        let mut before = Vec::new();
        for table in TABLES {
            before.push(count(store, table).await);
        }
        break_table(store, broken).await;
        store.order(&Selector::Everything {}, &bob(), Some("why"), None).await.unwrap_err();
        store.revoke(&GrantId::from_random(1), &bob(), None).await.unwrap_err();
        if broken != "grants" {
            store.freeze(None, &bob(), Some("why")).await.unwrap_err();
            assert_eq!(store.freezes().await.unwrap(), vec![], "{broken}");
        }
        let mut after = Vec::new();
        for table in TABLES {
            after.push(count(store, table).await);
        }
        assert_eq!(before, after, "{broken}");
        assert_eq!(active(store).await, [1, 2, 3], "{broken}");
        mend_table(store).await;
        let (id, progress) = order(store, &Selector::Everything {}).await;
        assert_eq!(progress.ended, 3, "{broken}");
        let record = store.revocation(&id).await.unwrap().unwrap();
        assert_eq!(record.reach[0].revision, 6, "no number was lost: {broken}");
        let indices: Vec<_> = store.entries(0, 100).await.unwrap().into_iter().map(|entry| entry.index).collect();
        assert_eq!(indices, (0..10).collect::<Vec<_>>(), "{broken}");
    }
}

async fn every_grant_is_ended_or_came_after(bench: Bench) {
    let Bench { store, .. } = bench;
    let creating: Vec<_> = (1..=30)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let Created::New { revision: Some(revision) } = create(&store, &anybodys(n)).await.unwrap() else {
                    panic!()
                };
                revision
            })
        })
        .collect();
    let ordering: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { order(&store, &Selector::Everything {}).await })
        })
        .collect();
    let mut last_reach = 0;
    let mut ended = 0;
    for task in ordering {
        let (id, progress) = task.await.unwrap();
        ended += progress.ended;
        let reach = store.revocation(&id).await.unwrap().unwrap().reach;
        last_reach = reach.iter().map(|reach| reach.revision).chain([last_reach]).max().unwrap();
    }
    let mut active = 0;
    for (n, task) in (1..).zip(creating) {
        let created = task.await.unwrap();
        let record = store.grant(&GrantId::from_random(n)).await.unwrap().unwrap();
        if record.state == GrantState::Active {
            active += 1;
            assert!(created > last_reach, "granted at {created}, but the last order ended grants up to {last_reach}");
        } else {
            assert!(record.ended.unwrap().revocation.is_some());
        }
    }
    assert_eq!(active + ended, 30, "each was ended once, or not at all");
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
}

async fn a_revocation_is_settled_once(bench: Bench) {
    let Bench { store, .. } = bench;
    create(&store, &new_grant(1, 3)).await.unwrap();
    let (id, _) = order(&store, &Selector::Everything {}).await;
    let settled = Settled { enforced: 2, stopped: 1, rejected: 0, elapsed_ms: Some(38) };
    let settling: Vec<_> = (0..4)
        .map(|_| {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move { store.settle(&id, settled).await.unwrap() })
        })
        .collect();
    let mut done = 0;
    for task in settling {
        done += u32::from(task.await.unwrap());
    }
    assert_eq!(done, 1);
    assert_eq!(store.revocation(&id).await.unwrap().unwrap().settled, Some((NOW, settled)));
    assert_eq!(store.unsettled(10).await.unwrap(), vec![]);
    let (other, _) = {
        create(&store, &new_grant(2, 3)).await.unwrap();
        order(&store, &Selector::Everything {}).await
    };
    store.settle(&other, Settled { elapsed_ms: None, ..settled }).await.unwrap();
    let entries = store.entries(0, 100).await.unwrap();
    let told: Vec<_> = entries.iter().filter(|entry| entry.kind == "revocation_enforced").collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].canonical.contains(r#""elapsed_ms":38"#) && told[0].canonical.contains(r#""stopped":1"#));
    assert!(!told[1].canonical.contains("elapsed_ms"), "what is not known is not said");
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
}

async fn a_freeze_stops_new_grants_until_it_is_lifted(bench: Bench) {
    let Bench { store, clock, place } = bench;
    let limits: ServiceName = "limits".parse().unwrap();
    let FreezeOutcome::Frozen(frozen) = store.freeze(Some(&service()), &bob(), Some("why")).await.unwrap() else {
        panic!("it was not frozen")
    };
    assert_eq!((frozen.revision, frozen.at, frozen.note.as_deref()), (Some(1), Some(NOW), Some("why")));
    let again = store.freeze(Some(&service()), &"carol".parse().unwrap(), None).await.unwrap();
    assert_eq!(again, FreezeOutcome::Stands(frozen.clone()), "it stays as it was");
    store.close().await;
    let store = place.open(&clock).await.unwrap();
    assert_eq!(store.freezes().await.unwrap(), vec![frozen.clone()]);
    assert_eq!(create(&store, &new_grant(1, 3)).await.unwrap(), Created::Frozen);
    assert_eq!(count(&store, "elevations").await, 0);
    let elsewhere = grant_of(2, "alice", "limits", "contract/C-1");
    assert!(matches!(create(&store, &elsewhere).await.unwrap(), Created::New { .. }), "its service is not frozen");
    store.freeze(None, &bob(), None).await.unwrap();
    let elsewhere = grant_of(3, "alice", "limits", "contract/C-1");
    assert!(matches!(create(&store, &elsewhere).await.unwrap(), Created::Frozen));
    assert_eq!(store.lift_freeze(Some(&limits), &bob()).await.unwrap(), None, "its own was never frozen");
    assert!(store.lift_freeze(None, &bob()).await.unwrap().is_some());
    assert!(matches!(create(&store, &elsewhere).await.unwrap(), Created::New { .. }));
    assert!(matches!(create(&store, &new_grant(1, 3)).await.unwrap(), Created::Frozen), "its own freeze stands");
    assert!(store.lift_freeze(Some(&service()), &bob()).await.unwrap().is_some());
    assert!(matches!(create(&store, &new_grant(1, 3)).await.unwrap(), Created::New { .. }));
    let record = store.revocation(&frozen.revocation.unwrap()).await.unwrap().unwrap();
    assert_eq!(record.selector, Selector::Freeze { service: Some(service()) });
    assert_eq!(record.reach, vec![Reach { service: Some(service()), revision: 1 }]);
}

async fn no_grant_slips_past_a_freeze(bench: Bench) {
    let Bench { store, .. } = bench;
    let creating: Vec<_> = (1..=30)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { create(&store, &anybodys(n)).await.unwrap() })
        })
        .collect();
    let freezing = {
        let store = store.clone();
        tokio::spawn(async move { store.freeze(None, &bob(), None).await.unwrap() })
    };
    let FreezeOutcome::Frozen(frozen) = freezing.await.unwrap() else { panic!() };
    for task in creating {
        match task.await.unwrap() {
            Created::New { revision: Some(revision) } => assert!(revision < frozen.revision.unwrap()),
            Created::Frozen => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(create(&store, &new_grant(31, 3)).await.unwrap(), Created::Frozen));
}

async fn what_cannot_be_read_counts_as_frozen(bench: Bench) {
    let Bench { store, .. } = bench;
    raw(&store, "INSERT INTO freezes (service, frozen) VALUES ('payments-demo', 7)".to_owned()).await;
    assert!(matches!(create(&store, &new_grant(1, 3)).await.unwrap(), Created::Frozen), "a mark nobody knows");
    assert!(store.snapshot(&service()).await.unwrap().frozen);
    raw(&store, "UPDATE freezes SET frozen = 1, revocation = 'damaged'".to_owned()).await;
    assert!(matches!(create(&store, &new_grant(1, 3)).await.unwrap(), Created::Frozen));
    store.freezes().await.unwrap_err();
    raw(&store, "DROP TABLE freezes".to_owned()).await;
    create(&store, &new_grant(1, 3)).await.unwrap_err();
    store.freezes().await.unwrap_err();
    assert_eq!(count(&store, "grants").await, 0);
}
