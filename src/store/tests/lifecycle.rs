//! The lifecycle's transitions on both databases: who comes first, what fails, what was written by the first schema.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::bench::{
    Bench, break_commit, break_table, count, lose_answer, mend_commit, mend_table, on_both_databases, raw,
};
use super::*;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn person(name: &str) -> Person {
    name.parse().unwrap()
}

fn once(operation: Operation) -> Option<OnceKey> {
    Some(OnceKey { key: "k".into(), operation, digest: "d".into() })
}

/// One person's approval of what stands, complete or not.
pub(super) async fn approval(store: &Store, id: &ElevationId, by: &str, complete: Option<u64>) -> NewApproval {
    let mut record = store.elevation(id).await.unwrap().unwrap();
    let approval = Approval {
        person: person(by),
        idp: "https://issuer.test".parse().unwrap(),
        groups: BTreeSet::from(["leads".to_owned()]),
        narrowing: Narrowing { max_uses: NonZeroU32::new(2), ..Narrowing::default() },
        at: NOW,
    };
    let seen = Seen { version: record.version, policy_revision: store.policy_revision().await.unwrap() };
    record.approvals.push(approval.clone());
    let asked = Bounds::of(&record.elevation);
    let bounds = asked.narrowed(&approval.narrowing, &asked).unwrap();
    let now = store.shared.clock.wall();
    let grant = complete.map(|n| sample::grant_of(&record, bounds, n, now));
    let authentication = Authentication { acr: Some("mfa".into()), amr: vec!["otp".into()], auth_time: Some(NOW) };
    NewApproval { elevation: id.clone(), approval, authentication, etag: "tag".into(), seen, grant, once: None }
}

/// What alice's key makes of a grant that was approved unbound.
pub(super) async fn claim(store: &Store, id: &GrantId) -> NewClaim {
    let record = store.grant(id).await.unwrap().unwrap();
    let key = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".parse().unwrap();
    let proof = UsedProof { mark: format!("claimed {id}"), until: NOW.plus(48 * HOUR) };
    NewClaim {
        grant: Grant { confirmation: Some(Confirmation::Key(key)), ..record.grant },
        issuer: "https://control.test".into(),
        token: Secret::new(format!("token of {id}")),
        proof: Some(proof),
        once: None,
    }
}

async fn waiting(store: &Store, n: u64) -> ElevationId {
    let new = sample::request(n, 3, store.shared.clock.wall());
    assert_eq!(create(store, &new).await.unwrap(), Created::Waiting);
    new.record.elevation.id
}

async fn kinds(store: &Store) -> Vec<String> {
    store.entries(0, 1000).await.unwrap().into_iter().map(|entry| entry.kind).collect()
}

async fn state(store: &Store, id: &ElevationId) -> ElevationState {
    store.elevation(id).await.unwrap().unwrap().elevation.state
}

on_both_databases! {
    two_approvals_make_one_grant_and_the_clock_starts_at_the_last,
    what_is_no_longer_as_it_was_seen_is_not_approved,
    of_all_answers_the_first_one_counts,
    an_unanswered_request_lapses_once,
    a_frozen_service_is_granted_nothing,
    a_history_is_read_with_the_request_that_rests_on_it,
    a_review_is_due_done_once_and_late,
    every_key_makes_one_thing,
    lists_are_filtered_by_what_stands_in_them,
    a_failure_of_any_write_leaves_nothing_and_is_made_up_for,
    a_lost_answer_is_found_again_under_its_key,
    what_a_hand_did_to_requests_and_reviews_is_named,
    a_restored_request_waits_no_longer,
    a_grant_that_is_not_claimed_is_known_to_no_sidecar,
    of_all_claims_one_binds,
    a_proof_binds_once,
}

