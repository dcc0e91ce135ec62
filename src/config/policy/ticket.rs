//! `[[ticket]]`: how references in one tracker look, where they lead, and for which services the tracker is kept.

use std::collections::BTreeSet;

use regex::Regex;

use super::some_sections;
use super::team::Heads;
use crate::config::policy::name;
use crate::config::reader::Section;
use crate::config::service::ServiceConfig;
use crate::domain::{ServiceName, Ticket};

/// Greatest size of a compiled ticket pattern.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// What the ticket's place is called in a link.
const PLACE: &str = "{ticket}";

/// How references in one tracker look.
#[derive(Debug, Clone)]
pub struct TicketRule {
    pub tracker: String,
    pub pattern: String,
    pub example: Ticket,
    /// Where a ticket is read: a URL with `{ticket}` in it.
    pub url: Option<String>,
    /// The services whose work is tracked there; `None`: all.
    pub services: Option<BTreeSet<ServiceName>>,
    whole: Regex,
}

impl TicketRule {
    /// True when the pattern matches the whole ticket.
    pub fn matches(&self, ticket: &Ticket) -> bool {
        self.whole.is_match(ticket.as_str())
    }

    pub fn serves(&self, service: &ServiceName) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }

    /// Where `ticket` is read. What it holds beyond the unreserved characters of RFC 3986 §2.3 is percent-encoded, so
    /// that it stays one segment or one value.
    pub fn link(&self, ticket: &Ticket) -> Option<String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
        let encoded: String = ticket.as_str().bytes().map(encode).collect();
        self.url.as_ref().map(|url| url.replace(PLACE, &encoded))
    }
}

pub(super) fn read(root: &Section<'_>, teams: &Heads<'_>, services: &[ServiceConfig]) -> Vec<TicketRule> {
    let mut rules: Vec<TicketRule> = Vec::new();
    for section in some_sections(root, "ticket") {
        let Some(rule) = read_rule(&section, teams, services) else { continue };
        if rules.iter().any(|known| known.tracker == rule.tracker && known.pattern == rule.pattern) {
            section.mistake("pattern", format_args!("stands twice for \"{}\"", rule.tracker), None);
        }
        rules.push(rule);
    }
    rules
}

fn read_rule(section: &Section<'_>, teams: &Heads<'_>, services: &[ServiceConfig]) -> Option<TicketRule> {
    let tracker = section.required("tracker");
    let pattern: Option<String> = section.required("pattern");
    let example = section.required("example");
    let url = read_url(section);
    let services = read_services(section, teams, services);
    let whole = pattern.as_deref().and_then(|pattern| {
        whole_match(pattern).map_err(|why| section.mistake("pattern", why, Some("a regular expression"))).ok()
    });
    let rule = TicketRule { tracker: tracker?, pattern: pattern?, example: example?, url, services, whole: whole? };
    if !rule.matches(&rule.example) {
        section.mistake("example", "does not match the pattern", None);
    }
    Some(rule)
}

fn read_url(section: &Section<'_>) -> Option<String> {
    let url: String = section.optional("url")?;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if !is_web || !url.bytes().all(|b| b.is_ascii_graphic()) {
        section.mistake("url", "must be a URL that begins with https:// or http://", None);
    }
    if url.matches(PLACE).count() != 1 {
        let hint = "such as https://tracker.example/browse/{ticket}";
        section.mistake("url", "must hold {ticket} once", Some(hint));
    }
    Some(url)
}

/// Those named, and those of the teams named.
fn read_services(
    section: &Section<'_>,
    teams: &Heads<'_>,
    services: &[ServiceConfig],
) -> Option<BTreeSet<ServiceName>> {
    if !section.has("services") && !section.has("teams") {
        return None;
    }
    let mut served: BTreeSet<ServiceName> = section.list("services").into_iter().collect();
    for name in &served {
        if !services.iter().any(|service| service.name == *name) {
            name::no_service(section, name, services);
        }
    }
    for wanted in section.list::<String>("teams") {
        match teams.iter().find(|(_, team)| team.name == wanted) {
            Some((_, team)) => served.extend(team.services.iter().cloned()),
            None => {
                let known = teams.iter().map(|(_, team)| team.name.as_str());
                name::unknown(section, "teams", "no team is named", &wanted, known);
            }
        }
    }
    Some(served)
}

/// The pattern compiled to match a whole text. It is compiled alone first, so that it can't close our group.
pub(super) fn whole_match(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    build(pattern)
        .and_then(|_| build(&format!(r"\A(?:{pattern})\z")))
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}
