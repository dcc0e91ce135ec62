//! Reading the `[[schedule]]` tables, every mistake at once. What an address or a name may be is decided here, before
//! anything is asked of anybody.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::time::Duration;

use calcard::common::timezone::Tz;
use http::Uri;

use super::{
    ApiSource, AuthorizationScheme, CalendarAuthorization, CalendarPlace, CalendarSource, CredentialName,
    PersonMapping, PersonRule, ScheduleConfig, ScheduleSource, WhoRule,
};
use crate::config::reader::Section;

const PAGERDUTY_URL: &str = "https://api.pagerduty.com";
const OPSGENIE_URL: &str = "https://api.opsgenie.com";
const SCHEDULES_MAX: usize = 100;
/// Entries of one table of persons.
const PERSONS_MAX: usize = 2_000;
const NAME_BYTES_MAX: usize = 63;
const REFRESH_S: RangeInclusive<u64> = 15..=3_600;
/// Longest use of an old answer: a day.
const STALE_MAX_S: RangeInclusive<u64> = 30..=86_400;

/// Reads all `[[schedule]]` tables of `root`; there may be none.
pub fn read_schedules(root: &Section<'_>) -> Vec<ScheduleConfig> {
    let sections = root.sections("schedule");
    if sections.len() > SCHEDULES_MAX {
        root.mistake("schedule", format_args!("there may be at most {SCHEDULES_MAX}"), None);
    }
    let mut schedules: Vec<ScheduleConfig> = Vec::new();
    for section in sections {
        let Some(schedule) = read_schedule(&section) else { continue };
        if schedules.iter().any(|known| known.name == schedule.name) {
            section.mistake("name", format_args!("\"{}\" stands twice", schedule.name), None);
        }
        schedules.push(schedule);
    }
    schedules
}

/// Which service a table speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PagerDuty,
    Opsgenie,
    ICalendar,
}

const KINDS: &[(&str, Kind)] =
    &[("pagerduty", Kind::PagerDuty), ("opsgenie", Kind::Opsgenie), ("icalendar", Kind::ICalendar)];

fn read_schedule(section: &Section<'_>) -> Option<ScheduleConfig> {
    let name = read_name(section);
    if !section.has("source") {
        section.missing("source");
    }
    let Some(kind) = section.choice("source", KINDS) else {
        // Which keys belong here is not known.
        section.ignore_unknown();
        return None;
    };
    let source = match kind {
        Kind::PagerDuty => read_api(section, PAGERDUTY_URL).map(ScheduleSource::PagerDuty),
        Kind::Opsgenie => read_api(section, OPSGENIE_URL).map(ScheduleSource::Opsgenie),
        Kind::ICalendar => read_calendar(section).map(ScheduleSource::ICalendar),
    };
    let ca = section.optional("ca");
    let names_ids = match &source {
        Some(ScheduleSource::PagerDuty(_)) | None => true,
        Some(ScheduleSource::Opsgenie(_)) => false,
        Some(ScheduleSource::ICalendar(calendar)) => calendar.who != WhoRule::Attendee,
    };
    let persons = read_persons(section, names_ids);
    let fallback_group = read_fallback(section);
    let (refresh, stale_max) = read_times(section, kind);
    Some(ScheduleConfig { name: name?, source: source?, ca, persons: persons?, fallback_group, refresh, stale_max })
}

fn read_name(section: &Section<'_>) -> Option<String> {
    let name: String = section.required("name")?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(word) {
        section.mistake("name", "must be 1 to 63 of a-z, 0-9, '-' and '_'", None);
    }
    Some(name)
}

fn read_api(section: &Section<'_>, usual: &str) -> Option<ApiSource> {
    let url: Option<Uri> = if section.has("url") { section.optional("url") } else { usual.parse().ok() };
    if let Some(url) = &url {
        check_url(section, url);
        if url.query().is_some() {
            section.mistake("url", "must not have a query: it is what the API's paths are added to", None);
        }
    }
    let schedule: Option<String> = section.required("schedule");
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if schedule.as_ref().is_some_and(|id| id.is_empty() || id.len() > 64 || !id.bytes().all(fits)) {
        section.mistake("schedule", "must be the schedule's id: 1 to 64 letters, digits, '-' and '_'", None);
    }
    let token_file = section.required("token_file");
    let url = url?.to_string().trim_end_matches('/').to_owned();
    Some(ApiSource { url, schedule: schedule?, token_file: token_file? })
}

/// As the client will do it: in the clear to this machine only, and no password in an address.
fn check_url(section: &Section<'_>, url: &Uri) {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if is_here => {}
        Some("http") => section.mistake("url", "http is for this machine only", Some("use https")),
        Some("webcal") => section.mistake("url", "must begin with https://", Some("write https in place of webcal")),
        Some(_) | None => section.mistake("url", "must begin with https://", None),
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        section.mistake("url", "must not carry a user or a password", Some("use token_file"));
    }
}