async fn a_grant_that_is_not_claimed_is_known_to_no_sidecar(bench: Bench) {
    let Bench { store, .. } = bench;
    let (id, unbound) = (GrantId::from_random(1), sample::unbound(sample::granted(1, 3, NOW)));
    assert_eq!(create(&store, &unbound).await.unwrap(), Created::New { revision: None });
    assert_eq!(store.newest_revision().await.unwrap(), 0);
    assert!(store.snapshot(&service()).await.unwrap().tokens.is_empty());
    assert!(store.grant_token(&id).await.unwrap().is_none());
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
    let new = claim(&store, &id).await;
    assert_eq!(store.claim(&new).await.unwrap(), Claimed::Done { revision: 1 });
    assert_eq!(store.snapshot(&service()).await.unwrap().tokens[0].token, new.token);
    assert_eq!(store.grant_token(&id).await.unwrap(), Some(new.token.clone()));
    assert_eq!(store.grant(&id).await.unwrap().unwrap().grant, new.grant);
    assert_eq!(kinds(&store).await, ["elevation_requested", "grant_issued", "grant_claimed"]);
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
    let entry = store.entries(2, 1).await.unwrap().remove(0);
    assert!(!entry.canonical.contains("0ZcOCORZNYy"), "a thumbprint names a person: {}", entry.canonical);
    create(&store, &sample::unbound(sample::granted(2, 3, NOW))).await.unwrap();
    let never = GrantId::from_random(2);
    store.revoke(&never, &person("bob"), None).await.unwrap();
    assert!(store.snapshot(&service()).await.unwrap().ended_recently.is_empty(), "nobody could have used it");
    let late = claim(&store, &never).await;
    assert_eq!(store.claim(&late).await.unwrap(), Claimed::Ended(GrantState::Revoked));
    assert_eq!(beside_tokens(&store).await, Vec::<String>::new());
}

async fn of_all_claims_one_binds(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    for n in 1..=6 {
        create(&store, &sample::unbound(sample::granted(n, 3, clock.now().wall))).await.unwrap();
        let id = GrantId::from_random(n);
        let mut claims = Vec::new();
        for number in 0..3 {
            let mut new = claim(&store, &id).await;
            new.proof = Some(UsedProof { mark: format!("{n} {number}"), until: NOW.plus(HOUR) });
            new.token = Secret::new(format!("token {n} {number}"));
            let store = store.clone();
            claims.push(tokio::spawn(async move { (store.claim(&new).await.unwrap(), new.token) }));
        }
        let mut bound = Vec::new();
        for claim in claims {
            match claim.await.unwrap() {
                (Claimed::Done { .. }, token) => bound.push(token),
                (other, _) => assert_eq!(other, Claimed::Bound),
            }
        }
        assert_eq!(bound.len(), 1);
        assert_eq!(store.grant_token(&id).await.unwrap(), bound.pop());
    }
}

async fn a_proof_binds_once(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    for n in 1..=3 {
        create(&store, &sample::unbound(sample::granted(n, 3, NOW))).await.unwrap();
    }
    let proof = UsedProof { mark: "one".into(), until: NOW.plus(HOUR) };
    let with_it = async |n| NewClaim { proof: Some(proof.clone()), ..claim(&store, &GrantId::from_random(n)).await };
    assert_eq!(store.claim(&with_it(1).await).await.unwrap(), Claimed::Done { revision: 1 });
    assert_eq!(store.claim(&with_it(2).await).await.unwrap(), Claimed::Replayed);
    let asked = NewElevation { proof: Some(proof.clone()), ..sample::request(4, 3, NOW) };
    assert_eq!(create(&store, &asked).await.unwrap(), Created::Replayed);
    assert!(store.elevation(&ElevationId::from_random(4)).await.unwrap().is_none(), "nothing of it is there");
    clock.advance(Duration::from_secs(60));
    let other = UsedProof { mark: "two".into(), until: NOW.plus(HOUR) };
    let other = NewClaim { proof: Some(other), ..claim(&store, &GrantId::from_random(2)).await };
    assert_eq!(store.claim(&other).await.unwrap(), Claimed::Done { revision: 2 });
    assert_eq!(store.claim(&other).await.unwrap(), Claimed::Bound);
    let elsewhere = claim(&store, &GrantId::from_random(3)).await;
    let elsewhere = NewClaim { grant: Grant { role: "more".parse().unwrap(), ..elsewhere.grant.clone() }, ..elsewhere };
    assert_eq!(store.claim(&elsewhere).await.unwrap(), Claimed::Unknown, "only what was approved is signed");
    store.set_frozen(Some(&service()), true, &person("bob")).await.unwrap();
    let frozen = claim(&store, &GrantId::from_random(3)).await;
    assert_eq!(store.claim(&frozen).await.unwrap(), Claimed::Frozen);
}

