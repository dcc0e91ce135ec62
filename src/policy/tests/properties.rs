//! What must hold for every policy: a team never widens, a grant just made still stands, a difference is honest.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::random::{any_asker, any_policy, any_request, organisation, team};
use super::*;
use crate::config::policy::approvals::Approver;
use crate::policy::check::{check_request, examine_all};
use crate::policy::difference::{Effect, difference};

/// How many of the random inputs must have said something.
const TELLING_MIN: u32 = 20;

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value, &Cell<u32>)) {
    let telling = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |value| {
            test(value, &telling);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(telling.get() >= TELLING_MIN, "only {} of {cases} inputs said anything", telling.get());
}

/// The tiers that give what is asked for, whichever of them the request would have to name.
fn giving(rules: &Rules, asker: &Asker, asked: Asked<'_>) -> BTreeSet<String> {
    let verdicts =
        check_request(rules, asked).map(|scope| examine_all(rules, asker, asked, &scope)).unwrap_or_default();
    let giving = verdicts.iter().filter(|verdict| verdict.obstacles.is_empty());
    giving.map(|verdict| verdict.tier.name.clone()).collect()
}

#[test]
fn what_a_team_allows_its_base_allows() {
    let inputs = (organisation(), team(), any_asker(), proptest::collection::vec(any_request(), 16));
    run(600, inputs, |(organisation, team, asker, requests), telling| {
        let Ok(base) = rules(&organisation) else { return };
        let Ok(narrowed) = rules(&(organisation.clone() + &team)) else { return };
        for (request, binding) in &requests {
            let asked = Asked { request, binding: *binding };
            let own = giving(&narrowed, &asker, asked);
            if own.iter().any(|tier| tier.starts_with("team/")) {
                telling.set(telling.get() + 1);
                assert!(giving(&base, &asker, asked).contains("one"), "{organisation}{team}\n{asker:?}\n{request:?}");
            }
        }
    });
}

#[test]
fn a_grant_just_made_still_stands() {
    run(
        200,
        (any_policy(), any_asker(), proptest::collection::vec(any_request(), 16)),
        |(text, asker, requests), telling| {
            let Ok(rules) = rules(&text) else { return };
            for (request, binding) in &requests {
                let Ok(terms) = check(&rules, &asker, Asked { request, binding: *binding }) else { continue };
                telling.set(telling.get() + 1);
                let grant = granted(&terms, &asker, request);
                assert_eq!(still_allowed(&rules, &grant, NOW), Ok(()), "{text}\n{grant:?}");
            }
        },
    );
}

/// The grant that is made on these terms, with the fewest people who are enough.
fn granted(terms: &Terms<'_>, asker: &Asker, request: &ElevationRequest) -> GrantFacts {
    let groups = terms.approvals.groups.iter().cycle().take(usize::try_from(terms.approvals.count).unwrap());
    let approver = |(at, group): (usize, &String)| Approver {
        person: format!("approver-{at}").parse().unwrap(),
        groups: BTreeSet::from([group.clone()]),
    };
    GrantFacts {
        tier: terms.tier.name.clone(),
        admitted_by: terms.admitted_by.clone(),
        service: request.service.clone(),
        role: terms.tier.role.clone(),
        scope: terms.scope.clone(),
        reason: request.reason.clone(),
        binding: terms.binding,
        max_uses: terms.max_uses,
        staleness_max: terms.tier.staleness_max,
        authentication: asker.authentication.clone(),
        requested: asker.now,
        expires: NOW.plus(terms.duration),
        approvers: groups.enumerate().map(approver).collect(),
        approver_groups_known: true,
    }
}

#[test]
fn a_policy_does_not_differ_from_itself() {
    run(200, any_policy(), |text, telling| {
        let Ok(rules) = rules(&text) else { return };
        telling.set(telling.get() + 1);
        let found = difference(&rules, &rules);
        assert!(found.is_empty() && !found.widens(), "{text}\n{found:?}");
    });
}

#[test]
fn exchanging_two_policies_exchanges_gains_and_losses() {
    run(200, (any_policy(), any_policy()), |(old, new), telling| {
        let (Ok(old), Ok(new)) = (rules(&old), rules(&new)) else { return };
        telling.set(telling.get() + 1);
        let (there, back) = (difference(&old, &new), difference(&new, &old));
        assert_eq!((&there.gained, &there.lost), (&back.lost, &back.gained));
        let reversed: BTreeSet<_> = back
            .changes
            .into_iter()
            .map(|mut change| {
                std::mem::swap(&mut change.old, &mut change.new);
                change.effect = change.effect.reversed();
                change
            })
            .collect();
        assert_eq!(there.changes, reversed);
    });
}

#[test]
fn a_difference_without_gains_allows_nothing_new() {
    let inputs = (any_policy(), organisation(), team(), any_asker(), proptest::collection::vec(any_request(), 16));
    run(400, inputs, |(any, organisation, team, asker, requests), telling| {
        // A team's narrowing is the likeliest change that widens nothing.
        let pairs = [(organisation.clone(), organisation.clone() + &team), (organisation + &team, any)];
        for (old, new) in pairs {
            let (Ok(old), Ok(new)) = (rules(&old), rules(&new)) else { continue };
            let found = difference(&old, &new);
            if found.widens() {
                continue;
            }
            let alone = Asker { history: History::default(), ..asker.clone() };
            for (request, binding) in &requests {
                let mut request = request.clone();
                request.resources.truncate(1);
                let asked = Asked { request: &request, binding: *binding };
                if !giving(&new, &alone, asked).is_empty() {
                    telling.set(telling.get() + 1);
                    assert!(!giving(&old, &alone, asked).is_empty(), "{found:?}\n{request:?}");
                }
            }
        }
    });
}

#[test]
fn effects_have_a_direction() {
    for effect in [Effect::Gain, Effect::Loss, Effect::Both, Effect::Neutral] {
        assert_eq!(effect.reversed().reversed(), effect);
    }
}
