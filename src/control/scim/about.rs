//! What this service provider can do, and which attributes it keeps (RFC 7643 §5 to §7, RFC 7644 §4).

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Failed, PAGE_MAX, ScimResource, document};
use super::client::ScimClient;
use super::{groups, users};
use crate::control::openapi::SCIM;

const CONFIG_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";

/// What is supported
#[utoipa::path(
    get, path = "/scim/v2/ServiceProviderConfig", operation_id = "scimServiceProviderConfig", tag = SCIM,
    responses((status = 200, description = "The configuration.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn config(_: ScimClient) -> Result<Response, Failed> {
    let not = json!({ "supported": false });
    let config = json!({
        "schemas": [CONFIG_SCHEMA],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": PAGE_MAX },
        "changePassword": not, "sort": not,
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "Bearer secret", "primary": true,
            "description": "The secret of the [[scim]] table, as Authorization: Bearer.",
        }],
    });
    Ok(document(StatusCode::OK, &config))
}

/// Which resources there are
#[utoipa::path(
    get, path = "/scim/v2/ResourceTypes", operation_id = "scimResourceTypes", tag = SCIM,
    responses((status = 200, description = "The types.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn resource_types(_: ScimClient) -> Result<Response, Failed> {
    let kind = |name: &str, schema: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name, "name": name, "endpoint": format!("/{name}s"), "schema": schema,
        })
    };
    Ok(list(vec![kind("User", users::SCHEMA), kind("Group", groups::SCHEMA)]))
}

/// Which attributes are kept
#[utoipa::path(
    get, path = "/scim/v2/Schemas", operation_id = "scimSchemas", tag = SCIM,
    responses((status = 200, description = "The schemas.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn schemas(_: ScimClient) -> Result<Response, Failed> {
    let parts = |names: &[&str]| names.iter().map(|name| attribute(name, "string", false, &[])).collect::<Vec<_>>();
    let schema = |id: &str, name: &str, attributes: Vec<Value>| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"], "id": id, "name": name, "attributes": attributes,
        })
    };
    let user = vec![
        required(attribute("userName", "string", false, &[])),
        attribute("displayName", "string", false, &[]),
        attribute("active", "boolean", false, &[]),
        attribute("name", "complex", false, &parts(&["formatted", "givenName", "familyName"])),
        attribute("emails", "complex", true, &parts(&["value", "type", "display"])),
    ];
    let group = vec![
        required(attribute("displayName", "string", false, &[])),
        attribute("members", "complex", true, &parts(&["value"])),
    ];
    Ok(list(vec![schema(users::SCHEMA, "User", user), schema(groups::SCHEMA, "Group", group)]))
}

fn attribute(name: &str, kind: &str, many: bool, parts: &[Value]) -> Value {
    let mut attribute = json!({
        "name": name, "type": kind, "multiValued": many, "required": false, "caseExact": false,
        "mutability": "readWrite", "returned": "default", "uniqueness": if name == "userName" { "server" } else { "none" },
    });
    if let (false, Some(members)) = (parts.is_empty(), attribute.as_object_mut()) {
        members.insert("subAttributes".to_owned(), parts.into());
    }
    attribute
}

fn required(mut attribute: Value) -> Value {
    if let Some(members) = attribute.as_object_mut() {
        members.insert("required".to_owned(), true.into());
    }
    attribute
}

fn list(resources: Vec<Value>) -> Response {
    let list = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": resources.len(), "startIndex": 1, "itemsPerPage": resources.len(), "Resources": resources,
    });
    document(StatusCode::OK, &list)
}