async fn two_approvals_make_one_grant_and_the_clock_starts_at_the_last(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let id = waiting(&store, 1).await;
    assert_eq!(store.newest_revision().await.unwrap(), 0, "the feed is told nothing yet");
    clock.advance(Duration::from_secs(60));
    let first = approval(&store, &id, "bob", None).await;
    assert_eq!(store.approve(&first).await.unwrap(), Answered::Done { revision: None });
    clock.advance(Duration::from_secs(60));
    let second = approval(&store, &id, "carol", Some(7)).await;
    assert_eq!(store.approve(&second).await.unwrap(), Answered::Done { revision: Some(1) });
    let record = store.elevation(&id).await.unwrap().unwrap();
    let by: Vec<_> = record.approvals.iter().map(|approval| approval.person.as_str()).collect();
    assert_eq!((record.elevation.state, by, record.version), (ElevationState::Approved, vec!["bob", "carol"], 3));
    assert_eq!(record.decided.unwrap().by, Some(person("carol")));
    let grant = store.grant(&GrantId::from_random(7)).await.unwrap().unwrap();
    assert_eq!(grant.grant.expires, NOW.plus(Duration::from_secs(120 + 900)));
    assert_eq!(grant.grant.max_uses, NonZeroU32::new(2), "narrowed");
    assert_eq!(grant.grant.approvals, vec![person("bob"), person("carol")]);
    let told = store.changes_after(&service(), 0, 10).await.unwrap();
    assert_eq!(told.len(), 1, "one change: {told:?}");
    assert_eq!(
        kinds(&store).await,
        ["elevation_requested", "elevation_approved", "elevation_approved", "grant_issued"]
    );
    let entry = store.entries(2, 1).await.unwrap().remove(0);
    let canonical: serde_json::Value = serde_json::from_str(&entry.canonical).unwrap();
    let facts = &canonical["facts"];
    assert_eq!((&facts["complete"], &facts.get("etag"), &facts["max_uses"]), (&true.into(), &None, &2.into()));
    let told = store.told_entries(2, 1).await.unwrap().remove(0);
    assert_eq!(told.values["etag"], "tag", "it is a digest of what names people");
    assert!(!entry.canonical.contains("carol"), "{}", entry.canonical);
}

async fn what_is_no_longer_as_it_was_seen_is_not_approved(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = waiting(&store, 1).await;
    let (bob, carol) = (approval(&store, &id, "bob", None).await, approval(&store, &id, "carol", Some(7)).await);
    store.approve(&bob).await.unwrap();
    assert_eq!(store.approve(&carol).await.unwrap(), Answered::Stale, "carol has not seen bob's approval");
    let carol = approval(&store, &id, "carol", Some(7)).await;
    sample::apply_policy(&store, "text", &[]).await;
    assert_eq!(store.approve(&carol).await.unwrap(), Answered::Stale, "nor the policy that is in force");
    let bob = approval(&store, &id, "bob", Some(7)).await;
    store.approve(&bob).await.unwrap_err();
    assert_eq!(store.elevation(&id).await.unwrap().unwrap().approvals.len(), 1, "nobody counts twice");
    let carol = approval(&store, &id, "carol", Some(7)).await;
    assert_eq!(store.approve(&carol).await.unwrap(), Answered::Done { revision: Some(1) });
    let unknown = NewApproval { elevation: ElevationId::from_random(99), ..carol };
    assert_eq!(store.approve(&unknown).await.unwrap(), Answered::Unknown);
}

async fn of_all_answers_the_first_one_counts(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    for n in 1..=8 {
        let id = waiting(&store, n).await;
        let approval = approval(&store, &id, "bob", Some(n)).await;
        let ids = [id.clone(), id.clone(), id.clone()];
        let stores = [store.clone(), store.clone(), store.clone()];
        let [one, two, three] = stores;
        let [first, second, _] = ids;
        let approve = tokio::spawn(async move { one.approve(&approval).await.unwrap() });
        let deny = tokio::spawn(async move { two.deny(&first, &person("carol"), "no", None).await.unwrap() });
        let withdraw =
            tokio::spawn(async move { three.withdraw(&second, &person("alice@example.test"), None).await.unwrap() });
        let answers = [approve.await.unwrap(), deny.await.unwrap(), withdraw.await.unwrap()];
        let won = answers.iter().filter(|answer| matches!(answer, Answered::Done { .. })).count();
        let stands = state(&store, &id).await;
        let lost = answers.iter().filter(|answer| **answer == Answered::Stands(stands)).count();
        assert_eq!((won, lost), (1, 2), "{answers:?}");
        let granted = store.grant(&GrantId::from_random(n)).await.unwrap().is_some();
        assert_eq!(granted, stands == ElevationState::Approved);
        clock.advance(Duration::from_secs(1));
    }
}

