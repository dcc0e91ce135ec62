//! The tokens of `tests/cases/identity/attacks.toml`, each to a live sidecar and to a live control plane.

use std::path::Path;

use aws_lc_rs::signature::{self, KeyPair as _};
use aws_lc_rs::{hmac, rand, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use breakglass::clock::{Clock, ManualClock};
use breakglass::domain::{Moment, WallTime};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{called, granted, header, presented};
use crate::harness::{Answer, Provider, Settings, Site, TestSidecar};

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sign {
    #[default]
    Issuer,
    Stranger,
    OtherIssuer,
    Nobody,
    Zeros,
    HmacN,
    HmacJwk,
    HmacPem,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Twist {
    PadHeader,
    PadSignature,
    StandardAlphabet,
    UnusedBits,
    Cut,
    ChangedPayload,
    TwoParts,
    FourParts,
    FiveParts,
    Json,
    Dots,
    NoUtf8,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "good_header")]
    header: String,
    claims: Option<String>,
    payload: Option<String>,
    #[serde(default)]
    sign: Sign,
    twist: Option<Twist>,
    sidecar: String,
    control: String,
}

fn good_header() -> String {
    r#"{"alg":"RS256","typ":"at+jwt","kid":"@kid"}"#.to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/identity/attacks.toml");
    toml::from_str::<File>(&std::fs::read_to_string(file).unwrap()).unwrap().case
}

/// Both planes by a clock that stands still, with two issuers: the provider, whose clients are listed, and the demo's.
struct Stage {
    provider: Provider,
    site: Site,
    sidecar: TestSidecar,
    now_s: i64,
    kid: String,
    stranger: rsa::KeyPair,
    /// The secrets that a public key makes.
    modulus: Vec<u8>,
    jwk: String,
    pem: String,
}

impl Stage {
    async fn set() -> Self {
        let provider = Provider::with_settings(Settings { alg: "RS256", ..Settings::default() }).await;
        let Moment { boot, wall } = Clock::System.now();
        let now_s = wall.unix_s();
        let clock = ManualClock::starting_at(Moment { boot, wall: WallTime::from_unix_s(now_s) });
        let mut site = Site::without_control(Clock::Manual(clock)).await;
        site.issuers = format!(
            "[[issuer]]\nurl = \"{}\"\nperson_prefix = \"corp:\"\nauthorised_parties = [\"breakglass-cli\"]\n{}person_prefix = \
             \"demo:\"\n",
            provider.issuer, site.issuers
        );
        site.start_control().await;
        let sidecar = site.sidecar().await;
        let key = provider.keys().await["keys"][0].clone();
        Self {
            kid: key["kid"].as_str().unwrap().to_owned(),
            modulus: URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap(),
            jwk: key.to_string(),
            pem: provider.public_key_pem().await,
            stranger: rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap(),
            provider,
            site,
            sidecar,
            now_s,
        }
    }

    /// The text with its words replaced, for one plane.
    fn said(&self, text: &str, plane: Plane, id: usize) -> String {
        let public = self.stranger.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({
            "kty": "RSA", "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        });
        let other = self.site.identity("alice");
        let other_issuer = super::claims(&other)["iss"].as_str().unwrap().to_owned();
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let text = text
            .replace("@other-iss", &other_issuer)
            .replace("@other-aud", plane.other().audience())
            .replace("@other-kid", header(&other)["kid"].as_str().unwrap())
            .replace("@iss", &self.provider.issuer)
            .replace("@aud", plane.audience())
            .replace("@kid", &self.kid)
            .replace("@jwk", &jwk.to_string())
            .replace("@id", &format!("{plane:?}-{id}"))
            .replace("@deep15", &nested(15))
            .replace("@deep", &nested(5_000))
            .replace("@long", &"x".repeat(13_000))
            .replace("@far-too-long", &"x".repeat(28_000));
        timed(&text, self.now_s)
    }

    async fn token(&self, case: &Case, plane: Plane, id: usize) -> String {
        if matches!(case.sign, Sign::OtherIssuer) {
            return self.site.identity("alice");
        }
        let good = r#"{"iss":"@iss","aud":"@aud","sub":"alice","client_id":"breakglass-cli","iat":@now,"exp":@now+300,
            "jti":"@id","groups":["payments-oncall"]}"#;
        let payload = match &case.payload {
            Some(payload) => self.said(payload, plane, id).into_bytes(),
            None => {
                let mut claims: Value = serde_json::from_str(&self.said(good, plane, id)).unwrap();
                let changes = self.said(case.claims.as_deref().unwrap_or("{}"), plane, id);
                lay_over(&mut claims, &changes).into_bytes()
            }
        };
        let payload = if matches!(case.twist, Some(Twist::NoUtf8)) {
            [&payload[..payload.len() - 1], b",\"x\":\"\xff\"}"].concat()
        } else {
            payload
        };
        let header = self.said(&case.header, plane, id);
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let token = self.signed(case.sign, input).await;
        case.twist.map_or(token.clone(), |twist| twisted(twist, &token))
    }

    async fn signed(&self, sign: Sign, input: String) -> String {
        let signature = match sign {
            Sign::Issuer => return self.provider.sign(&input).await,
            Sign::OtherIssuer => unreachable!("it makes whole tokens"),
            Sign::Nobody => Vec::new(),
            Sign::Zeros => vec![0; 64],
            Sign::Stranger => {
                let mut signature = vec![0; self.stranger.public_modulus_len()];
                let random = rand::SystemRandom::new();
                self.stranger.sign(&signature::RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature).unwrap();
                signature
            }
            Sign::HmacN => mac(&self.modulus, &input),
            Sign::HmacJwk => mac(self.jwk.as_bytes(), &input),
            Sign::HmacPem => mac(self.pem.as_bytes(), &input),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn mac(secret: &[u8], input: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes()).as_ref().to_vec()
}

#[derive(Debug, Clone, Copy)]
enum Plane {
    Sidecar,
    Control,
}

impl Plane {
    const fn audience(self) -> &'static str {
        match self {
            Self::Sidecar => "payments",
            Self::Control => "control",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Sidecar => Self::Control,
            Self::Control => Self::Sidecar,
        }
    }
}

/// `@now`, with seconds added or taken, and a fraction.
fn timed(text: &str, now_s: i64) -> String {
    let mut parts = text.split("@now");
    let mut said = parts.next().unwrap().to_owned();
    for part in parts {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let end = if part.starts_with(['+', '-']) { 1 + digits(&part[1..]) } else { 0 };
        let offset: i64 = part[..end].parse().unwrap_or(0);
        said.push_str(&(now_s + offset).to_string());
        said.push_str(&part[end..]);
    }
    said
}

/// The claims with those of `changes` over them; null takes one out.
fn lay_over(claims: &mut Value, changes: &str) -> String {
    // Nested too deeply for any parser of ours: it goes in as text.
    let Ok(changes) = serde_json::from_str::<Value>(changes) else {
        let claims = claims.to_string();
        return format!("{},{}", claims.strip_suffix('}').unwrap(), changes.strip_prefix('{').unwrap());
    };
    let claims = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    Value::Object(claims.clone()).to_string()
}

fn twisted(twist: Twist, token: &str) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    match twist {
        Twist::PadHeader => format!("{header}=.{payload}.{signature}"),
        Twist::PadSignature => format!("{token}=="),
        Twist::StandardAlphabet => format!("{header}.{payload}.+/{}", &signature[2..]),
        Twist::UnusedBits => {
            // 256 bytes end in a character with four unused bits.
            let last = signature.chars().last().unwrap();
            let other = char::from_u32(u32::from(last) + 1).unwrap();
            format!("{header}.{payload}.{}{other}", &signature[..signature.len() - 1])
        }
        Twist::Cut => token[..token.len() - 8].to_owned(),
        Twist::ChangedPayload => {
            let mut bytes = URL_SAFE_NO_PAD.decode(payload).unwrap();
            let at = bytes.windows(5).position(|window| window == b"alice").unwrap();
            bytes[at] ^= 2;
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(bytes))
        }
        Twist::TwoParts => format!("{header}.{payload}"),
        Twist::FourParts => format!("{token}.{signature}"),
        Twist::FiveParts => format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        Twist::Json => format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
        Twist::Dots => "..".to_owned(),
        Twist::NoUtf8 => token.to_owned(),
    }
}

