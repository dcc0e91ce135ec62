//! Whether a database holds together: one that lived is sound, and whatever a hand or a disk changes is named.

use std::time::Duration;

use super::bench::{Bench, allot, on_both_databases, raw, stream};
use super::{NOW, new_grant, service};
use crate::config::digest_hex;
use crate::domain::{Authentication, Person};
use crate::identity::signals::Named;
use crate::store::check::CheckReport;
use crate::store::sample::create;
use crate::store::{Effect, NewElevation, NewKey, NewSignal, SignalEvent, Store};
use crate::token::{SigningKey, certify_key, mint_grant};

on_both_databases! {
    a_database_that_lived_is_sound,
    whatever_was_changed_is_named,
    a_restored_database_begins_anew_frozen_and_with_every_grant_ended,
    checking_writes_nothing,
}

/// Issues grants that are signed as the control plane's are.
pub(super) struct Signer {
    key: SigningKey,
}

impl Signer {
    pub(super) async fn recorded(store: &Store) -> Self {
        let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let until = NOW.plus(Duration::from_secs(86_400));
        let certificate = certify_key(key.public(), NOW.minus(Duration::from_secs(60)), until, &root).unwrap();
        let kid = key.public().kid().to_owned();
        let recorded = NewKey { kid, root_kid: root.public().kid().to_owned(), certificate };
        store.record_key(&recorded).await.unwrap().unwrap();
        Self { key }
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }

    pub(super) fn grant(&self, n: u64) -> NewElevation {
        self.signed(new_grant(n, 3))
    }

    pub(super) fn signed(&self, mut new: NewElevation) -> NewElevation {
        let grant = new.grant.as_mut().unwrap();
        grant.token = Some(mint_grant(&grant.grant, &grant.issuer, &self.key).unwrap());
        new
    }
}

/// All of alice's, by a signal and a sign-in after it.
async fn suspend_and_resume(store: &Store) {
    let person: Person = "alice@example.test".parse().unwrap();
    let event = SignalEvent {
        uri: "https://schemas.openid.net/secevent/caep/event-type/credential-change".to_owned(),
        effect: Effect::Suspend,
        since: NOW,
        idp: "https://issuer.test".parse().unwrap(),
        subjects: vec![Named::Person(person.clone())],
    };
    let transmitter = "https://signals.test".parse().unwrap();
    store.take_signal(&NewSignal { transmitter, id: "e-1".to_owned(), events: vec![event] }).await.unwrap();
    let auth_time = Some(NOW.plus(Duration::from_secs(1)));
    let ids: Vec<_> = store.suspended(&person).await.unwrap().into_iter().map(|record| record.grant.id).collect();
    let authentication = Authentication { auth_time, ..Authentication::default() };
    assert_eq!(store.resume(&person, &authentication, &ids).await.unwrap().len(), 3);
}

/// One grant active, one revoked, one expired, one used up; a policy, a freeze, shares.
async fn lived(bench: &Bench) -> Signer {
    let (store, bob) = (&bench.store, "bob".parse().unwrap());
    let signer = Signer::recorded(store).await;
    store.establish_policy("text", &digest_hex("text"), &[]).await.unwrap().unwrap();
    for n in 1..=3 {
        create(store, &signer.grant(n)).await.unwrap();
    }
    suspend_and_resume(store).await;
    store.revoke(&signer.grant(1).grant.unwrap().grant.id, &bob, Some("done")).await.unwrap();
    let third = signer.grant(3).grant.unwrap().grant.id;
    let a = stream(store, "a").await;
    allot(store, &third, &a, 3).await.unwrap();
    store.record_spent(&third, &a, 3).await.unwrap().used_up.unwrap();
    bench.clock.advance(Duration::from_secs(900));
    assert_eq!(store.expire_due().await.unwrap().len(), 1);
    bench.clock.advance(Duration::from_secs(1));
    let mut live = signer.grant(4);
    live.grant.as_mut().unwrap().grant.expires = NOW.plus(Duration::from_secs(5000));
    create(store, &signer.signed(live)).await.unwrap();
    store.set_frozen(Some(&service()), true, &bob).await.unwrap();
    signer
}

async fn checked(store: &Store) -> CheckReport {
    store.check().await.unwrap()
}

async fn a_database_that_lived_is_sound(bench: Bench) {
    assert!(checked(&bench.store).await.is_sound(), "an empty one too");
    lived(&bench).await;
    let report = checked(&bench.store).await;
    assert_eq!(report.findings, vec![]);
    assert_eq!((report.revision, report.entries, report.grants), (16, 22, 4));
}

