//! Attacks on assertions, on their keys' certificates, and on the key set.

use std::sync::Arc;

use serde_json::{Value, json};

use super::certificate::*;
use super::jwks::*;
use super::*;
use crate::domain::{Authentication, Binding, Justification, Origin, Scope};
use crate::token::{
    CertifiedKey, KEY_TYPE, KeyRing, PublicKey, TokenError, certify_key, mint_grant, verify_grant,
    verify_key_certificate,
};

const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);
const TARGET: Target<'_> = Target { method: "POST", origin_form: "/v1/contracts/C-1042/payments/P-7/release?dry=0" };

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn service() -> ServiceName {
    "payments".parse().unwrap()
}

fn claims() -> AssertionClaims {
    AssertionClaims {
        iss: issuer(&service(), &"s-1".parse().unwrap()),
        aud: service(),
        jti: "3f0c2f6e-0000-4000-8000-000000000000".to_owned(),
        iat: NOW.unix_s(),
        nbf: NOW.unix_s(),
        exp: NOW.unix_s() + 30,
        grant: "g-0123456789ab".parse().unwrap(),
        sub: "alice".parse().unwrap(),
        role: "payments.override".parse().unwrap(),
        binding: crate::domain::Binding::Identity,
        cnf: None,
        resource: "contract/C-1042".parse().unwrap(),
        action: "payment.release".parse().unwrap(),
        reason: "stuck_payment".parse().unwrap(),
        ticket: "INC-1".parse().unwrap(),
        method: TARGET.method.to_owned(),
        target_sha256: target_sha256(TARGET.origin_form),
        record: "00000000000000000000000000000001-2".to_owned(),
        number: 1,
    }
}

fn subject(key: &SigningKey) -> CertifiedAssertionKey {
    CertifiedAssertionKey {
        key: key.public().clone(),
        service: service(),
        instance: "s-1".parse().unwrap(),
        not_before: NOW.minus(seconds(60)),
        not_after: NOW.plus(seconds(3600)),
    }
}

/// A root, a key it certified, and the key set that says so.
struct Bench {
    root: SigningKey,
    key: SigningKey,
    set: JwkSet,
}

impl Bench {
    fn new() -> Self {
        let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let certificate = certify_assertion_key(&subject(&key), &root).unwrap();
        let set = JwkSet { keys: vec![Jwk::of(&subject(&key), &certificate)] };
        Self { root, key, set }
    }

    fn read(&self, set: &JwkSet) -> Result<AssertionKeys, JwksError> {
        AssertionKeys::read(&serde_json::to_vec(set).unwrap(), &[self.root.public().clone()], NOW)
    }

    fn verify(&self, assertion: &str) -> Result<AssertionClaims, AssertionError> {
        verify_assertion(assertion, &self.read(&self.set).unwrap(), &service(), TARGET, NOW)
    }

    fn minted(&self, change: impl Fn(&mut AssertionClaims)) -> String {
        let mut claims = claims();
        change(&mut claims);
        mint_assertion(&claims, &self.key).unwrap()
    }
}

#[test]
fn an_assertion_comes_back_and_is_for_one_thing_only() {
    let bench = Bench::new();
    let said = bench.verify(&bench.minted(|_| ())).unwrap();
    assert_eq!(said, claims());
    let (resource, action) = (&said.resource, &said.action);
    assert_eq!(said.must_be_for(resource, action), Ok(()));
    let (other_resource, other_action) = ("contract/C-2077".parse().unwrap(), "payment.cancel".parse().unwrap());
    assert_eq!(said.must_be_for(&other_resource, action), Err(AssertionError::OtherResource));
    assert_eq!(said.must_be_for(resource, &other_action), Err(AssertionError::OtherAction));
    let keys = bench.read(&bench.set).unwrap();
    let token = bench.minted(|_| ());
    let asked = |service: &str, method, origin_form, now| {
        verify_assertion(&token, &keys, &service.parse().unwrap(), Target { method, origin_form }, now).unwrap_err()
    };
    assert_eq!(asked("ledger", TARGET.method, TARGET.origin_form, NOW), AssertionError::OtherService);
    assert_eq!(asked("payments", "GET", TARGET.origin_form, NOW), AssertionError::OtherMethod);
    for other in ["/v1/contracts/C-1042/payments/P-7/release", "/v1/contracts/C-1042/payments/P-7/release?dry=1", "/"] {
        assert_eq!(asked("payments", TARGET.method, other, NOW), AssertionError::OtherTarget, "{other}");
    }
}

