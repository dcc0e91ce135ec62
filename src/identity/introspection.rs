//! Asking an issuer whether an access token that was genuine still stands (RFC 7662).
//!
//! An answer says something only where it is one: a JSON object with one reading, whose `active` is true or false, and
//! which names nobody else (`sub`, `iss`). All else is an error, and says nothing of the token.
//!
//! Must never: send a token anywhere but to its own issuer's endpoint, follow a redirect with it, or show it in an error.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::{Map, Value};

use super::discovery::{RefreshError, UnusableEndpoint, discovery_url, endpoint, fetch, is_of};
use super::error::SetupError;
use super::issuer::IssuerConfig;
use super::refresh::client_of;
use crate::domain::{Issuer, Principal};
use crate::http::form::{encoded, escaped};
use crate::http::{Client, HttpError};
use crate::secret::Secret;
use crate::wire::strict_json::{StrictJsonError, parse_object};

/// Greatest size of an answer's body: an issuer may list groups, and ours are no more than a thousand.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// What the issuer says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Active,
    /// It does not stand, and no reason is given (§2.2).
    Inactive,
}

/// Why nothing is known of the token. No message quotes it, or what was answered.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectionError {
    #[error("the issuer's metadata can't be used")]
    Metadata(#[from] RefreshError),
    #[error(transparent)]
    Endpoint(#[from] UnusableEndpoint),
    #[error("the issuer names no introspection_endpoint: say where it is by introspection.url")]
    NoEndpoint,
    #[error("what we are to show the issuer can't be written in a header")]
    Authentication,
    #[error("the issuer can't be asked")]
    Http(#[from] HttpError),
    #[error("the answer is not a JSON object with one reading")]
    Json(#[from] StrictJsonError),
    #[error("the answer's \"active\" is neither true nor false")]
    Shape,
    #[error("the answer is about another {0}")]
    Contradiction(&'static str),
}

/// How we show the issuer that we may ask (§2.1; RFC 6749 §2.3.1, RFC 6750).
#[derive(Debug)]
pub enum Credentials<'a> {
    Basic { client: &'a str, secret: &'a Secret<String> },
    Post { client: &'a str, secret: &'a Secret<String> },
    Bearer(&'a Secret<String>),
}

/// One issuer that can be asked.
pub struct Introspector {
    issuer: Issuer,
    discovery: Uri,
    /// As configured; it is asked even if the issuer names another.
    configured: Option<Uri>,
    /// As the issuer named it last; forgotten once it can't be called.
    found: Mutex<Option<Uri>>,
    client: Client,
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspector").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Introspector {
    /// `client` with the issuer's own authorities, where it has some.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &IssuerConfig, endpoint: Option<Uri>, client: &Client) -> Result<Self, SetupError> {
        Ok(Self {
            discovery: discovery_url(&config.issuer).ok_or_else(|| SetupError::Url(config.issuer.clone()))?,
            issuer: config.issuer.clone(),
            configured: endpoint,
            found: Mutex::default(),
            client: client_of(config, client)?,
        })
    }

    /// Where tokens are asked about.
    ///
    /// # Errors
    /// [`IntrospectionError`]: the issuer is away, is another, or has no such place.
    pub async fn endpoint(&self) -> Result<Uri, IntrospectionError> {
        let found = self.configured.clone().or_else(|| self.found().clone());
        if let Some(found) = found {
            return Ok(found);
        }
        let metadata = fetch(&self.client, &self.discovery, "discovery document").await?;
        is_of(&metadata, &self.issuer)?;
        let url = endpoint(&metadata, &self.issuer, "introspection_endpoint")?.ok_or(IntrospectionError::NoEndpoint)?;
        *self.found() = Some(url.clone());
        Ok(url)
    }

    /// Asks once about `token`, which was verified as `principal`'s.
    ///
    /// # Errors
    /// [`IntrospectionError`]: nothing is known.
    pub async fn ask(
        &self,
        token: &Secret<String>,
        principal: &Principal,
        credentials: &Credentials<'_>,
    ) -> Result<Said, IntrospectionError> {
        let url = self.endpoint().await?;
        let mut fields = vec![("token", token.expose().as_str()), ("token_type_hint", "access_token")];
        let headers = headers(credentials, &mut fields)?;
        let answer = self.client.send(Method::POST, &url, headers, encoded(&fields).into()).await;
        match answer.and_then(crate::http::Answer::successful) {
            Ok(answer) => said(&parse_object(&answer.body)?, principal),
            Err(error) => {
                // It may have moved: the next one to ask looks again.
                *self.found() = None;
                Err(error.into())
            }
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<Uri>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn headers<'a>(
    credentials: &Credentials<'a>,
    fields: &mut Vec<(&'static str, &'a str)>,
) -> Result<HeaderMap, IntrospectionError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let shown = match credentials {
        Credentials::Basic { client, secret } => {
            let pair = format!("{}:{}", escaped(client), escaped(secret.expose()));
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Credentials::Post { client, secret } => {
            fields.extend([("client_id", *client), ("client_secret", secret.expose().as_str())]);
            return Ok(headers);
        }
        Credentials::Bearer(secret) => format!("Bearer {}", secret.expose()),
    };
    let mut shown = HeaderValue::try_from(shown).map_err(|_| IntrospectionError::Authentication)?;
    shown.set_sensitive(true);
    headers.insert(AUTHORIZATION, shown);
    Ok(headers)
}

/// §2.2. `sub` and `iss` need not be there; where they are, they are the token's own.
fn said(answer: &Map<String, Value>, principal: &Principal) -> Result<Said, IntrospectionError> {
    let Some(Value::Bool(active)) = answer.get("active") else { return Err(IntrospectionError::Shape) };
    for (name, own) in [("sub", principal.subject.as_str()), ("iss", principal.issuer.as_str())] {
        if answer.get(name).is_some_and(|named| named.as_str() != Some(own)) {
            return Err(IntrospectionError::Contradiction(name));
        }
    }
    Ok(if *active { Said::Active } else { Said::Inactive })
}
