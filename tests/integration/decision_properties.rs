//! Properties of the decision: time, narrowing and revoking never turn a refusal into a permit; and a permit covers
//! exactly the request it was made for.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use breakglass::decision::{
    Assertion, Audit, Caller, Ceiling, Certificate, Credential, CredentialFault, Decision, Facts, Feed, Framing,
    Freeze, GrantFact, GrantStanding, HeldGrant, NamedBy, Policy, Proof, Route, Target, Traits, Unproven, Uses, decide,
};
use breakglass::domain::{
    Action, Authentication, Binding, BootTime, Confirmation, Deadline, Grant, Justification, Moment, Origin, Person,
    Resource, Role, Scope, WallTime,
};
use proptest::prelude::*;

/// One request and one sidecar, owned, so that it can be changed and asked again.
#[derive(Debug, Clone)]
struct World {
    policy: Policy,
    grant: Grant,
    /// Whether the sidecar holds it, knows only its signature, or nothing.
    knows: Knows,
    standing: GrantStanding,
    deadline: Deadline,
    now: Moment,
    framing: Framing,
    target: Target,
    route: Way,
    traits: Traits,
    credential: Credential,
    caller: Result<Person, Unproven>,
    /// The identity came in `Authorization`.
    ambient: bool,
    certificate: Shown,
    proof: Shown,
    freeze: Freeze,
    feed: Feed,
    uses: Uses,
    audit: Audit,
    assertion: Assertion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    Nothing,
    Signature,
    Grant,
}

/// What came of a certificate or a proof. The last three are of proofs alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    /// What the grant is bound to, where it is bound to such a thing.
    Own,
    Other,
    Unsound,
    NonceWanted,
    Unverifiable,
    Replayed,
}

const OWN: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const OTHER: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

#[derive(Debug, Clone)]
enum Way {
    Overridable(Resource, Action, bool, bool),
    Fixed(bool, bool),
    PathSealed,
    Unmatched,
}

impl World {
    fn decide(&self) -> Decision {
        let grant = Arc::new(self.grant.clone());
        let (own_certificate, other_certificate) = (OWN.parse().unwrap(), OTHER.parse().unwrap());
        let (own_key, other_key) = (OWN.parse().unwrap(), OTHER.parse().unwrap());
        let held = HeldGrant { grant: &grant, deadline: self.deadline, standing: self.standing };
        let facts = Facts {
            now: self.now,
            framing: self.framing,
            target: self.target,
            route: match &self.route {
                Way::Overridable(resource, action, sealed, upgrade) => {
                    Route::Overridable { resource, action, sealed: *sealed, upgrade: *upgrade }
                }
                Way::Fixed(sealed, upgrade) => Route::Fixed { sealed: *sealed, upgrade: *upgrade },
                Way::PathSealed => Route::PathSealed,
                Way::Unmatched => Route::Unmatched,
            },
            traits: self.traits,
            credential: self.credential,
            caller: match &self.caller {
                Ok(person) => Caller::Proven(person),
                Err(why) if self.ambient && *why != Unproven::Missing => Caller::Ambient(*why),
                Err(why) => Caller::Unproven(*why),
            },
            certificate: match self.certificate {
                Shown::Own => Certificate::Proven(&own_certificate),
                Shown::Other => Certificate::Proven(&other_certificate),
                Shown::Nothing => Certificate::Absent,
                _ => Certificate::Untrusted,
            },
            proof: match self.proof {
                Shown::Own => Proof::Proven(&own_key),
                Shown::Other => Proof::Proven(&other_key),
                Shown::Nothing => Proof::Absent,
                Shown::Unsound => Proof::Invalid,
                Shown::NonceWanted => Proof::NonceWanted,
                Shown::Unverifiable => Proof::Unverifiable,
                Shown::Replayed => Proof::Replayed,
            },
            grant: match self.knows {
                Knows::Nothing => GrantFact::Unknown,
                Knows::Signature => GrantFact::Genuine(&self.grant),
                Knows::Grant => GrantFact::Held(held),
            },
            freeze: self.freeze,
            feed: self.feed,
            uses: self.uses,
            audit: self.audit,
            assertion: self.assertion,
        };
        decide(&self.policy, &facts)
    }

    fn permits(&self) -> bool {
        matches!(self.decide(), Decision::Override(_))
    }
}

