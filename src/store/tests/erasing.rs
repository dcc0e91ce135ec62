//! Erasing on both databases: nothing of it is left anywhere, the log stands as it stood, and whatever fails in the middle is
//! done again or carried on.

use std::time::Duration;

use super::audit::{batch_of, take};
use super::bench::{
    Bench, Place, break_commit, break_table, count, lose_answer, mend_commit, mend_table, on_both_databases, raw,
};
use super::checking::Signer;
use super::lifecycle::{HOUR, approval, person};
use super::*;
use crate::audit::End;
use crate::audit::record::{Asker, Event, Refusal};
use crate::audit::sample::{LogBuilder, intent_under, outcome, request as facts_of};
use crate::config::digest_hex;
use crate::decision::RefusalCode;
use crate::ledger::entry::Draft;
use crate::ledger::{DataRead, Refused};
use crate::store::audit::{CLOSE_WAIT, Ingested};
use crate::store::database::Database;
use crate::store::faults::steps_of;
use crate::store::statement::sql;

on_both_databases! {
    a_person_is_erased_everywhere_and_the_log_stands,
    whatever_is_not_over_stands_in_the_way,
    what_comes_later_brings_nothing_back,
    what_is_old_goes_but_for_what_is_not_closed,
    a_fault_at_any_write_leaves_all_of_a_step_or_nothing,
    a_large_erasure_is_carried_on_by_whoever_comes_next,
    what_is_kept_far_back_is_not_paid_for_by_the_length_of_the_log,
    two_who_carry_on_at_once_erase_each_value_once,
    what_is_half_erased_by_a_hand_is_named,
    what_a_backup_brought_back_is_erased_again,
}

const ZORA: &str = "zora@example.test";
/// Whatever a table or a file must not hold afterwards.
const TRACES: [&str; 4] = ["zora", "ZTICKET", "note about her", "only-zora-has-this-subject"];

fn zora() -> Person {
    person(ZORA)
}

fn by_person(who: &Person) -> NewErasure {
    NewErasure {
        what: Erasable::Person { person: who.clone() },
        reason: ErasureReason::Requested,
        held: Vec::new(),
        by: Some(person("root")),
        once: None,
    }
}

fn by_age(before: WallTime) -> NewErasure {
    let what = Erasable::Age { before };
    NewErasure { what, reason: ErasureReason::Retention, held: vec![Verdict::Unjustified], by: None, once: None }
}

/// What zora asks for, with her own ticket.
fn hers(n: u64, now: WallTime) -> NewElevation {
    let mut new = sample::granted(n, 3, now);
    let ticket: Ticket = "ZTICKET-1".parse().unwrap();
    new.record.elevation.person = zora();
    new.record.elevation.justification.ticket = ticket.clone();
    let grant = &mut new.grant.as_mut().unwrap().grant;
    (grant.person, grant.justification.ticket) = (zora(), ticket);
    new
}

