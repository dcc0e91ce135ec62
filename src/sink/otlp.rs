//! OTLP logs over HTTP in its JSON encoding (OTLP 1.x, `POST …/v1/logs`).
//!
//! Any answer but 2xx is tried again, after `Retry-After` where the receiver says so: a receiver that is set up wrongly must
//! not cost a line. Records that a receiver counts as rejected in a 2xx (partial success) are not given again, as the
//! specification demands, and counted, unless this sink must have every line. A batch that is too large (413) is halved.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Record, Sender, SinkError, Taken, client_tls, client_tls_anew, credential};
use crate::clock::Clock;
use crate::config::sinks::OtlpOutlet;
use crate::http::{Answer, Client, HttpError, Limits};

/// See the module.
#[derive(Debug)]
pub struct Otlp {
    config: OtlpOutlet,
    sender: Sender,
    clock: Clock,
    limits: Limits,
    must_take: bool,
    /// Made anew after a failure, from the files as they then are.
    client: Option<Client>,
}

impl Otlp {
    pub(super) fn new(
        config: &OtlpOutlet,
        sender: &Sender,
        clock: &Clock,
        timeout: Duration,
        must_take: bool,
    ) -> Result<Self, SinkError> {
        if let Some(tls) = &config.tls {
            client_tls(tls)?;
        }
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits { connect_ms_max: ms, response_ms_max: ms, total_ms_max: ms, ..Limits::DEFAULT };
        let (config, sender, clock) = (config.clone(), sender.clone(), clock.clone());
        Ok(Self { config, sender, clock, limits, must_take, client: None })
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Taken, SinkError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.client().await?,
        };
        let mut taken = Taken::default();
        let mut parts = vec![records];
        while let Some(part) = parts.pop() {
            match self.post(&client, part).await {
                Ok(rejected) => taken.rejected = taken.rejected.saturating_add(rejected),
                Err(SinkError::Status { status: 413, .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
        }
        self.client = Some(client);
        Ok(taken)
    }

    async fn client(&self) -> Result<Client, SinkError> {
        let tls = match &self.config.tls {
            Some(tls) => Some(client_tls_anew(tls).await?),
            None => None,
        };
        Ok(Client::new(tls, self.limits))
    }

    /// How many records were rejected.
    async fn post(&self, client: &Client, records: &[Record]) -> Result<u64, SinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(crate::http::USER_AGENT));
        if let Some(file) = &self.config.token_file {
            let token = credential(file).await?;
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| SinkError::Connection(HttpError::RequestHeader))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let body = serde_json::to_vec(&self.request(records)).map_err(|_| HttpError::RequestJson)?;
        let answer = client.send(Method::POST, &self.config.url, headers, Bytes::from(body)).await?;
        if !answer.status.is_success() {
            return Err(SinkError::Status { status: answer.status.as_u16(), retry_after: retry_after(&answer) });
        }
        match rejected(&answer) {
            0 => Ok(0),
            count if self.must_take => Err(SinkError::Rejected(count)),
            count => Ok(count.min(records.len() as u64)),
        }
    }

    fn request<'a>(&'a self, records: &'a [Record]) -> Request<'a> {
        let observed = self.clock.wall().unix_ms();
        let logs = records.iter().map(|record| LogRecord::of(record, observed)).collect();
        let attributes = [("service.name", self.sender.program), ("service.instance.id", &self.sender.instance)];
        Request {
            resource_logs: [ResourceLogs {
                resource: Resource { attributes: attributes.map(|(key, value)| Attribute::new(key, value)) },
                scope_logs: [ScopeLogs {
                    scope: Scope { name: "breakglass.audit", version: env!("CARGO_PKG_VERSION") },
                    log_records: logs,
                }],
            }],
        }
    }
}

/// Whole seconds (RFC 9110 §10.2.3), with the statuses that OTLP names for it.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let named = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let value = named.contains(&answer.status).then(|| answer.headers.get(RETRY_AFTER)).flatten()?;
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A body that is no JSON, such as an empty one, names none.
fn rejected(answer: &Answer) -> u64 {
    let response: Response = serde_json::from_slice(&answer.body).unwrap_or_default();
    match response.partial_success.unwrap_or_default().rejected_log_records {
        Some(Int64::Text(text)) => text.parse().unwrap_or(0),
        Some(Int64::Number(number)) => number,
        None => 0,
    }
}

fn nanos(unix_ms: i64) -> String {
    format!("{}000000", unix_ms.max(0))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_logs: [ResourceLogs<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    resource: Resource<'a>,
    scope_logs: [ScopeLogs<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    scope: Scope,
    log_records: Vec<LogRecord<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    time_unix_nano: String,
    observed_time_unix_nano: String,
    severity_number: u8,
    severity_text: &'static str,
    event_name: String,
    body: AnyValue<'a>,
    attributes: [Attribute<'a>; 1],
}

impl<'a> LogRecord<'a> {
    fn of(record: &'a Record, observed_ms: i64) -> Self {
        let (severity_number, severity_text) = record.severity.otlp();
        Self {
            time_unix_nano: nanos(record.at.unix_ms()),
            observed_time_unix_nano: nanos(observed_ms),
            severity_number,
            severity_text,
            event_name: format!("breakglass.{}", record.kind),
            // Lines are JSON, which is UTF-8.
            body: AnyValue { string_value: String::from_utf8_lossy(&record.text) },
            attributes: [Attribute::new("log.record.uid", &record.uid)],
        }
    }
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: AnyValue<'a>,
}

impl<'a> Attribute<'a> {
    fn new(key: &'static str, value: &'a str) -> Self {
        Self { key, value: AnyValue { string_value: value.into() } }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    string_value: std::borrow::Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    partial_success: Option<PartialSuccess>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    rejected_log_records: Option<Int64>,
}

/// Protobuf's JSON writes 64-bit numbers as text, and reads both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Int64 {
    Text(String),
    Number(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_read_in_either_spelling() {
        let answer = |body: &'static str| Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        for (body, count) in [
            ("", 0),
            ("{}", 0),
            ("{\"partialSuccess\":null}", 0),
            ("{\"partialSuccess\":{\"rejectedLogRecords\":\"3\",\"errorMessage\":\"x\"}}", 3),
            ("{\"partialSuccess\":{\"rejectedLogRecords\":2}}", 2),
            ("{\"partialSuccess\":{\"errorMessage\":\"a warning\"}}", 0),
        ] {
            assert_eq!(rejected(&answer(body)), count, "{body}");
        }
    }
}
