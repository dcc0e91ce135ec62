//! Where the story plays: the addresses of the parts, the people's tokens, and the two ways to act (a request, a verb).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli;
use crate::cli::args::Format;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::demo::parts::failed;
use crate::domain::GrantId;
use crate::error_chain::error_chain;
use crate::http::{Answer, Client, ClientTls, HttpError, Limits, TlsRoots};
use crate::secret::Secret;
use crate::wire::problem;

/// How long a request is repeated that a sidecar refused for now (503: nothing was forwarded), and how often.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);

/// The addresses and clients of one run.
#[derive(Debug)]
pub(in crate::demo) struct Stage {
    pub(super) sidecar: String,
    pub(super) control: String,
    pub(super) issuer: String,
    pub(super) ca: PathBuf,
    /// Folder of the sidecar's audit log, where it can be read from here.
    pub(super) audit: Option<PathBuf>,
    http1: Client,
    http2: Client,
}

/// Which version of HTTP a request is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

impl Version {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What comes with an override.
#[derive(Debug)]
pub(super) struct Credentials<'a> {
    /// A grant id or a grant token.
    pub(super) grant: &'a str,
    pub(super) identity: &'a Secret<String>,
}

impl Stage {
    /// # Errors
    /// When the authority's file cannot be used.
    pub(in crate::demo) fn new(
        sidecar: &str,
        control: &str,
        issuer: &str,
        ca: &Path,
        audit: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let tls = TlsRoots::from_pem_files([ca]).and_then(|roots| ClientTls::new(roots, None));
        let tls = tls.map_err(|error| failed("the authority cannot be used", &error))?;
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        Ok(Self {
            sidecar: trimmed(sidecar),
            control: trimmed(control),
            issuer: trimmed(issuer),
            ca: ca.to_owned(),
            audit,
            http1: Client::new(Some(tls.http1_only()), Limits::DEFAULT),
            http2: Client::new(Some(tls.http2_only()), Limits::DEFAULT),
        })
    }

    /// An access token of the person, from the demo issuer.
    pub(super) async fn token(&self, person: &str) -> Result<Secret<String>, Failure> {
        let url = url(&format!("{}/token?person={person}&format=text", self.issuer))?;
        let client = if url.scheme_str() == Some("https") { &self.http2 } else { &self.http1 };
        let answer = client.send(Method::GET, &url, HeaderMap::new(), bytes::Bytes::new()).await;
        let answer = answer.and_then(Answer::successful).map_err(|error| failed("no token from the issuer", &error))?;
        Ok(Secret::new(String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// A POST through the sidecar, in a few words. A refusal for now is waited out, as its hint says.
    pub(super) async fn post(&self, path: &str, version: Version, by: Option<&Credentials<'_>>) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.send(Method::POST, path, version, by).await {
                Ok(answer) if answer.status == 503 && Instant::now() < end => tokio::time::sleep(PAUSE).await,
                Ok(answer) => return described(&answer),
                Err(failure) => return failure,
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        version: Version,
        by: Option<&Credentials<'_>>,
    ) -> Result<Answer, String> {
        let url = url(&format!("{}{path}", self.sidecar)).map_err(|failure| failure.message)?;
        let headers = by.map(headers).transpose().map_err(|error| error.to_string())?.unwrap_or_default();
        let client = match version {
            Version::Http1 => &self.http1,
            Version::Http2 => &self.http2,
        };
        let answer = client.send(method, &url, headers, bytes::Bytes::new()).await;
        answer.map_err(|error| format!("no answer: {}", error_chain(&error)))
    }

    /// Runs a verb of the command line as a person with this token: what it printed as data, and as talk.
    pub(super) async fn verb(&self, words: &[&str], token: &Secret<String>) -> Result<(String, String), Failure> {
        let (data, talk) = (Captured::default(), Captured::default());
        let ca = self.ca.to_string_lossy();
        let mut line = words.to_vec();
        line.extend(["--control", &self.control, "--ca", &ca]);
        let env = |name: &str| (name == "BREAKGLASS_TOKEN").then(|| token.expose().clone());
        let mut out = Output::of_streams(Box::new(data.clone()), Box::new(talk.clone()), Format::Table);
        if words.contains(&"json") {
            out.format = Format::Json;
        }
        cli::perform(&line, &env, &mut out).await?;
        Ok((data.text(), talk.text()))
    }

    /// The same, with `--output json`, read back.
    pub(super) async fn ask<T: DeserializeOwned>(&self, words: &[&str], token: &Secret<String>) -> Result<T, Failure> {
        let mut line = words.to_vec();
        line.extend(["--output", "json"]);
        let (data, _) = self.verb(&line, token).await?;
        serde_json::from_str(&data).map_err(|error| failed("the answer cannot be read", &error))
    }

    /// The grant token, which only its requester may fetch.
    pub(super) async fn grant_token(&self, id: &GrantId, token: &Secret<String>) -> Result<Secret<String>, Failure> {
        let (data, _) = self.verb(&["grants", "token", id.as_str()], token).await?;
        Ok(Secret::new(data.trim().to_owned()))
    }
}

fn url(text: &str) -> Result<Uri, Failure> {
    text.parse().map_err(|_| Failure::new(Exit::Usage, format!("{text} is no URL"), "say https://HOST:PORT"))
}

fn headers(by: &Credentials<'_>) -> Result<HeaderMap, HttpError> {
    let value = |text: &str| {
        let mut value = HeaderValue::try_from(text).map_err(|_| HttpError::RequestHeader)?;
        value.set_sensitive(true);
        Ok::<_, HttpError>(value)
    };
    let named = HeaderName::from_static;
    let (grant, identity) = (value(by.grant)?, value(by.identity.expose())?);
    Ok(HeaderMap::from_iter([(named("break-glass"), grant), (named("break-glass-identity"), identity)]))
}

/// An answer in the words the story uses: status, and what decided.
fn described(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let document: Value = answer.json().unwrap_or_default();
    let member = |name: &str| document.get(name).and_then(Value::as_str);
    if answer.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == problem::CONTENT_TYPE) {
        let code = member("code").unwrap_or("without a code");
        return match member("rule") {
            Some(rule) => format!("{status} {code} by the rule \"{rule}\""),
            None => format!("{status} {code}"),
        };
    }
    let state = member("state").unwrap_or("without a state");
    match document.get("override") {
        Some(told) => {
            let told = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("nothing").to_owned();
            format!(
                "{status} {state}; the API was told: role {}, resource {}, action {}",
                told("role"),
                told("resource"),
                told("action")
            )
        }
        None => format!("{status} {state}, and the API was told of no override"),
    }
}

/// A stream that is read back.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