/// Everything that names zora, all of it over: requests and grants of hers and of others, what she decided and wrote, what
/// was written of her, and what sidecars recorded.
async fn lived(bench: &Bench) -> Vec<Vec<u8>> {
    let store = &bench.store;
    let signer = Signer::recorded(store).await;
    let text = "# asks zora@example.test";
    store.establish_policy(text, &digest_hex(text), &[]).await.unwrap().unwrap();
    sample::apply_policy(store, "another", &[]).await;
    let principal = Principal {
        issuer: "https://issuer.test".parse().unwrap(),
        subject: "only-zora-has-this-subject".parse().unwrap(),
    };
    store.meet(&principal, &zora()).await.unwrap();
    let mut own = signer.signed(hers(1, NOW));
    own.once = Some(OnceKey { key: "k".into(), operation: Operation::Request, digest: "d".into() });
    create(store, &own).await.unwrap();
    let others = signer.grant(2);
    create(store, &others).await.unwrap();
    // She approves one of alice's, and denies another.
    let mut asked = sample::request(3, 3, NOW);
    create(store, &asked).await.unwrap();
    let mut agreed = approval(store, &asked.record.elevation.id, ZORA, Some(3)).await;
    let new = agreed.grant.as_mut().unwrap();
    new.token = Some(crate::token::mint_grant(&new.grant, &new.issuer, signer.key()).unwrap());
    let approved = new.grant.clone();
    store.approve(&agreed).await.unwrap();
    asked = sample::request(4, 3, NOW);
    create(store, &asked).await.unwrap();
    store.deny(&asked.record.elevation.id, &zora(), "a note about her by herself", None).await.unwrap();
    // One of hers is denied, with a note about her.
    let mut denied = sample::request(5, 3, NOW);
    denied.record.elevation.person = zora();
    denied.record.elevation.justification.ticket = "ZTICKET-5".parse().unwrap();
    create(store, &denied).await.unwrap();
    store.deny(&denied.record.elevation.id, &person("bob"), "note about her", None).await.unwrap();
    look_and_refuse(store).await;
    let lines = shipped(&own.grant.unwrap().grant, &approved);
    take(store, &lines).await;
    end_all(bench, &others.grant.unwrap().grant.id).await;
    lines
}

async fn look_and_refuse(store: &Store) {
    let (zora, bob, ticket) = (zora(), person("bob"), "ZTICKET-9".parse().unwrap());
    let look = |by, person, ticket| {
        let filter = serde_json::Map::new();
        Draft::data_read(DataRead { view: "grants", filter, records: 1, covers_s: 600, by, person, ticket })
    };
    let refused = Refused {
        service: &service(),
        resources: &[],
        actions: &[],
        reason: "stuck_payment",
        ticket: "ZTICKET-3",
        person: &zora,
    };
    let entries = vec![
        look(&bob, Some(&zora), Some(&ticket)),
        look(&zora, Some(&bob), None),
        Draft::elevation_refused("no_tier_fits", refused),
    ];
    store.record_all(entries).await.unwrap();
    store.freeze(Some(&"other".parse().unwrap()), &zora, Some("note about her freeze")).await.unwrap();
    store.freeze(None, &bob, Some("asked for by zora@example.test")).await.unwrap();
    store.lift_freeze(None, &zora).await.unwrap().unwrap();
}

/// An override of hers, one of alice's that she approved, and refusals of both.
fn shipped(own: &Grant, approved: &Grant) -> Vec<Vec<u8>> {
    let mut log = LogBuilder::new();
    for (id, grant) in [("r-own", own), ("r-approved", approved)] {
        let intent = intent_under(id, grant.clone());
        let link = log.push(&Event::Intent(&intent));
        log.push(&Event::Outcome { intent: &intent, link: &link, outcome: &outcome(End::Completed) });
    }
    for (id, name) in [("r-hers", ZORA), ("r-alices", "alice@example.test")] {
        let asker = Asker { person: person(name), grant: Some(GrantId::from_random(99)), ..Asker::holder_of(own) };
        let refusal = Refusal { request: facts_of(id), code: RefusalCode::HeaderMalformed, asker: Some(asker) };
        log.push(&Event::Refusal(&refusal));
    }
    log.lines
}

/// Every grant ends, is reviewed where one of hers, and its account is closed.
async fn end_all(bench: &Bench, revoked: &GrantId) {
    let store = &bench.store;
    store.revoke(revoked, &zora(), Some("note about her, the revoker")).await.unwrap();
    store.order(&Selector::Person { person: zora() }, &person("bob"), Some("note about her"), None).await.unwrap();
    bench.clock.advance(HOUR);
    store.expire_due().await.unwrap();
    let review = |n, by: &str, findings: &str| NewReview {
        grant: GrantId::from_random(n),
        person: person(by),
        verdict: Verdict::Justified,
        findings: findings.to_owned(),
        once: None,
    };
    store.review(&review(1, "bob", "note about her grant")).await.unwrap();
    store.review(&review(2, ZORA, "note about her finding")).await.unwrap();
    bench.clock.advance(CLOSE_WAIT);
    while !store.close_accounts().await.unwrap().is_empty() {}
}

