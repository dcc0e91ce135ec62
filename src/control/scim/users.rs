//! `/scim/v2/Users`: people, as a client keeps them (RFC 7643 §4.1).

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::answer::{Failed, ListQuery, Meta, ScimResource, demanded, text};
use super::client::{ScimBody, ScimClient};
use super::patch;
use crate::config::scim::{PersonAttribute, ScimConfig};
use crate::control::api::ApiState;
use crate::control::api::asked::Named;
use crate::control::openapi::SCIM;
use crate::store::{ScimUser, ScimUserContent, ScimWritten};

/// Greatest length of a name, and of all that is kept of one user.
const NAME_BYTES_MAX: usize = 255;
const BODY_BYTES_MAX: usize = 16 * 1024;
pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// How often a change is made anew because another came in between.
pub(super) const ATTEMPTS_MAX: u32 = 5;

/// Create a user
#[utoipa::path(
    post, path = "/scim/v2/Users", operation_id = "scimCreateUser", tag = SCIM,
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses((status = 201, description = "The user.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    body: ScimBody,
) -> Result<Response, Failed> {
    let content = content(&client, body.resource()?)?;
    match state.workflow.store.create_scim_user(client.name.as_str(), &content).await? {
        ScimWritten::Done(user) => Ok(answer(&state, StatusCode::CREATED, &user)),
        ScimWritten::Taken | ScimWritten::Stale | ScimWritten::Unknown => Err(Failed::taken()),
    }
}

/// List users
#[utoipa::path(
    get, path = "/scim/v2/Users", operation_id = "scimListUsers", tag = SCIM,
    params(
        ("filter" = Option<String>, Query, description = "`userName`, `externalId` or `id` by `eq`, joined by `and`."),
        ("startIndex" = Option<u32>, Query, description = "From 1."),
        ("count" = Option<u32>, Query, description = "At most 200."),
    ),
    responses((status = 200, description = "One page.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad("invalidValue", error.body_text()))?;
    let listing = query.listing("userName")?;
    let (users, total) = state.workflow.store.scim_users(client.name.as_str(), &listing).await?;
    let shown = users.iter().map(|user| meta(&state, user).complete(attributes(user))).collect();
    Ok(query.page(total, shown))
}

/// Show a user
#[utoipa::path(
    get, path = "/scim/v2/Users/{id}", operation_id = "scimGetUser", tag = SCIM,
    params(("id" = String, Path, description = "The user's id.")),
    responses((status = 200, description = "The user.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
) -> Result<Response, Failed> {
    let user = state.workflow.store.scim_user(client.name.as_str(), &id).await?.ok_or_else(Failed::not_found)?;
    Ok(answer(&state, StatusCode::OK, &user))
}

/// Replace a user
///
/// One that is no longer `active` loses their grants at once.
#[utoipa::path(
    put, path = "/scim/v2/Users/{id}", operation_id = "scimReplaceUser", tag = SCIM,
    params(("id" = String, Path, description = "The user's id.")),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses((status = 200, description = "The user.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn replace(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    headers: HeaderMap,
    body: ScimBody,
) -> Result<Response, Failed> {
    let new = content(&client, body.resource()?)?;
    change(&state, &client, (&id, &headers), |_| Ok(new.clone())).await
}

/// Change a user
///
/// One that is no longer `active` loses their grants at once.
#[utoipa::path(
    patch, path = "/scim/v2/Users/{id}", operation_id = "scimPatchUser", tag = SCIM,
    params(("id" = String, Path, description = "The user's id.")),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses((status = 200, description = "The user.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn patch_user(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    headers: HeaderMap,
    body: ScimBody,
) -> Result<Response, Failed> {
    let patched = |user: &ScimUser| {
        let mut document = attributes(user);
        patch::apply(&mut document, &body.0)?;
        content(&client, document)
    };
    change(&state, &client, (&id, &headers), patched).await
}

/// Delete a user
///
/// Their grants end at once.
#[utoipa::path(
    delete, path = "/scim/v2/Users/{id}", operation_id = "scimDeleteUser", tag = SCIM,
    params(("id" = String, Path, description = "The user's id.")),
    responses((status = 204, description = "There is no such user any more.")),
    security(("provisioning" = [])),
)]
pub(crate) async fn delete(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let version = demanded(&headers)?;
    match state.workflow.store.delete_scim_user(client.name.as_str(), &id, version).await? {
        ScimWritten::Done(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        ScimWritten::Stale => Err(Failed::stale()),
        ScimWritten::Taken | ScimWritten::Unknown => Err(Failed::not_found()),
    }
}

/// Makes of a user what `new` says, on what stands; without an `If-Match` as often as that changes meanwhile.
async fn change(
    state: &ApiState,
    client: &ScimConfig,
    (id, headers): (&str, &HeaderMap),
    new: impl Fn(&ScimUser) -> Result<ScimUserContent, Failed>,
) -> Result<Response, Failed> {
    let (store, version) = (&state.workflow.store, demanded(headers)?);
    for _ in 0..ATTEMPTS_MAX {
        let before = store.scim_user(client.name.as_str(), id).await?.ok_or_else(Failed::not_found)?;
        if version.is_some_and(|version| version != before.version) {
            return Err(Failed::stale());
        }
        match store.update_scim_user(&before, &new(&before)?).await? {
            ScimWritten::Done(user) => return Ok(answer(state, StatusCode::OK, &user)),
            ScimWritten::Taken => return Err(Failed::taken()),
            ScimWritten::Unknown => return Err(Failed::not_found()),
            ScimWritten::Stale => {}
        }
    }
    Err(Failed::new(StatusCode::SERVICE_UNAVAILABLE, "it keeps changing: try again"))
}

/// What is kept of a document.
fn content(client: &ScimConfig, mut document: Map<String, Value>) -> Result<ScimUserContent, Failed> {
    let text = |name: &'static str| text(&document, name, NAME_BYTES_MAX);
    let user_name = text("userName")?.ok_or_else(|| Failed::bad("invalidValue", "userName is missing"))?;
    let external_id = text("externalId")?;
    text("displayName")?;
    let active = match document.get("active") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(active)) => *active,
        Some(_) => return Err(Failed::bad("invalidValue", "active is true or false")),
    };
    let named = match client.person {
        PersonAttribute::UserName => Some(&user_name),
        PersonAttribute::ExternalId => external_id.as_ref(),
    };
    let named = named.ok_or_else(|| Failed::bad("invalidValue", "externalId is missing, and names the person here"))?;
    let person = client.naming.person(named).map_err(|error| Failed::bad("invalidValue", error.to_string()))?;
    document.retain(|name, value| matches!(name.as_str(), "displayName" | "name" | "emails") && !value.is_null());
    let body = Value::Object(document).to_string();
    if body.len() > BODY_BYTES_MAX {
        return Err(Failed::bad("invalidValue", format!("a user has at most {BODY_BYTES_MAX} bytes")));
    }
    Ok(ScimUserContent { user_name, external_id, person, active, body })
}

/// The whole document again.
fn attributes(user: &ScimUser) -> Map<String, Value> {
    let mut document: Map<String, Value> = serde_json::from_str(&user.content.body).unwrap_or_default();
    document.insert("userName".to_owned(), user.content.user_name.as_str().into());
    document.insert("active".to_owned(), user.content.active.into());
    if let Some(id) = &user.content.external_id {
        document.insert("externalId".to_owned(), id.as_str().into());
    }
    document
}

fn meta<'a>(state: &'a ApiState, user: &'a ScimUser) -> Meta<'a> {
    Meta {
        kind: "User",
        schema: SCHEMA,
        url: state.workflow.issuer.as_str(),
        id: &user.id,
        version: user.version,
        created: user.created,
        changed: user.changed,
    }
}

fn answer(state: &ApiState, status: StatusCode, user: &ScimUser) -> Response {
    meta(state, user).answer(status, attributes(user))
}
