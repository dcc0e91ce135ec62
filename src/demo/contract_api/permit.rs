//! The override that the sidecar tells of: believed only where its assertion holds for this very request.
//!
//! INVARIANT: the plain headers prove nothing. They are compared with the assertion, and a request whose headers say
//! something else is refused.

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Serialize;

use super::Shared;
use super::keys::Unproven;
use super::problem::Refused;
use crate::token::assertion::Target;
use crate::token::{AssertionClaims, AssertionError};

/// The signed header.
pub const ASSERTION: &str = "break-glass-assertion";

/// What the sidecar tells beside it: all of them, or none.
pub const HEADERS: [&str; 8] = [
    "break-glass-grant",
    "break-glass-subject",
    "break-glass-role",
    "break-glass-resource",
    "break-glass-action",
    "break-glass-reason",
    "break-glass-ticket",
    "break-glass-request-id",
];

/// An override as its assertion tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Override {
    pub grant: String,
    pub subject: String,
    pub role: String,
    pub resource: String,
    pub action: String,
    pub reason: String,
    pub ticket: String,
    pub request_id: String,
}

/// Why a request comes under no override.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("the header {0} must stand exactly once, as text, where the others do")]
    Incomplete(&'static str),
    #[error("the header {0} says something else than the assertion")]
    Differs(&'static str),
    #[error("the assertion is not believed: {0}")]
    Unproven(AssertionError),
    #[error("the keys to verify the override's assertion with can't be fetched now")]
    KeysUnavailable,
    #[error("the override is for another resource than the one this request names")]
    OtherResource,
    #[error("the override is for another action than this request")]
    OtherAction,
}

impl From<Unproven> for PermitError {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Assertion(error) => Self::Unproven(error),
            Unproven::KeysUnavailable => Self::KeysUnavailable,
        }
    }
}

impl From<AssertionClaims> for Override {
    fn from(claims: AssertionClaims) -> Self {
        Self {
            grant: claims.grant.into(),
            subject: claims.sub.into(),
            role: claims.role.into(),
            resource: claims.resource.to_string(),
            action: claims.action.into(),
            reason: claims.reason.into(),
            ticket: claims.ticket.into(),
            request_id: claims.jti,
        }
    }
}

impl Override {
    /// # Errors
    /// When the override is not for `action` on the contract.
    pub fn must_be_for(&self, contract: &str, action: &str) -> Result<(), PermitError> {
        if self.resource != format!("contract/{contract}") {
            return Err(PermitError::OtherResource);
        }
        if self.action == action { Ok(()) } else { Err(PermitError::OtherAction) }
    }

    fn agrees_with(&self, headers: &HeaderMap) -> Result<(), PermitError> {
        let told = [
            &self.grant,
            &self.subject,
            &self.role,
            &self.resource,
            &self.action,
            &self.reason,
            &self.ticket,
            &self.request_id,
        ];
        for (name, told) in HEADERS.into_iter().zip(told) {
            if single(headers, name)? != told {
                return Err(PermitError::Differs(name));
            }
        }
        Ok(())
    }
}

/// The override of a request, proven; or that it is ordinary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proven(Option<Override>);

impl Proven {
    /// The override, if the request comes under one and that is for this. To be asked of everything the request names.
    ///
    /// # Errors
    /// When the override is for something else.
    pub(super) fn permit(&self, contract: &str, action: &str) -> Result<Option<&Override>, PermitError> {
        if let Some(found) = &self.0 {
            found.must_be_for(contract, action)?;
        }
        Ok(self.0.as_ref())
    }
}

impl FromRequestParts<Shared> for Proven {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Refused> {
        let headers = &parts.headers;
        if !HEADERS.iter().chain([&ASSERTION]).any(|name| headers.contains_key(*name)) {
            return Ok(Self(None));
        }
        let assertion = single(headers, ASSERTION)?;
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let origin_form = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = Target { method: parts.method.as_str(), origin_form };
        let found = Override::from(api.trust.verify(assertion, target).await.map_err(PermitError::from)?);
        found.agrees_with(headers)?;
        Ok(Self(Some(found)))
    }
}

fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, PermitError> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(text), None) if !text.is_empty() => Ok(text),
        _ => Err(PermitError::Incomplete(name)),
    }
}
