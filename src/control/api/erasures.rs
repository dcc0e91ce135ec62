//! `/v1/erasures`: erase what is personal, and see how far that has come; `/v1/grants/{id}/personal-values`: read what is kept.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Map;

use super::ApiState;
use super::answer::created;
use super::asked::Named;
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::Tagged;
use super::once::once_key;
use crate::control::openapi::{GRANTS, PRIVACY, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::reads::{Look, View};
use crate::domain::{ErasureId, GrantId};
use crate::hex::hex;
use crate::store::{ErasureRecord, Operation, StoredValue};
use crate::wire::erasures::{
    ErasureObstacle, ErasurePreview, ErasureRequest, ErasureView, PersonalValueView, PersonalValues,
    PersonalValuesRequest,
};

/// Entries whose values are read by one call.
const ENTRIES_MAX: usize = 500;

/// Erase what is personal
///
/// Of a person, or everything from before a time but for what belongs to grants that are not closed. For administrators,
/// and never of oneself. The ledger stays as it is. A large erasure is carried on by itself: ask whether it is complete.
#[utoipa::path(
    post, path = "/v1/erasures", operation_id = "createErasure", tag = PRIVACY,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = ErasureRequest,
    responses((status = 201, description = "The erasure.", body = ErasureView, headers(("Location" = String)))),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::NotFound, Cause::OwnRequest, Cause::ErasureObstructed, Cause::KeyMalformed,
        Cause::KeyReused,
    ])))),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    let asked: ErasureRequest = body.parse()?;
    let once = once_key(&headers, Operation::Erase, "", &asked)?;
    let workflow = state.workflow.clone();
    // A task of its own: a caller who leaves can't leave it half carried out.
    let task = tokio::spawn(async move { workflow.erase(&caller, asked.what, asked.reason, once).await });
    let record = task.await.map_err(|_| Refusal::new(Cause::Internal, "the erasure was not finished"))??;
    created(&format!("/v1/erasures/{}", record.id), view(record))
}

/// What an erasure would erase
///
/// Nothing is erased. The answer is of this moment, and names what stands in the way.
#[utoipa::path(
    post, path = "/v1/erasures/preview", operation_id = "previewErasure", tag = PRIVACY,
    request_body = ErasureRequest,
    responses((status = 200, description = "How much would be erased.", body = ErasurePreview)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::NotFound, Cause::OwnRequest])))),
)]
pub(crate) async fn preview(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    body: JsonBytes,
) -> Result<Json<ErasurePreview>, Refusal> {
    let asked: ErasureRequest = body.parse()?;
    let found = state.workflow.preview_erasure(&caller, &asked.what).await?;
    let obstacles = found.obstacles.iter().map(|found| ErasureObstacle { kind: found.kind, id: found.id.clone() });
    let preview = ErasurePreview { values: found.values, records: found.records, obstacles: obstacles.collect() };
    if let Some(person) = asked.what.person() {
        let shown = preview.obstacles.iter().filter_map(|obstacle| obstacle.id.as_deref()).collect();
        let look = Look { view: View::ErasurePreview, filter: Map::new(), person: Some(person), ticket: None, shown };
        state.workflow.record_look(&caller, look).await?;
    }
    Ok(Json(preview))
}

/// Show an erasure
///
/// For administrators and auditors.
#[utoipa::path(
    get, path = "/v1/erasures/{id}", operation_id = "getErasure", tag = PRIVACY,
    params(("id" = ErasureId, Path, description = "The erasure's id.")),
    responses((status = 200, description = "The erasure.", body = ErasureView, headers(("ETag" = String)))),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Tagged<ErasureView>, Refusal> {
    let id = id.parse().map_err(|_| Refusal::not_found())?;
    let record = state.workflow.visible_erasure(&caller, &id).await?;
    if let Some(by) = &record.by {
        state.workflow.record_look_at(&caller, View::Erasure, by, record.id.as_str()).await?;
    }
    Ok(Tagged(view(record)))
}

/// Read the personal values behind entries about a grant
///
/// With their salts, so that they can be checked against the entries' commitments. For administrators and auditors. What was
/// erased, and what belongs to entries that are not about the grant, is left out.
#[utoipa::path(
    post, path = "/v1/grants/{id}/personal-values", operation_id = "readPersonalValues", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id.")),
    request_body = PersonalValuesRequest,
    responses((status = 200, description = "The values.", body = PersonalValues)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::NotFound])))),
)]
pub(crate) async fn personal_values(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    body: JsonBytes,
) -> Result<Json<PersonalValues>, Refusal> {
    let id: GrantId = id.parse().map_err(|_| Refusal::not_found())?;
    let asked: PersonalValuesRequest = body.parse()?;
    if asked.entries.len() > ENTRIES_MAX {
        return Err(Refusal::new(Cause::MalformedRequest, format!("at most {ENTRIES_MAX} entries are read at once")));
    }
    let workflow = &state.workflow;
    let record = workflow.visible_grant(&caller, &id).await?;
    if !workflow.sees_all(&caller) {
        return Err(Refusal::new(Cause::NotPermitted, "admins and auditors read what lies beside entries"));
    }
    let values = workflow.store.personal_values(&record, &asked.entries).await?;
    let shown: Vec<String> = values.iter().map(|value| format!("{} {}", value.entry, value.field)).collect();
    let look = Look {
        view: View::PersonalValues,
        filter: Map::from_iter([("id".to_owned(), id.as_str().into())]),
        person: Some(&record.grant.person),
        ticket: None,
        shown: shown.iter().map(String::as_str).collect(),
    };
    workflow.record_look(&caller, look).await?;
    Ok(Json(PersonalValues { values: values.into_iter().map(value).collect() }))
}

fn value(stored: StoredValue) -> PersonalValueView {
    PersonalValueView { entry: stored.entry, field: stored.field, value: stored.value, salt: hex(&stored.salt) }
}

fn view(record: ErasureRecord) -> ErasureView {
    ErasureView {
        id: record.id,
        reason: record.reason,
        called: record.called,
        before_at: record.before,
        by: record.by,
        ordered_at: record.at,
        complete: record.done.is_some(),
        values: record.values,
        records: record.records,
        done_at: record.done,
    }
}
