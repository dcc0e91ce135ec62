//! Thousands of random steps against a plain model: whatever is asked in whatever order, and two at once, the database
//! says what the model says, its numbers are dense, and each change has its entry.
//!
//! `BREAKGLASS_MODEL_RUNS` says how many histories each database goes through, `BREAKGLASS_MODEL_SEED` with which one to
//! begin; a failure names the seed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, current, on_both_databases, stream};
use super::lifecycle::{approval, beside_tokens, claim, person};
use super::*;
use crate::clock::ManualClock;

const RUNS: u64 = 20;
const STEPS: u64 = 100;
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

on_both_databases! {
    the_database_says_what_the_model_says,
}

async fn the_database_says_what_the_model_says(bench: Bench) {
    let setting = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (runs, first) = (setting("BREAKGLASS_MODEL_RUNS", RUNS), setting("BREAKGLASS_MODEL_SEED", 1));
    for seed in first..first + runs {
        let bench = bench.another().await;
        stream(&bench.store, "a").await;
        let mut run = Run { seed, dice: Dice(seed), model: Model::new(), store: &bench.store, clock: &bench.clock };
        for step in 0..STEPS {
            run.step(step).await;
        }
        run.compare(STEPS).await;
        assert_eq!(beside_tokens(&bench.store).await, Vec::<String>::new(), "seed {seed}");
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn person(&mut self) -> &'static str {
        PEOPLE[self.roll(PEOPLE.len())]
    }
}

