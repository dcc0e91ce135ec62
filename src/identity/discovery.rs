//! From an issuer's name to its keys: OpenID Connect Discovery 1.0 §4.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde_json::{Map, Value};

use super::issuer::Algorithm;
use super::jwks::KeySet;
use crate::domain::Issuer;
use crate::http::{Client, HttpError};
use crate::wire::strict_json::{StrictJsonError, parse_object};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Why an issuer's keys could not be fetched. The keys known before go on serving.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    #[error("the issuer's {document} cannot be fetched")]
    Http { document: &'static str, source: HttpError },
    #[error("the issuer's {document} is not a JSON object with one reading")]
    Json { document: &'static str, source: StrictJsonError },
    #[error("the discovery document is of another issuer than the one configured, byte for byte")]
    OtherIssuer,
    #[error("the discovery document names no jwks_uri that can be called")]
    NoKeysUrl,
    #[error("the issuer is called by https and its jwks_uri is not")]
    KeysInTheClear,
    #[error("what is at the jwks_uri is not a JWK Set")]
    NotAKeySet,
}

/// Where the discovery document of `issuer` is (§4.1: a closing slash is dropped first); `None` when the issuer is no
/// URL that can have one.
pub(super) fn discovery_url(issuer: &Issuer) -> Option<Uri> {
    if issuer.as_str().contains(['?', '#']) {
        return None;
    }
    let base = issuer.as_str().strip_suffix('/').unwrap_or(issuer.as_str());
    let url: Uri = format!("{base}{WELL_KNOWN}").parse().ok()?;
    matches!(url.scheme_str(), Some("https" | "http")).then_some(url)
}

/// Where the metadata of a transmitter of shared signals is (OpenID Shared Signals Framework 1.0 §7.1.1: the well-known
/// part goes between host and path, and a closing slash is dropped).
pub(super) fn transmitter_url(issuer: &Issuer) -> Option<Uri> {
    if issuer.as_str().contains(['?', '#']) {
        return None;
    }
    let text = issuer.as_str().strip_suffix('/').unwrap_or(issuer.as_str());
    let (scheme, rest) = text.split_once("://")?;
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let url: Uri = format!("{scheme}://{host}/.well-known/ssf-configuration{path}").parse().ok()?;
    matches!(url.scheme_str(), Some("https" | "http")).then_some(url)
}

/// Where keys are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeysPlace {
    /// A document that names its issuer and its `jwks_uri`, which may be another place each time.
    Metadata(Uri),
    /// The key set itself.
    KeySet(Uri),
}

/// Fetches the key set, by way of the metadata where that is what is known.
pub(super) async fn fetch_keys(
    client: &Client,
    issuer: &Issuer,
    place: &KeysPlace,
    allowed: &BTreeSet<Algorithm>,
) -> Result<KeySet, RefreshError> {
    let keys_url = match place {
        KeysPlace::Metadata(url) => keys_url(&fetch(client, url, "discovery document").await?, issuer)?,
        KeysPlace::KeySet(url) => url.clone(),
    };
    let document = fetch(client, &keys_url, "key set").await?;
    KeySet::of(&document, allowed).ok_or(RefreshError::NotAKeySet)
}

/// §4.3: the issuer must be exactly the one that was asked for, else one issuer could speak for another.
pub(super) fn is_of(metadata: &Map<String, Value>, issuer: &Issuer) -> Result<(), RefreshError> {
    let is_same = metadata.get("issuer").and_then(Value::as_str) == Some(issuer.as_str());
    if is_same { Ok(()) } else { Err(RefreshError::OtherIssuer) }
}

pub(super) fn keys_url(metadata: &Map<String, Value>, issuer: &Issuer) -> Result<Uri, RefreshError> {
    is_of(metadata, issuer)?;
    let url = metadata.get("jwks_uri").and_then(Value::as_str).ok_or(RefreshError::NoKeysUrl)?;
    let url: Uri = url.parse().map_err(|_| RefreshError::NoKeysUrl)?;
    if issuer.as_str().starts_with("https:") && url.scheme_str() != Some("https") {
        return Err(RefreshError::KeysInTheClear);
    }
    Ok(url)
}

/// An issuer's metadata name an endpoint that is not to be called.
#[cfg(any(feature = "cli", feature = "control"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the issuer's {0} is no URL that can be called, or is not https where the issuer is")]
pub struct UnusableEndpoint(pub(super) &'static str);

/// The endpoint of this name (RFC 8414 §2): an issuer that is called by https has none that is not.
#[cfg(any(feature = "cli", feature = "control"))]
pub(super) fn endpoint(
    metadata: &Map<String, Value>,
    issuer: &Issuer,
    name: &'static str,
) -> Result<Option<Uri>, UnusableEndpoint> {
    let Some(value) = metadata.get(name) else { return Ok(None) };
    let url: Uri = value.as_str().and_then(|text| text.parse().ok()).ok_or(UnusableEndpoint(name))?;
    let secure = issuer.as_str().starts_with("https:");
    match url.scheme_str() {
        Some("https") => Ok(Some(url)),
        Some("http") if !secure => Ok(Some(url)),
        _ => Err(UnusableEndpoint(name)),
    }
}

pub(super) async fn fetch(
    client: &Client,
    url: &Uri,
    document: &'static str,
) -> Result<Map<String, Value>, RefreshError> {
    let answer = client
        .send(Method::GET, url, HeaderMap::new(), Bytes::new())
        .await
        .and_then(crate::http::Answer::successful)
        .map_err(|source| RefreshError::Http { document, source })?;
    parse_object(&answer.body).map_err(|source| RefreshError::Json { document, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_follows_the_issuers_own() {
        for (issuer, expected) in [
            ("https://idp.test", Some("https://idp.test/.well-known/openid-configuration")),
            ("https://idp.test/", Some("https://idp.test/.well-known/openid-configuration")),
            ("https://idp.test/realms/a", Some("https://idp.test/realms/a/.well-known/openid-configuration")),
            ("https://idp.test/a?b", None),
            ("https://idp.test/a#b", None),
            ("ftp://idp.test", None),
            ("idp.test", None),
        ] {
            let url = discovery_url(&issuer.parse().unwrap()).map(|url| url.to_string());
            assert_eq!(url.as_deref(), expected, "{issuer}");
        }
    }

    #[test]
    fn metadata_must_be_the_issuers_own_and_keep_its_keys_under_tls() {
        let issuer: Issuer = "https://idp.test".parse().unwrap();
        let check = |text: &str| keys_url(&parse_object(text.as_bytes()).unwrap(), &issuer);
        assert!(check(r#"{"issuer":"https://idp.test","jwks_uri":"https://keys.test/k"}"#).is_ok());
        for (text, expected) in [
            (r#"{"issuer":"https://idp.test/","jwks_uri":"https://idp.test/k"}"#, "another issuer"),
            (r#"{"issuer":"https://IDP.test","jwks_uri":"https://idp.test/k"}"#, "another issuer"),
            (r#"{"jwks_uri":"https://idp.test/k"}"#, "another issuer"),
            (r#"{"issuer":"https://idp.test"}"#, "no jwks_uri"),
            (r#"{"issuer":"https://idp.test","jwks_uri":7}"#, "no jwks_uri"),
            (r#"{"issuer":"https://idp.test","jwks_uri":"http://idp.test/k"}"#, "jwks_uri is not"),
            (r#"{"issuer":"https://idp.test","jwks_uri":"/k"}"#, "jwks_uri is not"),
        ] {
            let message = check(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
