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
        issuers.push(issuer);
    }
    issuers
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
    let person_claim = section.optional("person_claim");
    let person_prefix = section.optional("person_prefix");
    let groups_claim = section.optional("groups_claim");
    let groups_by_scim = section.choice("groups", &[("token", false), ("scim", true)]).unwrap_or(false);
    let algorithms: Vec<_> = section.list("algorithms");
    let leeway =
        section.integer("clock_leeway_s", 0..=IssuerConfig::CLOCK_LEEWAY_S_MAX, IssuerConfig::CLOCK_LEEWAY_S_DEFAULT);
    let ca = section.path("ca");
    let mut config = IssuerConfig::new(url?, audience?);
    config.person_claim = person_claim.unwrap_or(config.person_claim);
    config.person_prefix = person_prefix.unwrap_or(config.person_prefix);
    config.groups_by_scim = groups_by_scim;
    config.groups_claim = groups_claim.unwrap_or(config.groups_claim);
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
