//! Proofs made here, those of the RFCs, and those that must not pass.

use serde_json::{Value, json};

use super::*;
use crate::domain::WallTime;

const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);
const TOKEN: &str = "a.grant.token";

fn url() -> ProofUrl {
    "https://api.example.test/contracts/C-1042/release".parse().unwrap()
}

fn expected(url: &ProofUrl) -> Expected<'_> {
    Expected { method: "POST", url, token: Some(TOKEN), now: NOW }
}

fn header(key: &ProofKey) -> Value {
    let proof = key.prove(&Making { method: "GET", url: &url(), token: None, nonce: None, now: NOW }).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(proof.split('.').next().unwrap()).unwrap()).unwrap()
}

fn claims() -> Value {
    let htu = "https://api.example.test/contracts/C-1042/release";
    json!({"jti": "j-1", "htm": "POST", "htu": htu, "iat": NOW.unix_s(), "ath": token_hash(TOKEN), "nonce": "n"})
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => object.as_object_mut().unwrap().remove(name),
        value => object.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    object
}

#[test]
fn a_proof_comes_back_with_its_key() {
    let ed25519 = ProofKey::from_pkcs8_der(crate::token::SigningKey::generate().unwrap().pkcs8_der().expose()).unwrap();
    for key in [ProofKey::generate().unwrap(), ed25519] {
        let url = url();
        let making = Making { method: "POST", url: &url, token: Some(TOKEN), nonce: Some("n"), now: NOW };
        let (first, second) = (key.prove(&making).unwrap(), key.prove(&making).unwrap());
        let proof = verify_proof(&first, &expected(&url)).unwrap();
        assert_eq!((&proof.thumbprint, proof.nonce.as_deref()), (key.thumbprint(), Some("n")));
        assert_ne!(proof.jti, verify_proof(&second, &expected(&url)).unwrap().jti);
        let kept = ProofKey::from_pkcs8_der(key.pkcs8_der().expose()).unwrap();
        assert_eq!(kept.thumbprint(), key.thumbprint());
    }
}

