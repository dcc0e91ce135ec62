//! The cases through `decide`: the request goes through the sidecar's own guard, intake, target and routes; the state
//! becomes facts as it stands in the file.

use std::sync::Arc;
use std::time::Duration;

use breakglass::decision::{
    Assertion, Audit, Caller, Certificate as Chain, Credential as Presented, Facts, Feed, Framing, Freeze, GrantFact,
    GrantStanding, HeldGrant, Proof as Shown, Target, Traits, Unproven, Uses, decide,
};
use breakglass::domain::{
    Authentication, Binding, BootTime, CertificateThumbprint, Confirmation, Deadline, Grant, Justification,
    KeyThumbprint, Moment, Origin, Person, Scope, WallTime,
};
use breakglass::sidecar::framing::{FramingGuard, HeadNote};
use breakglass::sidecar::route::{RouteMatch, RouteTable};
use breakglass::sidecar::{intake, target};
use http::{HeaderMap, HeaderName, Method, Uri};
use tokio::io::AsyncReadExt as _;

use super::{Case, Certificate, Credential, Identity, Proof, State, Words, cases};

const NOW: Moment =
    Moment { boot: BootTime::from_duration(Duration::from_secs(10_000)), wall: WallTime::from_unix_s(1_795_313_580) };

pub(crate) fn grant(service: &str) -> Grant {
    Grant {
        id: "g-m2c4k8w1x0za".parse().unwrap(),
        service: service.parse().unwrap(),
        person: "alice".parse().unwrap(),
        idp: "https://issuer.test".parse().unwrap(),
        authentication: Authentication::default(),
        role: "payments.override".parse().unwrap(),
        scope: Scope::new(["contract/C-1042".parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap(),
        binding: Binding::Identity,
        confirmation: None,
        justification: Justification { reason: "stuck_payment".parse().unwrap(), ticket: "INC-2041".parse().unwrap() },
        issued: NOW.wall,
        not_before: NOW.wall,
        expires: NOW.wall.plus(Duration::from_secs(600)),
        max_uses: None,
        staleness_max: Duration::from_secs(3),
        policy_revision: 1,
        approvals: vec![],
        origin: Origin::ControlPlane,
    }
}

fn bearer() -> Grant {
    let scope = Scope::new(["contract/B-7".parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap();
    Grant { id: "g-b00000000000".parse().unwrap(), scope, binding: Binding::Bearer, ..grant("payments") }
}

const BOUND: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const ANOTHER: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

fn bound(id: &str, resource: &str, confirmation: Confirmation) -> Grant {
    let scope = Scope::new([resource.parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap();
    let binding = confirmation.binding();
    Grant { id: id.parse().unwrap(), scope, binding, confirmation: Some(confirmation), ..grant("payments") }
}

fn proof<'k>(case: &Case, own: &'k KeyThumbprint, other: &'k KeyThumbprint) -> Shown<'k> {
    match case.proof {
        Proof::None => Shown::Absent,
        Proof::Holder => Shown::Proven(own),
        Proof::Other => Shown::Proven(other),
        Proof::Invalid => Shown::Invalid,
        Proof::NoNonce => Shown::NonceWanted,
        Proof::Replayed => Shown::Replayed,
        Proof::Unverifiable => Shown::Unverifiable,
    }
}

fn certificate<'k>(case: &Case, own: &'k CertificateThumbprint, other: &'k CertificateThumbprint) -> Chain<'k> {
    match case.certificate {
        Certificate::None => Chain::Absent,
        Certificate::Holder => Chain::Proven(own),
        Certificate::Other => Chain::Proven(other),
        Certificate::Untrusted => Chain::Untrusted,
    }
}

fn words() -> Words {
    let word = |text: &str| text.to_owned();
    Words {
        grant_id: word("g-m2c4k8w1x0za"),
        grant_token: word("aaa.bbb.ccc"),
        foreign_token: word("ddd.eee.fff"),
        bearer_id: word("g-b00000000000"),
        bearer_token: word("ppp.qqq.rrr"),
        dpop_id: word("g-d00000000000"),
        dpop_token: word("sss.ttt.vvv"),
        mtls_id: word("g-m00000000000"),
        mtls_token: word("www.xxx.yyy"),
        holder: word("ggg.hhh.iii"),
        other: word("jjj.kkk.lll"),
        unreachable: word("mmm.nnn.ooo"),
    }
}

/// What the guard saw of the head.
async fn note(bytes: &[u8]) -> HeadNote {
    let (mut guard, notes) = FramingGuard::new(std::io::Cursor::new(bytes.to_vec()), 65_536);
    let _ = guard.read_to_end(&mut Vec::new()).await;
    notes.next()
}

fn caller<'p>(case: &Case, alice: &'p Person, bob: &'p Person) -> Caller<'p> {
    match case.identity {
        Identity::None | Identity::Malformed | Identity::Duplicate => Caller::Unproven(Unproven::Missing),
        Identity::Holder => Caller::Proven(alice),
        Identity::Other => Caller::Proven(bob),
        Identity::Garbage | Identity::Forged | Identity::GrantToken => Caller::Unproven(Unproven::Invalid),
        Identity::Expired => Caller::Unproven(Unproven::Expired),
        Identity::Unreachable => Caller::Unproven(Unproven::Unverifiable),
        Identity::AmbientHolder => Caller::Proven(alice),
        Identity::AmbientOther => Caller::Proven(bob),
        Identity::AmbientGarbage => Caller::Ambient(Unproven::Invalid),
    }
}

fn held<'g>(case: &Case, grant: &'g Arc<Grant>) -> GrantFact<'g> {
    let span = Duration::from_secs(600);
    let mut deadline = Deadline { boot: NOW.boot.plus(span), wall: NOW.wall.plus(span) };
    if case.state.contains(&State::Expired) {
        deadline.boot = NOW.boot;
    }
    let standing = if case.state.contains(&State::Revoked) {
        GrantStanding::Revoked
    } else if case.state.contains(&State::Suspended) {
        GrantStanding::Suspended
    } else if case.state.contains(&State::UsedUp) {
        GrantStanding::UsedUp
    } else {
        GrantStanding::Live
    };
    GrantFact::Held(HeldGrant { grant, deadline, standing })
}

async fn decided(case: &Case) -> String {
    let service = case.service();
    let (policy, table) = (service.policy(), RouteTable::new(&service));
    let note = note(&case.request(&words())).await;
    let mut headers = HeaderMap::new();
    for (name, value) in case.own_headers(&words()).into_iter().chain(case.headers.clone()) {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let upgrade = headers.contains_key("upgrade");
    let taken = intake::take(&mut headers);
    let uri: Uri = case.target.parse().unwrap();
    let method: Method = case.method.parse().unwrap();
    let foreign_authority = uri.authority().is_some_and(|authority| authority != "localhost");
    let canonical = target::canonical(uri.path()).ok().filter(|_| !note.fragment && !foreign_authority);
    let found = canonical.as_ref().map_or(RouteMatch::Unmatched, |path| table.find(&method, path));
    let (alice, bob): (Person, Person) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let (own, foreign) = (Arc::new(grant("payments")), grant("ledger"));
    let bearer = Arc::new(bearer());
    let (own_key, other_key) = (BOUND.parse().unwrap(), ANOTHER.parse().unwrap());
    let (own_certificate, other_certificate) = (BOUND.parse().unwrap(), ANOTHER.parse().unwrap());
    let key = Arc::new(bound("g-d00000000000", "contract/K-1", Confirmation::Key(BOUND.parse().unwrap())));
    let chain = Arc::new(bound("g-m00000000000", "contract/K-2", Confirmation::Certificate(BOUND.parse().unwrap())));
    let has = |state| case.state.contains(&state);
    let facts = Facts {
        now: NOW,
        framing: if note.fault.is_some() { Framing::Conflict } else { Framing::Sound },
        target: if canonical.is_some() { Target::Canonical } else { Target::Ambiguous },
        route: found.fact(),
        traits: Traits {
            rewrite_header: taken.rewrite_header,
            unlisted_query: found.has_unlisted_query(uri.query()),
            upgrade,
            connect: method == Method::CONNECT,
        },
        credential: taken.credential,
        caller: caller(case, &alice, &bob),
        certificate: certificate(case, &own_certificate, &other_certificate),
        proof: proof(case, &own_key, &other_key),
        grant: match case.credential {
            Credential::Token if has(State::Restarted) || case.service == "low_ceiling" => GrantFact::Genuine(&own),
            Credential::Id | Credential::Token => held(case, &own),
            Credential::ForeignService => GrantFact::Genuine(&foreign),
            Credential::BearerToken | Credential::BearerId if has(State::NeverSynced) => GrantFact::Unknown,
            Credential::BearerToken if has(State::Restarted) || case.service != "open" => GrantFact::Genuine(&bearer),
            Credential::BearerToken | Credential::BearerId => held(case, &bearer),
            Credential::DpopToken if has(State::Restarted) || case.service != "open" => GrantFact::Genuine(&key),
            Credential::DpopToken | Credential::DpopId => held(case, &key),
            Credential::MtlsToken if has(State::Restarted) || case.service != "open" => GrantFact::Genuine(&chain),
            Credential::MtlsToken | Credential::MtlsId => held(case, &chain),
            Credential::DpopForged => GrantFact::Unknown,
            Credential::None
            | Credential::UnknownId
            | Credential::Forged
            | Credential::BearerForged
            | Credential::IdentityToken
            | Credential::Malformed
            | Credential::Empty
            | Credential::Huge
            | Credential::Duplicate => GrantFact::Unknown,
        },
        freeze: match (has(State::FrozenLocally), has(State::FrozenByControl)) {
            (true, _) => Freeze::Local,
            (_, true) => Freeze::ByControlPlane,
            _ => Freeze::None,
        },
        feed: match (has(State::NeverSynced), has(State::ClockUnsettled), has(State::Stale)) {
            (true, _, _) => Feed::NeverSynced,
            (_, true, _) => Feed::ClockUnsettled,
            (_, _, true) => Feed::AsOf(NOW.boot.minus(Duration::from_millis(3_001))),
            _ => Feed::AsOf(NOW.boot.minus(Duration::from_millis(3_000))),
        },
        uses: if has(State::ShareElsewhere) { Uses::Elsewhere } else { Uses::Unlimited },
        audit: if has(State::AuditUnavailable) { Audit::Unavailable } else { Audit::Ready },
        assertion: if has(State::AssertionUnavailable) { Assertion::Unavailable } else { Assertion::Ready },
    };
    assert_eq!(facts.credential == Presented::Absent, case.credential == Credential::None, "{}", case.name);
    decide(&policy, &facts).code().to_owned()
}

#[tokio::test]
async fn the_pure_decision_is_what_each_case_expects() {
    let mut wrong = Vec::new();
    for case in cases() {
        let got = decided(&case).await;
        if got != case.expect {
            wrong.push(format!("{}: expected {}, got {got}", case.name, case.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
