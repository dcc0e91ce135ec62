//! Problem details (RFC 9457): the one shape of every refusal and error that a caller sees.

use serde::{Deserialize, Serialize};

/// Media type of a problem document (RFC 9457 §6.1).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Stable URI prefix of problem types; the code follows.
pub const TYPE_PREFIX: &str = "https://break-glass.dev/problems/";

/// A problem document with our extension members. Absent members are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Problem {
    /// [`TYPE_PREFIX`] and the code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What was wrong with this very request.
    pub detail: String,
    /// The request id, as a URN: `urn:uuid:…` or `urn:break-glass:request:…`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instance: Option<String>,
    /// The stable machine-readable cause.
    pub code: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    /// The word of the state that stood in the way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// What the refused call was about, as it stands now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<serde_json::Value>,
    /// Where a person asks for elevation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_url: Option<String>,
    /// A command line that asks for elevation, ready to paste.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
}

impl Problem {
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPE_PREFIX}{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            instance: None,
            code: code.to_owned(),
            hint: None,
            service: None,
            resource: None,
            action: None,
            state: None,
            current: None,
            request_url: None,
            command: None,
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