const RESOURCES: [&str; 3] = ["contract/C-1", "contract/C-2", "limit/L-1"];
const ACTIONS: [&str; 3] = ["payment.release", "payment.cancel", "limit.raise"];
const ROLES: [&str; 2] = ["payments.override", "limits.override"];
const PERSONS: [&str; 2] = ["alice", "bob"];
const SERVICES: [&str; 2] = ["payments", "ledger"];

/// One of the texts, most often the first: worlds in which an override is possible must not be rare.
fn pick<T: std::str::FromStr + std::fmt::Debug + Clone + 'static>(
    texts: &'static [&'static str],
) -> impl Strategy<Value = T> {
    prop_oneof![9 => Just(0), 1 => 0..texts.len()]
        .prop_map(move |index| texts[index].parse().unwrap_or_else(|_| panic!("{} parses", texts[index])))
}

fn some_of<T: std::str::FromStr + std::fmt::Debug + Clone + Ord + 'static>(
    texts: &'static [&'static str],
) -> impl Strategy<Value = BTreeSet<T>> {
    let parsed = |text: &&str| text.parse().unwrap_or_else(|_| panic!("{text} parses"));
    proptest::sample::subsequence(texts.to_vec(), texts.len() - 1..=texts.len())
        .prop_map(move |chosen| chosen.iter().map(parsed).collect())
}

/// Mostly `usual`, sometimes one of the others.
fn mostly<T: Clone + std::fmt::Debug + 'static>(usual: T, others: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![12 => Just(usual), 1 => proptest::sample::select(others)]
}

fn moment() -> impl Strategy<Value = Moment> {
    (0_u64..60, 0_i64..60).prop_map(|(boot, wall)| at(100 + boot, 1_000 + wall))
}

fn at(boot_s: u64, wall_s: i64) -> Moment {
    Moment { boot: BootTime::from_duration(Duration::from_secs(boot_s)), wall: WallTime::from_unix_s(wall_s) }
}

fn policies() -> impl Strategy<Value = Policy> {
    (pick(&SERVICES), some_of::<Role>(&ROLES), some_of::<Action>(&ACTIONS), 60_u64..300, 5_u64..80, any::<bool>())
        .prop_map(|(service, roles, actions, lifetime_s, staleness_s, any_seal)| Policy {
            service,
            any_seal,
            ceiling: Ceiling {
                roles,
                actions,
                lifetime_max: Duration::from_secs(lifetime_s),
                bindings: Binding::ALL.into(),
                staleness_max: Duration::from_secs(staleness_s),
            },
        })
}

fn grants() -> impl Strategy<Value = Grant> {
    let scope = (some_of::<Resource>(&RESOURCES), some_of::<Action>(&ACTIONS));
    let binding = prop_oneof![3 => Just(Binding::Identity), 3 => proptest::sample::select(Binding::ALL.to_vec())];
    (pick(&SERVICES), pick(&PERSONS), pick(&ROLES), scope, binding, 10_u64..150, 5_u64..80, 0_u32..3).prop_map(
        |(service, person, role, (resources, actions), binding, lifetime_s, staleness_s, uses)| Grant {
            id: "g-m2c4k8w1x0za".parse().unwrap(),
            service,
            person,
            idp: "https://issuer.test".parse().unwrap(),
            authentication: Authentication::default(),
            role,
            scope: Scope::new(resources, actions).unwrap(),
            binding,
            confirmation: match binding {
                Binding::Mtls => Some(Confirmation::Certificate(OWN.parse().unwrap())),
                Binding::Dpop => Some(Confirmation::Key(OWN.parse().unwrap())),
                Binding::Identity | Binding::Bearer => None,
            },
            justification: Justification {
                reason: "stuck_payment".parse().unwrap(),
                ticket: "INC-2041".parse().unwrap(),
            },
            issued: WallTime::from_unix_s(1_000),
            not_before: WallTime::from_unix_s(1_000),
            expires: WallTime::from_unix_s(1_000).plus(Duration::from_secs(lifetime_s)),
            max_uses: NonZeroU32::new(uses),
            staleness_max: Duration::from_secs(staleness_s),
            policy_revision: 1,
            approvals: vec![],
            origin: Origin::ControlPlane,
        },
    )
}

