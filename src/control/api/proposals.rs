//! `/v1/policy/proposals`: changes of the policy that wait for a second administrator.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::ApiState;
use super::asked::Named;
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::Tagged;
use super::policy::{answer, files};
use crate::control::openapi::{POLICY, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::ProposalId;
use crate::store::Proposal;
use crate::wire::api::Page;
use crate::wire::policy::{PolicyChanged, ProposalView};

/// Nothing needs to be said.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(examples(json!({})))]
#[serde(deny_unknown_fields)]
pub(crate) struct ProposalAnswer {}

/// List proposals
///
/// The newest first, at most 100; for administrators and auditors.
#[utoipa::path(
    get, path = "/v1/policy/proposals", operation_id = "listProposals", tag = POLICY,
    responses((status = 200, description = "One page.", body = Page<ProposalView>)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(caller): Caller,
) -> Result<Json<Page<ProposalView>>, Refusal> {
    state.workflow.check_sees_policy(&caller)?;
    let items = state.workflow.store.proposals().await?.into_iter().map(view).collect();
    Ok(Json(Page { items, next: None }))
}

/// Show a proposal
#[utoipa::path(
    get, path = "/v1/policy/proposals/{id}", operation_id = "getProposal", tag = POLICY,
    params(("id" = ProposalId, Path, description = "The proposal's id.")),
    responses((status = 200, description = "The proposal.", body = ProposalView, headers(("ETag" = String)))),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Tagged<ProposalView>, Refusal> {
    state.workflow.check_sees_policy(&caller)?;
    let proposal = state.workflow.store.proposal(&parse(&id)?).await?.ok_or_else(Refusal::not_found)?;
    Ok(Tagged(view(proposal)))
}

/// Confirm a proposal
///
/// For another administrator than the one who proposed it. It becomes the next revision if the one that it follows is
/// still the newest.
#[utoipa::path(
    post, path = "/v1/policy/proposals/{id}/confirm", operation_id = "confirmProposal", tag = POLICY,
    params(("id" = ProposalId, Path, description = "The proposal's id.")),
    request_body = ProposalAnswer,
    responses((status = 200, description = "The new revision.", body = PolicyChanged)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::SecondAdministrator, Cause::ProposalDecided, Cause::PreconditionFailed,
        Cause::PolicyInvalid, Cause::RulesUnavailable,
    ])))),
)]
pub(crate) async fn confirm(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    let (id, _) = (parse(&id)?, body.parse::<ProposalAnswer>()?);
    let workflow = state.workflow.clone();
    let task = tokio::spawn(async move { workflow.confirm_policy(&caller, &id).await });
    Ok(answer(task.await.map_err(|_| Refusal::new(Cause::Internal, "the change was not finished"))??))
}

/// Take a proposal back
///
/// For administrators.
#[utoipa::path(
    post, path = "/v1/policy/proposals/{id}/withdraw", operation_id = "withdrawProposal", tag = POLICY,
    params(("id" = ProposalId, Path, description = "The proposal's id.")),
    request_body = ProposalAnswer,
    responses((status = 200, description = "The withdrawn proposal.", body = ProposalView)),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::ProposalDecided])))),
)]
pub(crate) async fn withdraw(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    body: JsonBytes,
) -> Result<Json<ProposalView>, Refusal> {
    let (id, _) = (parse(&id)?, body.parse::<ProposalAnswer>()?);
    state.workflow.withdraw_policy(&caller, &id).await?;
    let proposal = state.workflow.store.proposal(&id).await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(proposal)))
}

fn parse(id: &str) -> Result<ProposalId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found())
}

fn view(proposal: Proposal) -> ProposalView {
    let Proposal { id, state, change, at, decided } = proposal;
    ProposalView {
        id,
        state,
        base: change.base,
        proposed_at: at,
        proposed_by: change.by,
        note: change.note,
        decided_at: decided.as_ref().map(|(at, _)| *at),
        decided_by: decided.map(|(_, by)| by),
        digest: change.digest,
        policy: change.text,
        services: files(change.services),
    }
}