async fn an_unanswered_request_lapses_once(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let (swept, touched) = (waiting(&store, 1).await, waiting(&store, 2).await);
    let late = approval(&store, &touched, "bob", Some(7)).await;
    assert_eq!(store.lapse_due().await.unwrap(), vec![]);
    assert_eq!(store.awaited().await.unwrap(), Awaited { approvals: 2, due: 0, overdue: 0 });
    clock.advance(HOUR);
    assert_eq!(state(&store, &swept).await, ElevationState::Lapsed, "even unswept");
    assert_eq!(store.awaited().await.unwrap().approvals, 0);
    let lapsed = Listing { elevation_state: Some(ElevationState::Lapsed), limit: 10, ..Listing::default() };
    assert_eq!(store.elevations(&lapsed).await.unwrap().items.len(), 2);
    assert_eq!(store.approve(&late).await.unwrap(), Answered::Stands(ElevationState::Lapsed));
    assert_eq!(kinds(&store).await.last().unwrap(), "elevation_lapsed", "the late answer wrote it down");
    assert_eq!(store.lapse_due().await.unwrap(), vec![swept.clone()]);
    assert_eq!(store.lapse_due().await.unwrap(), vec![]);
    let denied = store.deny(&swept, &person("bob"), "late", None).await.unwrap();
    assert_eq!(denied, Answered::Stands(ElevationState::Lapsed));
    assert_eq!(kinds(&store).await.iter().filter(|kind| *kind == "elevation_lapsed").count(), 2);
}

async fn a_frozen_service_is_granted_nothing(bench: Bench) {
    let Bench { store, .. } = bench;
    let id = waiting(&store, 1).await;
    let bob = person("bob");
    for everywhere in [None, Some(service())] {
        store.set_frozen(everywhere.as_ref(), true, &bob).await.unwrap();
        assert_eq!(create(&store, &new_grant(2, 3)).await.unwrap(), Created::Frozen);
        let approval = approval(&store, &id, "bob", Some(7)).await;
        assert_eq!(store.approve(&approval).await.unwrap(), Answered::Frozen);
        assert_eq!((count(&store, "grants").await, count(&store, "approvals").await), (0, 0));
        store.set_frozen(everywhere.as_ref(), false, &bob).await.unwrap();
    }
    let approval = approval(&store, &id, "bob", Some(7)).await;
    assert!(matches!(store.approve(&approval).await.unwrap(), Answered::Done { .. }));
}

async fn a_history_is_read_with_the_request_that_rests_on_it(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    let alice = person("alice@example.test");
    let basis = store.basis(&alice, WallTime::EPOCH).await.unwrap();
    assert_eq!(basis.history, crate::policy::History::default());
    let first = NewElevation { basis: basis.clone(), ..new_grant(1, 3) };
    assert_eq!(store.create(&first).await.unwrap(), Created::New { revision: Some(1) });
    let second = NewElevation { basis, ..new_grant(2, 3) };
    assert_eq!(store.create(&second).await.unwrap(), Created::Stale, "it rests on no live grant, and there is one");
    waiting(&store, 3).await;
    let basis = store.basis(&alice, WallTime::EPOCH).await.unwrap();
    assert_eq!(basis.history.live["oncall"], 2, "a request that waits counts");
    clock.advance(Duration::from_secs(900));
    let basis = store.basis(&alice, WallTime::EPOCH).await.unwrap();
    assert_eq!(basis.history.live["oncall"], 1);
    let ended = &basis.history.ended[0];
    assert_eq!(
        (ended.tier.as_str(), ended.resource.as_str(), ended.at),
        ("oncall", "contract/C-1042", clock.now().wall)
    );
    assert_eq!(store.basis(&alice, clock.now().wall).await.unwrap().history.ended, vec![]);
    assert_eq!(store.basis(&person("bob"), WallTime::EPOCH).await.unwrap().history.live.len(), 0);
    let past = store.past(&alice, 5).await.unwrap();
    assert_eq!((past.grants, past.last[0].state), (1, GrantState::Expired));
}

