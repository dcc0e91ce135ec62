//! The `[[issuer]]` tables: whose access tokens are accepted, and how their claims name people.

use super::reader::Section;
use crate::domain::{Audience, Issuer};
use crate::identity::IssuerConfig;

/// Reads all `[[issuer]]` tables of `root`; `audience` is who we are where a table does not say.
pub(super) fn read_issuers(root: &Section<'_>, audience: Option<&Audience>) -> Vec<IssuerConfig> {
    let sections = root.sections("issuer");
    if sections.is_empty() {
        root.mistake("issuer", "there must be at least one", Some("add an [[issuer]] table"));
    }
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for section in sections {
        let Some(issuer) = read_issuer(&section, audience) else { continue };
        if issuers.iter().any(|known| known.issuer == issuer.issuer) {
            section.mistake("url", "stands twice", None);
        }
        if let Some(known) = issuers.iter().find(|known| may_name_the_same(known, &issuer)) {
            let what = format_args!("the people of {} can be named alike", known.issuer);
            section.mistake("person_prefix", what, Some(PREFIX_HINT));
        }
        if issuers.iter().any(|known| are_alike(known, &issuer) && known.person_lowercase != issuer.person_lowercase) {
            section.mistake("person_lowercase", "differs from another issuer's of the same people", None);
        }
        issuers.push(issuer);
    }
    issuers
}

const PREFIX_HINT: &str = "give each issuer a person_prefix that begins no other, such as \"corp:\"; or have both name people by \
                           the same claim of the same people, such as \"email\"";

/// Whether two issuers can call different people by one name. `sub` is unique within its issuer alone (OpenID Connect Core
/// 1.0 §8); the same claim of the same people, such as an address, is how one person is known by both.
fn may_name_the_same(one: &IssuerConfig, other: &IssuerConfig) -> bool {
    let (a, b) = (one.person_prefix.as_str(), other.person_prefix.as_str());
    !are_alike(one, other) && (a.starts_with(b) || b.starts_with(a))
}

/// Whether both mean the same people by the same names.
fn are_alike(one: &IssuerConfig, other: &IssuerConfig) -> bool {
    let names = |issuer: &IssuerConfig| (issuer.person_prefix.clone(), issuer.person_claim.clone());
    names(one) == names(other) && one.person_claim != "sub"
}

fn read_issuer(section: &Section<'_>, audience: Option<&Audience>) -> Option<IssuerConfig> {
    let url: Option<Issuer> = section.required("url");
    if url.as_ref().is_some_and(|url| !is_http_url(url.as_str())) {
        section.mistake("url", "must begin with https:// or http://", None);
    }
    let own: Option<Audience> = section.optional("audience");
    let audience = own.or_else(|| audience.cloned());
    if audience.is_none() && !section.has("audience") {
        section.missing("audience");
    }
    let person_claim: Option<String> = section.optional("person_claim");
    let person_prefix = section.optional("person_prefix");
    let groups_claim = section.optional("groups_claim");
    let roles_claim = section.optional("roles_claim");
    let groups_prefix = section.optional("groups_prefix");
    let groups_separator: Option<String> = section.optional("groups_separator");
    if groups_separator.as_deref() == Some("") {
        section.mistake("groups_separator", "must not be empty", None);
    }
    let authorised_parties: Vec<String> = section.list("authorised_parties");
    if authorised_parties.is_empty() && section.has("authorised_parties") {
        section.mistake(
            "authorised_parties",
            "must not be empty",
            Some("without the key any client's tokens are taken"),
        );
    }
    let plain_jwt = section.boolean("plain_jwt", true);
    let is_email = person_claim.as_deref().is_some_and(|claim| claim == IssuerConfig::EMAIL);
    let person_lowercase = section.boolean("person_lowercase", is_email);
    let groups_by_scim = section.choice("groups", &[("token", false), ("scim", true)]).unwrap_or(false);
    let algorithms: Vec<_> = section.list("algorithms");
    let leeway =
        section.integer("clock_leeway_s", 0..=IssuerConfig::CLOCK_LEEWAY_S_MAX, IssuerConfig::CLOCK_LEEWAY_S_DEFAULT);
    let ca = section.path("ca");
    // Read elsewhere, where it means something.
    section.has("introspection");
    let mut config = IssuerConfig::new(url?, audience?);
    config.person_claim = person_claim.unwrap_or(config.person_claim);
    config.person_prefix = person_prefix.unwrap_or(config.person_prefix);
    config.person_lowercase = person_lowercase;
    config.groups_by_scim = groups_by_scim;
    config.groups_claim = groups_claim.unwrap_or(config.groups_claim);
    config.roles_claim = roles_claim;
    config.groups_prefix = groups_prefix.unwrap_or(config.groups_prefix);
    config.groups_separator = groups_separator;
    config.authorised_parties = authorised_parties.into_iter().collect();
    config.plain_jwt = plain_jwt;
    if !algorithms.is_empty() {
        config.algorithms = algorithms.into_iter().collect();
    }
    config.clock_leeway_s = leeway;
    config.ca = ca;
    Some(config)
}

