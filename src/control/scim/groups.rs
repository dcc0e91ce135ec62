//! `/scim/v2/Groups`: groups and who is in them, as a client keeps them (RFC 7643 §4.2). A group's `displayName` is what the
//! policy calls it.

use std::collections::BTreeSet;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{Failed, ListQuery, Meta, ScimResource, demanded, text};
use super::client::{ScimBody, ScimClient};
use super::patch;
use super::users::ATTEMPTS_MAX;
use crate::config::scim::ScimConfig;
use crate::control::api::ApiState;
use crate::control::api::asked::Named;
use crate::control::openapi::SCIM;
use crate::store::{ScimGroup, ScimGroupContent, ScimWritten};

/// Greatest length of a name, as of a group in a token.
const NAME_BYTES_MAX: usize = 256;
const MEMBERS_MAX: usize = 20_000;
pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// Create a group
#[utoipa::path(
    post, path = "/scim/v2/Groups", operation_id = "scimCreateGroup", tag = SCIM,
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses((status = 201, description = "The group.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    body: ScimBody,
) -> Result<Response, Failed> {
    let content = content(&body.resource()?)?;
    match state.workflow.store.create_scim_group(client.name.as_str(), &content).await? {
        ScimWritten::Done(group) => Ok(meta(&state, &group).answer(StatusCode::CREATED, attributes(&group, true))),
        ScimWritten::Taken | ScimWritten::Stale | ScimWritten::Unknown => Err(no_such_member()),
    }
}

/// List groups
#[utoipa::path(
    get, path = "/scim/v2/Groups", operation_id = "scimListGroups", tag = SCIM,
    params(
        ("filter" = Option<String>, Query,
            description = "`displayName`, `externalId`, `id` or `members` by `eq`, joined by `and`."),
        ("startIndex" = Option<u32>, Query, description = "From 1."),
        ("count" = Option<u32>, Query, description = "At most 200."),
        ("excludedAttributes" = Option<String>, Query, description = "`members`: without them."),
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
    let (listing, with_members) = (query.listing("displayName")?, !query.without_members());
    let (groups, total) = state.workflow.store.scim_groups(client.name.as_str(), &listing, with_members).await?;
    let shown = groups.iter().map(|group| meta(&state, group).complete(attributes(group, with_members))).collect();
    Ok(query.page(total, shown))
}

/// Show a group
#[utoipa::path(
    get, path = "/scim/v2/Groups/{id}", operation_id = "scimGetGroup", tag = SCIM,
    params(
        ("id" = String, Path, description = "The group's id."),
        ("excludedAttributes" = Option<String>, Query, description = "`members`: without them."),
    ),
    responses((status = 200, description = "The group.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad("invalidValue", error.body_text()))?;
    let group = state.workflow.store.scim_group(client.name.as_str(), &id).await?.ok_or_else(Failed::not_found)?;
    Ok(meta(&state, &group).answer(StatusCode::OK, attributes(&group, !query.without_members())))
}

/// Replace a group
#[utoipa::path(
    put, path = "/scim/v2/Groups/{id}", operation_id = "scimReplaceGroup", tag = SCIM,
    params(("id" = String, Path, description = "The group's id.")),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses((status = 200, description = "The group.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn replace(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    headers: HeaderMap,
    body: ScimBody,
) -> Result<Response, Failed> {
    let new = content(&body.resource()?)?;
    change(&state, &client, (&id, &headers), |_| Ok(new.clone())).await
}

/// Change a group
#[utoipa::path(
    patch, path = "/scim/v2/Groups/{id}", operation_id = "scimPatchGroup", tag = SCIM,
    params(("id" = String, Path, description = "The group's id.")),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses((status = 200, description = "The group.", content_type = "application/scim+json", body = ScimResource)),
    security(("provisioning" = [])),
)]
pub(crate) async fn patch_group(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    headers: HeaderMap,
    body: ScimBody,
) -> Result<Response, Failed> {
    let patched = |group: &ScimGroup| {
        let mut document = attributes(group, true);
        patch::apply(&mut document, &body.0)?;
        content(&document)
    };
    change(&state, &client, (&id, &headers), patched).await
}

/// Delete a group
#[utoipa::path(
    delete, path = "/scim/v2/Groups/{id}", operation_id = "scimDeleteGroup", tag = SCIM,
    params(("id" = String, Path, description = "The group's id.")),
    responses((status = 204, description = "There is no such group any more.")),
    security(("provisioning" = [])),
)]
pub(crate) async fn delete(
    State(state): State<ApiState>,
    ScimClient(client): ScimClient,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let version = demanded(&headers)?;
    match state.workflow.store.delete_scim_group(client.name.as_str(), &id, version).await? {
        ScimWritten::Done(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        ScimWritten::Stale => Err(Failed::stale()),
        ScimWritten::Taken | ScimWritten::Unknown => Err(Failed::not_found()),
    }
}

/// Makes of a group what `new` says, on what stands; without an `If-Match` as often as that changes meanwhile.
async fn change(
    state: &ApiState,
    client: &ScimConfig,
    (id, headers): (&str, &HeaderMap),
    new: impl Fn(&ScimGroup) -> Result<ScimGroupContent, Failed>,
) -> Result<Response, Failed> {
    let (store, version) = (&state.workflow.store, demanded(headers)?);
    for _ in 0..ATTEMPTS_MAX {
        let before = store.scim_group(client.name.as_str(), id).await?.ok_or_else(Failed::not_found)?;
        if version.is_some_and(|version| version != before.version) {
            return Err(Failed::stale());
        }
        match store.update_scim_group(&before, &new(&before)?).await? {
            ScimWritten::Done(group) => {
                return Ok(meta(state, &group).answer(StatusCode::OK, attributes(&group, true)));
            }
            ScimWritten::Taken => return Err(no_such_member()),
            ScimWritten::Unknown => return Err(Failed::not_found()),
            ScimWritten::Stale => {}
        }
    }
    Err(Failed::new(StatusCode::SERVICE_UNAVAILABLE, "it keeps changing: try again"))
}

fn no_such_member() -> Failed {
    Failed::bad("invalidValue", "a member is the id of no user of yours")
}

/// What is kept of a document.
fn content(document: &Map<String, Value>) -> Result<ScimGroupContent, Failed> {
    let text = |name: &'static str| text(document, name, NAME_BYTES_MAX);
    let display_name = text("displayName")?.ok_or_else(|| Failed::bad("invalidValue", "displayName is missing"))?;
    let external_id = text("externalId")?;
    let members = match document.get("members") {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(Value::Array(members)) if members.len() <= MEMBERS_MAX => {
            let id = |member: &Value| member.get("value").and_then(Value::as_str).map(str::to_owned);
            members.iter().map(|member| id(member).ok_or_else(no_such_member)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Failed::bad("invalidValue", format!("members are a list of at most {MEMBERS_MAX}"))),
    };
    Ok(ScimGroupContent { display_name, external_id, members })
}

fn attributes(group: &ScimGroup, with_members: bool) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("displayName".to_owned(), group.content.display_name.as_str().into());
    if let Some(id) = &group.content.external_id {
        document.insert("externalId".to_owned(), id.as_str().into());
    }
    if with_members {
        let members = group.content.members.iter().map(|id| json!({ "value": id })).collect();
        document.insert("members".to_owned(), Value::Array(members));
    }
    document
}

fn meta<'a>(state: &'a ApiState, group: &'a ScimGroup) -> Meta<'a> {
    Meta {
        kind: "Group",
        schema: SCHEMA,
        url: state.workflow.issuer.as_str(),
        id: &group.id,
        version: group.version,
        created: group.created,
        changed: group.changed,
    }
}
