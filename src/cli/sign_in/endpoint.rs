//! An issuer as a public client calls it: forms to its endpoints, tokens and errors out of its answers.
//!
//! Sources: RFC 6749 §3.2, §5 and §6, RFC 7009, RFC 8707. No client secret: a program on many laptops has none
//! (RFC 8252 §8.5). Nothing an issuer says but its tokens is believed, and its words are shown as words only.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde::Deserialize;

use crate::domain::Audience;
use crate::http::form::encoded;
use crate::http::{Answer, Client, HttpError};
use crate::identity::Provider;
use crate::secret::Secret;
use crate::wire::sign_in::{Indicator, SignInTerms};

/// Greatest length of a token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const WORDS_MAX: usize = 300;

/// Why an endpoint gave no tokens.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum EndpointError {
    /// The issuer's own error (RFC 6749 §5.2).
    #[error("the issuer says {code}{}", .description.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused { code: String, description: Option<String> },
    #[error("the issuer cannot be asked")]
    Http(#[from] HttpError),
    #[error("the issuer's answer cannot be used: {0}")]
    Unusable(&'static str),
}

impl EndpointError {
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Http(_) | Self::Unusable(_) => None,
        }
    }
}

/// What a token endpoint gives.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access: Secret<String>,
    pub(super) lifetime: Duration,
    pub(super) refresh: Option<Secret<String>>,
    pub(super) id: Option<Secret<String>>,
}

#[derive(Deserialize)]
struct RawTokens {
    access_token: Secret<String>,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<Secret<String>>,
    #[serde(default)]
    id_token: Option<Secret<String>>,
}

#[derive(Deserialize)]
struct RawError {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

/// Where nothing is said of its lifetime, a token is taken to live this long: asking for another costs little.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(60);

impl TryFrom<RawTokens> for Tokens {
    type Error = EndpointError;

    fn try_from(raw: RawTokens) -> Result<Self, EndpointError> {
        if !raw.token_type.eq_ignore_ascii_case("bearer") {
            return Err(EndpointError::Unusable("its tokens are not of the type Bearer"));
        }
        let fits = |token: &Secret<String>| {
            let text = token.expose();
            !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let all = [Some(&raw.access_token), raw.refresh_token.as_ref(), raw.id_token.as_ref()];
        if !all.into_iter().flatten().all(fits) {
            return Err(EndpointError::Unusable("a token in it has no form of a token"));
        }
        Ok(Self {
            access: raw.access_token,
            lifetime: raw.expires_in.map_or(LIFETIME_UNKNOWN, Duration::from_secs),
            refresh: raw.refresh_token,
            id: raw.id_token,
        })
    }
}

/// One issuer for one client.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: Client,
    pub(super) provider: Provider,
    pub(super) client_id: String,
    pub(super) indicator: Indicator,
}

impl Endpoint {
    pub(super) fn new(client: Client, provider: Provider, terms: &SignInTerms) -> Self {
        Self { client, provider, client_id: terms.client_id.clone(), indicator: terms.indicator }
    }

    /// Parameters that say whom tokens are for.
    pub(super) fn indicated<'a>(
        &self,
        audiences: impl IntoIterator<Item = &'a Audience>,
    ) -> Vec<(&'static str, String)> {
        let all = audiences.into_iter().map(|audience| audience.as_str().to_owned());
        match self.indicator {
            Indicator::Resource => all.map(|audience| ("resource", audience)).collect(),
            // Issuers that have it take one.
            Indicator::Audience => all.take(1).map(|audience| ("audience", audience)).collect(),
            Indicator::Absent => Vec::new(),
        }
    }

    /// Tokens for a grant of the token endpoint.
    pub(super) async fn tokens(&self, fields: Vec<(&'static str, String)>) -> Result<Tokens, EndpointError> {
        let answer = self.post(&self.provider.token, fields).await?;
        let raw: RawTokens = answer.json().map_err(|_| EndpointError::Unusable("it is not a token response"))?;
        raw.try_into()
    }

    /// Fresh tokens, for `audience` (RFC 6749 §6).
    pub(super) async fn refresh(&self, token: &Secret<String>, audience: &Audience) -> Result<Tokens, EndpointError> {
        let mut fields = vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", token.expose().clone())];
        fields.extend(self.indicated([audience]));
        self.tokens(fields).await
    }

    /// Ends the sign-in at the issuer (RFC 7009); false where it has no place for that.
    pub(super) async fn revoke(&self, token: &Secret<String>) -> Result<bool, EndpointError> {
        let Some(url) = &self.provider.revocation else { return Ok(false) };
        let fields = vec![("token", token.expose().clone()), ("token_type_hint", "refresh_token".to_owned())];
        self.post(url, fields).await?;
        Ok(true)
    }

    /// Sends a form with the client's id, and reads errors.
    pub(super) async fn post(
        &self,
        url: &Uri,
        mut fields: Vec<(&'static str, String)>,
    ) -> Result<Answer, EndpointError> {
        fields.push(("client_id", self.client_id.clone()));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = [(CONTENT_TYPE, form), (ACCEPT, HeaderValue::from_static("application/json"))];
        let body = encoded(&fields);
        let answer = self.client.send(Method::POST, url, HeaderMap::from_iter(headers), body.into()).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        match answer.json::<RawError>() {
            Ok(raw) => {
                Err(EndpointError::Refused { code: cut(raw.error), description: raw.error_description.map(cut) })
            }
            Err(_) => Err(HttpError::Status(Box::new(answer)).into()),
        }
    }
}

fn cut(text: String) -> String {
    text.chars().take(WORDS_MAX).collect()
}
