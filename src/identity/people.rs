//! Which human a genuine token stands for, and in which groups: as the issuer's configuration reads its claims.
//!
//! A machine's token, and one that somebody uses for another, stands for nobody. Nothing here believes more of an issuer than
//! was configured of it: names of persons and groups carry its prefixes.
//!
//! Sources: RFC 9068 §2.2 (`groups`, `roles`; `sub` of a client), RFC 8693 §4.1 (`act`), RFC 7800 (`cnf`), and what Auth0,
//! Entra ID, Keycloak and Okta say of machines.

use serde_json::Value;

use super::claims::{Claims, texts};
use super::error::IdentityError;
use super::issuer::{IssuerConfig, PARTY_CLAIMS};
use crate::domain::{Person, Subject, TextError};

/// Greatest number of groups, and greatest length of the name of one.
const GROUPS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 256;

/// Neither delegated, nor a machine's, nor bound to a key that would have to be proven.
pub(super) fn is_a_persons_own(claims: &Claims, subject: &Subject) -> Result<(), IdentityError> {
    if claims.contains_key("act") {
        return Err(IdentityError::Delegated);
    }
    if is_machine(claims, subject) {
        return Err(IdentityError::Machine);
    }
    if claims.contains_key("cnf") {
        return Err(IdentityError::SenderConstrained);
    }
    Ok(())
}

/// RFC 9068 §2.2: for client credentials, `sub` is the client. The rest is what issuers say besides or instead.
fn is_machine(claims: &Claims, subject: &Subject) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let subject = subject.as_str();
    let is_client = |client: &str| subject == client || subject.strip_suffix("@clients") == Some(client);
    PARTY_CLAIMS.iter().filter_map(|name| text(name)).any(is_client)
        || text("gty") == Some("client-credentials")
        || text("idtyp") == Some("app")
        || text("preferred_username").is_some_and(|name| name.starts_with("service-account-"))
        // Entra ID without `idtyp`: an application is its own object, and nobody has consented to scopes for it.
        || (claims.contains_key("tid") && text("oid") == Some(subject) && !claims.contains_key("scp"))
}

/// The person; a token without the claim is taken for a machine's.
pub(super) fn person(claims: &Claims, config: &IssuerConfig) -> Result<Person, IdentityError> {
    let refused = IdentityError::Claim("that names the person");
    let name = match at(claims, &config.person_claim) {
        None => return Err(IdentityError::Machine),
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(_) => return Err(refused),
    };
    // An address nobody has confirmed is whatever its owner typed (OpenID Connect Core 1.0 §5.7).
    if config.person_claim == IssuerConfig::EMAIL && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(IdentityError::Claim("email_verified"));
    }
    config.naming().person(name).map_err(|_| refused)
}

/// How an issuer's people are called here: the same by its tokens, by what is signalled of them, and by who keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// [`IssuerConfig::person_prefix`].
    pub prefix: String,
    /// [`IssuerConfig::person_lowercase`].
    pub is_lowercase: bool,
}

impl Naming {
    /// The person of this name at the issuer.
    ///
    /// # Errors
    /// [`TextError`]: nobody can be called that.
    pub fn person(&self, name: &str) -> Result<Person, TextError> {
        let name = if self.is_lowercase { name.to_ascii_lowercase() } else { name.to_owned() };
        format!("{}{name}", self.prefix).parse::<Person>()?.of_the_living()
    }
}

impl IssuerConfig {
    pub fn naming(&self) -> Naming {
        Naming { prefix: self.person_prefix.clone(), is_lowercase: self.person_lowercase }
    }
}

/// The groups, and the roles among them.
pub(super) fn groups(claims: &Claims, config: &IssuerConfig) -> Result<Vec<String>, IdentityError> {
    let refused = IdentityError::Claim("that lists the groups");
    let mut all = listed(at(claims, &config.groups_claim), config, "").ok_or(refused)?;
    if let Some(claim) = &config.roles_claim {
        let refused = IdentityError::Claim("that lists the roles");
        all.extend(listed(at(claims, claim), config, "role:").ok_or(refused)?);
    }
    if all.len() > GROUPS_MAX || all.iter().any(|group| group.len() > GROUP_BYTES_MAX) {
        return Err(refused);
    }
    Ok(all)
}

/// The names in a claim: a list of texts, or one text; `None` when it is anything else.
fn listed(value: Option<&Value>, config: &IssuerConfig, kind: &str) -> Option<Vec<String>> {
    let names = match value {
        None => Vec::new(),
        Some(Value::String(text)) => match &config.groups_separator {
            Some(separator) => text.split(separator.as_str()).map(str::to_owned).collect(),
            None => vec![text.clone()],
        },
        Some(Value::Array(values)) => texts(values)?,
        Some(_) => return None,
    };
    let named = names.into_iter().filter(|name| !name.is_empty());
    Some(named.map(|name| format!("{}{kind}{name}", config.groups_prefix)).collect())
}

/// The claim of this name, or at this JSON pointer (RFC 6901). No name is no claim.
fn at<'c>(claims: &'c Claims, place: &str) -> Option<&'c Value> {
    if place.is_empty() {
        return None;
    }
    let Some(path) = place.strip_prefix('/') else { return claims.get(place) };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let member = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(member), |rest| member.pointer(&format!("/{rest}")))
}
