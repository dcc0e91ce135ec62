//! `/v1/policy`: the rules in force, what others would come to, and making them the next revision.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;

use super::ApiState;
use super::asked::Asked;
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::{IfMatch, Tagged};
use crate::control::openapi::{POLICY, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::policy_change::{Changed, PolicyTexts};
use crate::control::workflow::reads::View;
use crate::store::{AppliedFile, AppliedPolicy, NoLongerAllowed};
use crate::wire::api::Page;
use crate::wire::policy::{EndedByPolicy, PolicyChanged, PolicyPreview, PolicyRequest, PolicyView, ServiceFileView};

/// Revisions on one page: each holds all texts.
const LIMIT_DEFAULT: u32 = 10;
const LIMIT_MAX: u32 = 50;

/// Show the policy in force
///
/// With its texts, for administrators and auditors.
#[utoipa::path(
    get, path = "/v1/policy", operation_id = "getPolicy", tag = POLICY,
    responses((status = 200, description = "The newest revision.", body = PolicyView, headers(("ETag" = String)))),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn show(State(state): State<ApiState>, Caller(caller): Caller) -> Result<Tagged<PolicyView>, Refusal> {
    state.workflow.check_sees_policy(&caller)?;
    Ok(Tagged(newest(&state).await?))
}

async fn newest(state: &ApiState) -> Result<PolicyView, Refusal> {
    let applied = state.workflow.store.policy().await?;
    applied.map(view).ok_or_else(Refusal::not_found)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RevisionsQuery {
    /// Revisions before this one.
    before: Option<u64>,
    /// Greatest number of items. Absent: 10; more than 50 are 50.
    #[param(minimum = 1, example = 10)]
    limit: Option<u32>,
}

/// List the policy's revisions
///
/// The newest first, with their texts, for administrators and auditors. `next` is the `before` of the next page.
#[utoipa::path(
    get, path = "/v1/policy/revisions", operation_id = "listPolicyRevisions", tag = POLICY,
    params(RevisionsQuery),
    responses((status = 200, description = "One page.", body = Page<PolicyView>)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn revisions(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<RevisionsQuery>,
) -> Result<Json<Page<PolicyView>>, Refusal> {
    state.workflow.check_sees_policy(&caller)?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let items: Vec<_> =
        state.workflow.store.policy_revisions(query.before, limit).await?.into_iter().map(view).collect();
    let full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
    let next = items.last().filter(|last| full && last.revision > 1).map(|last| last.revision.to_string());
    Ok(Json(Page { items, next }))
}

/// Look at what a policy would come to
///
/// Names every mistake, and the live grants that it would end. Nothing is changed. For administrators and auditors.
#[utoipa::path(
    post, path = "/v1/policy/preview", operation_id = "previewPolicy", tag = POLICY,
    request_body = PolicyRequest,
    responses((status = 200, description = "What it would come to.", body = PolicyPreview)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn preview(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    body: JsonBytes,
) -> Result<Json<PolicyPreview>, Refusal> {
    let asked: PolicyRequest = body.parse()?;
    let preview = state.workflow.preview_policy(&caller, &texts(&asked)).await?;
    let others = preview.ends.iter().filter(|end| end.person != caller.person);
    let shown = others.map(|end| end.grant.as_str()).collect();
    state.workflow.record_look_over(&caller, View::PolicyPreview, shown).await?;
    let ends = preview.ends.into_iter().map(ended).collect();
    Ok(Json(PolicyPreview { mistakes: preview.mistakes, ends, second_administrator: preview.second_administrator }))
}

/// Make a policy the next revision
///
/// For administrators. `If-Match` names the `ETag` of the revision that it follows. Live grants that it no longer allows end
/// in the same step. Where the policy in force wants a second administrator, this makes a proposal (202) that another one
/// confirms.
#[utoipa::path(
    put, path = "/v1/policy", operation_id = "applyPolicy", tag = POLICY,
    params(("If-Match" = String, Header, description = "The ETag of the policy in force.",
        example = "\"hhSdLBNKsb0bl9zFSHVrWg\"")),
    request_body = PolicyRequest,
    responses((status = 200, description = "The new revision.", body = PolicyChanged),
        (status = 202, description = "A proposal that waits for a second administrator.", body = PolicyChanged)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::PolicyInvalid, Cause::NoteTooLong, Cause::PreconditionRequired,
        Cause::PreconditionFailed, Cause::ProposalsTooMany, Cause::RulesUnavailable,
    ])))),
)]
pub(crate) async fn apply(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    seen: IfMatch,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    state.workflow.check_sees_policy(&caller)?;
    let asked: PolicyRequest = body.parse()?;
    let current = newest(&state).await?;
    seen.check(&current)?;
    let workflow = state.workflow.clone();
    let task = tokio::spawn(async move {
        workflow.change_policy(&caller, &texts(&asked), current.revision, asked.note.as_deref()).await
    });
    let changed = task.await.map_err(|_| Refusal::new(Cause::Internal, "the change was not finished"))??;
    Ok(answer(changed))
}

pub(super) fn answer(changed: Changed) -> Response {
    match changed {
        Changed::Applied { revision, ended: grants } => {
            let ended = grants.into_iter().map(ended).collect();
            Json(PolicyChanged { revision: Some(revision), proposal: None, ended }).into_response()
        }
        Changed::Proposed(id) => {
            let body = PolicyChanged { revision: None, proposal: Some(id), ended: Vec::new() };
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
    }
}

fn texts(asked: &PolicyRequest) -> PolicyTexts {
    PolicyTexts { policy: asked.policy.clone(), services: asked.services.clone() }
}

fn ended(grant: NoLongerAllowed) -> EndedByPolicy {
    EndedByPolicy { grant: grant.grant, service: grant.service, person: grant.person, why: grant.why }
}

fn view(applied: AppliedPolicy) -> PolicyView {
    PolicyView {
        revision: applied.revision,
        applied_at: applied.at,
        applied_by: applied.by,
        confirmed_by: applied.confirmed_by,
        note: applied.note,
        digest: applied.digest,
        policy: applied.text,
        services: files(applied.services),
    }
}

pub(super) fn files(files: Vec<AppliedFile>) -> Vec<ServiceFileView> {
    let view = |file: AppliedFile| ServiceFileView { name: file.name, digest: file.digest, text: file.text };
    files.into_iter().map(view).collect()
}
