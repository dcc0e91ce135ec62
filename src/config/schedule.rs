//! The `[[schedule]]` tables of the policy: where it stands who is on call, and what its people are called here.
//!
//! A policy is applied from afar and served from a database, so it must never name a file of the control plane's machine:
//! tokens, private addresses and authorities are names within the one folder that the control plane's own file sets aside
//! (`credentials`). No secret stands in the policy.

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use calcard::common::timezone::Tz;
use http::Uri;
use regex::Regex;

pub use read::read_schedules;

use crate::domain::Person;

/// Greatest size of a compiled summary pattern.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// One schedule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleConfig {
    pub name: String,
    pub source: ScheduleSource,
    /// The authorities to trust for this source, instead of the system's: a PEM file of the credentials folder.
    pub ca: Option<CredentialName>,
    pub persons: PersonMapping,
    /// Whose members count as on call while the schedule is not known; absent: nobody does then.
    pub fallback_group: Option<String>,
    /// Between two fetches when all is well.
    pub refresh: Duration,
    /// How long an answer is used when no newer one can be had.
    pub stale_max: Duration,
}

/// Where the schedule is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleSource {
    PagerDuty(ApiSource),
    Opsgenie(ApiSource),
    ICalendar(CalendarSource),
}

/// A schedule behind an API that takes a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSource {
    /// Scheme, host, and perhaps a path without a closing slash.
    pub url: String,
    /// The schedule's id there: letters, digits, `-` and `_`.
    pub schedule: String,
    pub token_file: CredentialName,
}

/// A calendar (RFC 5545) that is fetched whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarSource {
    pub place: CalendarPlace,
    pub authorization: Option<CalendarAuthorization>,
    pub who: WhoRule,
    /// Where whole days and times without a zone are meant; absent: what the calendar says of itself.
    pub time_zone: Option<Tz>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalendarPlace {
    Url(Uri),
    /// Private addresses are secrets: the file holds the URL.
    UrlFile(CredentialName),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarAuthorization {
    pub scheme: AuthorizationScheme,
    pub token_file: CredentialName,
}

/// RFC 6750 §2.1 or RFC 7617.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationScheme {
    /// The file holds the token.
    Bearer,
    /// The file holds `user:password`.
    Basic,
}

/// Who of an event is on call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhoRule {
    /// Everybody it lists as attending.
    Attendee,
    /// The one the pattern finds in its title.
    Summary(SummaryPattern),
}

/// A pattern for a whole title, whose one group is the person.
#[derive(Debug, Clone)]
pub struct SummaryPattern {
    text: String,
    whole: Regex,
}

impl PartialEq for SummaryPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SummaryPattern {}

impl SummaryPattern {
    /// What the group finds in `title`.
    pub fn find<'t>(&self, title: &'t str) -> Option<&'t str> {
        Some(self.whole.captures(title)?.get(1)?.as_str().trim())
    }
}

impl FromStr for SummaryPattern {
    type Err = String;

    /// The pattern is compiled alone first, so that it can't close our group.
    fn from_str(pattern: &str) -> Result<Self, String> {
        let build = |text: &str| regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        let whole = build(pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z"))).map_err(|error| {
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        if whole.captures_len() != 2 {
            return Err("must have exactly one group, which finds the person".to_owned());
        }
        Ok(Self { text: pattern.to_owned(), whole })
    }
}

/// How somebody of the source is called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonMapping {
    pub rule: PersonRule,
    /// Put before what the rule gives, as an issuer's `person_prefix` is.
    pub prefix: String,
    /// Looked at first: what the source says, to whom it means.
    pub exact: BTreeMap<String, Person>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonRule {
    /// The e-mail address, whatever the case of its letters.
    Email,
    /// What the source calls its person, byte for byte.
    Id,
    /// What stands before the `@` of an address of this one domain, whatever the case of its letters.
    Login { domain: String },
    /// Only who stands in the table.
    Table,
}

/// The name of a file in the credentials folder: no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialName(String);

impl CredentialName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CredentialName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.bytes().all(fits) {
            return Err("must be the name of a file in the control plane's credentials folder: no path, letters, \
                        digits, '.', '-' and '_'");
        }
        Ok(Self(text.to_owned()))
    }
}
