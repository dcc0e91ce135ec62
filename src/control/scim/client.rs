//! Who calls: a provisioning client of the configuration, known by its secret. And what it sends, bounded.

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value};

use super::answer::Failed;
use super::patch::canonical;
use crate::config::scim::ScimConfig;
use crate::control::api::ApiState;
use crate::control::api::body::BODY_BYTES_MAX;
use crate::control::api::caller::{Peer, peer};
use crate::control::on_call::read_credential;
use crate::control::signals::push::is_shown;
use crate::error_chain::error_chain;
use crate::wire::strict_json::parse_object;

/// A client that has shown its secret.
#[derive(Debug, Clone)]
pub(crate) struct ScimClient(pub(super) ScimConfig);

impl FromRequestParts<ApiState> for ScimClient {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Failed> {
        let Peer(address) = peer(parts);
        let limited = |_| Failed::new(StatusCode::TOO_MANY_REQUESTS, "too many calls without a secret that is known");
        state.rates.take_sign_in(address, state.workflow.clock.boot()).map_err(limited)?;
        let Some(client) = find(&parts.headers, &state.scim).await else {
            return Err(Failed::new(StatusCode::UNAUTHORIZED, "the Authorization header has no secret that is known"));
        };
        state.rates.give_back(address);
        Ok(Self(client))
    }
}

/// Every client's secret is compared, so that the time it takes names none.
async fn find(headers: &HeaderMap, clients: &[ScimConfig]) -> Option<ScimConfig> {
    let mut found = None;
    for client in clients {
        match read_credential(&client.token_file).await {
            Ok(secret) if is_shown(headers, &secret) => found = Some(client.clone()),
            Ok(_) => {}
            Err(error) => {
                let error = error_chain(&error);
                tracing::error!(client = %client.name, error, "a provisioning client's secret can't be read");
            }
        }
    }
    found
}

/// A body as it came.
#[derive(Debug)]
pub(crate) struct ScimBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for ScimBody {
    type Rejection = Failed;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failed> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !["application/scim+json", "application/json"].iter().any(|known| known.eq_ignore_ascii_case(essence)) {
            return Err(Failed::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is application/scim+json"));
        }
        let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let too_large = |_| Failed::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off");
        whole.map(|body| Self(body.to_bytes())).map_err(too_large)
    }
}

impl ScimBody {
    /// The attributes that are kept, as the schema spells them.
    pub(super) fn resource(&self) -> Result<Map<String, Value>, Failed> {
        let resource = parse_object(&self.0).map_err(|error| Failed::bad("invalidSyntax", error.to_string()))?;
        match canonical("", resource.into()) {
            Value::Object(mut resource) => {
                resource.remove("schemas");
                resource.remove("id");
                Ok(resource)
            }
            _ => Err(Failed::bad("invalidSyntax", "the body is not a resource")),
        }
    }
}