#[test]
fn its_time_is_half_a_minute_give_or_take_the_leeway() {
    let bench = Bench::new();
    let (keys, token) = (bench.read(&bench.set).unwrap(), bench.minted(|_| ()));
    let at = |now| verify_assertion(&token, &keys, &service(), TARGET, now).err();
    assert_eq!(at(NOW.minus(LEEWAY)), None);
    assert_eq!(at(NOW.minus(seconds(6))), Some(AssertionError::NotYet));
    assert_eq!(at(NOW.plus(seconds(34))), None);
    assert_eq!(at(NOW.plus(seconds(35))), Some(AssertionError::Expired));
    for (iat, nbf, exp) in [(0, 0, 31), (0, 30, 30), (0, 40, 30), (30, 0, 30), (-3_000, -3_000, 30)] {
        let token = bench.minted(|claims| {
            let at = NOW.unix_s();
            (claims.iat, claims.nbf, claims.exp) = (at + iat, at + nbf, at + exp);
        });
        assert_eq!(bench.verify(&token), Err(AssertionError::TooLong), "{iat} {nbf} {exp}");
    }
}

#[test]
fn it_is_of_the_sidecar_its_key_was_certified_for_and_within_its_time() {
    let bench = Bench::new();
    for iss in ["urn:breakglass:sidecar:payments:s-2", "urn:breakglass:sidecar:ledger:s-1", "payments:s-1", ""] {
        let token = bench.minted(|claims| claims.iss = iss.to_owned());
        assert_eq!(bench.verify(&token), Err(AssertionError::OtherService), "{iss}");
    }
    let believing = AssertionKeys::read(&serde_json::to_vec(&bench.set).unwrap(), &[], NOW).unwrap();
    let token = bench.minted(|claims| claims.iss = "urn:breakglass:sidecar:payments-2:s-1".to_owned());
    let unrooted = verify_assertion(&token, &believing, &service(), TARGET, NOW);
    assert_eq!(unrooted, Err(AssertionError::OtherService), "without a root too");
    let late = NOW.plus(seconds(3590));
    let token = bench.minted(|claims| {
        (claims.iat, claims.nbf, claims.exp) = (late.unix_s(), late.unix_s(), late.unix_s() + 30);
    });
    let keys = bench.read(&bench.set).unwrap();
    assert_eq!(verify_assertion(&token, &keys, &service(), TARGET, late), Err(AssertionError::TooLong));
}

