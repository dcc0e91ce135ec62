//! Signals: carried out once, whole or not at all; suspended is not ended, and never longer than before.

use super::lifecycle::{beside_tokens, claim, person};
use super::*;
use crate::identity::signals::Named;
use crate::wire::feed::EndCause;

on_both_databases! {
    a_signal_ends_every_grant_and_request_of_its_person_once,
    what_rests_on_a_later_authentication_is_spared,
    a_suspended_grant_is_off_the_feed_until_its_person_has_authenticated_afresh,
    a_grant_that_is_still_to_be_claimed_waits_unknown_to_the_feed,
    a_grant_that_anybody_could_use_ends_instead_of_waiting,
    a_request_that_rests_on_what_no_longer_counts_is_stale,
    whoever_has_never_called_is_not_in_the_ledger,
    a_principal_is_found_by_issuer_and_subject,
    a_signal_that_fails_is_not_known,
}

const URI: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn signal(id: &str, effect: Effect, since: WallTime, subjects: Vec<Named>) -> NewSignal {
    let event =
        SignalEvent { uri: URI.to_owned(), effect, since, idp: "https://issuer.test".parse().unwrap(), subjects };
    NewSignal { transmitter: "https://signals.test".parse().unwrap(), id: id.to_owned(), events: vec![event] }
}

fn alice() -> Vec<Named> {
    vec![Named::Person(person("alice@example.test"))]
}

async fn take(store: &Store, new: &NewSignal) -> EventOutcome {
    match store.take_signal(new).await.unwrap() {
        SignalOutcome::Applied(mut outcomes) => outcomes.remove(0),
        SignalOutcome::Replayed => panic!("it did not come before"),
    }
}

async fn facts(store: &Store) -> Vec<(String, serde_json::Value)> {
    let entries = store.entries(0, 100).await.unwrap();
    let facts = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["facts"].clone();
    entries.into_iter().map(|entry| (entry.kind, facts(&entry.canonical))).collect()
}

