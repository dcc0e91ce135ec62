//! What a genuine token must say, and what is read of it.

use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn every_kind_of_key_verifies_and_says_who() {
    for algorithm in [Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let key = TestKey::new(algorithm, "k");
        let allow = |config: &mut IssuerConfig| config.algorithms = Algorithm::ALL.into();
        let bench = Bench::new(&[&key], RefreshTimes::DEFAULT, allow).await.ready().await;
        let claims = bench
            .claims(json!({"acr": "mfa", "amr": ["hwk", "pin"], "auth_time": NOW_S - 60, "exp": NOW_S as f64 + 300.5}));
        let verified = bench.verifier.verify(&key.sign(&claims)).unwrap();
        assert_eq!(verified.principal.issuer, bench.config.issuer);
        assert_eq!((verified.principal.subject.as_str(), verified.person.as_str()), ("u-1", "u-1"));
        assert_eq!(verified.groups, ["oncall"]);
        assert_eq!(verified.authentication.acr.as_deref(), Some("mfa"));
        assert_eq!(verified.authentication.amr, ["hwk", "pin"]);
        assert_eq!(verified.authentication.auth_time, Some(WallTime::from_unix_s(NOW_S - 60)));
        assert_eq!(verified.expires, WallTime::from_unix_ms((NOW_S + 300) * 1000 + 500));
    }
}

#[tokio::test]
async fn claims_decide_by_our_rules() {
    use IdentityError::{
        Claim, Delegated, Expired, Machine, NotYetValid, SenderConstrained, UnknownIssuer, WrongAudience, WrongType,
    };
    let key = TestKey::new(Algorithm::ES256, "k");
    let bench = Bench::with_keys(&[&key]).await.ready().await;
    for (change, expected) in [
        (json!({"iss": format!("{}/", bench.issuer.url)}), UnknownIssuer),
        (json!({"iss": null}), Claim("iss")),
        (json!({"iss": [bench.issuer.url]}), Claim("iss")),
        (json!({"aud": "payments"}), WrongAudience),
        (json!({"aud": []}), WrongAudience),
        (json!({"aud": ["Control"]}), WrongAudience),
        (json!({"aud": null}), Claim("aud")),
        (json!({"aud": ["control", 7]}), Claim("aud")),
        (json!({"aud": {"control": true}}), Claim("aud")),
        (json!({"exp": null}), Claim("exp")),
        (json!({"exp": "1795313980"}), Claim("exp")),
        (json!({"exp": NOW_S}), Expired),
        (json!({"exp": NOW_S - 1}), Expired),
        (json!({"exp": -1e300}), Expired),
        (json!({"nbf": NOW_S + 6}), NotYetValid),
        (json!({"nbf": true}), Claim("nbf")),
        (json!({"iat": NOW_S + 6}), NotYetValid),
        (json!({"sub": null}), Claim("sub")),
        (json!({"sub": ""}), Claim("sub")),
        (json!({"sub": "a\r\nb"}), Claim("sub")),
        (json!({"sub": 7}), Claim("sub")),
        (json!({"sub": "cli"}), Machine),
        (json!({"sub": "svc", "client_id": null, "azp": "svc"}), Machine),
        (json!({"gty": "client-credentials"}), Machine),
        (json!({"idtyp": "app"}), Machine),
        (json!({"preferred_username": "service-account-deploy"}), Machine),
        (json!({"act": {"sub": "agent"}}), Delegated),
        (json!({"cnf": {"jkt": "AA"}}), SenderConstrained),
        (json!({"at_hash": "h"}), WrongType),
        (json!({"c_hash": "h"}), WrongType),
        (json!({"events": {}}), WrongType),
        (json!({"oid": "u-1", "tid": "t"}), Machine),
        (json!({"sub": "c@clients", "azp": "c"}), Machine),
        (json!({"sub": "okta", "cid": "okta", "client_id": null}), Machine),
        (json!({"token_use": "id"}), WrongType),
        (json!({"token_use": ["access"]}), WrongType),
        (json!({"typ": "ID"}), WrongType),
        (json!({"typ": "Refresh"}), WrongType),
        (json!({"groups": {"oncall": true}}), Claim("that lists the groups")),
        (json!({"groups": ["oncall", 7]}), Claim("that lists the groups")),
        (json!({"acr": 1}), Claim("acr")),
        (json!({"amr": "hwk"}), Claim("amr")),
        (json!({"auth_time": "now"}), Claim("auth_time")),
    ] {
        let token = key.sign(&bench.claims(change.clone()));
        assert_eq!(bench.verifier.verify(&token).unwrap_err(), expected, "{change}");
    }
    for change in [
        json!({"aud": "control"}),
        json!({"nbf": NOW_S + 5}),
        json!({"iat": NOW_S + 5}),
        json!({"iat": null, "client_id": null, "jti": null}),
        json!({"exp": 1e300}),
        json!({"groups": null}),
        json!({"nonce": "n"}),
        json!({"token_use": "access", "oid": "o-1", "tid": "t"}),
        json!({"oid": "u-1", "tid": "t", "scp": "use"}),
        json!({"typ": "Bearer", "may_act": {"sub": "x"}}),
    ] {
        let token = key.sign(&bench.claims(change.clone()));
        bench.verifier.verify(&token).unwrap_or_else(|error| panic!("{change}: {error}"));
    }
}