#[test]
fn other_signatures_headers_and_claims_are_refused() {
    let bench = Bench::new();
    let (token, other) = (bench.minted(|_| ()), SigningKey::generate().unwrap());
    let foreign = mint_assertion(&claims(), &other).unwrap();
    assert_eq!(bench.verify(&foreign), Err(AssertionError::UnknownKey));
    let encode = |value: &str| URL_SAFE_NO_PAD.encode(value);
    let parts: Vec<_> = token.split('.').collect();
    let kid = bench.key.public().kid();
    let mixed = format!("{}.{}.{}", parts[0], parts[1], foreign.rsplit_once('.').unwrap().1);
    assert_eq!(bench.verify(&mixed), Err(AssertionError::Jws(JwsError::Signature)));
    let none =
        format!("{}.{}.", encode(&format!(r#"{{"typ":"bg-assertion+jwt","alg":"none","kid":"{kid}"}}"#)), parts[1]);
    assert_eq!(bench.verify(&none), Err(AssertionError::Jws(JwsError::Header)));
    for member in [
        r#""alg":"HS256""#,
        r#""alg":"EdDSA","jwk":{}"#,
        r#""alg":"EdDSA","jku":"x""#,
        r#""alg":"EdDSA","x5u":"x""#,
        r#""alg":"EdDSA","crit":["exp"]"#,
        r#""alg":"EdDSA","alg":"EdDSA""#,
    ] {
        let header = encode(&format!(r#"{{"typ":"bg-assertion+jwt",{member},"kid":"{kid}"}}"#));
        let token = format!("{header}.{}.{}", parts[1], parts[2]);
        assert_eq!(bench.verify(&token), Err(AssertionError::Jws(JwsError::Header)), "{member}");
    }
    assert_eq!(bench.verify(&"a".repeat(9_000)), Err(AssertionError::Jws(JwsError::TooLong)));
    for broken in ["", "a.b", "a.b.c.d", &format!("{token}.x"), &format!("{token} ")] {
        assert!(matches!(bench.verify(broken), Err(AssertionError::Jws(_))), "{broken}");
    }
    let good = serde_json::to_value(claims()).unwrap();
    for (name, value) in [("aud", json!(["payments"])), ("exp", json!(1.5)), ("extra", json!(1)), ("sub", json!("a b"))]
    {
        let mut wrong = good.clone();
        wrong[name] = value;
        let token = jws::sign(ASSERTION_TYPE, &wrong, &bench.key).unwrap();
        assert!(matches!(bench.verify(&token), Err(AssertionError::Claims(_))), "{name}");
    }
    for name in good.as_object().unwrap().keys() {
        let mut missing = good.clone();
        missing.as_object_mut().unwrap().remove(name);
        let token = jws::sign(ASSERTION_TYPE, &missing, &bench.key).unwrap();
        assert!(matches!(bench.verify(&token), Err(AssertionError::Claims(_))), "without {name}");
    }
    let doubled =
        serde_json::value::RawValue::from_string(good.to_string().replacen('{', r#"{"sub":"bob","#, 1)).unwrap();
    let token = jws::sign(ASSERTION_TYPE, &doubled, &bench.key).unwrap();
    assert!(matches!(bench.verify(&token), Err(AssertionError::Claims(_))), "a claim that stands twice");
}

#[test]
fn documents_of_other_kinds_never_pass_for_one_another() {
    let bench = Bench::new();
    let root = [bench.root.public().clone()];
    let as_assertion = certify_assertion_key(&subject(&bench.key), &bench.root).unwrap();
    let as_grant = certify_key(bench.key.public(), NOW, NOW.plus(seconds(3600)), &bench.root).unwrap();
    assert!(verify_assertion_certificate(&as_assertion, &root, NOW).is_ok());
    assert!(verify_key_certificate(&as_grant, &root, NOW).is_ok());
    let crossed = [
        verify_assertion_certificate(&as_grant, &root, NOW).map(drop),
        verify_key_certificate(&as_assertion, &root, NOW).map(drop),
    ];
    assert!(crossed.iter().all(|crossed| matches!(crossed, Err(TokenError::Claims(_)))), "{crossed:?}");
    let both = json!({"x": bench.key.public().to_string(), "purpose": ["grant", "assertion"], "service": "payments",
        "instance": "s-1", "nbf": 0, "exp": NOW.unix_s() + 60});
    for purpose in [json!(["grant", "assertion"]), json!("Assertion"), json!("any"), Value::Null] {
        let mut claims = both.clone();
        claims["purpose"] = purpose;
        let certificate = jws::sign(KEY_TYPE, &claims, &bench.root).unwrap();
        assert!(verify_assertion_certificate(&certificate, &root, NOW).is_err());
        assert!(verify_key_certificate(&certificate, &root, NOW).is_err());
    }
    let typed_as_assertion = jws::sign(ASSERTION_TYPE, &both, &bench.root).unwrap();
    assert_eq!(
        verify_assertion_certificate(&typed_as_assertion, &root, NOW),
        Err(TokenError::Jws(JwsError::OtherType))
    );
    // A grant signed by an assertion key, and an assertion signed by a grant key.
    let certified =
        CertifiedKey { key: bench.key.public().clone(), not_before: NOW, not_after: NOW.plus(seconds(3600)) };
    let grant = grant();
    let token = mint_grant(&grant, "https://control.test", &bench.key).unwrap();
    assert!(verify_grant(token.expose(), &KeyRing::new([certified])).is_ok(), "but for the ring it would pass");
    assert_eq!(bench.verify(token.expose()), Err(AssertionError::Jws(JwsError::OtherType)));
    let grant_jwk = Jwk { bg_certificate: as_grant, ..bench.set.keys[0].clone() };
    assert!(bench.read(&JwkSet { keys: vec![grant_jwk] }).unwrap().is_empty(), "a grant key in the set is left out");
}

#[test]
fn a_certificate_holds_for_its_root_key_and_time() {
    let bench = Bench::new();
    let certificate = &bench.set.keys[0].bg_certificate;
    let check = |certificate: &str, root: &PublicKey, now| {
        verify_assertion_certificate(certificate, std::slice::from_ref(root), now)
    };
    assert_eq!(check(certificate, bench.root.public(), NOW).unwrap(), subject(&bench.key));
    assert_eq!(check(certificate, bench.key.public(), NOW), Err(TokenError::UnknownKey));
    for now in [NOW.minus(seconds(61)), NOW.plus(seconds(3600))] {
        assert_eq!(check(certificate, bench.root.public(), now), Err(TokenError::OutsideKeyValidity));
    }
    let by_itself = certify_assertion_key(&subject(&bench.key), &bench.key).unwrap();
    assert_eq!(check(&by_itself, bench.root.public(), NOW), Err(TokenError::UnknownKey));
}

#[test]
fn a_key_set_is_what_it_says_or_nothing() {
    let bench = Bench::new();
    let jwk = bench.set.keys[0].clone();
    let with = |change: &dyn Fn(&mut Jwk)| {
        let mut jwk = jwk.clone();
        change(&mut jwk);
        bench.read(&JwkSet { keys: vec![jwk] })
    };
    assert_eq!(with(&|_| ()).unwrap().len(), 1);
    let other = SigningKey::generate().unwrap();
    assert_eq!(with(&|jwk| jwk.x = other.public().to_string()), Err(JwksError::KeyId));
    assert_eq!(with(&|jwk| jwk.kid = other.public().kid().to_owned()), Err(JwksError::KeyId));
    let swapped = with(&|jwk| {
        jwk.x = other.public().to_string();
        jwk.kid = other.public().kid().to_owned();
    });
    assert!(swapped.unwrap().is_empty(), "a certificate of another key certifies nothing");
    for change in [
        &(|jwk: &mut Jwk| jwk.kty = "oct".to_owned()) as &dyn Fn(&mut Jwk),
        &|jwk| jwk.alg = "HS256".to_owned(),
        &|jwk| jwk.usage = "enc".to_owned(),
        &|jwk| jwk.x = "AAAA".to_owned(),
    ] {
        assert!(matches!(with(change), Err(JwksError::Malformed(_))));
    }
    let many = JwkSet { keys: vec![jwk.clone(); 65] };
    assert_eq!(bench.read(&many), Err(JwksError::TooLarge));
    assert_eq!(AssertionKeys::read(&vec![b' '; SET_BYTES_MAX + 1], &[], NOW), Err(JwksError::TooLarge));
    assert!(matches!(AssertionKeys::read(b"[]", &[], NOW), Err(JwksError::Malformed(_))));
}

#[test]
fn a_proof_is_for_one_key_one_sidecar_and_one_control_plane() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let said = KeyProof { service: service(), instance: "s-1".parse().unwrap(), epoch: "e".to_owned() };
    let proof = prove_key(&said, &key).unwrap();
    assert_eq!(verify_key_proof(&proof, key.public(), &said), Ok(()));
    assert_eq!(verify_key_proof(&proof, other.public(), &said), Err(TokenError::UnknownKey));
    for expected in [
        KeyProof { service: "ledger".parse().unwrap(), ..said.clone() },
        KeyProof { instance: "s-2".parse().unwrap(), ..said.clone() },
        KeyProof { epoch: "f".to_owned(), ..said.clone() },
    ] {
        assert!(matches!(verify_key_proof(&proof, key.public(), &expected), Err(TokenError::Claims(_))));
    }
    let assertion = mint_assertion(&claims(), &key).unwrap();
    let error = verify_key_proof(&assertion, key.public(), &said).unwrap_err();
    assert_eq!(error, TokenError::Jws(JwsError::OtherType), "an assertion proves no possession");
}

fn grant() -> Arc<Grant> {
    Arc::new(Grant {
        id: "g-0123456789ab".parse().unwrap(),
        service: service(),
        person: "alice".parse().unwrap(),
        idp: "https://issuer.test".parse().unwrap(),
        authentication: Authentication::default(),
        role: "payments.override".parse().unwrap(),
        scope: Scope::new(["contract/C-1042".parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap(),
        binding: Binding::Identity,
        confirmation: None,
        justification: Justification { reason: "stuck_payment".parse().unwrap(), ticket: "INC-1".parse().unwrap() },
        issued: NOW,
        not_before: NOW,
        expires: NOW.plus(seconds(900)),
        max_uses: None,
        staleness_max: seconds(30),
        policy_revision: 1,
        approvals: vec![],
        origin: Origin::ControlPlane,
    })
}