/// Carries an erasure out to its end. Answers how many values and records went.
async fn erase(store: &Store, new: &NewErasure) -> (u64, u64) {
    let (id, mut progress) = match store.erase(new).await.unwrap() {
        ErasureOutcome::Ordered(id, progress) => (id, progress),
        ErasureOutcome::Unknown => return (0, 0),
        other => panic!("{other:?}"),
    };
    while progress.open {
        progress = store.carry_on_erasure(&id).await.unwrap();
    }
    let record = store.erasure(&id).await.unwrap().unwrap();
    assert!(record.done.is_some());
    (record.values, record.records)
}

/// Every column of every table that holds the text.
async fn found(store: &Store, text: &str) -> Vec<String> {
    let columns = match &store.shared.database {
        Database::Sqlite { .. } => {
            "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
        }
        Database::Postgres { .. } => {
            "SELECT CAST(table_name || '.' || column_name AS TEXT) FROM information_schema.columns \
             WHERE table_schema = 'public'"
        }
    };
    let mut found = Vec::new();
    for row in sql(columns).fetch_all(&store.shared.database).await.unwrap() {
        let column: String = row.first().unwrap();
        let (table, name) = column.split_once('.').unwrap();
        let cast = match &store.shared.database {
            Database::Sqlite { .. } => format!("CAST({name} AS TEXT)"),
            Database::Postgres { .. } => format!("CAST({table}.{name} AS TEXT)"),
        };
        let query: &'static str = format!("SELECT COUNT(*) FROM {table} WHERE {cast} LIKE '%{text}%'").leak();
        if sql(query).integer(&store.shared.database).await.unwrap() > 0 {
            found.push(column);
        }
    }
    found.sort_unstable();
    found
}

/// Whether any file of the database's folder holds the text.
fn in_files(bench: &Bench, text: &str) -> bool {
    let Place::Folder(folder) = &bench.place else { return false };
    std::fs::read_dir(folder.path()).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

async fn assert_no_trace(bench: &Bench) {
    for trace in TRACES {
        assert_eq!(found(&bench.store, trace).await, Vec::<String>::new(), "{trace}");
    }
    assert!(bench.store.fold_erased().await.unwrap());
    for trace in TRACES {
        assert!(!in_files(bench, trace), "{trace}");
    }
}

async fn assert_sound(store: &Store) {
    assert_eq!(store.check().await.unwrap().findings, vec![]);
}

async fn canonical(store: &Store) -> Vec<String> {
    store.entries(0, 10_000).await.unwrap().into_iter().map(|entry| entry.canonical).collect()
}

async fn a_person_is_erased_everywhere_and_the_log_stands(bench: Bench) {
    let store = &bench.store;
    lived(&bench).await;
    assert_sound(store).await;
    for trace in TRACES {
        assert!(!found(store, trace).await.is_empty(), "it is there before: {trace}");
        assert!(in_files(&bench, trace) || matches!(bench.place, Place::Server(_)), "{trace}");
    }
    while !matches!(store.grow_ledger(100).await.unwrap(), Growth::Current { .. }) {}
    let before = canonical(store).await;
    let alices = found(store, "alice@example.test").await;
    let expected = store.would_erase(&by_person(&zora()).what, &[]).await.unwrap();
    assert_eq!(expected.obstacles, vec![]);
    let (values, records) = erase(store, &by_person(&zora())).await;
    // One grant of alice's loses its token, too.
    assert_eq!((values, records), (expected.values, expected.records + 1));
    assert_no_trace(&bench).await;
    assert_sound(store).await;
    let after = canonical(store).await;
    assert_eq!(after[..before.len()], before[..], "no entry was touched");
    let told: serde_json::Value = serde_json::from_str(after.last().unwrap()).unwrap();
    let facts = &told["facts"];
    assert_eq!(
        (&told["kind"], &facts["of"], &facts["complete"]),
        (&"personal_erased".into(), &"person".into(), &true.into())
    );
    assert_eq!((&facts["values"], &facts["reason"]), (&values.into(), &"requested".into()));
    assert_eq!(found(store, "alice@example.test").await, alices, "nobody else's is gone");
    others_stand(store).await;
    let again = store.would_erase(&by_person(&zora()).what, &[]).await.unwrap();
    assert_eq!((again.values, again.records), (0, 0));
}

/// What is read of what she was a part of can be read, and says of others what it said.
async fn others_stand(store: &Store) {
    let all = Listing { limit: 100, ..Listing::default() };
    let (grants, elevations) = (store.grants(&all).await.unwrap().items, store.elevations(&all).await.unwrap().items);
    assert_eq!((grants.len(), elevations.len()), (3, 5));
    let theirs: Vec<_> = grants.iter().filter(|record| record.grant.person.is_erased()).collect();
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].grant.justification.ticket, Ticket::erased());
    assert_eq!(theirs[0].review.done.as_ref().unwrap().person, person("bob"));
    let approved = elevations.iter().find(|record| !record.approvals.is_empty()).unwrap();
    assert_eq!(approved.approvals[0].person, theirs[0].grant.person, "the same stands for her everywhere");
    assert_eq!(approved.elevation.justification.ticket.as_str(), "INC-2041");
    let listing = RevocationListing { limit: 100, ..RevocationListing::default() };
    assert_eq!(store.revocations(&listing).await.unwrap().items.len(), 4);
    assert_eq!(store.freezes().await.unwrap().len(), 1);
    store.changes_after(&service(), 0, 100).await.unwrap();
    store.told_entries(0, 1000).await.unwrap();
    assert_eq!(store.policy_revisions(None, 10).await.unwrap().len(), 2);
}

