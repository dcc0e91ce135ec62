//! The `[[signals]]` tables: which transmitters of shared signals are believed, of whose people they may speak, and how
//! their events come: pushed here (RFC 8935) or fetched there (RFC 8936).

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::identity::is_http_url;
use super::reader::Section;
use crate::domain::{Audience, Issuer, TransmitterName};
use crate::identity::IssuerConfig;
use crate::identity::signals::{SubjectMapping, TransmitterConfig};

/// Between two polls that brought nothing.
const POLL_EVERY_S: std::ops::RangeInclusive<u64> = 1..=3_600;
const POLL_EVERY_S_DEFAULT: u64 = 15;
/// Events that one poll may bring.
const POLL_EVENTS_MAX: std::ops::RangeInclusive<u64> = 1..=100;
const POLL_EVENTS_MAX_DEFAULT: u64 = 25;

/// One transmitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalsConfig {
    pub name: TransmitterName,
    pub transmitter: TransmitterConfig,
    pub delivery: Delivery,
}

/// How its events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It calls `POST /v1/signals/{name}`.
    Push {
        /// The secret that it must show, in a file of mode 0600; absent: the signature of each event is all that is asked for.
        token_file: Option<PathBuf>,
    },
    Poll(PollConfig),
}

/// Where and how events are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollConfig {
    pub url: Uri,
    /// The secret that is shown there, in a file of mode 0600.
    pub token_file: Option<PathBuf>,
    /// Between two polls that brought nothing.
    pub every: Duration,
    pub events_max: u32,
    /// Whether the transmitter may hold its answer back until it has an event.
    pub long: bool,
}

/// Reads all `[[signals]]` tables of `root`. What they say of people goes by the `issuers`.
pub(super) fn read_signals(root: &Section<'_>, issuers: &[IssuerConfig]) -> Vec<SignalsConfig> {
    let mut all: Vec<SignalsConfig> = Vec::new();
    for section in root.sections("signals") {
        let Some(signals) = read_one(&section, issuers) else { continue };
        if all.iter().any(|known| known.name == signals.name) {
            section.mistake("name", "stands twice", None);
        }
        if all.iter().any(|known| known.transmitter.issuer == signals.transmitter.issuer) {
            section.mistake("issuer", "stands twice", None);
        }
        all.push(signals);
    }
    all
}

fn read_one(section: &Section<'_>, issuers: &[IssuerConfig]) -> Option<SignalsConfig> {
    let name = section.required("name");
    let issuer: Option<Issuer> = section.required("issuer");
    let audience: Option<Audience> = section.required("audience");
    let subjects = read_subjects(section, issuer.as_ref(), issuers);
    let keys = read_url(section, "jwks_url");
    let algorithms: Vec<_> = section.list("algorithms");
    let leeway =
        section.integer("clock_leeway_s", 0..=IssuerConfig::CLOCK_LEEWAY_S_MAX, IssuerConfig::CLOCK_LEEWAY_S_DEFAULT);
    let ca = section.path("ca");
    let delivery = read_delivery(section);
    let (issuer, audience) = (issuer?, audience?);
    let defaults = IssuerConfig::new(issuer.clone(), audience.clone());
    let algorithms = if algorithms.is_empty() { defaults.algorithms } else { algorithms.into_iter().collect() };
    let transmitter =
        TransmitterConfig { issuer, audience, subjects: subjects?, algorithms, clock_leeway_s: leeway, keys, ca };
    Some(SignalsConfig { name: name?, transmitter, delivery: delivery? })
}

/// The `[[issuer]]` whose people are spoken of: the transmitter's own unless `subjects` names another.
fn read_subjects(section: &Section<'_>, issuer: Option<&Issuer>, issuers: &[IssuerConfig]) -> Option<SubjectMapping> {
    if issuer.is_some_and(|issuer| !is_http_url(issuer.as_str())) {
        section.mistake("issuer", "must begin with https:// or http://", None);
    }
    let named: Option<Issuer> = section.optional("subjects");
    let (key, wanted) = if section.has("subjects") { ("subjects", named?) } else { ("issuer", issuer?.clone()) };
    let Some(known) = issuers.iter().find(|known| known.issuer == wanted) else {
        let hint = Some("name the url of the [[issuer]] whose people it speaks of as subjects");
        section.mistake(key, "is the url of no [[issuer]]", hint);
        return None;
    };
    Some(SubjectMapping {
        issuer: known.issuer.clone(),
        person_claim: known.person_claim.clone(),
        naming: known.naming(),
    })
}

