//! What comes of asking issuers about tokens: nothing ends for an old token, and all that rests on one ends at once.

use super::lifecycle::{beside_tokens, person};
use super::*;

on_both_databases! {
    a_token_that_stands_no_more_ends_what_rests_on_it_once,
    what_rests_on_another_issuer_or_a_later_authentication_is_spared,
    what_was_proven_in_the_future_was_proven_now,
    nothing_ends_where_a_newer_token_was_seen,
    nothing_ends_for_a_token_whose_time_is_over,
    who_has_a_stake_is_who_has_something_here,
    an_end_that_fails_leaves_nothing_of_itself,
}

const ISSUER: &str = "https://issuer.test";
const HOUR: Duration = Duration::from_secs(3600);

fn principal(issuer: &str, subject: &str) -> Principal {
    Principal { issuer: issuer.parse().unwrap(), subject: subject.parse().unwrap() }
}

fn alice() -> Person {
    person("alice@example.test")
}

fn times(issued: WallTime) -> TokenTimes {
    TokenTimes { issued, expires: NOW.plus(HOUR) }
}

fn inactive(issued: WallTime) -> NoLongerActive {
    NoLongerActive {
        principal: principal(ISSUER, "alice"),
        person: alice(),
        times: times(issued),
        since: issued,
        leeway: Duration::from_secs(5),
    }
}