async fn obstacles(store: &Store) -> Vec<ObstacleKind> {
    match store.erase(&by_person(&zora())).await.unwrap() {
        ErasureOutcome::Obstructed(obstacles) => {
            let mut kinds: Vec<_> = obstacles.into_iter().map(|obstacle| obstacle.kind).collect();
            kinds.dedup();
            kinds
        }
        other => panic!("{other:?}"),
    }
}

async fn whatever_is_not_over_stands_in_the_way(bench: Bench) {
    use ObstacleKind::{AccountOpen, GrantLive, PolicyNames, ProposalOpen, Provisioned, RequestWaiting, ReviewAwaited};
    let store = &bench.store;
    let mut waiting = sample::request(1, 3, NOW);
    waiting.record.elevation.person = zora();
    create(store, &waiting).await.unwrap();
    assert_eq!(obstacles(store).await, [RequestWaiting]);
    store.withdraw(&waiting.record.elevation.id, &zora(), None).await.unwrap();
    // Of another, with her approval.
    let asked = sample::request(2, 3, NOW);
    create(store, &asked).await.unwrap();
    store.approve(&approval(store, &asked.record.elevation.id, ZORA, None).await).await.unwrap();
    assert_eq!(obstacles(store).await, [RequestWaiting]);
    store.withdraw(&asked.record.elevation.id, &person("alice@example.test"), None).await.unwrap();
    create(store, &hers(3, NOW)).await.unwrap();
    assert_eq!(obstacles(store).await, [GrantLive]);
    store.revoke(&GrantId::from_random(3), &person("bob"), None).await.unwrap();
    assert_eq!(obstacles(store).await, [ReviewAwaited, AccountOpen]);
    let review = NewReview {
        grant: GrantId::from_random(3),
        person: person("bob"),
        verdict: Verdict::Unclear,
        findings: "f".into(),
        once: None,
    };
    store.review(&review).await.unwrap();
    assert_eq!(obstacles(store).await, [AccountOpen]);
    while !store.close_accounts().await.unwrap().is_empty() {}
    let base = sample::apply_policy(store, "who = \"zora@example.test\"", &[]).await;
    assert_eq!(obstacles(store).await, [PolicyNames]);
    let base = {
        assert_eq!(base, 1);
        sample::apply_policy(store, "nobody", &[]).await
    };
    let text = "proposed".to_owned();
    let change = PolicyChange { digest: digest_hex(&text), text, services: vec![], base, by: zora(), note: None };
    let proposal = ProposalId::from_random(1);
    store.propose_policy(&proposal, &change).await.unwrap();
    assert_eq!(obstacles(store).await, [ProposalOpen]);
    store.withdraw_proposal(&proposal, &zora()).await.unwrap();
    let user = ScimUserContent {
        user_name: ZORA.to_owned(),
        external_id: None,
        person: zora(),
        active: true,
        body: "{}".to_owned(),
    };
    let ScimWritten::Done(user) = store.create_scim_user("hr", &user).await.unwrap() else { panic!("she is new") };
    assert_eq!(obstacles(store).await, [Provisioned]);
    store.delete_scim_user("hr", &user.id, None).await.unwrap();
    assert_eq!(obstacles(store).await, [ObstacleKind::SignInDemanded], "tokens from before may still be about");
    bench.clock.advance(Duration::from_secs(41 * 86_400));
    assert!(matches!(store.erase(&by_person(&zora())).await.unwrap(), ErasureOutcome::Ordered(..)));
    assert_no_trace(&bench).await;
}