fn ways() -> impl Strategy<Value = Way> {
    let overridable = (pick(&RESOURCES), pick(&ACTIONS), any::<bool>(), any::<bool>())
        .prop_map(|(resource, action, sealed, upgrade)| Way::Overridable(resource, action, sealed, upgrade));
    prop_oneof![
        9 => overridable,
        1 => prop_oneof![any::<(bool, bool)>().prop_map(|(sealed, upgrade)| Way::Fixed(sealed, upgrade)), Just(Way::PathSealed), Just(Way::Unmatched)],
    ]
}

fn traits() -> impl Strategy<Value = Traits> {
    let rare = || mostly(false, vec![true]);
    (rare(), rare(), rare(), rare()).prop_map(|(rewrite_header, unlisted_query, upgrade, connect)| Traits {
        rewrite_header,
        unlisted_query,
        upgrade,
        connect,
    })
}

fn feeds() -> impl Strategy<Value = Feed> {
    let current = (100_u64..200).prop_map(|boot| Feed::AsOf(at(boot, 0).boot));
    prop_oneof![9 => current, 1 => prop_oneof![Just(Feed::NeverSynced), Just(Feed::ClockUnsettled)]]
}

fn credentials() -> impl Strategy<Value = Credential> {
    let rare = vec![Credential::Absent, Credential::Malformed(CredentialFault::Duplicated)];
    prop_oneof![
        6 => Just(Credential::Presented(NamedBy::Id)),
        6 => Just(Credential::Presented(NamedBy::Token)),
        1 => proptest::sample::select(rare),
    ]
}

fn callers() -> impl Strategy<Value = Result<Person, Unproven>> {
    let why = vec![Unproven::Missing, Unproven::Invalid, Unproven::Expired, Unproven::Unverifiable];
    prop_oneof![9 => pick(&PERSONS).prop_map(Ok), 1 => proptest::sample::select(why).prop_map(Err)]
}

fn certificates() -> impl Strategy<Value = Shown> {
    proptest::sample::select(vec![Shown::Nothing, Shown::Own, Shown::Own, Shown::Other, Shown::Unsound])
}

fn proofs() -> impl Strategy<Value = Shown> {
    let rare = vec![Shown::Other, Shown::Unsound, Shown::NonceWanted, Shown::Unverifiable, Shown::Replayed];
    prop_oneof![4 => Just(Shown::Nothing), 4 => Just(Shown::Own), 1 => proptest::sample::select(rare)]
}

fn worlds() -> impl Strategy<Value = World> {
    let request = (
        mostly(Framing::Sound, vec![Framing::Conflict]),
        mostly(Target::Canonical, vec![Target::Ambiguous]),
        ways(),
        traits(),
        credentials(),
        (callers(), any::<bool>(), certificates(), proofs()),
    );
    let held = (
        policies(),
        grants(),
        mostly(Knows::Grant, vec![Knows::Nothing, Knows::Signature]),
        mostly(GrantStanding::Live, vec![GrantStanding::Revoked, GrantStanding::Suspended, GrantStanding::UsedUp]),
        (140_u64..260, 1_040_i64..1_160),
        moment(),
    );
    let state = (
        mostly(Freeze::None, vec![Freeze::ByControlPlane, Freeze::Local]),
        feeds(),
        mostly(Uses::Unlimited, vec![Uses::Available, Uses::Elsewhere]),
        mostly(Audit::Ready, vec![Audit::Unavailable]),
        mostly(Assertion::Ready, vec![Assertion::Unavailable]),
    );
    (request, held, state).prop_map(|(request, held, state)| {
        let (framing, target, route, traits, credential, (caller, ambient, certificate, proof)) = request;
        let (policy, grant, knows, standing, (boot, wall), now) = held;
        let (freeze, feed, uses, audit, assertion) = state;
        let end = at(boot, wall);
        let deadline = Deadline { boot: end.boot, wall: end.wall };
        World {
            policy,
            grant,
            knows,
            standing,
            deadline,
            now,
            framing,
            target,
            route,
            traits,
            credential,
            caller,
            ambient,
            certificate,
            proof,
            freeze,
            feed,
            uses,
            audit,
            assertion,
        }
    })
}