pub(super) fn is_http_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::parse;
    use super::*;

    fn read(text: &str) -> Result<Vec<IssuerConfig>, String> {
        let audience = "control".parse().unwrap();
        let read = |root: &Section<'_>| Some(read_issuers(root, Some(&audience)));
        parse(Path::new("a.toml"), text, read).map_err(|error| error.to_string())
    }

    fn two(one: &str, other: &str) -> Result<Vec<IssuerConfig>, String> {
        read(&format!("[[issuer]]\nurl = \"https://a.test\"\n{one}\n[[issuer]]\nurl = \"https://b.test\"\n{other}\n"))
    }

    #[test]
    fn every_key_is_read() {
        let issuers = read(
            "[[issuer]]\nurl = \"https://a.test\"\nperson_claim = \"email\"\nroles_claim = \"/realm_access/roles\"\n\
             groups_prefix = \"corp:\"\ngroups_separator = \" \"\nauthorised_parties = [\"cli\"]\nplain_jwt = false\n",
        );
        let [issuer] = &issuers.unwrap()[..] else { panic!("one issuer") };
        assert!(issuer.person_lowercase, "an address is one whatever its case");
        assert!(!issuer.plain_jwt && issuer.authorised_parties.contains("cli"));
        assert_eq!(issuer.roles_claim.as_deref(), Some("/realm_access/roles"));
        assert_eq!((issuer.groups_prefix.as_str(), issuer.groups_separator.as_deref()), ("corp:", Some(" ")));
        for (line, said) in [
            ("authorised_parties = []", "authorised_parties: must not be empty"),
            ("groups_separator = \"\"", "groups_separator: must not be empty"),
            ("algorithms = [\"HS256\"]", "a signature algorithm is one of"),
            ("algorithms = [\"none\"]", "a signature algorithm is one of"),
        ] {
            let error = read(&format!("[[issuer]]\nurl = \"https://a.test\"\n{line}\n")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn two_issuers_cannot_name_each_others_people() {
        let prefix = |text: &str| format!("person_prefix = \"{text}\"");
        let email = "person_claim = \"email\"";
        for (one, other, alike) in [
            (String::new(), String::new(), true),
            (prefix("a:"), String::new(), true),
            (prefix("a"), prefix("ab"), true),
            (prefix("a:"), prefix("b:"), false),
            (email.to_owned(), email.to_owned(), false),
            ("person_claim = \"/upn\"".to_owned(), "person_claim = \"/upn\"".to_owned(), false),
            (email.to_owned(), String::new(), true),
            (email.to_owned(), "person_claim = \"upn\"".to_owned(), true),
        ] {
            let read = two(&one, &other);
            assert_eq!(read.as_ref().is_err_and(|error| error.contains("can be named alike")), alike, "{one} {other}");
            assert_eq!(read.is_err(), alike);
        }
        let error = two(email, &format!("{email}\nperson_lowercase = false")).unwrap_err();
        assert!(error.contains("person_lowercase: differs"), "{error}");
    }
}
