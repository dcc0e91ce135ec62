//! The decision cases of `tests/cases/decision`, replayed through the pure decision and through a live sidecar.

mod bound;
mod live;
pub(crate) mod pure;

use std::collections::BTreeSet;
use std::path::Path;

use breakglass::config::ServiceConfig;
use breakglass::decision::RefusalCode;
use serde::Deserialize;

use crate::harness::raw_request;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Credential {
    None,
    Id,
    Token,
    UnknownId,
    Forged,
    ForeignService,
    /// Of a grant that is bound to its token alone.
    BearerToken,
    BearerId,
    BearerForged,
    /// Of a grant that is bound to a key.
    DpopToken,
    DpopId,
    DpopForged,
    /// Of a grant that is bound to a certificate.
    MtlsToken,
    MtlsId,
    IdentityToken,
    Malformed,
    Empty,
    Huge,
    Duplicate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Identity {
    None,
    Holder,
    Other,
    Garbage,
    Forged,
    GrantToken,
    Expired,
    Unreachable,
    Malformed,
    Duplicate,
    /// In `Authorization`, where the sidecar is told to look there.
    AmbientHolder,
    AmbientOther,
    AmbientGarbage,
}

/// What comes in `Break-Glass-DPoP`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Proof {
    #[default]
    None,
    /// By the key that the grant is bound to.
    Holder,
    Other,
    /// For another method.
    Invalid,
    NoNonce,
    Replayed,
    /// Sound, at a sidecar that does not know where clients reach it.
    Unverifiable,
}

/// What the connection shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Certificate {
    #[default]
    None,
    /// The one that the grant is bound to.
    Holder,
    /// Of the same authority and the same name, with another key.
    Other,
    /// Of another authority.
    Untrusted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Revoked,
    /// Its person's credential was reported to have changed.
    Suspended,
    /// The sidecar was started again after all else.
    Restarted,
    Expired,
    UsedUp,
    ShareElsewhere,
    FrozenByControl,
    FrozenLocally,
    NeverSynced,
    Stale,
    ClockUnsettled,
    AuditUnavailable,
    AssertionUnavailable,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "open")]
    service: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default = "echo")]
    target: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default = "by_id")]
    credential: Credential,
    #[serde(default = "holder")]
    identity: Identity,
    #[serde(default)]
    proof: Proof,
    #[serde(default)]
    certificate: Certificate,
    #[serde(default)]
    state: BTreeSet<State>,
    /// Why the state cannot be produced on a live sidecar.
    live: Option<String>,
    expect: String,
}

fn open() -> String {
    "open".to_owned()
}

fn post() -> String {
    "POST".to_owned()
}

fn echo() -> String {
    "/v1/contracts/C-1042/echo".to_owned()
}

fn by_id() -> Credential {
    Credential::Id
}

fn holder() -> Identity {
    Identity::Holder
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// Texts that stand for what a case names.
#[derive(Debug, Clone)]
struct Words {
    grant_id: String,
    grant_token: String,
    foreign_token: String,
    bearer_id: String,
    bearer_token: String,
    dpop_id: String,
    dpop_token: String,
    mtls_id: String,
    mtls_token: String,
    holder: String,
    other: String,
    unreachable: String,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases"))
}

fn cases() -> Vec<Case> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder().join("decision")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).case
    };
    files.iter().flat_map(read).collect()
}

impl Case {
    /// Whether it is about a key, a certificate, or an identity beside our own header.
    fn is_bound(&self) -> bool {
        self.proof != Proof::None
            || self.certificate != Certificate::None
            || matches!(self.identity, Identity::AmbientHolder | Identity::AmbientOther | Identity::AmbientGarbage)
            || matches!(
                self.credential,
                Credential::DpopToken
                    | Credential::DpopId
                    | Credential::DpopForged
                    | Credential::MtlsToken
                    | Credential::MtlsId
            )
    }

    fn service_text(&self) -> String {
        std::fs::read_to_string(folder().join("services").join(format!("{}.toml", self.service))).unwrap()
    }