/// What can only take away.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Boot time and wall time pass, each by seconds of its own. The wall clock may also step back.
    Age {
        boot_s: u64,
        wall_s: i64,
    },
    Revoke,
    Suspend,
    UseUp,
    Forget,
    FreezeLocally,
    FreezeAll,
    FeedOlder(u64),
    NeverSynced,
    ClockUnsettled,
    UsesElsewhere,
    AuditUnavailable,
    AssertionUnavailable,
    FewerResources,
    FewerActions,
    NoRoleAllowed,
    FewerActionsAllowed,
    NoBindingAllowed,
    ShorterLifetimeAllowed,
    LessStaleness,
    LessStalenessAllowed,
    EarlierDeadline(u64),
    AnotherCertificate,
    AnotherKey,
    ProofUsedBefore,
}

fn losses() -> impl Strategy<Value = Loss> {
    prop_oneof![
        4 => (0_u64..100, 0_i64..100).prop_map(|(boot_s, wall_s)| Loss::Age { boot_s, wall_s }),
        1 => (0_u64..100).prop_map(|boot_s| Loss::Age { boot_s, wall_s: 0 }),
        1 => (0_i64..100).prop_map(|wall_s| Loss::Age { boot_s: 0, wall_s }),
        1 => (1_u64..50).prop_map(Loss::FeedOlder),
        1 => (1_u64..50).prop_map(Loss::EarlierDeadline),
        8 => proptest::sample::select(vec![
            Loss::Revoke, Loss::Suspend, Loss::UseUp, Loss::Forget, Loss::FreezeLocally, Loss::FreezeAll, Loss::NeverSynced,
            Loss::ClockUnsettled, Loss::UsesElsewhere, Loss::AuditUnavailable,
            Loss::AssertionUnavailable, Loss::FewerResources,
            Loss::FewerActions, Loss::NoRoleAllowed, Loss::FewerActionsAllowed, Loss::NoBindingAllowed,
            Loss::ShorterLifetimeAllowed, Loss::LessStaleness, Loss::LessStalenessAllowed, Loss::AnotherCertificate,
            Loss::AnotherKey, Loss::ProofUsedBefore,
        ]),
    ]
}

/// Without its last member, where another remains.
fn fewer<T: Ord + Clone>(set: &BTreeSet<T>) -> BTreeSet<T> {
    set.iter().take(set.len().saturating_sub(1).max(1)).cloned().collect()
}