async fn a_review_is_due_done_once_and_late(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    for n in 1..=2 {
        create(&store, &new_grant(n, 3)).await.unwrap();
    }
    let (first, second) = (GrantId::from_random(1), GrantId::from_random(2));
    let review = |grant: &GrantId| NewReview {
        grant: grant.clone(),
        person: person("ann"),
        verdict: Verdict::Justified,
        findings: "as the ticket says".into(),
        once: None,
    };
    let early = store.review(&review(&first)).await.unwrap();
    assert_eq!(early, ReviewOutcome::Stands(ReviewState::None), "it has not ended");
    store.revoke(&first, &person("bob"), None).await.unwrap();
    store.revoke(&second, &person("bob"), None).await.unwrap();
    let record = store.grant(&first).await.unwrap().unwrap();
    assert_eq!((record.review.state, record.review.by), (ReviewState::Due, Some(NOW.plus(24 * HOUR))));
    assert_eq!(store.review(&review(&first)).await.unwrap(), ReviewOutcome::Done);
    assert_eq!(store.review(&review(&first)).await.unwrap(), ReviewOutcome::Stands(ReviewState::Reviewed));
    assert_eq!(store.awaited().await.unwrap(), Awaited { approvals: 0, due: 1, overdue: 0 });
    clock.advance(24 * HOUR);
    assert_eq!(store.grant(&second).await.unwrap().unwrap().review.state, ReviewState::Overdue, "even unswept");
    let overdue = Listing { review: Some(ReviewState::Overdue), limit: 10, ..Listing::default() };
    assert_eq!(store.grants(&overdue).await.unwrap().items.len(), 1);
    assert_eq!(store.overdue_due().await.unwrap(), vec![second.clone()]);
    assert_eq!(store.overdue_due().await.unwrap(), vec![]);
    assert_eq!(store.awaited().await.unwrap().overdue, 1);
    assert_eq!(store.review(&review(&second)).await.unwrap(), ReviewOutcome::Done);
    let done = store.grant(&second).await.unwrap().unwrap().review.done.unwrap();
    assert_eq!(
        (done.person, done.verdict, done.findings.as_str()),
        (person("ann"), Verdict::Justified, "as the ticket says")
    );
    assert_eq!(store.review(&review(&GrantId::from_random(9))).await.unwrap(), ReviewOutcome::Unknown);
    assert_eq!(kinds(&store).await[8..], ["grant_reviewed", "review_overdue", "grant_reviewed"]);
    assert_eq!(store.newest_revision().await.unwrap(), 4, "the feed is not told of reviews");
}

async fn every_key_makes_one_thing(bench: Bench) {
    let Bench { store, .. } = bench;
    let (id, other) = (waiting(&store, 1).await, waiting(&store, 2).await);
    let mut bob = approval(&store, &id, "bob", Some(7)).await;
    bob.once = once(Operation::Approve);
    assert_eq!(store.approve(&bob).await.unwrap(), Answered::Done { revision: Some(1) });
    let before = Kept::Before(id.to_string());
    assert_eq!(store.approve(&bob).await.unwrap(), Answered::Kept(before.clone()));
    assert_eq!(store.kept(&person("bob"), &bob.once.clone().unwrap()).await.unwrap(), Some(before));
    let key = once(Operation::Deny);
    assert_eq!(
        store.deny(&other, &person("bob"), "no", key.as_ref()).await.unwrap(),
        Answered::Kept(Kept::Reused),
        "the key came with another call"
    );
    let carol = person("carol");
    for expected in [Answered::Done { revision: None }, Answered::Kept(Kept::Before(other.to_string()))] {
        assert_eq!(store.deny(&other, &carol, "no", key.as_ref()).await.unwrap(), expected);
    }
    let revoked = once(Operation::Revoke);
    let grant = GrantId::from_random(7);
    let alice = person("alice@example.test");
    assert!(matches!(
        store.revoke_once(&grant, &alice, None, revoked.as_ref()).await.unwrap(),
        RevokeOutcome::Revoked(_)
    ));
    let again = store.revoke_once(&grant, &alice, None, revoked.as_ref()).await.unwrap();
    assert_eq!(again, RevokeOutcome::Kept(Kept::Before(grant.to_string())));
}