async fn what_comes_later_brings_nothing_back(bench: Bench) {
    let store = &bench.store;
    let lines = lived(&bench).await;
    erase(store, &by_person(&zora())).await;
    // All of it is shipped again: it is known, and nothing of it comes back.
    assert_eq!(take(store, &lines).await, 0);
    assert_no_trace(&bench).await;
    // A line of hers that comes only now is committed to, and not kept.
    let mut log =
        LogBuilder { chain: crate::audit::Chain::start(crate::audit::LogId::from_bytes([7; 16]), None), lines: vec![] };
    log.restart(7);
    let late = intent_under("r-late", hers(1, NOW).grant.unwrap().grant);
    log.push(&Event::Intent(&late));
    let taken = store.ingest_audit(&batch_of(&log.lines)).await.unwrap();
    assert!(matches!(taken, Ingested::Taken { new: 2, .. }), "{taken:?}");
    assert_no_trace(&bench).await;
    assert_sound(store).await;
    let last: serde_json::Value = serde_json::from_str(canonical(store).await.last().unwrap()).unwrap();
    assert_eq!((&last["facts"]["values_kept"], &last["facts"]["line"]), (&false.into(), &"intent".into()));
    // A sidecar that was away hears that her grant has ended, without its token.
    let told = store.changes_after(&service(), 0, 100).await.unwrap();
    let hers = GrantId::from_random(1);
    assert!(told.iter().any(|change| matches!(&change.body, ChangeBody::Tombstone { grant, .. } if *grant == hers)));
    assert!(!told.iter().any(|change| matches!(&change.body, ChangeBody::Put { grant, .. } if *grant == hers)));
}