fn lose(world: &World, loss: Loss) -> World {
    let mut less = world.clone();
    let ceiling = &mut less.policy.ceiling;
    let scope = &world.grant.scope;
    match loss {
        Loss::Age { boot_s, wall_s } => {
            let wall = WallTime::from_unix_ms(less.now.wall.unix_ms() + wall_s * 1_000);
            less.now = Moment { boot: less.now.boot.plus(Duration::from_secs(boot_s)), wall };
        }
        Loss::Revoke => less.standing = GrantStanding::Revoked,
        Loss::Suspend => less.standing = GrantStanding::Suspended,
        Loss::UseUp => less.standing = GrantStanding::UsedUp,
        Loss::Forget => less.knows = Knows::Nothing,
        Loss::FreezeLocally => less.freeze = Freeze::Local,
        Loss::FreezeAll => less.freeze = Freeze::ByControlPlane,
        Loss::FeedOlder(by_s) => {
            if let Feed::AsOf(as_of) = less.feed {
                less.feed = Feed::AsOf(as_of.minus(Duration::from_secs(by_s)));
            }
        }
        Loss::NeverSynced => less.feed = Feed::NeverSynced,
        Loss::ClockUnsettled => less.feed = Feed::ClockUnsettled,
        Loss::UsesElsewhere => less.uses = Uses::Elsewhere,
        Loss::AuditUnavailable => less.audit = Audit::Unavailable,
        Loss::AssertionUnavailable => less.assertion = Assertion::Unavailable,
        Loss::FewerResources => {
            less.grant.scope = Scope::new(fewer(scope.resources()), scope.actions().clone()).unwrap();
        }
        Loss::FewerActions => {
            less.grant.scope = Scope::new(scope.resources().clone(), fewer(scope.actions())).unwrap();
        }
        Loss::NoRoleAllowed => ceiling.roles.clear(),
        Loss::FewerActionsAllowed => ceiling.actions = fewer(&ceiling.actions),
        Loss::NoBindingAllowed => ceiling.bindings.clear(),
        Loss::ShorterLifetimeAllowed => ceiling.lifetime_max /= 2,
        Loss::LessStaleness => less.grant.staleness_max /= 2,
        Loss::LessStalenessAllowed => ceiling.staleness_max /= 2,
        Loss::AnotherCertificate if less.certificate == Shown::Own => less.certificate = Shown::Other,
        Loss::AnotherKey if less.proof == Shown::Own => less.proof = Shown::Other,
        Loss::ProofUsedBefore if less.proof == Shown::Own => less.proof = Shown::Replayed,
        Loss::AnotherCertificate | Loss::AnotherKey | Loss::ProofUsedBefore => {}
        Loss::EarlierDeadline(by_s) => less.deadline.boot = less.deadline.boot.minus(Duration::from_secs(by_s)),
    }
    less
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ageing_narrowing_or_revoking_never_turns_a_refusal_into_a_permit(
        world in worlds(),
        taken in proptest::collection::vec(losses(), 1..6),
    ) {
        let mut now = world;
        for loss in taken {
            let less = lose(&now, loss);
            prop_assert!(now.permits() || !less.permits(), "{loss:?} opened {now:?}");
            now = less;
        }
    }

    #[test]
    fn a_wall_clock_set_back_opens_nothing_that_boot_time_has_closed(world in worlds(), back_s in 1_i64..10_000) {
        let mut later = world;
        later.now.boot = later.now.boot.plus(Duration::from_secs(500));
        later.now.wall = WallTime::from_unix_s(later.now.wall.unix_s() - back_s);
        prop_assert!(!later.permits());
    }

    #[test]
    fn a_permit_covers_exactly_the_request_its_caller_and_a_grant_in_force(world in worlds()) {
        if let Decision::Override(permit) = world.decide() {
            let Way::Overridable(resource, action, _, _) = &world.route else { panic!("an override off its route") };
            prop_assert_eq!((permit.resource(), permit.action()), (resource, action));
            prop_assert!(world.grant.scope.has_resource(resource) && world.grant.scope.has_action(action));
            prop_assert_eq!(&**permit.grant(), &world.grant);
            let is_person = world.caller.as_ref().map(|person| *person == permit.grant().person);
            prop_assert_ne!(is_person, Ok(false), "an identity that came fits");
            prop_assert!(matches!(world.proof, Shown::Nothing | Shown::Own | Shown::Other), "a proof that came holds");
            let by_token = world.credential == Credential::Presented(NamedBy::Token);
            match world.grant.binding {
                Binding::Identity => prop_assert_eq!(is_person, Ok(true)),
                Binding::Bearer => prop_assert!(by_token),
                Binding::Mtls => prop_assert_eq!(world.certificate, Shown::Own),
                Binding::Dpop => prop_assert!(by_token && world.proof == Shown::Own),
            }
            prop_assert_eq!(&permit.grant().service, &world.policy.service);
            prop_assert!(world.policy.ceiling.admits(&world.grant) && world.policy.ceiling.actions.contains(action));
            prop_assert!(!world.deadline.has_passed(world.now));
            prop_assert_eq!(
                (world.knows, world.standing, world.freeze, world.audit, world.assertion),
                (Knows::Grant, GrantStanding::Live, Freeze::None, Audit::Ready, Assertion::Ready)
            );
            prop_assert!(world.framing == Framing::Sound && world.target == Target::Canonical);
        }
    }
}

/// Of a grant that is not theirs a caller is told the same as of one that does not exist.
#[test]
fn who_proves_nothing_of_a_grant_learns_nothing_of_it() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut compared = 0;
    for _ in 0..4_000 {
        let world = worlds().new_tree(&mut runner).unwrap().current();
        let is_person = world.caller.as_ref() == Ok(&world.grant.person);
        let proves = match world.grant.binding {
            Binding::Identity => is_person,
            Binding::Bearer => is_person || world.credential == Credential::Presented(NamedBy::Token),
            Binding::Mtls => world.certificate == Shown::Own,
            Binding::Dpop => world.proof == Shown::Own,
        };
        // Before the first snapshot no grant is known, so there is nothing to compare.
        if !proves && world.feed != Feed::NeverSynced {
            let unknown = World { knows: Knows::Nothing, ..world.clone() };
            assert_eq!(world.decide().code(), unknown.decide().code(), "{world:?}");
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared} of 4000");
}

/// The properties above would hold of a decision that always refuses; in these worlds it does not.
#[test]
fn the_worlds_tried_are_often_open() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let open = (0..1_000).filter(|_| worlds().new_tree(&mut runner).unwrap().current().permits()).count();
    assert!(open > 20, "{open} of 1000");
}
