//! The attacks of RFC 8725 and their kin.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

#[tokio::test]
async fn forged_headers_are_refused() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let bench = Bench::with_keys(&[&key]).await.ready().await;
    let claims = bench.claims(json!({})).to_string();
    let forbidden = IdentityError::ForbiddenHeader;
    let jwk = key.jwk.to_string();
    for (header, expected) in [
        (r#"{"alg":"none","kid":"k"}"#.to_owned(), IdentityError::AlgorithmNotAllowed),
        (r#"{"alg":"None","kid":"k"}"#.into(), IdentityError::AlgorithmNotAllowed),
        (r#"{"alg":"HS256","kid":"k"}"#.into(), IdentityError::AlgorithmNotAllowed),
        (r#"{"alg":"ES512","kid":"k"}"#.into(), IdentityError::AlgorithmNotAllowed),
        (r#"{"alg":"RS512","kid":"k"}"#.into(), IdentityError::AlgorithmNotAllowed),
        // Allowed in itself, but not what this key is for.
        (r#"{"alg":"ES256","kid":"k"}"#.into(), IdentityError::UnknownKey),
        (format!(r#"{{"alg":"EdDSA","kid":"k","jwk":{jwk}}}"#), forbidden("jwk")),
        (r#"{"alg":"EdDSA","kid":"k","jku":"https://evil.test/k"}"#.into(), forbidden("jku")),
        (r#"{"alg":"EdDSA","kid":"k","x5u":"https://evil.test/c"}"#.into(), forbidden("x5u")),
        (r#"{"alg":"EdDSA","kid":"k","x5c":["AA"]}"#.into(), forbidden("x5c")),
        (r#"{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":false}"#.into(), forbidden("crit")),
        (r#"{"alg":"EdDSA","kid":"k","zip":"DEF"}"#.into(), forbidden("zip")),
        (r#"{"alg":"EdDSA","kid":"k","cty":"JWT"}"#.into(), forbidden("cty")),
        (r#"{"alg":"EdDSA","kid":"k","typ":"bg-grant+jwt"}"#.into(), IdentityError::WrongType),
        (r#"{"alg":"EdDSA","kid":"k","typ":"dpop+jwt"}"#.into(), IdentityError::WrongType),
        (r#"{"alg":"EdDSA","kid":"k","typ":"logout+jwt"}"#.into(), IdentityError::WrongType),
        (r#"{"alg":"EdDSA","kid":"k","typ":["at+jwt"]}"#.into(), IdentityError::WrongType),
        (r#"{"alg":"EdDSA","kid":"other"}"#.into(), IdentityError::KeyAwaited),
        (r#"{"alg":"EdDSA","kid":"../../dev/null"}"#.into(), IdentityError::KeyAwaited),
    ] {
        let token = key.sign_text(&header, &claims);
        assert_eq!(bench.verifier.verify(&token).unwrap_err(), expected, "{header}");
    }
    for header in [
        r#"{"alg":"EdDSA","kid":"k","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"k","\u006bid":"k"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"{"kid":"k"}"#,
        r#"{"alg":["EdDSA"]}"#,
        r#"["EdDSA"]"#,
        r#"{"alg":"EdDSA","kid":"k","deep":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}"#,
    ] {
        let error = bench.verifier.verify(&key.sign_text(header, &claims)).unwrap_err();
        assert!(matches!(error, IdentityError::Malformed(_)), "{header}: {error:?}");
    }
    for header in [
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"Ed25519","kid":"k","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"application/at+JWT","x5t":"AA"}"#,
    ] {
        bench.verifier.verify(&key.sign_text(header, &claims)).expect(header);
    }
}

#[tokio::test]
async fn a_public_key_is_no_hmac_secret() {
    let key = TestKey::new(Algorithm::RS256, "k");
    let bench = Bench::with_keys(&[&key]).await.ready().await;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"k"}"#);
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(bench.claims(json!({})).to_string()));
    let modulus = URL_SAFE_NO_PAD.decode(key.jwk["n"].as_str().unwrap()).unwrap();
    let secret = jsonwebtoken::EncodingKey::from_secret(&modulus);
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    let error = bench.verifier.verify(&format!("{input}.{signature}")).unwrap_err();
    assert_eq!(error, IdentityError::AlgorithmNotAllowed);
}

#[tokio::test]
async fn twisted_shapes_are_refused() {
    let key = TestKey::new(Algorithm::EdDSA, "k");
    let bench = Bench::with_keys(&[&key]).await.ready().await;
    let good = key.sign(&bench.claims(json!({})));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        input.to_owned(),
        format!("{good}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{}+/", &signature[2..]),
        // 64 bytes end in a character with four unused bits: other spellings of them are not the same token.
        format!("{input}.{}{}", &signature[..85], if signature.ends_with('A') { 'B' } else { 'h' }),
        "é.é.é".into(),
    ] {
        let error = bench.verifier.verify(&token).unwrap_err();
        assert!(matches!(error, IdentityError::Malformed(_)), "{token}: {error:?}");
    }
    assert_eq!(bench.verifier.verify(&format!("{input}.")).unwrap_err(), IdentityError::BadSignature);
    assert_eq!(bench.verifier.verify(&"a".repeat(16 * 1024 + 1)).unwrap_err(), IdentityError::TooLarge);
    let other = TestKey::new(Algorithm::EdDSA, "k").sign(&bench.claims(json!({})));
    assert_eq!(bench.verifier.verify(&other).unwrap_err(), IdentityError::BadSignature);
    let twice = bench.claims(json!({})).to_string().replacen('{', r#"{"sub":"admin","#, 1);
    let error = bench.verifier.verify(&key.sign_text(r#"{"alg":"EdDSA"}"#, &twice)).unwrap_err();
    assert!(matches!(error, IdentityError::Malformed(_)));
    bench.verifier.verify(&good).unwrap();
}

#[test]
fn no_error_quotes_the_token() {
    let verifier = Verifier::new(Vec::new(), &Client::new(None, Limits::DEFAULT), Clock::System).unwrap();
    let token = format!(
        "{}.{}.c2VjcmV0",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#),
        URL_SAFE_NO_PAD.encode(r#"{"iss":"s3cret"}"#)
    );
    let error = verifier.verify(&token).unwrap_err();
    assert_eq!(error, IdentityError::UnknownIssuer);
    assert!(!format!("{error} {error:?} {}", error.code()).contains("s3cret"));
}