fn read_delivery(section: &Section<'_>) -> Option<Delivery> {
    match (section.section("push"), section.section("poll")) {
        (Some(push), None) => Some(Delivery::Push { token_file: push.path("token_file") }),
        (None, Some(poll)) => read_poll(&poll).map(Delivery::Poll),
        (Some(_), Some(_)) => {
            section.mistake("poll", "stands beside push", Some("an event comes one way: keep one of both"));
            None
        }
        (None, None) => {
            let hint = Some("push = {} for events that are sent here, poll = { url = \"…\" } for those to be fetched");
            section.mistake("push", "or poll is missing", hint);
            None
        }
    }
}

fn read_poll(section: &Section<'_>) -> Option<PollConfig> {
    if !section.has("url") {
        section.missing("url");
    }
    let url = read_url(section, "url");
    let token_file = section.path("token_file");
    let every = section.integer("every_s", POLL_EVERY_S, POLL_EVERY_S_DEFAULT);
    let events_max = section.integer("events_max", POLL_EVENTS_MAX, POLL_EVENTS_MAX_DEFAULT);
    let long = section.boolean("long", true);
    let events_max = u32::try_from(events_max).unwrap_or(u32::MAX);
    Some(PollConfig { url: url?, token_file, every: Duration::from_secs(every), events_max, long })
}

fn read_url(section: &Section<'_>, key: &'static str) -> Option<Uri> {
    let url: Option<Uri> = section.optional(key);
    if url.as_ref().is_some_and(|url| !matches!(url.scheme_str(), Some("https" | "http"))) {
        section.mistake(key, "must begin with https:// or http://", None);
    }
    url
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    fn read(text: &str) -> Result<Vec<SignalsConfig>, String> {
        let mut issuer = IssuerConfig::new("https://idp.test".parse().unwrap(), "control".parse().unwrap());
        issuer.person_prefix = "idp|".to_owned();
        let read = |root: &Section<'_>| Some(read_signals(root, std::slice::from_ref(&issuer)));
        reader::parse(Path::new("control.toml"), text, read).map_err(|error| error.to_string())
    }

    #[test]
    fn a_transmitter_speaks_of_the_people_of_its_issuer() {
        let text = "[[signals]]\nname = \"idp\"\nissuer = \"https://idp.test\"\naudience = \"us\"\npush = {}\n\
                    [[signals]]\nname = \"risk\"\nissuer = \"https://risk.test\"\nsubjects = \"https://idp.test\"\n\
                    audience = \"us\"\npoll = { url = \"https://risk.test/poll\", token_file = \"t\", long = false }\n";
        let read = read(text).unwrap();
        let subjects = &read[0].transmitter.subjects;
        assert_eq!((subjects.issuer.as_str(), subjects.naming.prefix.as_str()), ("https://idp.test", "idp|"));
        assert_eq!(read[1].transmitter.subjects, *subjects);
        assert_eq!(read[0].delivery, Delivery::Push { token_file: None });
        let Delivery::Poll(poll) = &read[1].delivery else { panic!() };
        assert_eq!((poll.every.as_secs(), poll.events_max, poll.long), (15, 25, false));
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        for (text, wanted) in [
            ("issuer = \"https://other.test\"\npush = {}", "issuer: is the url of no [[issuer]]"),
            ("issuer = \"https://idp.test\"", "push: or poll is missing"),
            ("issuer = \"https://idp.test\"\npush = {}\npoll = { url = \"https://x\" }", "stands beside push"),
            ("issuer = \"https://idp.test\"\npoll = {}", "poll.url: is missing"),
            ("issuer = \"https://idp.test\"\npoll = { url = \"ftp://x\" }", "must begin with https:// or http://"),
        ] {
            let error = read(&format!("[[signals]]\nname = \"idp\"\naudience = \"us\"\n{text}\n")).unwrap_err();
            assert!(error.contains(wanted), "{wanted:?} is not in {error}");
        }
    }
}
