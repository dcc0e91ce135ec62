//! `/v1/grants/{id}/review`: somebody else looks at it afterwards.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;

use super::ApiState;
use super::asked::Named;
use super::body::JsonBytes;
use super::caller::Caller;
use super::grants::{parse, view};
use super::once::once_key;
use crate::control::openapi::{GRANTS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::GrantId;
use crate::store::Operation;
use crate::wire::api::GrantView;
use crate::wire::lifecycle::ReviewRequest;

/// Review a grant that has ended
///
/// For administrators, auditors, reviewers and those who approve in its tier; never for its own person. One that is
/// overdue can still be reviewed, and no review is ever replaced.
#[utoipa::path(
    post, path = "/v1/grants/{id}/review", operation_id = "reviewGrant", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = ReviewRequest,
    responses((status = 200, description = "The reviewed grant.", body = GrantView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::OwnRequest, Cause::StateConflict, Cause::NoteMissing, Cause::NoteTooLong,
        Cause::KeyMalformed, Cause::KeyReused,
    ])))),
)]
pub(crate) async fn review(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Json<GrantView>, Refusal> {
    let (id, asked) = (parse(&id)?, body.parse::<ReviewRequest>()?);
    let once = once_key(&headers, Operation::Review, id.as_str(), &asked)?;
    let workflow = state.workflow.clone();
    let task = tokio::spawn(async move { workflow.review(&caller, &id, (asked.verdict, &asked.findings), once).await });
    let record = task.await.map_err(|_| Refusal::new(Cause::Internal, "the review was not finished"))??;
    Ok(Json(view(&state, record)))
}
