//! Asking a source once: credentials, one or a few calls, an answer with times. What can go wrong has a name.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::calendar::{self, CalendarError};
use super::credential::{self, CredentialError};
use super::persons::Found;
use super::{opsgenie, pagerduty};
use crate::config::schedule::{
    AuthorizationScheme, CalendarPlace, CalendarSource, CredentialName, ScheduleConfig, ScheduleSource,
};
use crate::domain::WallTime;
use crate::http::{Answer, Client, ClientTls, HttpError, Limits, TlsError, TlsRoots};
use crate::secret::Secret;

/// How long one fetch of a schedule may take, all its calls together.
const FETCH_MS_MAX: u64 = 45_000;

/// What is to be known of a schedule: who is on duty within this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: WallTime,
    /// Excluded.
    pub(super) until: WallTime,
}

/// Why a schedule could not be fetched. No message quotes an answer, an address or a secret.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("its credential can't be used")]
    Credential(#[from] CredentialError),
    #[error("its authorities can't be used")]
    Authorities(#[from] TlsError),
    #[error("the address is not a URL that can be called")]
    Address,
    #[error("it can't be fetched")]
    Http(#[from] HttpError),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("it took longer than {FETCH_MS_MAX} ms")]
    TimedOut,
    #[error("{0}")]
    Calendar(String),
}

/// The kinds of failure that a metric tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    Credential,
    Unreachable,
    TimedOut,
    Unauthorised,
    NotFound,
    RateLimited,
    Status,
    TooLarge,
    Malformed,
}

impl FailureKind {
    pub const ALL: [Self; 9] = [
        Self::Credential,
        Self::Unreachable,
        Self::TimedOut,
        Self::Unauthorised,
        Self::NotFound,
        Self::RateLimited,
        Self::Status,
        Self::TooLarge,
        Self::Malformed,
    ];

    /// Fit for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Unauthorised => "unauthorised",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
        }
    }

    const fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unauthorised,
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            _ => Self::Status,
        }
    }
}

impl From<CalendarError> for FetchError {
    fn from(error: CalendarError) -> Self {
        Self::Calendar(error.to_string())
    }
}

impl FetchError {
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Credential(_) | Self::Authorities(_) | Self::Address => FailureKind::Credential,
            Self::Malformed(_) | Self::Calendar(_) => FailureKind::Malformed,
            Self::TimedOut => FailureKind::TimedOut,
            Self::Http(error) => match error {
                HttpError::Status(answer) => FailureKind::of_status(answer.status),
                HttpError::TimedOut { .. } => FailureKind::TimedOut,
                HttpError::TooLarge { .. } => FailureKind::TooLarge,
                HttpError::Json { .. } => FailureKind::Malformed,
                HttpError::RequestHeader | HttpError::RequestJson | HttpError::Url(_) => FailureKind::Credential,
                HttpError::CleartextRefused { .. }
                | HttpError::NoTls { .. }
                | HttpError::Resolve { .. }
                | HttpError::Connect { .. }
                | HttpError::Tls { .. }
                | HttpError::Protocol { .. }
                | HttpError::Exchange { .. } => FailureKind::Unreachable,
            },
        }
    }

    /// How long the source wants to be left alone, where it says so in seconds: `Retry-After` (RFC 9110 §10.2.3), or
    /// PagerDuty's own `ratelimit-reset`.
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Http(HttpError::Status(answer)) = self else { return None };
        let told = |name: HeaderName| answer.headers.get(name)?.to_str().ok()?.trim().parse().ok();
        let limited = answer.status == StatusCode::TOO_MANY_REQUESTS;
        let reset = || limited.then(|| told(HeaderName::from_static("ratelimit-reset"))).flatten();
        told(RETRY_AFTER).or_else(reset).map(Duration::from_secs)
    }
}