/// RFC 9449 §4.1 and §6.1.
#[test]
fn the_proof_of_the_rfc_verifies() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZ\
                 OXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsIm\
                 NydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV\
                 4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLX\
                 iOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let url = "https://server.example.com/token".parse().unwrap();
    let expected = Expected { method: "POST", url: &url, token: None, now: WallTime::from_unix_s(1_562_262_616) };
    let proof = verify_proof(proof, &expected).unwrap();
    assert_eq!(proof.thumbprint.as_str(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!((proof.jti.as_str(), proof.nonce), ("-BwC3ESc6acc2lTc", None));
}

/// RFC 7638 §3.1 and RFC 8037 appendix A.3.
#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
             oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ\
             Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kE\
             gU8awapJzKnqDKgw";
    let rsa = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    let print = |jwk: Value| thumbprint(jwk.as_object().unwrap()).unwrap().to_string();
    assert_eq!(print(rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(print(okp), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn what_a_proof_says_must_fit_the_request() {
    let (key, url) = (ProofKey::generate().unwrap(), url());
    let s = NOW.unix_s();
    for (name, value, error) in [
        ("htm", json!("post"), ProofError::OtherMethod),
        ("htm", json!(["POST"]), ProofError::Claim("htm")),
        ("htm", Value::Null, ProofError::Claim("htm")),
        ("htu", json!("https://api.example.test/contracts/C-1043/release"), ProofError::OtherUrl),
        ("htu", json!("http://api.example.test/contracts/C-1042/release"), ProofError::OtherUrl),
        ("htu", json!("https://api.example.test:8443/contracts/C-1042/release"), ProofError::OtherUrl),
        ("htu", json!("https://api.example.test@evil.test/contracts/C-1042/release"), ProofError::OtherUrl),
        ("htu", json!("/contracts/C-1042/release"), ProofError::OtherUrl),
        ("htu", Value::Null, ProofError::Claim("htu")),
        ("iat", json!(s - 121), ProofError::TooOld),
        ("iat", json!(s + 31), ProofError::Future),
        ("iat", json!(i64::MAX), ProofError::Future),
        ("iat", json!(u64::MAX), ProofError::Claim("iat")),
        ("iat", json!(s.to_string()), ProofError::Claim("iat")),
        ("iat", Value::Null, ProofError::Claim("iat")),
        ("exp", json!(s), ProofError::TooOld),
        ("nbf", json!(s + 31), ProofError::Future),
        ("jti", json!(""), ProofError::Claim("jti")),
        ("jti", json!("j".repeat(ID_BYTES_MAX + 1)), ProofError::Claim("jti")),
        ("jti", Value::Null, ProofError::Claim("jti")),
        ("nonce", json!(1), ProofError::Claim("nonce")),
        ("nonce", json!("n".repeat(ID_BYTES_MAX + 1)), ProofError::Claim("nonce")),
        ("ath", json!(token_hash("another.grant.token")), ProofError::OtherToken),
        ("ath", json!(TOKEN), ProofError::OtherToken),
        ("ath", Value::Null, ProofError::OtherToken),
    ] {
        let proof = key.sign(&header(&key), &with(claims(), name, value.clone())).unwrap();
        assert_eq!(verify_proof(&proof, &expected(&url)).unwrap_err(), error, "{name} {value}");
    }
    for (name, value) in [("iat", json!(s - 120)), ("iat", json!(s + 30)), ("exp", json!(s + 1)), ("more", json!({}))] {
        let proof = key.sign(&header(&key), &with(claims(), name, value.clone())).unwrap();
        assert!(verify_proof(&proof, &expected(&url)).is_ok(), "{name} {value}");
    }
    let unasked = Expected { token: None, ..expected(&url) };
    let proof = key.sign(&header(&key), &claims()).unwrap();
    assert_eq!(verify_proof(&proof, &unasked).unwrap_err(), ProofError::OtherToken);
}

#[test]
fn a_header_holds_nothing_that_could_rule() {
    let (key, url) = (ProofKey::generate().unwrap(), url());
    let jwk = header(&key)["jwk"].clone();
    let jwk_with = |name: &str, value| with(jwk.clone(), name, value);
    for (name, value, error) in [
        ("typ", json!("at+jwt"), ProofError::OtherType),
        ("typ", json!("DPOP+JWT"), ProofError::OtherType),
        ("typ", Value::Null, ProofError::OtherType),
        ("alg", json!("none"), ProofError::Algorithm),
        ("alg", json!("None"), ProofError::Algorithm),
        ("alg", json!("HS256"), ProofError::Algorithm),
        ("alg", json!("ES384"), ProofError::Algorithm),
        ("alg", Value::Null, ProofError::Algorithm),
        ("alg", json!("EdDSA"), ProofError::Key(JwkError::Kind)),
        ("alg", json!("RS256"), ProofError::Key(JwkError::Kind)),
        ("kid", json!("k"), ProofError::Header),
        ("jku", json!("https://evil.test/"), ProofError::Header),
        ("x5c", json!([]), ProofError::Header),
        ("crit", json!(["exp"]), ProofError::Header),
        ("b64", json!(false), ProofError::Header),
        ("jwk", Value::Null, ProofError::Header),
        ("jwk", json!("text"), ProofError::Header),
        ("jwk", json!({"kty": "oct", "k": "AAAA"}), ProofError::Key(JwkError::Private)),
        ("jwk", jwk_with("d", json!("AAAA")), ProofError::Key(JwkError::Private)),
        ("jwk", jwk_with("crv", json!("P-384")), ProofError::Key(JwkError::Kind)),
        ("jwk", jwk_with("x", Value::Null), ProofError::Key(JwkError::Member)),
        ("jwk", jwk_with("x", json!("AAAA")), ProofError::Key(JwkError::Member)),
        ("jwk", header(&ProofKey::generate().unwrap())["jwk"].clone(), ProofError::Signature),
        ("jwk", jwk_with("y", jwk["x"].clone()), ProofError::Signature),
    ] {
        let proof = key.sign(&with(header(&key), name, value.clone()), &claims()).unwrap();
        assert_eq!(verify_proof(&proof, &expected(&url)).unwrap_err(), error, "{name} {value}");
    }
}

#[test]
fn a_proof_that_is_none_is_refused() {
    let (key, url) = (ProofKey::generate().unwrap(), url());
    let good = key.sign(&header(&key), &claims()).unwrap();
    assert!(verify_proof(&good, &expected(&url)).is_ok());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let duplicated = URL_SAFE_NO_PAD.encode(claims().to_string().replacen('{', "{\"jti\":\"a\",", 1));
    let duplicated = format!("{}.{duplicated}.{signature}", input.split('.').next().unwrap());
    let swapped: String = signature.chars().rev().collect();
    for (proof, error) in [
        (String::new(), ProofError::NotCompact),
        ("..".to_owned(), ProofError::NotCompact),
        (format!("{good}="), ProofError::NotCompact),
        (format!("{good}.AAAA"), ProofError::NotCompact),
        (format!("{input}."), ProofError::Signature),
        (format!("{input}.{swapped}"), ProofError::Signature),
        (format!(" {good}"), ProofError::NotCompact),
        (duplicated, ProofError::NotCompact),
        (format!("{}.{}", "A".repeat(PROOF_BYTES_MAX), "A"), ProofError::TooLong),
    ] {
        let found = verify_proof(&proof, &expected(&url)).unwrap_err();
        // A signature read backwards may not even be base64url in its last character.
        let also = error == ProofError::Signature && found == ProofError::NotCompact;
        assert!(found == error || also, "{found:?} for {proof:.40}");
    }
}

#[test]
fn urls_that_name_the_same_are_equal() {
    let url = |text: &str| text.parse::<ProofUrl>();
    let same = url("https://api.example.test/a/b-c/%2F").unwrap();
    for text in [
        "HTTPS://API.example.TEST/a/b-c/%2F",
        "https://api.example.test:443/a/b-c/%2f",
        "https://api.example.test:/a/b-c/%2f",
        "https://api.example.test/a/b%2Dc/%2F?query=1",
        "https://api.example.test/a/b-c/%2F#fragment",
        "https://api.example.test/x/../a/./b-c/%2F",
        "https://api.example.test/a/%2E/b-c/%2F",
    ] {
        assert_eq!(url(text).unwrap(), same, "{text}");
    }
    for text in ["https://api.example.test/a/b-c//%2F", "https://api.example.test/a/b-c/%2F/", "https://x/a/b-c/%2F"] {
        assert_ne!(url(text).unwrap(), same, "{text}");
    }
    assert_eq!(url("https://api.example.test").unwrap().as_str(), "https://api.example.test/");
    assert_eq!(url("http://[::1]:80/").unwrap().as_str(), "http://[::1]/");
    assert_eq!(url("https://h:8443/a").unwrap().with_path("/b?c=1").unwrap().as_str(), "https://h:8443/b");
    for text in
        ["", "/a", "ftp://h/", "https://u@h/", "https://h:99999/", "https:///a", "https://h/%zz", "https://h/%4"]
    {
        assert!(url(text).is_err(), "{text:?}");
    }
    assert!(url(&format!("https://h/{}", "a".repeat(2048))).is_err());
}

#[test]
fn a_nonce_is_good_for_a_while_and_for_its_maker() {
    let (ours, theirs) = (Nonces::new(&[1; 32]), Nonces::new(&[2; 32]));
    let s = Duration::from_secs;
    let nonce = ours.issue(s(1000));
    assert!(ours.accepts(&nonce, s(1000)) && ours.accepts(&nonce, s(1120)));
    assert!(!ours.accepts(&nonce, s(1121)), "too old");
    assert!(!ours.accepts(&nonce, s(999)), "from the future");
    assert!(!theirs.accepts(&nonce, s(1000)), "another's");
    for other in ["", "AAAA", "AAAAAAAAAAA", &nonce[1..], &format!("{nonce}A"), &format!("{nonce}=")] {
        assert!(!ours.accepts(other, s(1000)), "{other}");
    }
}