async fn lists_are_filtered_by_what_stands_in_them(bench: Bench) {
    let Bench { store, clock, .. } = bench;
    for n in 1..=3_u64 {
        let mut new = sample::granted(n, 3, clock.now().wall);
        let scope = Scope::new(
            [format!("contract/C-{n}").parse().unwrap()],
            [format!("payment.{}", ["release", "cancel", "split"][usize::try_from(n - 1).unwrap()]).parse().unwrap()],
        )
        .unwrap();
        let justification =
            Justification { reason: "stuck_payment".parse().unwrap(), ticket: format!("INC-{n}").parse().unwrap() };
        new.record.elevation.scope = scope.clone();
        new.record.elevation.justification = justification.clone();
        let grant = &mut new.grant.as_mut().unwrap().grant;
        (grant.scope, grant.justification) = (scope, justification);
        create(&store, &new).await.unwrap();
        clock.advance(Duration::from_secs(60));
    }
    let at = |n: u64| NOW.plus(Duration::from_secs(60 * (n - 1)));
    let all = Listing { limit: 10, ..Listing::default() };
    let cases: [(Listing, &[u64]); 9] = [
        (all.clone(), &[3, 2, 1]),
        (Listing { resource: Some("contract/C-2".parse().unwrap()), ..all.clone() }, &[2]),
        (Listing { action: Some("payment.cancel".parse().unwrap()), ..all.clone() }, &[2]),
        (Listing { ticket: Some("INC-3".parse().unwrap()), ..all.clone() }, &[3]),
        (Listing { reason: Some("stuck_payment".parse().unwrap()), ..all.clone() }, &[3, 2, 1]),
        (Listing { reason: Some("customer_harm".parse().unwrap()), ..all.clone() }, &[]),
        (Listing { from: Some(at(2)), ..all.clone() }, &[3, 2]),
        (Listing { to: Some(at(2)), ..all.clone() }, &[1]),
        (Listing { person: Some(person("bob")), ..all.clone() }, &[]),
    ];
    for (listing, expected) in cases {
        let grants = store.grants(&listing).await.unwrap().items.into_iter().map(|record| record.grant.id);
        let wanted: Vec<_> = expected.iter().map(|n| GrantId::from_random(*n)).collect();
        assert_eq!(grants.collect::<Vec<_>>(), wanted, "{listing:?}");
        let elevations = store.elevations(&listing).await.unwrap().items.into_iter().map(|record| record.elevation.id);
        let wanted: Vec<_> = expected.iter().map(|n| ElevationId::from_random(*n)).collect();
        assert_eq!(elevations.collect::<Vec<_>>(), wanted, "{listing:?}");
    }
    let approved = Listing { elevation_state: Some(ElevationState::Approved), ..all.clone() };
    assert_eq!(store.elevations(&approved).await.unwrap().items.len(), 3);
    clock.advance(Duration::from_secs(800));
    let expired = Listing { state: Some(GrantState::Expired), ..all };
    assert_eq!(store.grants(&expired).await.unwrap().items.len(), 2, "unswept, but over");
}

/// Every transition, by name, and the tables it writes.
const WRITES: &[(&str, &[&str])] = &[
    ("ask", &["elevations", "scope_items", "idempotency_keys", "used_proofs", "entries", "entry_values"]),
    ("approve", &["approvals", "idempotency_keys", "elevations", "entries", "entry_values"]),
    (
        "complete",
        &["approvals", "idempotency_keys", "elevations", "grants", "scope_items", "changes", "entries", "entry_values"],
    ),
    ("deny", &["elevations", "idempotency_keys", "entries", "entry_values"]),
    ("withdraw", &["elevations", "idempotency_keys", "entries", "entry_values"]),
    ("lapse", &["elevations", "entries"]),
    ("revoke", &["grants", "changes", "idempotency_keys", "entries", "entry_values"]),
    ("expire", &["grants", "changes", "entries"]),
    ("review", &["grants", "idempotency_keys", "entries", "entry_values"]),
    ("overdue", &["grants", "entries"]),
    ("claim", &["grants", "changes", "idempotency_keys", "used_proofs", "entries", "entry_values"]),
];

/// What stands in the database, as far as a half-done transition could show.
async fn everything(store: &Store) -> Vec<String> {
    let mut rows = Vec::new();
    for table in ["changes", "entries", "entry_values", "approvals", "scope_items", "idempotency_keys", "used_proofs"] {
        rows.push(format!("{table} {}", count(store, table).await));
    }
    let all = Listing { limit: 100, ..Listing::default() };
    rows.extend(store.elevations(&all).await.unwrap().items.iter().map(|record| format!("{record:?}")));
    rows.extend(store.grants(&all).await.unwrap().items.iter().map(|record| format!("{record:?}")));
    rows
}

/// A database in which each of the transitions can be made once.
struct Stage {
    bench: Bench,
    asked: ElevationId,
    granted: GrantId,
    ended: GrantId,
    unclaimed: GrantId,
}