async fn what_is_old_goes_but_for_what_is_not_closed(bench: Bench) {
    let store = &bench.store;
    lived(&bench).await;
    let before = canonical(store).await.len();
    // Two that are as old: one that was found unjustified, and one that nobody has reviewed.
    let later = |n| sample::granted(n, 3, store.shared.clock.wall());
    let signer = Signer::recorded(store).await;
    for n in [7, 8] {
        create(store, &signer.signed(later(n))).await.unwrap();
        store.revoke(&GrantId::from_random(n), &person("bob"), None).await.unwrap();
    }
    let review = NewReview {
        grant: GrantId::from_random(7),
        person: person("bob"),
        verdict: Verdict::Unjustified,
        findings: "a finding that is held".into(),
        once: None,
    };
    store.review(&review).await.unwrap();
    let done = NewReview { grant: GrantId::from_random(3), verdict: Verdict::Justified, ..review.clone() };
    store.review(&done).await.unwrap();
    settle_all(store).await;
    while !store.close_accounts().await.unwrap().is_empty() {}
    bench.clock.advance(10 * HOUR);
    let cutoff = store.shared.clock.wall();
    let mut young = sample::granted(9, 3, cutoff);
    young.record.elevation.justification.ticket = "YOUNG-1".parse().unwrap();
    young.grant.as_mut().unwrap().grant.justification.ticket = "YOUNG-1".parse().unwrap();
    create(store, &signer.signed(young)).await.unwrap();
    assert!(store.has_aged(cutoff, &[]).await.unwrap());
    let expected = store.would_erase(&Erasable::Age { before: cutoff }, &[Verdict::Unjustified]).await.unwrap();
    let gone = erase(store, &by_age(cutoff)).await;
    assert_eq!(gone, (expected.values, expected.records));
    assert_sound(store).await;
    for grant in [7, 8] {
        let record = store.grant(&GrantId::from_random(grant)).await.unwrap().unwrap();
        assert_eq!(record.grant.person, person("alice@example.test"), "{grant} is held");
    }
    assert!(!found(store, "a finding that is held").await.is_empty() && !found(store, "YOUNG-1").await.is_empty());
    assert_eq!(found(store, "ZTICKET").await, Vec::<String>::new());
    // A freeze stands: who froze, and why, is not over. And who may call is known on.
    let mut left = found(store, "note about her").await;
    left.sort();
    assert_eq!(left, ["entry_values.value", "freezes.note", "revocations.note"]);
    let mut left = found(store, "zora").await;
    left.sort();
    let expected = [
        "entry_values.value",
        "freezes.by_person",
        "idempotency_keys.person",
        "policy_revisions.text",
        "principals.person",
        "principals.subject",
        "revocations.by_person",
    ];
    assert_eq!(left, expected);
    let named = sql("SELECT COUNT(*) FROM entry_values WHERE value LIKE '%zora%'");
    assert_eq!(named.integer(&store.shared.database).await.unwrap(), 1);
    // Within a record its people are apart.
    let first = store.elevation(&ElevationId::from_random(3)).await.unwrap().unwrap();
    let people = [&first.elevation.person, &first.approvals[0].person].map(Person::as_str);
    assert_eq!(people, ["erased:1", "erased:2"]);
    assert!(!store.has_aged(cutoff, &[Verdict::Unjustified]).await.unwrap(), "once");
    assert!(canonical(store).await.len() > before);
    // What was held goes as soon as it is held no more.
    let review = NewReview { grant: GrantId::from_random(8), verdict: Verdict::Justified, ..review };
    bench.clock.advance(HOUR);
    store.review(&review).await.unwrap();
    bench.clock.advance(HOUR);
    assert!(erase(store, &by_age(store.shared.clock.wall())).await.0 > 0);
    assert_sound(store).await;
    let record = store.grant(&GrantId::from_random(8)).await.unwrap().unwrap();
    assert!(record.grant.person.is_erased());
}

/// Nobody's answer to a revocation is awaited any more.
async fn settle_all(store: &Store) {
    let listing = RevocationListing { limit: 100, ..RevocationListing::default() };
    for record in store.revocations(&listing).await.unwrap().items {
        let settled = Settled { enforced: 0, stopped: 0, rejected: 0, elapsed_ms: None };
        store.settle(&record.id, settled).await.unwrap();
    }
}