async fn is_sound(store: &Store) {
    let report = store.check().await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// One grant of alice's, who had authenticated at that time; two things she asked for.
async fn granted(store: &Store, n: u64, auth_time: Option<WallTime>) -> GrantId {
    let mut new = new_grant(n, 3);
    let authentication = Authentication { auth_time, ..Authentication::default() };
    new.record.elevation.authentication = authentication.clone();
    if let Some(grant) = &mut new.grant {
        grant.grant.authentication = authentication;
    }
    let id = grant(&new).id.clone();
    create(store, &new).await.unwrap();
    id
}

async fn a_signal_ends_every_grant_and_request_of_its_person_once(bench: Bench) {
    let Bench { store, .. } = bench;
    let first = granted(&store, 1, Some(NOW)).await;
    let second = granted(&store, 2, None).await;
    create(&store, &sample::request(3, 1, NOW)).await.unwrap();
    let new = signal("e-1", Effect::End, NOW, alice());
    let outcome = take(&store, &new).await;
    assert_eq!(outcome.ended, [first.clone(), second]);
    assert_eq!(outcome.lapsed, [ElevationId::from_random(3)]);
    let record = store.grant(&first).await.unwrap().unwrap();
    assert_eq!(record.state, GrantState::Revoked);
    let end = record.ended.unwrap();
    assert_eq!((end.by, end.note.unwrap().contains(URI)), (None, true));
    let told = facts(&store).await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    let expected = ["signal_received", "grant_revoked", "grant_revoked", "elevation_lapsed"];
    assert_eq!(kinds[kinds.len() - 4..], expected);
    let (_, received) = &told[told.len() - 4];
    assert_eq!((&received["event_id"], &received["event"]), (&"e-1".into(), &URI.into()));
    assert_eq!((&received["ended"], &received["lapsed"]), (&2.into(), &1.into()));
    let (_, revoked) = &told[told.len() - 3];
    assert_eq!((&revoked["event_id"], &revoked["cause"]), (&"e-1".into(), &"signal".into()));
    assert_eq!(store.take_signal(&new).await.unwrap(), SignalOutcome::Replayed);
    assert_eq!(facts(&store).await.len(), told.len(), "coming again does nothing");
    let other = NewSignal { transmitter: "https://another.test".parse().unwrap(), ..new };
    assert_eq!(take(&store, &other).await.ended, [], "an id is its transmitter's own");
}

async fn what_rests_on_a_later_authentication_is_spared(bench: Bench) {
    let Bench { store, .. } = bench;
    let since = NOW.minus(Duration::from_secs(60));
    let before = granted(&store, 1, Some(since)).await;
    let after = granted(&store, 2, Some(since.plus(Duration::from_secs(1)))).await;
    let outcome = take(&store, &signal("e-1", Effect::End, since, alice())).await;
    assert_eq!(outcome.ended, [before]);
    assert_eq!(store.grant(&after).await.unwrap().unwrap().state, GrantState::Active);
    take(&store, &signal("e-2", Effect::End, since.minus(Duration::from_secs(9)), alice())).await;
    let principal = Principal { issuer: "https://issuer.test".parse().unwrap(), subject: "alice".parse().unwrap() };
    let standing = store.person_standing(&principal, &person("alice@example.test")).await.unwrap();
    assert_eq!(standing.since, Some(since), "what is late takes nothing back");
}

async fn a_suspended_grant_is_off_the_feed_until_its_person_has_authenticated_afresh(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let (alice_person, id) = (person("alice@example.test"), granted(&store, 1, Some(NOW)).await);
    let expires = store.grant(&id).await.unwrap().unwrap().grant.expires;
    let outcome = take(&store, &signal("e-1", Effect::Suspend, NOW, alice())).await;
    assert_eq!((outcome.suspended, outcome.ended), (vec![id.clone()], vec![]));
    let record = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((record.state, record.suspended), (GrantState::Active, Some(NOW)));
    let snapshot = store.snapshot(&service()).await.unwrap();
    assert_eq!((snapshot.tokens.len(), snapshot.suspended.len()), (0, 1));
    let changes = store.changes_after(&service(), 0, 10).await.unwrap();
    let suspended = |change: &FeedChange| matches!(change.body, ChangeBody::Suspended { .. });
    assert!(changes.iter().all(suspended), "whoever follows is told what stands: {changes:?}");
    // A second report of the same changes nothing.
    assert_eq!(take(&store, &signal("e-2", Effect::Suspend, NOW, alice())).await.suspended, []);
    clock.advance(Duration::from_secs(5));
    let fresh = |at| Authentication { auth_time: at, ..Authentication::default() };
    let ids = [id.clone()];
    for stale in [None, Some(NOW)] {
        assert_eq!(store.resume(&alice_person, &fresh(stale), &ids).await.unwrap(), []);
    }
    let at = NOW.plus(Duration::from_secs(1));
    assert_eq!(store.resume(&person("bob"), &fresh(Some(at)), &ids).await.unwrap(), [], "nor can another");
    assert_eq!(store.resume(&alice_person, &fresh(Some(at)), &ids).await.unwrap(), ids);
    assert_eq!(store.resume(&alice_person, &fresh(Some(at)), &ids).await.unwrap(), [], "once is enough");
    let record = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((record.suspended, record.grant.expires), (None, expires), "its end has not moved");
    let snapshot = store.snapshot(&service()).await.unwrap();
    assert_eq!(snapshot.tokens[0].identity_since, Some(NOW), "what was proven before proves nothing for it");
    assert_eq!(snapshot.suspended, []);
    let changes = store.changes_after(&service(), 0, 10).await.unwrap();
    assert!(matches!(changes.last().unwrap().body, ChangeBody::Put { identity_since: Some(NOW), .. }));
    let later = granted(&store, 2, Some(at)).await;
    let snapshot = store.snapshot(&service()).await.unwrap();
    let new = snapshot.tokens.iter().find(|told| told.grant == later).unwrap();
    assert_eq!(new.identity_since, Some(NOW), "nor for what is granted from then on");
    // A suspended grant ends like any other.
    take(&store, &signal("e-3", Effect::Suspend, at, alice())).await;
    let revoked = store.revoke(&id, &alice_person, None).await.unwrap();
    assert!(matches!(revoked, RevokeOutcome::Revoked(_)));
    let ended = store.snapshot(&service()).await.unwrap().ended_recently;
    assert_eq!(ended[0].cause, EndCause::Revoked);
    clock.advance(Duration::from_secs(900));
    assert_eq!(store.expire_due().await.unwrap(), [later]);
}

async fn a_grant_that_is_still_to_be_claimed_waits_unknown_to_the_feed(bench: Bench) {
    let Bench { store, .. } = bench;
    let (alice_person, id, never) = (person("alice@example.test"), GrantId::from_random(1), GrantId::from_random(2));
    for n in 1..=2 {
        create(&store, &sample::unbound(new_grant(n, 3))).await.unwrap();
    }
    assert_eq!(
        take(&store, &signal("e-1", Effect::Suspend, NOW, alice())).await.suspended,
        [id.clone(), never.clone()]
    );
    let new = claim(&store, &id).await;
    assert_eq!(store.claim(&new).await.unwrap(), Claimed::Suspended { since: NOW });
    let snapshot = store.snapshot(&service()).await.unwrap();
    assert!(snapshot.tokens.is_empty() && snapshot.suspended.is_empty(), "there is no token to tell of");
    assert_eq!(store.newest_revision().await.unwrap(), 0);
    let fresh = |s| {
        let auth_time = Some(NOW.plus(Duration::from_secs(s)));
        Authentication { auth_time, ..Authentication::default() }
    };
    let both = [id.clone(), never.clone()];
    assert_eq!(store.resume(&alice_person, &fresh(1), &both).await.unwrap(), both);
    assert_eq!(store.newest_revision().await.unwrap(), 0);
    assert_eq!(store.claim(&new).await.unwrap(), Claimed::Done { revision: 1 });
    assert_eq!(store.snapshot(&service()).await.unwrap().tokens[0].identity_since, Some(NOW));
    // From here on the feed hears of it.
    let again = take(&store, &signal("e-2", Effect::Suspend, NOW.plus(Duration::from_secs(1)), alice())).await;
    assert_eq!((again.suspended.len(), store.newest_revision().await.unwrap()), (2, 2));
    assert_eq!(store.snapshot(&service()).await.unwrap().suspended[0].grant, id);
    assert_eq!(store.resume(&alice_person, &fresh(2), &both).await.unwrap(), both);
    assert_eq!(store.newest_revision().await.unwrap(), 3);
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
}

async fn a_grant_that_anybody_could_use_ends_instead_of_waiting(bench: Bench) {
    let Bench { store, .. } = bench;
    let mut new = new_grant(1, 3);
    new.record.elevation.binding = Binding::Bearer;
    if let Some(grant) = &mut new.grant {
        grant.grant.binding = Binding::Bearer;
    }
    create(&store, &new).await.unwrap();
    let outcome = take(&store, &signal("e-1", Effect::Suspend, NOW, alice())).await;
    assert_eq!((outcome.ended.len(), outcome.suspended.len()), (1, 0));
}

async fn a_request_that_rests_on_what_no_longer_counts_is_stale(bench: Bench) {
    let Bench { store, .. } = bench;
    let basis = store.basis(&person("alice@example.test"), WallTime::EPOCH).await.unwrap();
    take(&store, &signal("e-1", Effect::End, NOW, alice())).await;
    let new = NewElevation { basis, ..new_grant(1, 3) };
    assert_eq!(store.create(&new).await.unwrap(), Created::Stale);
    let basis = store.basis(&person("alice@example.test"), WallTime::EPOCH).await.unwrap();
    assert_eq!(basis.fresh_since, Some(NOW));
}

async fn whoever_has_never_called_is_not_in_the_ledger(bench: Bench) {
    let Bench { store, .. } = bench;
    let outcome = take(&store, &signal("e-1", Effect::End, NOW, vec![Named::Person(person("stranger"))])).await;
    assert_eq!(outcome, EventOutcome::default());
    assert_eq!(facts(&store).await, []);
    let principal = Principal { issuer: "https://issuer.test".parse().unwrap(), subject: "stranger".parse().unwrap() };
    let standing = store.person_standing(&principal, &person("stranger")).await.unwrap();
    assert_eq!((standing.known, standing.since), (false, Some(NOW)), "and what they have is not believed any more");
    store.meet(&principal, &person("stranger")).await.unwrap();
    let outcome = take(&store, &signal("e-2", Effect::End, NOW, vec![Named::Person(person("stranger"))])).await;
    assert!(outcome.known);
    assert_eq!(facts(&store).await.len(), 1);
    is_sound(&store).await;
}

async fn a_principal_is_found_by_issuer_and_subject(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = granted(&store, 1, Some(NOW)).await;
    let principal = Principal { issuer: "https://issuer.test".parse().unwrap(), subject: "u-77".parse().unwrap() };
    store.meet(&principal, &person("alice@example.test")).await.unwrap();
    let by_subject = |subject: &str| vec![Named::Principal(subject.parse().unwrap())];
    assert_eq!(take(&store, &signal("e-1", Effect::End, NOW, by_subject("u-78"))).await, EventOutcome::default());
    assert_eq!(take(&store, &signal("e-2", Effect::End, NOW, by_subject("u-77"))).await.ended, [id]);
}

async fn a_signal_that_fails_is_not_known(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = granted(&store, 1, Some(NOW)).await;
    let new = signal("e-1", Effect::End, NOW, alice());
    break_table(&store, "entries").await;
    assert!(store.take_signal(&new).await.is_err());
    mend_table(&store).await;
    assert_eq!(store.grant(&id).await.unwrap().unwrap().state, GrantState::Active);
    assert_eq!(take(&store, &new).await.ended, [id]);
}
