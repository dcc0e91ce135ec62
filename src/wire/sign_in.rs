//! How the command line signs people in, as the control plane tells it, and who the control plane takes a caller for.

use serde::{Deserialize, Serialize};

use crate::domain::{Audience, Issuer, Person, ServiceName, WallTime};
use crate::wire::lifecycle::AuthenticationView;

/// `GET /v1/sign-in`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct SignInView {
    /// Absent where the control plane's file does not say how.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terms: Option<SignInTerms>,
}

/// What a public client (RFC 8252 §8.5) needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct SignInTerms {
    pub issuer: Issuer,
    #[cfg_attr(feature = "control", schema(example = "breakglass-cli"))]
    pub client_id: String,
    #[cfg_attr(feature = "control", schema(example = json!(["openid", "offline_access"])))]
    pub scopes: Vec<String>,
    pub indicator: Indicator,
    /// Whom a token for the control plane is for.
    #[cfg_attr(feature = "control", schema(value_type = String, example = "https://control.example.test"))]
    pub audience: Audience,
    /// Whom a token for each service is for.
    pub services: Vec<ServiceAudience>,
}

/// Whom a token for a service is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServiceAudience {
    pub service: ServiceName,
    #[cfg_attr(feature = "control", schema(value_type = String, example = "https://payments.example.test"))]
    pub audience: Audience,
}

/// How the issuer is told whom a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Indicator {
    /// The parameter `resource` (RFC 8707): one token for each audience.
    #[default]
    Resource,
    /// The parameter `audience`, as some issuers have it: one token for each audience.
    Audience,
    /// Not at all: the client's registration says it, and one token is for all.
    #[serde(rename = "none")]
    Absent,
}

/// `GET /v1/whoami`: the caller as the control plane knows them by this very token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct WhoamiView {
    pub person: Person,
    /// The issuer's name for the caller.
    #[cfg_attr(feature = "control", schema(example = "248289761001"))]
    pub subject: String,
    #[cfg_attr(feature = "control", schema(example = json!(["payments-oncall"])))]
    pub groups: Vec<String>,
    pub authentication: AuthenticationView,
    /// When the token ends.
    pub expires_at: WallTime,
}