async fn a_fault_at_any_write_leaves_all_of_a_step_or_nothing(bench: Bench) {
    const TABLES: [&str; 14] = [
        "erasures",
        "entries",
        "entry_values",
        "elevations",
        "grants",
        "approvals",
        "revocations",
        "freezes",
        "principals",
        "idempotency_keys",
        "policy_revisions",
        "counters",
        "commit",
        "answer",
    ];
    for broken in TABLES {
        let bench = bench.another().await;
        let store = &bench.store;
        lived(&bench).await;
        let before = (canonical(store).await, found(store, "zora").await, count(store, "entry_values").await);
        match broken {
            "commit" => break_commit(store).await,
            "answer" => lose_answer(store),
            table => break_table(store, table).await,
        }
        store.erase(&by_person(&zora())).await.unwrap_err();
        match broken {
            "commit" => mend_commit(store).await,
            "answer" => {}
            _ => mend_table(store).await,
        }
        if broken != "answer" {
            let after = (canonical(store).await, found(store, "zora").await, count(store, "entry_values").await);
            assert_eq!(before, after, "{broken}");
        }
        let store = bench.place.open(&bench.clock).await.unwrap();
        assert_sound(&store).await;
        for open in store.open_erasures().await.unwrap() {
            while store.carry_on_erasure(&open).await.unwrap().open {}
        }
        // Whoever did not hear that it was done does it again: it finds nothing, or all of it.
        erase(&store, &by_person(&zora())).await;
        let bench = Bench { store, ..bench };
        assert_no_trace(&bench).await;
        assert_sound(&bench.store).await;
    }
}

/// Values of many entries that name zora, more than one step takes.
async fn many(store: &Store, entries: usize) {
    let (zora, bob) = (zora(), person("bob"));
    let look = |_| {
        let filter = serde_json::Map::new();
        let read =
            DataRead { view: "grants", filter, records: 1, covers_s: 600, by: &zora, person: Some(&bob), ticket: None };
        Draft::data_read(read)
    };
    store.record_all((0..entries).map(look).collect()).await.unwrap();
}

async fn a_large_erasure_is_carried_on_by_whoever_comes_next(bench: Bench) {
    lived(&bench).await;
    many(&bench.store, 4000).await;
    let ErasureOutcome::Ordered(id, mut progress) = bench.store.erase(&by_person(&zora())).await.unwrap() else {
        panic!("nothing stands in the way")
    };
    let mut steps = 0;
    let mut bench = bench;
    while progress.open {
        // The process dies after each step; whoever comes next finds the database sound and the erasure open.
        bench.store = bench.place.open(&bench.clock).await.unwrap();
        assert_sound(&bench.store).await;
        assert_eq!(bench.store.open_erasures().await.unwrap(), std::slice::from_ref(&id));
        assert_eq!(obstacles(&bench.store).await, [ObstacleKind::ErasureOpen]);
        // A step that fails before or after it is committed is done again, or was done.
        match steps % 3 {
            0 => {
                break_table(&bench.store, "entries").await;
                bench.store.carry_on_erasure(&id).await.unwrap_err();
                mend_table(&bench.store).await;
            }
            1 => {
                lose_answer(&bench.store);
                bench.store.carry_on_erasure(&id).await.unwrap_err();
            }
            _ => {}
        }
        progress = bench.store.carry_on_erasure(&id).await.unwrap();
        progress.open = !bench.store.open_erasures().await.unwrap().is_empty();
        steps += 1;
    }
    assert!(steps >= 2, "{steps}");
    assert_no_trace(&bench).await;
    assert_sound(&bench.store).await;
    assert_eq!(bench.store.carry_on_erasure(&id).await.unwrap(), ErasureProgress::default(), "it is done");
}

async fn what_is_kept_far_back_is_not_paid_for_by_the_length_of_the_log(bench: Bench) {
    let store = &bench.store;
    create(store, &sample::request(1, 3, NOW)).await.unwrap();
    // As if so many entries had come since, all of them erased.
    raw(store, "UPDATE counters SET value = 1000000 WHERE name = 'entry'".to_owned()).await;
    bench.clock.advance(Duration::from_secs(86_400));
    let steps = steps_of(async {
        assert!(!store.has_aged(WallTime::from_unix_ms(i64::MAX), &[]).await.unwrap(), "it is still awaited");
    });
    let looks = steps.await.into_iter().filter(|step| step.contains("FROM entry_values v")).count();
    assert_eq!(looks, 1);
}