async fn whatever_was_changed_is_named(bench: Bench) {
    let cases: [(&str, &str, &str); 22] = [
        ("DELETE FROM changes WHERE revision = 3", "changes", "the number of revisions is"),
        ("UPDATE counters SET value = value + 1 WHERE name = 'revision'", "changes", "the last revision is"),
        ("DELETE FROM changes WHERE kind = 'freeze'", "changes", "the last revision is"),
        (
            "UPDATE entries SET canonical = REPLACE(canonical, ',', ', ') WHERE entry_index = 2",
            "entry 2",
            "canonical form",
        ),
        // Where an index reads what it says, whoever breaks it has to remove that first.
        (
            "DROP INDEX entries_of_elevation; DROP INDEX entries_of_grant; \
             UPDATE entries SET canonical = '{' WHERE entry_index = 2",
            "entry 2",
            "is not JSON",
        ),
        ("UPDATE entries SET kind = 'grant_expired' WHERE kind = 'grant_revoked'", "entry ", "its kind is not"),
        (
            "DELETE FROM entry_values WHERE entry_index = 4; DELETE FROM entries WHERE entry_index = 4",
            "entry 4",
            "is missing",
        ),
        ("UPDATE counters SET value = value + 1 WHERE name = 'entry'", "entries", "their number is"),
        (
            "UPDATE entry_values SET value = 'mallory' WHERE field = 'by' AND value = 'bob'",
            "entry ",
            "does not fit the commitment",
        ),
        (
            "UPDATE grants SET state = 'active', ended_ms = NULL WHERE state = 'revoked'",
            "grant ",
            "the number of its tombstones is 1, and should be 0",
        ),
        ("UPDATE grants SET state = 'expired' WHERE state = 'revoked'", "grant ", "its state on the feed is revoked"),
        ("UPDATE grants SET person = 'mallory' WHERE state = 'active'", "grant ", "its row and its claims differ"),
        (
            "UPDATE grants SET token = (SELECT token FROM grants WHERE state = 'revoked') WHERE state = 'active'",
            "grant ",
            "its token says something else",
        ),
        ("UPDATE grants SET token = token || 'x' WHERE state = 'active'", "grant ", "its token does not hold"),
        ("UPDATE shares SET spent = 9", "grant ", "9 spent of 3"),
        ("UPDATE policy_revisions SET text = 'other'", "policy revision 1", "not what its digest says"),
        ("DELETE FROM policy_revisions", "policy", "the number of revisions is 0"),
        (
            "UPDATE elevations SET state = 'denied' WHERE id = (SELECT elevation FROM grants WHERE state = 'active')",
            "grant ",
            "no approved elevation",
        ),
        ("UPDATE revocations SET ended = 5", "revocation ", "the number of grants that it ended is 1, and should be 5"),
        ("UPDATE grants SET revocation = 'r-0'", "grants", "a revocation that is not there is"),
        ("UPDATE revocations SET enforced = 1", "revocation ", "entries revocation_enforced is 0"),
        ("UPDATE revocations SET selector = '{}'", "revocation ", "does not know"),
    ];
    for (change, place, what) in cases {
        let fresh = bench.another().await;
        lived(&fresh).await;
        raw(&fresh.store, change.to_owned()).await;
        let report = checked(&fresh.store).await;
        let named = report.findings.iter().any(|found| found.place.starts_with(place) && found.what.contains(what));
        let shown = report.findings;
        assert!(named, "{change}: {shown:?}");
        assert!(shown.iter().all(|found| !found.what.contains("mallory")), "no personal value: {shown:?}");
    }
}

async fn a_restored_database_begins_anew_frozen_and_with_every_grant_ended(bench: Bench) {
    lived(&bench).await;
    let (store, before) = (&bench.store, bench.store.epoch().to_owned());
    let restored = store.mark_restored().await.unwrap();
    assert_eq!((restored.grants_ended, restored.revision), (1, 18));
    assert_ne!(restored.epoch, before);
    store.close().await;
    let store = bench.place.open(&bench.clock).await.unwrap();
    assert_eq!(store.epoch(), restored.epoch);
    for name in ["payments-demo", "other"] {
        let snapshot = store.snapshot(&name.parse().unwrap()).await.unwrap();
        assert!(snapshot.frozen && snapshot.tokens.is_empty(), "{name}");
    }
    assert_eq!(checked(&store).await.findings, vec![]);
    let kinds: Vec<_> = store.entries(22, 10).await.unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["database_restored", "freeze_changed", "grant_revoked"]);
}

async fn checking_writes_nothing(bench: Bench) {
    lived(&bench).await;
    bench.store.close().await;
    let store = bench.place.open_to_read(&bench.clock).await.unwrap();
    assert!(checked(&store).await.is_sound());
    store.set_frozen(None, true, &"bob".parse().unwrap()).await.unwrap_err();
    assert!(checked(&store).await.is_sound());
}

#[tokio::test]
async fn a_backup_of_a_database_in_use_is_one_state_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::sqlite().await;
    let signer = lived(&bench).await;
    let to = bench.place.folder().join("backup");
    let writing = {
        let (store, new) = (bench.store.clone(), signer.grant(5));
        tokio::spawn(async move { create(&store, &new).await.unwrap() })
    };
    bench.store.back_up(&to).await.unwrap();
    writing.await.unwrap();
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = Store::open(&to, crate::clock::Clock::Manual(bench.clock.clone())).await.unwrap();
    let report = checked(&copy).await;
    assert!(report.is_sound() && (4..=5).contains(&report.grants), "{report:?}");
    assert_eq!(copy.epoch(), bench.store.epoch());
    assert!(bench.store.back_up(&to).await.is_err(), "nothing is written over");
    let nowhere = bench.place.folder().join("no/folder");
    assert!(bench.store.back_up(&nowhere).await.is_err());
}

#[tokio::test]
async fn an_older_or_missing_database_is_not_read() {
    let bench = Bench::sqlite().await;
    raw(&bench.store, "PRAGMA user_version = 0".to_owned()).await;
    bench.store.close().await;
    let error = bench.place.open_to_read(&bench.clock).await.unwrap_err();
    assert!(error.to_string().contains("was written by an older version"), "{error}");
    std::fs::remove_file(bench.place.folder().join("db")).unwrap();
    bench.place.open_to_read(&bench.clock).await.unwrap_err();
    assert!(!bench.place.folder().join("db").exists(), "and not made");
}
