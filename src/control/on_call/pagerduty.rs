//! PagerDuty's REST API v2, `GET /oncalls`: the turns of one schedule with their times, page by page
//! (developer.pagerduty.com/api-reference, "List all of the on-calls", "Pagination").
//!
//! The filter is PagerDuty's; that an entry is of our schedule is checked here all the same.

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Deserializer};

use super::fetch::{FetchError, Window, get, sensitive};
use super::persons::{Found, Handle, Turn};
use crate::config::schedule::ApiSource;
use crate::domain::WallTime;
use crate::http::Client;
use crate::secret::Secret;

/// The most that PagerDuty gives at once.
const PAGE_ENTRIES: usize = 100;
const PAGES_MAX: usize = 20;

#[derive(Deserialize)]
struct Page {
    oncalls: Vec<Entry>,
    more: bool,
}

/// A turn, once for each place of an escalation policy that names the schedule.
#[derive(Deserialize)]
struct Entry {
    user: User,
    /// Null for somebody who is always on call, by an escalation policy alone.
    #[serde(deserialize_with = "Option::deserialize")]
    schedule: Option<Reference>,
    /// Null: since ever.
    #[serde(deserialize_with = "instant")]
    start: Option<WallTime>,
    /// Null: for ever.
    #[serde(deserialize_with = "instant")]
    end: Option<WallTime>,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    /// Only there because users are asked to be included.
    email: Option<String>,
}

/// Null or RFC 3339.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WallTime>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let parse = |text: String| chrono::DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom);
    let time = text.map(parse).transpose()?;
    Ok(time.map(|time| WallTime::from_unix_ms(time.timestamp_millis())))
}

pub(super) fn headers(token: &Secret<String>) -> Result<HeaderMap, FetchError> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, sensitive(&format!("Token token={}", token.expose()))?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.pagerduty+json;version=2"));
    Ok(headers)
}

pub(super) async fn fetch(
    client: &Client,
    source: &ApiSource,
    headers: HeaderMap,
    window: Window,
) -> Result<Found, FetchError> {
    let mut found = Found::default();
    for page in 0..PAGES_MAX {
        let url = format!(
            "{}/oncalls?schedule_ids%5B%5D={}&include%5B%5D=users&time_zone=UTC&since={}&until={}&limit={PAGE_ENTRIES}&offset={}",
            source.url,
            source.schedule,
            window.from.rfc3339(),
            window.until.rfc3339(),
            page * PAGE_ENTRIES,
        );
        let url = url.parse().map_err(|_| FetchError::Address)?;
        let answered: Page = get(client, &url, headers.clone()).await?.json()?;
        let more = answered.more;
        take(answered, source, &mut found);
        if !more {
            return Ok(found);
        }
    }
    Err(FetchError::Malformed("the answer has more pages than are read"))
}

fn take(page: Page, source: &ApiSource, found: &mut Found) {
    for entry in page.oncalls {
        if entry.schedule.is_none_or(|schedule| schedule.id != source.schedule) {
            found.unread += 1;
            continue;
        }
        let handle = Handle { email: entry.user.email, id: Some(entry.user.id) };
        found.turns.push(Turn { handle, from: entry.start, until: entry.end });
    }
}