async fn two_who_carry_on_at_once_erase_each_value_once(bench: Bench) {
    lived(&bench).await;
    many(&bench.store, 3000).await;
    let other = bench.place.open(&bench.clock).await.unwrap();
    let ErasureOutcome::Ordered(id, _) = bench.store.erase(&by_person(&zora())).await.unwrap() else { panic!() };
    let carry = |store: Store, id: ErasureId| async move {
        while !store.open_erasures().await.unwrap().is_empty() {
            store.carry_on_erasure(&id).await.unwrap();
        }
    };
    tokio::join!(carry(bench.store.clone(), id.clone()), carry(other.clone(), id.clone()));
    other.close().await;
    assert_sound(&bench.store).await;
    assert_no_trace(&bench).await;
}

async fn what_is_half_erased_by_a_hand_is_named(bench: Bench) {
    let salt = match bench.place {
        Place::Folder(_) => "zeroblob(0)",
        Place::Server(_) => "CAST('' AS BYTEA)",
    };
    let only =
        "WHERE entry_index = (SELECT MIN(entry_index) FROM entry_values WHERE field = 'ticket') AND field = 'ticket'";
    let cases = [
        (format!("UPDATE entry_values SET salt = {salt} {only}"), "its value \"ticket\" has no salt"),
        (format!("UPDATE entry_values SET value = '' {only}"), "its value \"ticket\" is gone, and its salt is not"),
        (format!("UPDATE entry_values SET value = 'INC-1' {only}"), "does not fit the commitment"),
        (format!("DELETE FROM entry_values {only}"), "their number is"),
        ("UPDATE erasures SET person = 'x'".to_owned(), "is done, and something of it is left"),
        ("UPDATE grants SET token = 'x' WHERE erased_ms IS NOT NULL".to_owned(), "was erased, and has a token"),
    ];
    for (change, what) in cases {
        let bench = bench.another().await;
        lived(&bench).await;
        erase(&bench.store, &by_person(&zora())).await;
        assert_sound(&bench.store).await;
        raw(&bench.store, change.clone()).await;
        let findings = bench.store.check().await.unwrap().findings;
        assert!(findings.iter().any(|finding| finding.what.contains(what)), "{change}: {findings:?}");
    }
}

async fn what_a_backup_brought_back_is_erased_again(bench: Bench) {
    // Two databases that lived the same as far as the backup goes are one: the entry is compared, not the process.
    let store = &bench.store;
    lived(&bench).await;
    let told = store.would_erase(&by_person(&zora()).what, &[]).await.unwrap();
    let row = sql("SELECT v.entry_index, v.field, e.canonical FROM entry_values v JOIN entries e \
                   ON e.entry_index = v.entry_index WHERE v.value = $1 ORDER BY v.entry_index LIMIT 1")
    .bind(ZORA)
    .fetch_one(&store.shared.database)
    .await
    .unwrap();
    let (entry, canonical) = (row.try_get::<i64>("entry_index").unwrap() as u64, row.try_get("canonical").unwrap());
    let field: String = row.try_get("field").unwrap();
    let other = EarlierErasure::Person { entry: entry + 1, canonical, field: field.clone() };
    assert_eq!(store.erase_again(&other, &[]).await.unwrap(), None, "another entry stands there");
    let EarlierErasure::Person { canonical, .. } = other else { panic!() };
    let earlier = EarlierErasure::Person { entry, canonical, field };
    let Some(ErasureOutcome::Ordered(id, progress)) = store.erase_again(&earlier, &[]).await.unwrap() else { panic!() };
    assert!(!progress.open);
    let record = store.erasure(&id).await.unwrap().unwrap();
    assert_eq!((record.values, record.reason), (told.values, ErasureReason::Restored));
    assert_no_trace(&bench).await;
    assert_eq!(store.erase_again(&earlier, &[]).await.unwrap(), None, "once");
    let aged = EarlierErasure::Age { before: store.shared.clock.wall().plus(HOUR) };
    assert!(matches!(store.erase_again(&aged, &[]).await.unwrap(), Some(ErasureOutcome::Ordered(..))));
}
