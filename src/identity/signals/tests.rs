//! Event tokens of a real transmitter with real signatures: what is read of them, and what is refused.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::domain::{BootTime, Moment, WallTime};
use crate::http::Limits;
use crate::identity::test_issuer::{TestIssuer, TestKey};
use crate::identity::{IdentityError, Naming, Verifier};

const NOW_S: i64 = 1_795_313_580;
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const CREDENTIAL: &str = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";

struct Bench {
    issuer: TestIssuer,
    key: TestKey,
    clock: Arc<ManualClock>,
    transmitters: Transmitters,
}

impl Bench {
    async fn start() -> Self {
        let key = TestKey::new(Algorithm::ES256, "k");
        let issuer = TestIssuer::start(&[&key]).await;
        let clock = ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: WallTime::from_unix_s(NOW_S) });
        let client = Client::new(None, Limits::DEFAULT);
        let config = config(&issuer.url);
        let transmitters = Transmitters::new(vec![config], &client, Clock::Manual(Arc::clone(&clock))).unwrap();
        assert!(transmitters.refresh().await.is_empty());
        Self { issuer, key, clock, transmitters }
    }

    fn claims(&self, change: Value) -> Value {
        let mut claims = json!({
            "iss": self.issuer.url, "aud": "us", "jti": "e-1", "iat": NOW_S,
            "sub_id": {"format": "iss_sub", "iss": self.issuer.url, "sub": "alice"},
            "events": {REVOKED: {}},
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    fn read(&self, change: Value) -> Result<EventToken, SetError> {
        self.transmitters.verify(0, &self.key.sign_event(&self.claims(change)))
    }

    fn one(&self, change: Value) -> SecurityEvent {
        self.read(change).unwrap().events.remove(0)
    }
}

fn config(issuer: &str) -> TransmitterConfig {
    let naming = Naming { prefix: "idp|".into(), is_lowercase: false };
    let mapping = SubjectMapping { issuer: issuer.parse().unwrap(), person_claim: "sub".into(), naming };
    TransmitterConfig {
        issuer: issuer.parse().unwrap(),
        audience: "us".parse().unwrap(),
        subjects: mapping,
        algorithms: [Algorithm::ES256].into(),
        clock_leeway_s: 5,
        keys: None,
        ca: None,
    }
}

#[tokio::test]
async fn a_genuine_event_is_read() {
    let bench = Bench::start().await;
    let token = bench.read(json!({})).unwrap();
    assert_eq!((token.id.as_str(), token.issued), ("e-1", WallTime::from_unix_s(NOW_S)));
    let event = &token.events[0];
    assert_eq!((event.kind, event.since), (EventKind::SessionRevoked, token.issued));
    let mapping = config(&bench.issuer.url).subjects;
    assert_eq!(mapping.named(&event.subject), [Named::Person("idp|alice".parse().unwrap())]);
}

#[tokio::test]
async fn what_is_not_one_is_refused_under_the_code_of_its_standard() {
    let bench = Bench::start().await;
    let url = &bench.issuer.url;
    let cases = [
        (json!({"iss": "https://other.test"}), "invalid_issuer"),
        (json!({"iss": format!("{url}/")}), "invalid_issuer"),
        (json!({"iss": null}), "invalid_request"),
        (json!({"aud": "them"}), "invalid_audience"),
        (json!({"aud": ["them", "us2"]}), "invalid_audience"),
        (json!({"aud": null}), "invalid_request"),
        (json!({"aud": ["us", 7]}), "invalid_request"),
        (json!({"jti": null}), "invalid_request"),
        (json!({"jti": ""}), "invalid_request"),
        (json!({"jti": 7}), "invalid_request"),
        (json!({"jti": "x".repeat(256)}), "invalid_request"),
        (json!({"iat": null}), "invalid_request"),
        (json!({"iat": "now"}), "invalid_request"),
        (json!({"iat": NOW_S + 6}), "invalid_request"),
        (json!({"iat": NOW_S - 31 * 86_400}), "invalid_request"),
        // An event tells of the past, so it can't expire, and it is nobody's token.
        (json!({"exp": NOW_S + 300}), "invalid_request"),
        (json!({"nbf": NOW_S}), "invalid_request"),
        (json!({"sub": "alice"}), "invalid_request"),
        (json!({"events": null}), "invalid_request"),
        (json!({"events": {}}), "invalid_request"),
        (json!({"events": [REVOKED]}), "invalid_request"),
        (json!({"events": {REVOKED: "yes"}}), "invalid_request"),
        (json!({"events": {REVOKED: {"event_timestamp": "now"}}}), "invalid_request"),
        (json!({"toe": "now"}), "invalid_request"),
        (json!({"sub_id": "alice"}), "invalid_request"),
        (json!({"sub_id": {"iss": url, "sub": "alice"}}), "invalid_request"),
        (json!({"sub_id": {"format": "iss_sub", "iss": url}}), "invalid_request"),
        (json!({"sub_id": {"format": "email", "email": ""}}), "invalid_request"),
        (json!({"sub_id": {"format": "complex", "user": "alice"}}), "invalid_request"),
        (json!({"sub_id": {"format": "aliases", "identifiers": []}}), "invalid_request"),
    ];
    for (change, code) in cases {
        let refused = bench.read(change.clone()).map_err(SetError::code);
        assert_eq!(refused.as_ref().err(), Some(&code), "{change}: {refused:?}");
    }
}

#[tokio::test]
async fn neither_kind_of_token_is_taken_for_the_other() {
    let bench = Bench::start().await;
    let refused = |token: &str| bench.transmitters.verify(0, token).unwrap_err();
    let access = json!({"iss": bench.issuer.url, "aud": "us", "sub": "alice", "jti": "1", "iat": NOW_S,
        "exp": NOW_S + 300});
    assert_eq!(refused(&bench.key.sign(&access)), SetError::Token(IdentityError::WrongType));
    // With an event's header, its claims give it away; and the other way round.
    assert_eq!(refused(&bench.key.sign_event(&access)), SetError::Foreign("exp"));
    let untyped = json!({"alg": "ES256", "kid": "k"}).to_string();
    let event = bench.claims(json!({}));
    assert_eq!(
        refused(&bench.key.sign_text(&untyped, &event.to_string())),
        SetError::Token(IdentityError::WrongType),
        "an event says that it is one"
    );
    let mut issuer = IssuerConfig::new(bench.issuer.url.parse().unwrap(), "us".parse().unwrap());
    issuer.algorithms = [Algorithm::ES256].into();
    let clock = Clock::Manual(Arc::clone(&bench.clock));
    let verifier = Verifier::new(vec![issuer], &Client::new(None, Limits::DEFAULT), clock).unwrap();
    assert!(verifier.refresh().await.is_empty());
    assert_eq!(verifier.verify(&bench.key.sign_event(&event)), Err(IdentityError::WrongType));
    assert_eq!(verifier.verify(&bench.key.sign(&event)), Err(IdentityError::WrongType));
    assert!(verifier.verify(&bench.key.sign(&access)).is_ok());
}

#[tokio::test]
async fn a_key_of_another_is_refused_and_one_that_is_not_known_is_asked_for() {
    let bench = Bench::start().await;
    let claims = bench.claims(json!({}));
    let forged = TestKey::new(Algorithm::ES256, "k").sign_event(&claims);
    let refused = bench.transmitters.verify(0, &forged).unwrap_err();
    assert_eq!((refused.code(), refused.wants_keys()), ("invalid_key", false));
    let next = TestKey::new(Algorithm::ES256, "next");
    let refused = bench.transmitters.verify(0, &next.sign_event(&claims)).unwrap_err();
    assert_eq!((refused.code(), refused.wants_keys()), ("invalid_key", true));
    bench.issuer.publish(&[&next]);
    assert!(bench.transmitters.refresh().await.is_empty());
    assert!(bench.transmitters.verify(0, &next.sign_event(&claims)).is_ok());
    let other = TestKey::new(Algorithm::EdDSA, "next").sign_event(&claims);
    assert_eq!(
        bench.transmitters.verify(0, &other),
        Err(SetError::Token(IdentityError::AlgorithmNotAllowed)),
        "the list of algorithms is the transmitter's own"
    );
}

#[tokio::test]
async fn a_subject_names_persons_as_tokens_of_its_issuer_do() {
    let bench = Bench::start().await;
    let url = &bench.issuer.url;
    let by_sub = config(url).subjects;
    let by_email = SubjectMapping { person_claim: "email".into(), ..by_sub.clone() };
    let by_address =
        SubjectMapping { naming: Naming { is_lowercase: true, ..by_sub.naming.clone() }, ..by_email.clone() };
    let by_oid = SubjectMapping { person_claim: "oid".into(), ..by_sub.clone() };
    let person = |name: &str| vec![Named::Person(format!("idp|{name}").parse().unwrap())];
    let sub = json!({"format": "iss_sub", "iss": url, "sub": "alice"});
    let foreign = json!({"format": "iss_sub", "iss": "https://other.test", "sub": "alice"});
    let email = json!({"format": "email", "email": "a@x.test"});
    let complex = json!({"format": "complex", "user": sub, "session": {"format": "opaque", "id": "s"}});
    let cases = [
        (&sub, &by_sub, person("alice")),
        (&sub, &by_oid, vec![Named::Principal("alice".parse().unwrap())]),
        // Of another issuer's people this transmitter may not speak.
        (&foreign, &by_sub, vec![]),
        (&email, &by_sub, vec![]),
        (&email, &by_email, person("a@x.test")),
        (&json!({"format": "email", "email": "A@X.test"}), &by_address, person("a@x.test")),
        (&complex, &by_sub, person("alice")),
        (&json!({"user": sub}), &by_sub, person("alice")),
        (&json!({"format": "complex", "session": {"format": "opaque", "id": "s"}}), &by_sub, vec![]),
        (&json!({"format": "aliases", "identifiers": [email, sub]}), &by_sub, person("alice")),
        (&json!({"format": "opaque", "id": "alice"}), &by_sub, vec![]),
        (&json!({"format": "phone_number", "phone_number": "+1"}), &by_sub, vec![]),
    ];
    for (subject, mapping, expected) in cases {
        let event = bench.one(json!({"sub_id": subject}));
        assert_eq!(mapping.named(&event.subject), expected, "{subject}");
        // Drafts of the framework put it into the event.
        let event = bench.one(json!({"sub_id": null, "events": {REVOKED: {"subject": subject}}}));
        assert_eq!(mapping.named(&event.subject), expected, "{subject}, in the event");
    }
}

#[tokio::test]
async fn kinds_and_times_are_those_of_the_profiles() {
    let bench = Bench::start().await;
    let kind = |uri: &str, event: Value| bench.one(json!({"events": {uri: event}})).kind;
    assert_eq!(kind(CREDENTIAL, json!({"change_type": "create"})), EventKind::CredentialChanged);
    assert_eq!(kind(CREDENTIAL, json!({"change_type": "update"})), EventKind::CredentialChanged);
    assert_eq!(kind(CREDENTIAL, json!({"change_type": "revoke"})), EventKind::CredentialEnded);
    assert_eq!(kind(CREDENTIAL, json!({"change_type": "delete"})), EventKind::CredentialEnded);
    assert_eq!(kind(CREDENTIAL, json!({})), EventKind::CredentialEnded, "what is not said is the worst");
    assert_eq!(kind(DISABLED, json!({"reason": "hijacking"})), EventKind::AccountDisabled);
    assert_eq!(
        kind("https://schemas.openid.net/secevent/caep/event-type/token-claims-change", json!({})),
        EventKind::Other
    );
    assert_eq!(kind("https://elsewhere.test/session-revoked", json!({})), EventKind::Other);
    let since = |uri: &str, event: Value| bench.one(json!({"events": {uri: event}})).since.unix_s() - NOW_S;
    assert_eq!(since(REVOKED, json!({"event_timestamp": NOW_S - 60})), -60);
    assert_eq!(since(REVOKED, json!({"event_timestamp": NOW_S + 60})), 0, "nothing is of the future");
    assert_eq!(since(REVOKED, json!({"event_timestamp": NOW_S * 1000})), 0, "nor is who writes milliseconds");
    assert_eq!(
        since(DISABLED, json!({"event_timestamp": NOW_S - 60})),
        0,
        "an account on its way out counts no longer"
    );
    assert_eq!(bench.one(json!({"toe": NOW_S - 30})).since.unix_s(), NOW_S - 30);
    let stream = json!({"events": {"https://schemas.openid.net/secevent/ssf/event-type/stream-updated":
        {"status": "paused"}}, "sub_id": {"format": "opaque", "id": "stream"}});
    let event = bench.one(stream);
    assert_eq!((event.kind, event.stream), (EventKind::StreamUpdated, Some(StreamStatus::Paused)));
}
