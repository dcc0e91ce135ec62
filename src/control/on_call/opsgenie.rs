//! Opsgenie's "who is on call" API: `GET /v2/schedules/{id}/on-calls?flat=true` (docs.opsgenie.com).
//!
//! It names addresses and no times: who was on call stays so until the next answer.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use super::fetch::{FetchError, get, sensitive};
use super::persons::{Found, Handle, Turn};
use crate::config::schedule::ApiSource;
use crate::http::Client;
use crate::secret::Secret;

/// People on call at once.
const RECIPIENTS_MAX: usize = 2_000;

#[derive(Deserialize)]
struct Document {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "_parent")]
    parent: Parent,
    #[serde(rename = "onCallRecipients")]
    recipients: Vec<String>,
}

#[derive(Deserialize)]
struct Parent {
    id: String,
    enabled: bool,
}

pub(super) fn headers(key: &Secret<String>) -> Result<HeaderMap, FetchError> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, sensitive(&format!("GenieKey {}", key.expose()))?);
    Ok(headers)
}

pub(super) async fn fetch(client: &Client, source: &ApiSource, headers: HeaderMap) -> Result<Found, FetchError> {
    let url = format!("{}/v2/schedules/{}/on-calls?scheduleIdentifierType=id&flat=true", source.url, source.schedule);
    let url = url.parse().map_err(|_| FetchError::Address)?;
    let Document { data } = get(client, &url, headers).await?.json()?;
    if data.parent.id != source.schedule {
        return Err(FetchError::Malformed("the answer is about another schedule"));
    }
    if data.recipients.len() > RECIPIENTS_MAX {
        return Err(FetchError::Malformed("the answer names more people than are read"));
    }
    let mut found = Found::default();
    // A schedule that is switched off puts nobody on call.
    for recipient in data.recipients.iter().filter(|_| data.parent.enabled) {
        match Handle::of_email(recipient) {
            Some(handle) => found.turns.push(Turn { handle, from: None, until: None }),
            None => found.unread += 1,
        }
    }
    Ok(found)
}
