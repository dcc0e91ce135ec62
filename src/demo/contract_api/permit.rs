//! The headers by which the sidecar says that a request is an override.

use axum::http::HeaderMap;
use serde::Serialize;

/// All of them, or none.
pub const HEADERS: [&str; 9] = [
    "break-glass-grant",
    "break-glass-subject",
    "break-glass-role",
    "break-glass-resource",
    "break-glass-action",
    "break-glass-reason",
    "break-glass-ticket",
    "break-glass-expires",
    "break-glass-request-id",
];

/// An override as the headers tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Override {
    pub grant: String,
    pub subject: String,
    pub role: String,
    pub resource: String,
    pub action: String,
    pub reason: String,
    pub ticket: String,
    pub expires: String,
    pub request_id: String,
}

/// Why the headers tell of no override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("the header {0} must stand exactly once, as text, where the others do")]
    Incomplete(&'static str),
    #[error("the override is for another resource than the one this request names")]
    OtherResource,
    #[error("the override is for another action than this request")]
    OtherAction,
}

impl Override {
    /// The override the headers carry; `None` when none of them is there.
    ///
    /// # Errors
    /// [`PermitError::Incomplete`].
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, PermitError> {
        if !HEADERS.iter().any(|name| headers.contains_key(*name)) {
            return Ok(None);
        }
        let [grant, subject, role, resource, action, reason, ticket, expires, request_id] =
            HEADERS.map(|name| single(headers, name));
        Ok(Some(Self {
            grant: grant?,
            subject: subject?,
            role: role?,
            resource: resource?,
            action: action?,
            reason: reason?,
            ticket: ticket?,
            expires: expires?,
            request_id: request_id?,
        }))
    }

    /// # Errors
    /// When the override is not for `action` on the contract.
    pub fn must_be_for(&self, contract: &str, action: &str) -> Result<(), PermitError> {
        if self.resource != format!("contract/{contract}") {
            return Err(PermitError::OtherResource);
        }
        if self.action == action { Ok(()) } else { Err(PermitError::OtherAction) }
    }
}

fn single(headers: &HeaderMap, name: &'static str) -> Result<String, PermitError> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(text), None) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(PermitError::Incomplete(name)),
    }
}