/// All that a client can see but the request's own id.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let body = String::from_utf8(answer.body.clone()).unwrap();
    let instance =
        serde_json::from_str::<Value>(&body).ok().and_then(|said| Some(said["instance"].as_str()?.to_owned()));
    let body = instance.map_or(body.clone(), |instance| body.replace(&instance, "INSTANCE"));
    (answer.status, answer.headers.clone(), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_opens_what_it_should_not_nor_tells_whether_a_grant_exists() {
    let stage = Stage::set().await;
    let (site, sidecar) = (&stage.site, &stage.sidecar);
    let good = Case { claims: None, payload: None, twist: None, sign: Sign::Issuer, ..cases()[0].clone() };
    let alice = stage.token(&good, Plane::Control, usize::MAX).await;
    let grant = granted(site, &alice).await;
    let (status, said) = site.api_by(Method::GET, &format!("/v1/grants/{grant}/token"), &alice, Value::Null).await;
    assert_eq!(status, 200, "{said}");
    let grant_token = said["token"].as_str().unwrap();
    let mut wrong = Vec::new();
    for (number, case) in cases().into_iter().enumerate() {
        let token = stage.token(&case, Plane::Sidecar, number).await;
        let answer = presented(sidecar, &grant, &token).await;
        let got = answer.code();
        if got != case.sidecar {
            wrong.push(format!("{}: the sidecar says {got}", case.name));
        }
        // What is awaited becomes known or unknown between two requests.
        if !["override", "identity_unverifiable"].contains(&got.as_str()) {
            for elsewhere in ["g-zzzzzzzzzzzz", grant_token, "aaaa.bbbb.cccc"] {
                let elsewhere = presented(sidecar, elsewhere, &token).await;
                if seen(&elsewhere) != seen(&answer) {
                    wrong.push(format!("{}: the answer depends on the grant: {answer:?} {elsewhere:?}", case.name));
                }
            }
        }
        let token = stage.token(&case, Plane::Control, number).await;
        let got = called(site, &token).await;
        if got != case.control {
            wrong.push(format!("{}: the control plane says {got}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_does_not_tell_others_whether_a_grant_exists() {
    let provider = Provider::start().await;
    let site = Site::of_provider(&provider).await;
    let grant = granted(&site, &provider.identity("alice", "control").await).await;
    let bob = provider.identity("bob", "control").await;
    for path in ["", "/token", "/enforcement"] {
        let ask = async |id: &str| {
            let (status, mut said) =
                site.api_by(Method::GET, &format!("/v1/grants/{id}{path}"), &bob, Value::Null).await;
            said["instance"] = Value::Null;
            (status, said)
        };
        let (other, nothing) = (ask(&grant).await, ask("g-zzzzzzzzzzzz").await);
        assert_eq!(other, nothing, "{path}");
        assert_eq!(other.0, 404, "{path}");
    }
}

#[test]
fn each_attack_has_a_name_of_its_own() {
    let cases = cases();
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
}