/// What a fetch is made with.
#[derive(Debug, Clone)]
pub(super) struct Fetcher<'a> {
    pub(super) client: &'a Client,
    pub(super) limits: Limits,
    pub(super) credentials: Option<&'a Path>,
}

impl Fetcher<'_> {
    /// Who is on duty within `window`, as the source has it now.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(super) async fn fetch(&self, config: &ScheduleConfig, window: Window) -> Result<Found, FetchError> {
        let within = Duration::from_millis(FETCH_MS_MAX);
        tokio::time::timeout(within, self.ask(config, window)).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn ask(&self, config: &ScheduleConfig, window: Window) -> Result<Found, FetchError> {
        let client = self.client_for(config).await?;
        match &config.source {
            ScheduleSource::PagerDuty(source) => {
                let headers = pagerduty::headers(&self.secret(&source.token_file).await?)?;
                pagerduty::fetch(&client, source, headers, window).await
            }
            ScheduleSource::Opsgenie(source) => {
                let headers = opsgenie::headers(&self.secret(&source.token_file).await?)?;
                opsgenie::fetch(&client, source, headers).await
            }
            ScheduleSource::ICalendar(source) => self.calendar(&client, source, window).await,
        }
    }

    /// Authorities of its own are read for each fetch, as credentials are.
    async fn client_for(&self, config: &ScheduleConfig) -> Result<Client, FetchError> {
        let Some(ca) = &config.ca else { return Ok(self.client.clone()) };
        let path = credential::locate(self.credentials, ca)?;
        let tls = tokio::task::spawn_blocking(|| ClientTls::new(TlsRoots::from_pem_files([path])?, None)).await;
        let tls = tls.map_err(|_| FetchError::Malformed("the authorities could not be read"))??;
        Ok(Client::new(Some(tls), self.limits))
    }

    async fn secret(&self, name: &CredentialName) -> Result<Secret<String>, CredentialError> {
        credential::read(self.credentials, name).await
    }

    async fn calendar(&self, client: &Client, source: &CalendarSource, window: Window) -> Result<Found, FetchError> {
        let url = match &source.place {
            CalendarPlace::Url(url) => url.clone(),
            CalendarPlace::UrlFile(name) => address(&self.secret(name).await?)?,
        };
        let mut headers = HeaderMap::new();
        if let Some(own) = &source.authorization {
            headers.insert(AUTHORIZATION, authorization(own.scheme, &self.secret(&own.token_file).await?)?);
        }
        let body = get(client, &url, headers).await?.body;
        let source = source.clone();
        // Parsing a large calendar takes a while, and what panics there ends there.
        let read = tokio::task::spawn_blocking(move || calendar::turns(&body, &source, window)).await;
        Ok(read.map_err(|_| FetchError::Malformed("the calendar could not be read"))??)
    }
}

/// Private addresses are often given out as `webcal://`, which is https.
fn address(secret: &Secret<String>) -> Result<Uri, FetchError> {
    let text = secret.expose().trim();
    let text = text.strip_prefix("webcal://").map_or_else(|| text.to_owned(), |rest| format!("https://{rest}"));
    text.parse().map_err(|_| FetchError::Address)
}

fn authorization(scheme: AuthorizationScheme, secret: &Secret<String>) -> Result<HeaderValue, FetchError> {
    use base64::Engine as _;
    let secret = secret.expose();
    sensitive(&match scheme {
        AuthorizationScheme::Bearer => format!("Bearer {secret}"),
        AuthorizationScheme::Basic => {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(secret))
        }
    })
}

/// A header value that never shows itself.
pub(in crate::control) fn sensitive(text: &str) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| HttpError::RequestHeader)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A 2xx answer. Redirects are failures: a token must not follow one.
pub(super) async fn get(client: &Client, url: &Uri, headers: HeaderMap) -> Result<Answer, FetchError> {
    Ok(client.send(Method::GET, url, headers, Bytes::new()).await?.successful()?)
}
