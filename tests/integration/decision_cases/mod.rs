//! The decision cases of `tests/cases/decision`, replayed through the pure decision and through a live sidecar.

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
            Credential::IdentityToken => vec![words.holder.clone()],
            Credential::Malformed => vec!["open sesame".to_owned()],
            Credential::Empty => vec![String::new()],
            Credential::Huge => vec![format!("a.{}.c", "b".repeat(20_000))],
            Credential::Duplicate => vec![words.grant_id.clone(), words.grant_id.clone()],
        };
        let identity = match self.identity {
            Identity::None => vec![],
            Identity::Holder | Identity::Expired => vec![words.holder.clone()],
            Identity::Other => vec![words.other.clone()],
            Identity::Garbage => vec!["garbage".to_owned()],
            Identity::Forged => vec![forged(&words.holder)],
            Identity::GrantToken => vec![words.grant_token.clone()],
            Identity::Unreachable => vec![words.unreachable.clone()],
            Identity::Malformed => vec!["two words".to_owned()],
            Identity::Duplicate => vec![words.holder.clone(), words.holder.clone()],
        };
        let named = |name: &'static str| move |value| (name.to_owned(), value);
        let credential = credential.into_iter().map(named("Break-Glass"));
        credential.chain(identity.into_iter().map(named("Break-Glass-Identity"))).collect()
    }

    fn request(&self, words: &Words) -> Vec<u8> {
        let all: Vec<_> = self.own_headers(words).into_iter().chain(self.headers.clone()).collect();
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        raw_request(&self.method, &self.target, &all, "")
    }
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