impl Stage {
    async fn set(bench: Bench) -> Self {
        let (store, clock) = (bench.store.clone(), bench.clock.clone());
        create(&store, &new_grant(1, 3)).await.unwrap();
        store.revoke(&GrantId::from_random(1), &person("bob"), None).await.unwrap();
        clock.advance(Duration::from_secs(1));
        let asked = waiting(&store, 2).await;
        let mut live = sample::granted(3, 3, clock.now().wall);
        live.grant.as_mut().unwrap().grant.expires = clock.now().wall.plus(HOUR);
        create(&store, &live).await.unwrap();
        create(&store, &sample::unbound(sample::granted(5, 3, clock.now().wall))).await.unwrap();
        Self {
            bench,
            asked,
            granted: GrantId::from_random(3),
            ended: GrantId::from_random(1),
            unclaimed: GrantId::from_random(5),
        }
    }

    /// Time passes so that what happens by itself is due.
    fn age(&self, transition: &str) {
        match transition {
            "lapse" | "expire" => self.bench.clock.advance(HOUR),
            "overdue" => self.bench.clock.advance(24 * HOUR),
            _ => {}
        }
    }

    /// Makes the transition. True when it changed something.
    async fn make(&self, transition: &str) -> Result<bool, StoreError> {
        let store = &self.bench.store;
        let (bob, alice) = (person("bob"), person("alice@example.test"));
        let answered = |answered: Answered| matches!(answered, Answered::Done { .. });
        Ok(match transition {
            "ask" => {
                let new = sample::request(4, 3, self.bench.clock.now().wall);
                let proof = Some(UsedProof { mark: "asked".into(), until: NOW.plus(HOUR) });
                let new = NewElevation { once: once(Operation::Request), proof, ..new };
                create(store, &new).await? == Created::Waiting
            }
            "approve" | "complete" => {
                let mut new = approval(store, &self.asked, "bob", (transition == "complete").then_some(7)).await;
                new.once = once(Operation::Approve);
                answered(store.approve(&new).await?)
            }
            "deny" => answered(store.deny(&self.asked, &bob, "no", once(Operation::Deny).as_ref()).await?),
            "withdraw" => answered(store.withdraw(&self.asked, &alice, once(Operation::Withdraw).as_ref()).await?),
            "lapse" => !store.lapse_due().await?.is_empty(),
            "revoke" => {
                let key = once(Operation::Revoke);
                let revoked = store.revoke_once(&self.granted, &bob, Some("n"), key.as_ref()).await?;
                matches!(revoked, RevokeOutcome::Revoked(_))
            }
            "expire" => !store.expire_due().await?.is_empty(),
            "review" => {
                let new = NewReview {
                    grant: self.ended.clone(),
                    person: bob,
                    verdict: Verdict::Unclear,
                    findings: "x".into(),
                    once: once(Operation::Review),
                };
                store.review(&new).await? == ReviewOutcome::Done
            }
            "claim" => {
                let new = NewClaim { once: once(Operation::Claim), ..claim(store, &self.unclaimed).await };
                matches!(store.claim(&new).await?, Claimed::Done { .. })
            }
            "overdue" => !store.overdue_due().await?.is_empty(),
            other => panic!("{other}"),
        })
    }

    /// Revisions and indices without a gap.
    async fn assert_dense(&self) {
        let store = &self.bench.store;
        let indices: Vec<_> = store.entries(0, 1000).await.unwrap().into_iter().map(|entry| entry.index).collect();
        assert_eq!(indices, (0..indices.len() as u64).collect::<Vec<_>>());
        let told = store.changes_after(&service(), 0, 1000).await.unwrap();
        let revisions: Vec<_> = told.into_iter().map(|change| change.revision).collect();
        assert_eq!(revisions, (1..=revisions.len() as u64).collect::<Vec<_>>());
        assert_eq!(store.newest_revision().await.unwrap(), revisions.len() as u64);
    }
}