#[derive(Debug, Clone)]
enum Op {
    Ask { n: u64, by: &'static str, waits: bool },
    Approve { request: u64, by: &'static str, grant: Option<u64>, seen: Seen },
    Deny { request: u64, by: &'static str },
    Withdraw { request: u64, by: &'static str },
    Revoke { grant: u64, by: &'static str },
    RevokeAll { by: &'static str },
    Spend { grant: u64, spent: u32 },
    Review { grant: u64, by: &'static str },
    Claim { grant: u64 },
    Policy,
    Freeze(bool),
    Sweep,
    Advance(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    by: &'static str,
    state: ElevationState,
    lapses: Option<WallTime>,
    approvals: Vec<&'static str>,
    version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Issued {
    state: GrantState,
    expires: WallTime,
    /// Whoever approves takes it down to 2.
    most: u32,
    spent: u32,
    /// Approved, and nothing is bound to it that must be.
    unclaimed: bool,
    review: ReviewState,
    review_by: Option<WallTime>,
}

#[derive(Debug, Clone)]
struct Model {
    now: WallTime,
    policy: u64,
    revision: u64,
    frozen: bool,
    requests: BTreeMap<u64, Request>,
    grants: BTreeMap<u64, Issued>,
    entries: Vec<(&'static str, u64)>,
}

impl Model {
    fn new() -> Self {
        Self {
            now: NOW,
            policy: 0,
            revision: 0,
            frozen: false,
            requests: BTreeMap::new(),
            grants: BTreeMap::new(),
            entries: Vec::new(),
        }
    }

    /// Does it, and says what the caller is told.
    fn apply(&mut self, op: &Op) -> String {
        match op {
            Op::Ask { n, by, waits } => self.ask(*n, by, *waits),
            Op::Approve { request, by, grant, seen } => self.approve(*request, by, *grant, seen),
            Op::Deny { request, .. } => self.end(*request, ElevationState::Denied, "elevation_denied"),
            Op::Withdraw { request, .. } => self.end(*request, ElevationState::Withdrawn, "elevation_withdrawn"),
            Op::Revoke { grant, .. } => self.revoke(*grant),
            Op::RevokeAll { .. } => self.revoke_all(),
            Op::Spend { grant, spent } => self.spend(*grant, *spent),
            Op::Review { grant, .. } => self.review(*grant),
            Op::Claim { grant } => self.claim(*grant),
            Op::Policy => {
                self.policy += 1;
                self.entries.push(("policy_applied", 0));
                "applied".to_owned()
            }
            Op::Freeze(frozen) => {
                if self.frozen != *frozen {
                    self.frozen = *frozen;
                    self.revision += 1;
                    self.entries.push(("freeze_changed", 0));
                }
                "set".to_owned()
            }
            Op::Sweep => self.sweep(),
            Op::Advance(seconds) => {
                self.now = self.now.plus(Duration::from_secs(*seconds));
                "later".to_owned()
            }
        }
    }

    fn ask(&mut self, n: u64, by: &'static str, waits: bool) -> String {
        if !waits && self.frozen {
            return told(&Created::Frozen);
        }
        let state = if waits { ElevationState::Requested } else { ElevationState::Approved };
        let lapses = waits.then(|| self.now.plus(Duration::from_secs(3600)));
        self.requests.insert(n, Request { by, state, lapses, approvals: Vec::new(), version: 1 });
        self.entries.push(("elevation_requested", n));
        if waits {
            return told(&Created::Waiting);
        }
        told(&Created::New { revision: self.issue(n, 3, to_be_bound(n)) })
    }

    fn issue(&mut self, n: u64, most: u32, unclaimed: bool) -> Option<u64> {
        let expires = self.now.plus(Duration::from_secs(900));
        let review = ReviewState::None;
        let state = GrantState::Active;
        self.grants.insert(n, Issued { state, expires, most, spent: 0, unclaimed, review, review_by: None });
        self.entries.push(("grant_issued", n));
        self.revision += u64::from(!unclaimed);
        (!unclaimed).then_some(self.revision)
    }

    fn approve(&mut self, n: u64, by: &'static str, grant: Option<u64>, seen: &Seen) -> String {
        if let Some(stands) = self.not_waiting(n) {
            return told(&Answered::Stands(stands));
        }
        let request = self.requests.get_mut(&n).unwrap();
        if request.version != seen.version || self.policy != seen.policy_revision {
            return told(&Answered::Stale);
        }
        if self.frozen {
            return told(&Answered::Frozen);
        }
        request.approvals.push(by);
        request.version += 1;
        self.entries.push(("elevation_approved", n));
        if grant.is_some() {
            request.state = ElevationState::Approved;
        }
        told(&Answered::Done { revision: grant.and_then(|grant| self.issue(grant, 2, to_be_bound(n))) })
    }

    /// How it stands, if it does not wait; lapsed on the way where its time is over.
    fn not_waiting(&mut self, n: u64) -> Option<ElevationState> {
        let (now, request) = (self.now, self.requests.get_mut(&n).unwrap());
        if request.state == ElevationState::Requested && request.lapses.is_some_and(|lapses| lapses <= now) {
            request.state = ElevationState::Lapsed;
            self.entries.push(("elevation_lapsed", n));
        }
        (request.state != ElevationState::Requested).then_some(request.state)
    }

    fn end(&mut self, n: u64, state: ElevationState, entry: &'static str) -> String {
        if let Some(stands) = self.not_waiting(n) {
            return told(&Answered::Stands(stands));
        }
        self.requests.get_mut(&n).unwrap().state = state;
        self.entries.push((entry, n));
        told(&Answered::Done { revision: None })
    }

    fn end_grant(&mut self, n: u64, state: GrantState, entry: &'static str) {
        let (now, grant) = (self.now, self.grants.get_mut(&n).unwrap());
        grant.state = state;
        grant.review = ReviewState::Due;
        grant.review_by = Some(now.plus(Duration::from_secs(86_400)));
        self.revision += 1;
        self.entries.push((entry, n));
    }

    fn revoke(&mut self, n: u64) -> String {
        let grant = &self.grants[&n];
        if grant.state != GrantState::Active {
            return "ended".to_owned();
        }
        if grant.expires <= self.now {
            self.end_grant(n, GrantState::Expired, "grant_expired");
            return "ended".to_owned();
        }
        self.entries.push(("revocation_ordered", n));
        self.end_grant(n, GrantState::Revoked, "grant_revoked");
        "revoked".to_owned()
    }

    fn revoke_all(&mut self) -> String {
        let live = |grant: &Issued| grant.state == GrantState::Active && grant.expires > self.now;
        let live: Vec<u64> = self.grants.iter().filter(|(_, grant)| live(grant)).map(|(n, _)| *n).collect();
        self.entries.push(("revocation_ordered", 0));
        for n in &live {
            self.end_grant(*n, GrantState::Revoked, "grant_revoked");
        }
        format!("ended {}", live.len())
    }

    fn spend(&mut self, n: u64, spent: u32) -> String {
        let (now, grant) = (self.now, self.grants.get_mut(&n).unwrap());
        if spent <= grant.spent {
            return "used up: None".to_owned();
        }
        grant.spent = spent;
        if spent < grant.most || grant.state != GrantState::Active || grant.expires <= now {
            return "used up: None".to_owned();
        }
        self.end_grant(n, GrantState::UsedUp, "grant_used_up");
        format!("used up: {:?}", Some(self.revision))
    }

    fn review(&mut self, n: u64) -> String {
        let (now, grant) = (self.now, self.grants.get_mut(&n).unwrap());
        match shown_review(grant, now) {
            ReviewState::Due | ReviewState::Overdue => {
                grant.review = ReviewState::Reviewed;
                self.entries.push(("grant_reviewed", n));
                told(&ReviewOutcome::Done)
            }
            state => told(&ReviewOutcome::Stands(state)),
        }
    }

    fn claim(&mut self, n: u64) -> String {
        let (now, frozen) = (self.now, self.frozen);
        let grant = self.grants.get_mut(&n).unwrap();
        if grant.state != GrantState::Active {
            return told(&Claimed::Ended(grant.state));
        }
        if grant.expires <= now {
            return told(&Claimed::Ended(GrantState::Expired));
        }
        if !grant.unclaimed {
            return told(&Claimed::Bound);
        }
        if frozen {
            return told(&Claimed::Frozen);
        }
        grant.unclaimed = false;
        self.revision += 1;
        self.entries.push(("grant_claimed", n));
        told(&Claimed::Done { revision: self.revision })
    }

    fn sweep(&mut self) -> String {
        let requests: Vec<u64> = self.requests.keys().copied().collect();
        let before = self.entries.len();
        for n in requests {
            self.not_waiting(n);
        }
        let over = |grant: &Issued| grant.state == GrantState::Active && grant.expires <= self.now;
        let expired: Vec<u64> = self.grants.iter().filter(|(_, grant)| over(grant)).map(|(n, _)| *n).collect();
        for n in expired {
            self.end_grant(n, GrantState::Expired, "grant_expired");
        }
        for (n, grant) in &mut self.grants {
            if grant.review == ReviewState::Due && grant.review_by.is_some_and(|by| by <= self.now) {
                grant.review = ReviewState::Overdue;
                self.entries.push(("review_overdue", *n));
            }
        }
        format!("swept {}", self.entries.len() - before)
    }
}

/// Whether a request asks for a grant that is bound to a key, and brings none.
fn to_be_bound(request: u64) -> bool {
    request.is_multiple_of(3)
}

fn told<T: Debug>(outcome: &T) -> String {
    format!("{outcome:?}")
}

fn shown_review(grant: &Issued, now: WallTime) -> ReviewState {
    match grant.review {
        ReviewState::Due if grant.review_by.is_some_and(|by| by <= now) => ReviewState::Overdue,
        state => state,
    }
}

/// The same on the database.
async fn perform(store: &Store, clock: &ManualClock, op: Op) -> String {
    match op {
        Op::Ask { n, by, waits } => {
            let now = clock.now().wall;
            let mut new = if waits { sample::request(n, 3, now) } else { sample::granted(n, 3, now) };
            if to_be_bound(n) {
                new = sample::unbound(new);
            }
            new.record.elevation.person = person(by);
            if let Some(new) = &mut new.grant {
                new.grant.person = person(by);
            }
            told(&create(store, &new).await.unwrap())
        }
        Op::Approve { request, by, grant, seen } => {
            let mut new = approval(store, &ElevationId::from_random(request), by, grant).await;
            new.seen = seen;
            told(&store.approve(&new).await.unwrap())
        }
        Op::Deny { request, by } => {
            told(&store.deny(&ElevationId::from_random(request), &person(by), "no", None).await.unwrap())
        }
        Op::Withdraw { request, by } => {
            told(&store.withdraw(&ElevationId::from_random(request), &person(by), None).await.unwrap())
        }
        Op::Revoke { grant, by } => {
            match store.revoke(&GrantId::from_random(grant), &person(by), None).await.unwrap() {
                RevokeOutcome::Revoked(_) => "revoked".to_owned(),
                RevokeOutcome::Ended(_) => "ended".to_owned(),
                other => panic!("{other:?}"),
            }
        }
        Op::RevokeAll { by } => match store.order(&Selector::Everything {}, &person(by), None, None).await.unwrap() {
            OrderOutcome::Ordered(_, progress) => format!("ended {}", progress.ended),
            other => panic!("{other:?}"),
        },
        Op::Spend { grant, spent } => {
            let a = current(store, "a").await;
            let outcome = store.record_spent(&GrantId::from_random(grant), &a, spent).await.unwrap();
            format!("used up: {:?}", outcome.used_up)
        }
        Op::Review { grant, by } => {
            let new = NewReview {
                grant: GrantId::from_random(grant),
                person: person(by),
                verdict: Verdict::Justified,
                findings: "x".into(),
                once: None,
            };
            told(&store.review(&new).await.unwrap())
        }
        Op::Claim { grant } => told(&store.claim(&claim(store, &GrantId::from_random(grant)).await).await.unwrap()),
        Op::Policy => {
            sample::apply_policy(store, "text", &[]).await;
            "applied".to_owned()
        }
        Op::Freeze(frozen) => {
            store.set_frozen(Some(&service()), frozen, &person("bob")).await.unwrap();
            "set".to_owned()
        }
        Op::Sweep => {
            let swept = store.lapse_due().await.unwrap().len()
                + store.expire_due().await.unwrap().len()
                + store.overdue_due().await.unwrap().len();
            format!("swept {swept}")
        }
        Op::Advance(seconds) => {
            clock.advance(Duration::from_secs(seconds));
            "later".to_owned()
        }
    }
}

struct Run<'a> {
    seed: u64,
    dice: Dice,
    model: Model,
    store: &'a Store,
    clock: &'a Arc<ManualClock>,
}

impl Run<'_> {
    async fn step(&mut self, step: u64) {
        let n = step * 2 + 1;
        if self.dice.roll(4) == 0 {
            let (one, two) = (self.draw(n, true), self.draw(n + 1, true));
            self.race(step, one, two).await;
        } else {
            let op = self.draw(n, false);
            let expected = self.model.apply(&op);
            let found = perform(self.store, self.clock, op.clone()).await;
            assert_eq!(found, expected, "seed {}, step {step}: {op:?}", self.seed);
        }
        if step.is_multiple_of(20) {
            self.compare(step).await;
        }
    }

    /// Both at once: it must have come out as if one had come first.
    async fn race(&mut self, step: u64, one: Op, two: Op) {
        let spawn = |op: Op| {
            let (store, clock) = (self.store.clone(), Arc::clone(self.clock));
            tokio::spawn(async move { perform(&store, &clock, op).await })
        };
        let (first, second) = (spawn(one.clone()), spawn(two.clone()));
        let found = (first.await.unwrap(), second.await.unwrap());
        let (mut forth, mut back) = (self.model.clone(), self.model.clone());
        let in_order = (forth.apply(&one), forth.apply(&two));
        let second = back.apply(&two);
        let reversed = (back.apply(&one), second);
        let seed = self.seed;
        assert!(
            found == in_order || found == reversed,
            "seed {seed}, step {step}: {one:?} and {two:?} gave {found:?}, not {in_order:?} nor {reversed:?}"
        );
        self.model = if found == in_order { forth } else { back };
    }

    /// Something to do. In a race it is about the newest things, and time stands still.
    fn draw(&mut self, n: u64, races: bool) -> Op {
        let by = self.dice.person();
        let request = self.pick(self.model.requests.keys().copied().collect(), races);
        let grant = self.pick(self.model.grants.keys().copied().collect(), races);
        let roll = self.dice.roll(if races { 18 } else { 24 });
        match (roll, request, grant) {
            (0..=2, _, _) => Op::Ask { n, by, waits: self.dice.roll(3) > 0 },
            (3..=8, Some(request), _) => self.draw_approval(n, request, by),
            (9, Some(request), _) => Op::Deny { request, by },
            (10, Some(request), _) => Op::Withdraw { request, by },
            (11, _, Some(grant)) => Op::Revoke { grant, by },
            (12, _, Some(grant)) => {
                Op::Spend { grant, spent: 1 + self.dice.roll(self.model.grants[&grant].most as usize) as u32 }
            }
            (13..=14, _, Some(grant)) => Op::Review { grant, by },
            (15, _, _) => Op::Sweep,
            (16, _, _) => Op::RevokeAll { by },
            (17, _, Some(grant)) => Op::Claim { grant },
            (18, _, _) => Op::Policy,
            (19, _, _) => Op::Freeze(self.dice.roll(3) == 0),
            (20, _, _) => Op::Sweep,
            (21, _, _) => Op::Advance(3600),
            (22, _, _) => Op::Advance(43_200),
            _ => Op::Advance(1 + self.dice.roll(600) as u64),
        }
    }

    /// Of what stands, or of what stood; by somebody else who has not approved it.
    fn draw_approval(&mut self, n: u64, request: u64, by: &'static str) -> Op {
        let stands = &self.model.requests[&request];
        let stale = self.dice.roll(8) == 0;
        let may = |name: &str| name != stands.by && !stands.approvals.contains(&name);
        let Some(by) = std::iter::once(by).chain(PEOPLE).find(|name| may(name)) else { return Op::Sweep };
        let seen = Seen { version: stands.version - u64::from(stale), policy_revision: self.model.policy };
        let grant = (self.dice.roll(2) == 0).then_some(n);
        Op::Approve { request, by, grant, seen }
    }

    fn pick(&mut self, from: Vec<u64>, newest: bool) -> Option<u64> {
        if from.is_empty() {
            return None;
        }
        let oldest = if newest { from.len().saturating_sub(2) } else { 0 };
        Some(from[oldest + self.dice.roll(from.len() - oldest)])
    }

    async fn compare(&self, step: u64) {
        let (store, model, seed) = (self.store, &self.model, self.seed);
        let all = Listing { limit: 1000, ..Listing::default() };
        for record in store.elevations(&all).await.unwrap().items {
            let n = number_of(record.elevation.id.as_str());
            let mut expected = model.requests[&n].clone();
            if expected.state == ElevationState::Requested && expected.lapses.unwrap() <= model.now {
                expected.state = ElevationState::Lapsed;
            }
            let approvals: Vec<_> = record.approvals.iter().map(|approval| approval.person.as_str()).collect();
            let mut expected_approvals = expected.approvals.clone();
            // Those of one moment have no order.
            expected_approvals.sort_unstable();
            let mut sorted = approvals.clone();
            sorted.sort_unstable();
            assert_eq!(
                (record.elevation.state, sorted),
                (expected.state, expected_approvals),
                "seed {seed}, step {step}"
            );
            assert_eq!(record.elevation.person.as_str(), expected.by);
        }
        let grants = store.grants(&all).await.unwrap().items;
        assert_eq!(grants.len(), model.grants.len(), "seed {seed}, step {step}");
        for record in grants {
            let expected = &model.grants[&number_of(record.grant.id.as_str())];
            let over = expected.state == GrantState::Active && expected.expires <= model.now;
            let state = if over { GrantState::Expired } else { expected.state };
            let found = (record.state, record.review.state, record.review.by, record.spent);
            let wanted = (state, shown_review(expected, model.now), expected.review_by, expected.spent);
            assert_eq!(found, wanted, "seed {seed}, step {step}: {}", record.grant.id);
            assert_eq!(record.grant.is_bound(), !expected.unclaimed, "seed {seed}, step {step}: {}", record.grant.id);
        }
        self.compare_ledger(step).await;
    }

    /// Revisions and indices are dense; each change has its entry, and there are no others.
    async fn compare_ledger(&self, step: u64) {
        let (store, model, seed) = (self.store, &self.model, self.seed);
        assert_eq!(store.newest_revision().await.unwrap(), model.revision, "seed {seed}, step {step}");
        let told = store.changes_after(&service(), 0, 10_000).await.unwrap();
        let revisions: Vec<u64> = told.iter().map(|change| change.revision).collect();
        assert_eq!(revisions, (1..=model.revision).collect::<Vec<_>>(), "seed {seed}, step {step}");
        let entries = store.entries(0, 10_000).await.unwrap();
        let indices: Vec<u64> = entries.iter().map(|entry| entry.index).collect();
        assert_eq!(indices, (0..entries.len() as u64).collect::<Vec<_>>(), "seed {seed}, step {step}");
        let mut found: Vec<(String, u64)> = entries.iter().map(|entry| (entry.kind.clone(), subject(entry))).collect();
        let mut expected: Vec<(String, u64)> = model.entries.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "seed {seed}, step {step}");
    }
}

/// What an entry is about.
fn subject(entry: &StoredEntry) -> u64 {
    let canonical: serde_json::Value = serde_json::from_str(&entry.canonical).unwrap();
    let facts = &canonical["facts"];
    let id = facts.get("grant").or_else(|| facts.get("elevation"));
    id.and_then(|id| id.as_str()).map_or(0, number_of)
}

/// The number that an id was made of.
fn number_of(id: &str) -> u64 {
    let digits = "0123456789abcdefghjkmnpqrstvwxyz";
    id[2..].chars().fold(0, |number, c| number * 32 + digits.find(c).unwrap() as u64)
}