async fn carried(store: &Store, token: &NoLongerActive) -> EventOutcome {
    match store.end_for(token).await.unwrap() {
        RecheckOutcome::Carried(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

async fn granted(store: &Store, n: u64, idp: &str, auth_time: Option<WallTime>) -> GrantId {
    let mut new = new_grant(n, 3);
    let authentication = Authentication { auth_time, ..Authentication::default() };
    new.record.elevation.authentication = authentication.clone();
    new.record.elevation.idp = idp.parse().unwrap();
    if let Some(grant) = &mut new.grant {
        grant.grant.authentication = authentication;
        grant.grant.idp = idp.parse().unwrap();
    }
    let id = grant(&new).id.clone();
    create(store, &new).await.unwrap();
    id
}

async fn facts(store: &Store) -> Vec<(String, serde_json::Value)> {
    let entries = store.entries(0, 100).await.unwrap();
    let facts = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["facts"].clone();
    entries.into_iter().map(|entry| (entry.kind, facts(&entry.canonical))).collect()
}

async fn what_was_proven_in_the_future_was_proven_now(bench: Bench) {
    let store = &bench.store;
    granted(store, 1, ISSUER, None).await;
    carried(store, &NoLongerActive { since: NOW.plus(HOUR * 24 * 365), ..inactive(NOW) }).await;
    let facts = facts(store).await;
    let (_, told) = facts.iter().find(|(kind, _)| kind == "token_inactive").unwrap();
    let now = store.shared.clock.wall().unix_ms();
    assert_eq!(told["since"], now);
}

async fn is_sound(store: &Store) {
    assert_eq!(beside_tokens(store).await, Vec::<String>::new());
}

async fn a_token_that_stands_no_more_ends_what_rests_on_it_once(bench: Bench) {
    let Bench { store, .. } = bench;
    store.meet(&principal(ISSUER, "alice"), &alice()).await.unwrap();
    let first = granted(&store, 1, ISSUER, Some(NOW)).await;
    let second = granted(&store, 2, ISSUER, None).await;
    create(&store, &sample::request(3, 1, NOW)).await.unwrap();
    store.see_token(&principal(ISSUER, "alice"), times(NOW)).await.unwrap();
    let outcome = carried(&store, &inactive(NOW)).await;
    assert_eq!(outcome.ended, [first.clone(), second]);
    assert_eq!(outcome.lapsed, [ElevationId::from_random(3)]);
    let end = store.grant(&first).await.unwrap().unwrap().ended.unwrap();
    assert_eq!((end.by, end.note.unwrap().starts_with(ISSUER)), (None, true));
    let told = facts(&store).await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds[kinds.len() - 4..], ["token_inactive", "grant_revoked", "grant_revoked", "elevation_lapsed"]);
    let (_, entry) = &told[told.len() - 4];
    let expected =
        serde_json::json!({"idp": ISSUER, "issued": NOW.unix_ms(), "since": NOW.unix_ms(), "ended": 2, "lapsed": 1});
    assert_eq!(*entry, expected);
    let (_, revoked) = &told[told.len() - 3];
    assert_eq!((&revoked["cause"], &revoked["idp"]), (&"introspection".into(), &ISSUER.into()));
    assert_eq!(told[told.len() - 1].1["cause"], "introspection");
    let standing = store.person_standing(&principal(ISSUER, "alice"), &alice()).await.unwrap();
    assert_eq!(standing.since, Some(NOW), "the token itself, and all of its sign-in, opens nothing any more");
    // Another replica, which holds the very same token, comes second.
    assert_eq!(carried(&store, &inactive(NOW)).await.ended, []);
    assert_eq!(facts(&store).await.len(), told.len());
    is_sound(&store).await;
}

async fn what_rests_on_another_issuer_or_a_later_authentication_is_spared(bench: Bench) {
    let Bench { store, .. } = bench;
    let since = NOW.minus(Duration::from_secs(60));
    let own = granted(&store, 1, ISSUER, Some(since)).await;
    let later = granted(&store, 2, ISSUER, Some(since.plus(Duration::from_secs(1)))).await;
    let other = granted(&store, 3, "https://other.test", Some(since)).await;
    assert_eq!(carried(&store, &inactive(since)).await.ended, [own]);
    for spared in [later, other] {
        assert_eq!(store.grant(&spared).await.unwrap().unwrap().state, GrantState::Active);
    }
    is_sound(&store).await;
}

async fn nothing_ends_where_a_newer_token_was_seen(bench: Bench) {
    let Bench { store, .. } = bench;
    for subject in ["alice", "alice-too"] {
        store.meet(&principal(ISSUER, subject), &alice()).await.unwrap();
    }
    store.meet(&principal("https://other.test", "alice"), &alice()).await.unwrap();
    let id = granted(&store, 1, ISSUER, None).await;
    let later = NOW.plus(Duration::from_secs(1));
    // By whichever principal of the issuer the person called.
    store.see_token(&principal(ISSUER, "alice-too"), times(later)).await.unwrap();
    store.see_token(&principal(ISSUER, "alice-too"), times(NOW)).await.unwrap();
    store.see_token(&principal("https://other.test", "alice"), times(later.plus(HOUR))).await.unwrap();
    let before = facts(&store).await.len();
    assert_eq!(store.end_for(&inactive(NOW)).await.unwrap(), RecheckOutcome::SignedInAnew);
    // Of the same second, the one that lives longer is the newer.
    let shorter = TokenTimes { issued: later, expires: NOW.plus(HOUR / 2) };
    let shorter = NoLongerActive { times: shorter, ..inactive(later) };
    assert_eq!(store.end_for(&shorter).await.unwrap(), RecheckOutcome::SignedInAnew);
    assert_eq!(facts(&store).await.len(), before);
    let standing = store.person_standing(&principal(ISSUER, "alice"), &alice()).await.unwrap();
    assert_eq!(standing.since, None, "nothing is demanded of them either");
    // What another issuer's token says is another matter.
    assert_eq!(carried(&store, &inactive(later)).await.ended, [id]);
}

async fn nothing_ends_for_a_token_whose_time_is_over(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = granted(&store, 1, ISSUER, None).await;
    let ends = |expires| NoLongerActive { times: TokenTimes { issued: NOW, expires }, ..inactive(NOW) };
    for expires in [NOW, NOW.minus(HOUR), NOW.plus(Duration::from_secs(5))] {
        assert_eq!(store.end_for(&ends(expires)).await.unwrap(), RecheckOutcome::Expired, "{expires:?}");
    }
    assert_eq!(store.grant(&id).await.unwrap().unwrap().state, GrantState::Active);
    let just_before = NOW.plus(Duration::from_millis(5_001));
    assert_eq!(carried(&store, &ends(just_before)).await.ended, [id]);
}

async fn who_has_a_stake_is_who_has_something_here(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    assert!(!store.has_stake(&alice()).await.unwrap());
    assert!(store.persons_at_stake().await.unwrap().is_empty());
    create(&store, &sample::request(1, 1, NOW)).await.unwrap();
    assert!(store.has_stake(&alice()).await.unwrap(), "a request that waits");
    store.withdraw(&ElevationId::from_random(1), &alice(), None).await.unwrap();
    assert!(!store.has_stake(&alice()).await.unwrap());
    granted(&store, 2, ISSUER, None).await;
    assert!(store.has_stake(&alice()).await.unwrap(), "a live grant");
    assert_eq!(store.persons_at_stake().await.unwrap(), [alice()].into());
    clock.advance(Duration::from_secs(86_400));
    assert!(!store.has_stake(&alice()).await.unwrap(), "its time is over, whether or not the sweep has come by");
    assert!(store.persons_at_stake().await.unwrap().is_empty());
}

async fn an_end_that_fails_leaves_nothing_of_itself(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = granted(&store, 1, ISSUER, None).await;
    let before = facts(&store).await.len();
    for table in ["entries", "grants", "changes", "person_freshness"] {
        break_table(&store, table).await;
        store.end_for(&inactive(NOW)).await.unwrap_err();
        mend_table(&store).await;
        assert_eq!(store.grant(&id).await.unwrap().unwrap().state, GrantState::Active, "{table}");
        assert_eq!(facts(&store).await.len(), before, "{table}");
    }
    assert_eq!(carried(&store, &inactive(NOW)).await.ended, [id]);
    is_sound(&store).await;
}