async fn a_failure_of_any_write_leaves_nothing_and_is_made_up_for(bench: Bench) {
    for (transition, tables) in WRITES {
        let stage = Stage::set(bench.another().await).await;
        let store = &stage.bench.store;
        stage.age(transition);
        let before = everything(store).await;
        for table in *tables {
            break_table(store, table).await;
            let failed = stage.make(transition).await;
            assert!(failed.is_err(), "{transition} does not write {table}");
            mend_table(store).await;
            assert_eq!(everything(store).await, before, "{transition} left something of itself when {table} failed");
        }
        break_commit(store).await;
        assert!(stage.make(transition).await.is_err(), "{transition} was committed all the same");
        mend_commit(store).await;
        assert_eq!(everything(store).await, before, "{transition} left something of itself");
        assert!(stage.make(transition).await.unwrap(), "{transition} works once it can");
        assert_ne!(everything(store).await, before);
        stage.assert_dense().await;
    }
}

async fn a_lost_answer_is_found_again_under_its_key(bench: Bench) {
    for (transition, _) in WRITES {
        let stage = Stage::set(bench.another().await).await;
        let store = &stage.bench.store;
        stage.age(transition);
        lose_answer(store);
        assert!(stage.make(transition).await.is_err(), "{transition}");
        let after = everything(store).await;
        assert!(!stage.make(transition).await.unwrap(), "{transition} happened twice");
        assert_eq!(everything(store).await, after, "{transition} happened twice");
        stage.assert_dense().await;
        store.close().await;
        let reopened = stage.bench.place.open(&stage.bench.clock).await.unwrap();
        assert_eq!(everything(&reopened).await, after, "{transition} did not outlive the process");
    }
}

async fn what_a_hand_did_to_requests_and_reviews_is_named(bench: Bench) {
    let cases = [
        ("UPDATE elevations SET state = 'denied' WHERE state = 'requested'", "entries elevation_denied is 0"),
        ("UPDATE elevations SET state = 'requested' WHERE state = 'denied'", "entries elevation_denied is 1"),
        ("UPDATE elevations SET state = 'approved' WHERE state = 'requested'", "the number of its grants is 0"),
        ("UPDATE elevations SET state = 'x' WHERE state = 'requested'", "does not know"),
        ("UPDATE elevations SET decided_ms = NULL WHERE state = 'denied'", "waits and is decided, or neither"),
        ("DELETE FROM approvals", "entries elevation_approved is 1, and should be 0"),
        ("UPDATE approvals SET person = 'alice@example.test'", "approvals by the one who asked is 1"),
        ("UPDATE grants SET review = 'reviewed' WHERE review = 'due'", "entries grant_reviewed is 0"),
        ("UPDATE grants SET review = 'due', reviewed_ms = NULL WHERE review = 'reviewed'", "grant_reviewed is 1"),
        ("UPDATE grants SET review = 'overdue' WHERE review = 'due'", "entries review_overdue is 0"),
    ];
    for (change, what) in cases {
        let stage = Stage::set(bench.another().await).await;
        let store = &stage.bench.store;
        assert!(stage.make("approve").await.unwrap());
        let denied = waiting(store, 9).await;
        store.deny(&denied, &person("bob"), "no", None).await.unwrap();
        create(store, &new_grant(8, 3)).await.unwrap();
        store.revoke(&GrantId::from_random(8), &person("bob"), None).await.unwrap();
        let review = NewReview {
            grant: stage.ended.clone(),
            person: person("ann"),
            verdict: Verdict::Unclear,
            findings: "x".into(),
            once: None,
        };
        assert_eq!(store.review(&review).await.unwrap(), ReviewOutcome::Done);
        assert_eq!(beside_tokens(store).await, Vec::<String>::new());
        raw(store, change.to_owned()).await;
        let found = beside_tokens(store).await;
        assert!(found.iter().any(|found| found.contains(what)), "{change}: {found:?}");
    }
}

/// What a check finds, but for tokens, which nobody signed here.
pub(super) async fn beside_tokens(store: &Store) -> Vec<String> {
    let findings = store.check().await.unwrap().findings.into_iter();
    findings.map(|found| format!("{} {}", found.place, found.what)).filter(|found| !found.contains("token")).collect()
}

async fn a_restored_request_waits_no_longer(bench: Bench) {
    let stage = Stage::set(bench).await;
    let store = &stage.bench.store;
    store.mark_restored().await.unwrap();
    assert_eq!(state(store, &stage.asked).await, ElevationState::Lapsed, "nobody knows whether it was denied");
    let lapsed = store.entries(0, 1000).await.unwrap().into_iter().find(|entry| entry.kind == "elevation_lapsed");
    assert!(lapsed.unwrap().canonical.contains("\"cause\":\"database_restored\""));
    assert_eq!(beside_tokens(store).await, Vec::<String>::new());
}
