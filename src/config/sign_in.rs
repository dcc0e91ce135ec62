//! The `[sign_in]` table: how the command line signs people in. The control plane only tells it (`GET /v1/sign-in`) and
//! takes no part in it: it never sees a password, a code or a refresh token.
//!
//! Sources: RFC 8628, RFC 8252, RFC 8707 §2.

use http::Uri;

use super::reader::Section;
use super::service::ServiceConfig;
use crate::domain::{Audience, Issuer, ServiceName};
use crate::identity::IssuerConfig;
use crate::wire::sign_in::{Indicator, ServiceAudience, SignInTerms};

const TEXT_BYTES_MAX: usize = 255;
/// OpenID Connect Core 1.0 §3.1.2.1, and its §11: with the second there is a refresh token.
const SCOPES: [&str; 2] = ["openid", "offline_access"];

/// Reads `[sign_in]`; `None` where it is absent or wrong.
pub(super) fn read_sign_in(
    root: &Section<'_>,
    issuers: &[IssuerConfig],
    services: &[ServiceConfig],
) -> Option<SignInTerms> {
    let section = root.section("sign_in")?;
    let issuer = read_issuer(&section, issuers);
    let client_id: Option<String> = section.required("client_id");
    if client_id.as_deref().is_some_and(|id| !is_word(id)) {
        section.mistake("client_id", "must be visible ASCII without spaces", None);
    }
    let scopes = read_scopes(&section);
    let indicators =
        [("resource", Indicator::Resource), ("audience", Indicator::Audience), ("none", Indicator::Absent)];
    let indicator = section.choice("indicator", &indicators).unwrap_or_default();
    let named: Option<Audience> = section.optional("audience");
    let audiences = read_audiences(&section, services);
    let issuer = issuer?;
    let audience = named.unwrap_or_else(|| issuer.audience.clone());
    if indicator == Indicator::Resource {
        check_resource(&section, "audience", &audience);
        audiences.iter().for_each(|one| check_resource(&section, "service", &one.audience));
    }
    Some(SignInTerms {
        issuer: issuer.issuer.clone(),
        client_id: client_id?,
        scopes,
        indicator,
        audience,
        services: audiences,
    })
}

/// One of the issuers whose tokens are accepted here; it need not be named where there is one.
fn read_issuer<'i>(section: &Section<'_>, issuers: &'i [IssuerConfig]) -> Option<&'i IssuerConfig> {
    if !section.has("issuer") {
        if issuers.len() > 1 {
            section.mistake("issuer", "must say which of the issuers", None);
        }
        return issuers.first();
    }
    let named: Issuer = section.optional("issuer")?;
    let found = issuers.iter().find(|known| known.issuer == named);
    if found.is_none() {
        section.mistake("issuer", "is none of the [[issuer]] tables", None);
    }
    found
}

fn read_scopes(section: &Section<'_>) -> Vec<String> {
    let scopes: Vec<String> = section.list("scopes");
    for scope in scopes.iter().filter(|scope| !is_word(scope)) {
        section.mistake("scopes", format_args!("\"{scope}\" is not a scope: visible ASCII without spaces"), None);
    }
    if section.has("scopes") { scopes } else { SCOPES.map(str::to_owned).to_vec() }
}

/// `[[sign_in.service]]`, and for the services that are not there the audience of their own file.
fn read_audiences(section: &Section<'_>, services: &[ServiceConfig]) -> Vec<ServiceAudience> {
    let mut audiences: Vec<ServiceAudience> = Vec::new();
    for table in section.sections("service") {
        let (name, audience) = (table.required::<ServiceName>("name"), table.required::<Audience>("audience"));
        let (Some(service), Some(audience)) = (name, audience) else { continue };
        if !services.iter().any(|known| known.name == service) {
            table.mistake("name", "is none of the services", None);
        }
        if audiences.iter().any(|known| known.service == service) {
            table.mistake("name", "stands twice", None);
        }
        audiences.push(ServiceAudience { service, audience });
    }
    for service in services {
        if !audiences.iter().any(|known| known.service == service.name) {
            audiences.push(ServiceAudience { service: service.name.clone(), audience: service.audience.clone() });
        }
    }
    audiences
}

/// RFC 8707 §2: an absolute URI without a fragment.
fn check_resource(section: &Section<'_>, key: &str, audience: &Audience) {
    let text = audience.as_str();
    let scheme = text.split_once(':').map(|(scheme, rest)| (scheme, !rest.is_empty()));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    let is_absolute = scheme.is_some_and(|(scheme, rest)| is_scheme(scheme) && rest);
    let is_url = !text.contains("://") || text.parse::<Uri>().is_ok();
    if is_absolute && is_url && !text.contains('#') {
        return;
    }
    let hint = "name it by an absolute URI (RFC 8707), or say indicator = \"audience\" or \"none\"";
    section.mistake(key, format_args!("the audience \"{text}\" cannot be a resource indicator"), Some(hint));
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader::parse;

    fn issuers(names: &[&str]) -> Vec<IssuerConfig> {
        let audience: Audience = "https://control.example".parse().unwrap();
        names.iter().map(|name| IssuerConfig::new(name.parse().unwrap(), audience.clone())).collect()
    }

    fn services() -> Vec<ServiceConfig> {
        vec![ServiceConfig::parse(Path::new("s.toml"), include_str!("../../tests/cases/services/open.toml")).unwrap()]
    }

    fn read(text: &str, names: &[&str]) -> Result<SignInTerms, String> {
        let issuers = issuers(names);
        let read = |root: &Section<'_>| read_sign_in(root, &issuers, &services());
        parse(Path::new("c.toml"), text, read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_least_that_can_be_said() {
        let text = "[sign_in]\nclient_id = \"cli\"\nindicator = \"none\"\n";
        let terms = read(text, &["https://idp.example"]).unwrap();
        assert_eq!(terms.issuer.as_str(), "https://idp.example");
        assert_eq!(terms.scopes, ["openid", "offline_access"]);
        assert_eq!(terms.audience.as_str(), "https://control.example");
        assert_eq!(terms.services[0].audience.as_str(), "payments", "as its file says");
    }

    #[test]
    fn mistakes_are_told() {
        let two = &["https://a.example", "https://b.example"][..];
        for (text, names, wanted) in [
            ("client_id = \"cli\"\nindicator = \"none\"", two, "issuer: must say which of the issuers"),
            ("issuer = \"https://c.example\"\nclient_id = \"cli\"", two, "issuer: is none of the [[issuer]] tables"),
            ("indicator = \"none\"", &two[..1], "client_id: is missing"),
            ("client_id = \"a b\"\nindicator = \"none\"", &two[..1], "client_id: must be visible ASCII"),
            ("client_id = \"cli\"", &two[..1], "the audience \"payments\" cannot be a resource indicator"),
            (
                "client_id = \"cli\"\nindicator = \"none\"\nservice = [{ name = \"ghost\", audience = \"x\" }]",
                &two[..1],
                "sign_in.service[0].name: is none of the services",
            ),
        ] {
            let report = read(&format!("[sign_in]\n{text}\n"), names).unwrap_err();
            assert!(report.contains(wanted), "{wanted:?} is not in\n{report}");
        }
    }
}
