//! Assertion keys over the feed: who gets a certificate, for what, how often, and what the ledger says of it.

use super::bench::*;
use crate::clock::Clock;
use crate::control::feed::FeedLimits;
use crate::token::assertion::certificate::{KeyProof, prove_key, verify_assertion_certificate};
use crate::token::{SigningKey, verify_key_certificate};
use crate::wire::feed::{FromControl, FromSidecar};

fn asked(key: &SigningKey, said: &KeyProof) -> FromSidecar {
    FromSidecar::CertifyAssertionKey { x: key.public().to_string(), proof: prove_key(said, key).unwrap() }
}

fn proof(bench: &Bench, instance: &str) -> KeyProof {
    KeyProof { service: service(), instance: instance.parse().unwrap(), epoch: bench.store.epoch().to_owned() }
}

fn is_answer(line: &FromControl) -> bool {
    matches!(line, FromControl::AssertionCertificate { .. } | FromControl::AssertionRefused { .. })
}

async fn answer(sidecar: &mut Sidecar, line: FromSidecar) -> Result<String, String> {
    sidecar.say(line).await;
    match sidecar.hear_until(is_answer).await.pop() {
        Some(FromControl::AssertionCertificate { certificate }) => Ok(certificate),
        Some(FromControl::AssertionRefused { why, .. }) => Err(why),
        other => panic!("{other:?}"),
    }
}

async fn recorded(bench: &Bench) -> Vec<String> {
    let entries = bench.store.entries(0, 10_000).await.unwrap();
    entries.into_iter().filter(|entry| entry.kind == "assertion_key_certified").map(|entry| entry.canonical).collect()
}

#[tokio::test]
async fn a_held_key_is_certified_once_for_this_sidecar_alone() {
    let bench = bench(FeedLimits::default()).await;
    let (key, said) = (SigningKey::generate().unwrap(), proof(&bench, "a"));
    let mut certificates = Vec::new();
    for _ in 0..3 {
        let mut sidecar = bench.sidecar(subscribe("a")).await.0;
        certificates.push(answer(&mut sidecar, asked(&key, &said)).await.unwrap());
    }
    assert!(certificates.iter().all(|certificate| *certificate == certificates[0]), "who reconnects costs nothing");
    let now = Clock::System.wall();
    let roots = [bench.root.clone()];
    let certified = verify_assertion_certificate(&certificates[0], &roots, now).unwrap();
    assert_eq!(
        (certified.key, certified.service, certified.instance),
        (key.public().clone(), service(), said.instance)
    );
    assert!(certified.not_after > now.plus(std::time::Duration::from_secs(86_000)));
    assert!(verify_key_certificate(&certificates[0], &roots, now).is_err(), "it may not sign grants");
    let entries = recorded(&bench).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    for wanted in [key.public().kid(), bench.root.kid(), "\"instance\":\"a\"", &certificates[0]] {
        assert!(entries[0].contains(wanted), "{wanted}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn without_a_proof_for_this_very_sidecar_there_is_no_certificate() {
    let bench = bench(FeedLimits::default()).await;
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let said = proof(&bench, "a");
    let mut sidecar = bench.sidecar(subscribe("a")).await.0;
    let x = key.public().to_string();
    let with = |proof: String| FromSidecar::CertifyAssertionKey { x: x.clone(), proof };
    for line in [
        with(String::new()),
        with("a.b.c".to_owned()),
        with(prove_key(&said, &other).unwrap()),
        with(prove_key(&KeyProof { service: "ledger".parse().unwrap(), ..said.clone() }, &key).unwrap()),
        with(prove_key(&KeyProof { instance: "b".parse().unwrap(), ..said.clone() }, &key).unwrap()),
        with(prove_key(&KeyProof { epoch: "before".to_owned(), ..said.clone() }, &key).unwrap()),
        FromSidecar::CertifyAssertionKey { x: "AAAA".to_owned(), proof: prove_key(&said, &key).unwrap() },
    ] {
        let why = answer(&mut sidecar, line.clone()).await.expect_err("refused");
        assert!(why.contains("proof") || why.contains("public key"), "{why} of {line:?}");
    }
    assert_eq!(recorded(&bench).await, Vec::<String>::new());
    let (_, heartbeat) = sidecar.ping(1).await;
    assert!(matches!(heartbeat, FromControl::Heartbeat { .. }), "the stream goes on");
    bench.stop().await;
}

#[tokio::test]
async fn keys_that_come_too_often_are_neither_certified_nor_recorded() {
    let bench = bench(FeedLimits::default()).await;
    let said = proof(&bench, "a");
    let mut sidecar = bench.sidecar(subscribe("a")).await.0;
    let first = SigningKey::generate().unwrap();
    assert!(answer(&mut sidecar, asked(&first, &said)).await.is_ok());
    for _ in 1..60 {
        assert!(answer(&mut sidecar, asked(&SigningKey::generate().unwrap(), &said)).await.is_ok());
    }
    let why = answer(&mut sidecar, asked(&SigningKey::generate().unwrap(), &said)).await.unwrap_err();
    assert!(why.starts_with("60 keys were certified within an hour"), "{why}");
    assert!(answer(&mut sidecar, asked(&first, &said)).await.is_ok(), "what was certified stays so");
    assert_eq!(recorded(&bench).await.len(), 60);
    let mut beside = bench.sidecar(subscribe("b")).await.0;
    let other = asked(&SigningKey::generate().unwrap(), &proof(&bench, "b"));
    assert!(answer(&mut beside, other).await.is_ok(), "another instance has a budget of its own");
    bench.stop().await;
}