    fn service(&self) -> ServiceConfig {
        ServiceConfig::parse(Path::new(&self.service), &self.service_text()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Our own headers, as this case sends them.
    fn own_headers(&self, words: &Words) -> Vec<(String, String)> {
        let credential = match self.credential {
            Credential::None => vec![],
            Credential::Id => vec![words.grant_id.clone()],
            Credential::Token => vec![words.grant_token.clone()],
            Credential::UnknownId => vec!["g-0123456789ab".to_owned()],
            Credential::Forged => vec![forged(&words.grant_token)],
            Credential::ForeignService => vec![words.foreign_token.clone()],
            Credential::BearerToken => vec![words.bearer_token.clone()],
            Credential::BearerId => vec![words.bearer_id.clone()],
            Credential::BearerForged => vec![forged(&words.bearer_token)],
            Credential::DpopToken => vec![words.dpop_token.clone()],
            Credential::DpopId => vec![words.dpop_id.clone()],
            Credential::DpopForged => vec![forged(&words.dpop_token)],
            Credential::MtlsToken => vec![words.mtls_token.clone()],
            Credential::MtlsId => vec![words.mtls_id.clone()],
            Credential::IdentityToken => vec![words.holder.clone()],
            Credential::Malformed => vec!["open sesame".to_owned()],
            Credential::Empty => vec![String::new()],
            Credential::Huge => vec![format!("a.{}.c", "b".repeat(20_000))],
            Credential::Duplicate => vec![words.grant_id.clone(), words.grant_id.clone()],
        };
        let identity = match self.identity {
            Identity::None | Identity::AmbientHolder | Identity::AmbientOther | Identity::AmbientGarbage => vec![],
            Identity::Holder | Identity::Expired => vec![words.holder.clone()],
            Identity::Other => vec![words.other.clone()],
            Identity::Garbage => vec!["garbage".to_owned()],
            Identity::Forged => vec![forged(&words.holder)],
            Identity::GrantToken => vec![words.grant_token.clone()],
            Identity::Unreachable => vec![words.unreachable.clone()],
            Identity::Malformed => vec!["two words".to_owned()],
            Identity::Duplicate => vec![words.holder.clone(), words.holder.clone()],
        };
        let ambient = match self.identity {
            Identity::AmbientHolder => Some(&*words.holder),
            Identity::AmbientOther => Some(&*words.other),
            Identity::AmbientGarbage => Some("of-the-api"),
            _ => None,
        };
        let ambient = ambient.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        let named = |name: &'static str| move |value| (name.to_owned(), value);
        let credential = credential.into_iter().map(named("Break-Glass"));
        credential.chain(identity.into_iter().map(named("Break-Glass-Identity"))).chain(ambient).collect()
    }

    fn request(&self, words: &Words) -> Vec<u8> {
        let all: Vec<_> = self.own_headers(words).into_iter().chain(self.headers.clone()).collect();
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        raw_request(&self.method, &self.target, &all, "")
    }
}

/// A case as bytes, with headers beyond its own.
fn raw_request_of(case: &Case, words: &Words, more: &[(String, String)]) -> Vec<u8> {
    let case = Case { headers: case.headers.iter().chain(more).cloned().collect(), ..case.clone() };
    case.request(words)
}

/// The same token with one bit of its signature changed.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

#[test]
fn every_decision_code_is_reached_by_a_case() {
    let reached: BTreeSet<String> = cases().into_iter().map(|case| case.expect).collect();
    let all = RefusalCode::ALL.iter().map(|code| code.as_str()).chain(["pass", "override"]);
    let all: BTreeSet<String> = all.map(str::to_owned).collect();
    assert_eq!(reached, all);
}

#[test]
fn each_case_has_a_name_of_its_own_and_a_reason_where_it_is_not_replayed_live() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.iter().filter_map(|case| case.live.as_ref()).all(|reason| reason.len() > 20));
}