fn read_calendar(section: &Section<'_>) -> Option<CalendarSource> {
    let (url, file): (Option<Uri>, Option<CredentialName>) = (section.optional("url"), section.optional("url_file"));
    if let Some(url) = &url {
        check_url(section, url);
    }
    let place = match (section.has("url"), section.has("url_file")) {
        (true, false) => url.map(CalendarPlace::Url),
        (false, true) => file.map(CalendarPlace::UrlFile),
        (true, true) => {
            section.mistake("url_file", "stands beside url", Some("keep one of them"));
            None
        }
        (false, false) => {
            section.mistake("url", "is missing", Some("or url_file, for an address that is itself a secret"));
            None
        }
    };
    let authorization = read_authorization(section);
    let who = read_who(section);
    let time_zone: Option<String> = section.optional("time_zone");
    let time_zone = time_zone.and_then(|name| {
        Tz::from_str(&name).map_err(|_| section.mistake("time_zone", "is no name of the IANA time zones", None)).ok()
    });
    Some(CalendarSource { place: place?, authorization, who: who?, time_zone })
}

fn read_authorization(section: &Section<'_>) -> Option<CalendarAuthorization> {
    const SCHEMES: &[(&str, AuthorizationScheme)] =
        &[("bearer", AuthorizationScheme::Bearer), ("basic", AuthorizationScheme::Basic)];
    let scheme = section.choice("authorization", SCHEMES);
    let token_file = section.optional("token_file");
    if section.has("authorization") && !section.has("token_file") {
        section.missing("token_file");
    }
    Some(CalendarAuthorization { scheme: scheme.unwrap_or(AuthorizationScheme::Bearer), token_file: token_file? })
}

fn read_who(section: &Section<'_>) -> Option<WhoRule> {
    let by_title = section.choice("who", &[("attendee", false), ("summary", true)]).unwrap_or(false);
    let pattern = section.optional("summary_pattern");
    match (by_title, section.has("summary_pattern")) {
        (false, false) => Some(WhoRule::Attendee),
        (true, true) => pattern.map(WhoRule::Summary),
        (true, false) => {
            section.missing("summary_pattern");
            None
        }
        (false, true) => {
            section.mistake("summary_pattern", "is for who = \"summary\"", None);
            None
        }
    }
}

/// `names_ids`: the source says something else of a person than an address.
fn read_persons(section: &Section<'_>, names_ids: bool) -> Option<PersonMapping> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Word {
        Email,
        Id,
        Login,
        Table,
    }
    const WORDS: &[(&str, Word)] =
        &[("email", Word::Email), ("id", Word::Id), ("login", Word::Login), ("table", Word::Table)];
    let word = section.choice("person", WORDS).unwrap_or(Word::Email);
    let prefix: Option<String> = section.optional("person_prefix");
    let domain = if word == Word::Login { read_domain(section) } else { None };
    let exact = section.entries("persons");
    if exact.len() > PERSONS_MAX {
        section.mistake("persons", format_args!("there may be at most {PERSONS_MAX}"), None);
    }
    if word == Word::Table && exact.is_empty() {
        section.mistake("persons", "person = \"table\" needs this table", None);
    }
    if word == Word::Id && !names_ids {
        section.mistake("person", "this source names its people by their addresses only", Some("use \"email\""));
    }
    let rule = match word {
        Word::Email => PersonRule::Email,
        Word::Id => PersonRule::Id,
        Word::Login => PersonRule::Login { domain: domain? },
        Word::Table => PersonRule::Table,
    };
    Some(PersonMapping { rule, prefix: prefix.unwrap_or_default(), exact: exact.into_iter().collect() })
}

/// Without it `alice` of any domain would be ours.
fn read_domain(section: &Section<'_>) -> Option<String> {
    let domain: String = section.required("email_domain")?;
    if domain.is_empty() || domain.contains('@') || !domain.bytes().all(|b| b.is_ascii_graphic()) {
        section.mistake("email_domain", "must be a domain, such as example.com", None);
    }
    Some(domain)
}

fn read_fallback(section: &Section<'_>) -> Option<String> {
    let group: String = section.optional("fallback_group")?;
    if group.is_empty() {
        section.mistake("fallback_group", "must not be empty", None);
    }
    Some(group)
}

/// An answer without the times of shifts ages faster.
fn read_times(section: &Section<'_>, kind: Kind) -> (Duration, Duration) {
    let usual = if kind == Kind::Opsgenie { 900 } else { 3_600 };
    let refresh = section.integer("refresh_s", REFRESH_S, 60);
    let stale_max = section.integer("stale_max_s", STALE_MAX_S, usual.max(refresh.saturating_mul(2)));
    if stale_max < refresh.saturating_mul(2) {
        section.mistake("stale_max_s", "must be at least twice refresh_s", None);
    }
    (Duration::from_secs(refresh), Duration::from_secs(stale_max))
}