#[tokio::test]
async fn persons_and_groups_come_from_the_claims_that_are_named() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let keys = [&key];
    let bench = Bench::new(&keys, RefreshTimes::DEFAULT, |config| {
        config.person_claim = "email".into();
        config.person_prefix = "corp:".into();
        config.groups_claim = "/realm_access/roles".into();
    });
    let bench = bench.await.ready().await;
    let verify = |change: Value| bench.verifier.verify(&key.sign(&bench.claims(change)));
    let whole = json!({"email": "a@b.test", "email_verified": true, "realm_access": {"roles": ["oncall", "eng"]}});
    let verified = verify(whole).unwrap();
    assert_eq!((verified.person.as_str(), verified.groups.len()), ("corp:a@b.test", 2));
    assert_eq!(verify(json!({})).unwrap_err(), IdentityError::Machine);
    let unproven = json!({"email": "a@b.test", "email_verified": "true"});
    assert_eq!(verify(unproven).unwrap_err(), IdentityError::Claim("email_verified"));
    let spaced = json!({"email": "a b", "email_verified": true});
    assert_eq!(verify(spaced).unwrap_err(), IdentityError::Claim("that names the person"));
}

#[tokio::test]
async fn a_token_without_a_type_must_not_look_like_an_id_token() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let keys = [&key];
    let bench = Bench::with_keys(&keys).await.ready().await;
    let plain = |bench: &Bench, change: Value| {
        let claims = bench.claims(change).to_string();
        bench.verifier.verify(&key.sign_text(r#"{"alg":"EdDSA","kid":"k","typ":"JWT"}"#, &claims)).map(|_| ())
    };
    assert_eq!(plain(&bench, json!({})), Ok(()));
    assert_eq!(plain(&bench, json!({"nonce": "n"})), Err(IdentityError::WrongType));
    assert_eq!(plain(&bench, json!({"nonce": "n", "typ": "JWT"})), Err(IdentityError::WrongType));
    assert_eq!(plain(&bench, json!({"nonce": "n", "typ": "Bearer"})), Ok(()), "Keycloak before 24");
    let strict = Bench::new(&keys, RefreshTimes::DEFAULT, |config| config.plain_jwt = false).await.ready().await;
    assert_eq!(plain(&strict, json!({})), Err(IdentityError::WrongType));
    strict.verifier.verify(&key.sign(&strict.claims(json!({})))).unwrap();
}

#[tokio::test]
async fn where_parties_are_listed_every_claim_that_names_one_must_fit() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let keys = [&key];
    let bench = Bench::new(&keys, RefreshTimes::DEFAULT, |config| {
        config.authorised_parties = ["cli", "console"].map(str::to_owned).into();
    });
    let bench = bench.await.ready().await;
    for (change, fits) in [
        (json!({}), true),
        (json!({"client_id": null, "azp": "console"}), true),
        (json!({"client_id": null, "appid": "console"}), true),
        (json!({"client_id": null, "cid": "cli"}), true),
        (json!({"azp": "cli"}), true),
        (json!({"client_id": "other"}), false),
        (json!({"azp": "other"}), false),
        (json!({"client_id": null, "azp": ["cli"]}), false),
        (json!({"client_id": "CLI"}), false),
        (json!({"client_id": null}), false),
    ] {
        let verified = bench.verifier.verify(&key.sign(&bench.claims(change.clone())));
        assert_eq!(verified.map(|_| ()), if fits { Ok(()) } else { Err(IdentityError::WrongParty) }, "{change}");
    }
}

#[tokio::test]
async fn groups_and_roles_carry_the_issuers_prefix() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let keys = [&key];
    let bench = Bench::new(&keys, RefreshTimes::DEFAULT, |config| {
        config.person_claim = "/who/name~1".into();
        config.person_lowercase = true;
        config.groups_prefix = "x:".into();
        config.groups_separator = Some(" ".into());
        config.roles_claim = Some("/resource_access/control/roles".into());
    });
    let bench = bench.await.ready().await;
    let verify = |change: Value| bench.verifier.verify(&key.sign(&bench.claims(change)));
    let who = json!({"name/": "Alice"});
    let verified = verify(json!({
        "who": who, "groups": "a  b", "resource_access": {"control": {"roles": ["admin"]}}
    }))
    .unwrap();
    assert_eq!(
        (verified.person.as_str(), &verified.groups[..]),
        ("alice", &["x:a", "x:b", "x:role:admin"].map(String::from)[..])
    );
    let elsewhere = verify(json!({"who": who, "groups": ["a b"], "resource_access": {"other": {"roles": ["admin"]}}}));
    assert_eq!(elsewhere.unwrap().groups, ["x:a b"]);
    let blind = Bench::new(&keys, RefreshTimes::DEFAULT, |config| *config = config.clone().without_groups())
        .await
        .ready()
        .await;
    let unread = blind.claims(json!({"groups": {"oncall": true}, "": ["oncall"]}));
    assert!(blind.verifier.verify(&key.sign(&unread)).unwrap().groups.is_empty());
    let mistyped = verify(json!({"who": who, "resource_access": {"control": {"roles": {"admin": true}}}}));
    assert_eq!(mistyped.unwrap_err(), IdentityError::Claim("that lists the roles"));
}
