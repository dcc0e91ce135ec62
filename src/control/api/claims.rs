//! `/v1/grants/{id}/claim`: bind a key or a certificate to a grant that was approved without.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;

use super::ApiState;
use super::asked::Named;
use super::body::JsonBytes;
use super::caller::Caller;
use super::grants::{parse, view};
use super::once::once_key;
use super::possession::Shown;
use crate::control::openapi::{GRANTS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::GrantId;
use crate::store::Operation;
use crate::wire::api::GrantView;
use crate::wire::lifecycle::ClaimRequest;

/// Bind a key or a certificate to a grant
///
/// For the requester alone, once, and before the grant's first use: a grant whose binding is `dpop` or `mtls` and that
/// was approved unbound has no token until then. What is bound is what this very call proves: the key of its DPoP proof,
/// or the client certificate of its connection.
#[utoipa::path(
    post, path = "/v1/grants/{id}/claim", operation_id = "claimGrant", tag = GRANTS,
    params(("id" = GrantId, Path, description = "The grant's id."),
        ("DPoP" = Option<String>, Header, description = "A proof (RFC 9449) for this call and its access token, with a \
        nonce of `DPoP-Nonce`.", example = "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.c2ln"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = ClaimRequest,
    responses((status = 200, description = "The grant, which now has a token.", body = GrantView)),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::NotPermitted, Cause::ProofMissing, Cause::DpopProofInvalid, Cause::UseDpopNonce,
        Cause::CertificateUntrusted, Cause::GrantBound, Cause::GrantEnded, Cause::StepUp, Cause::Frozen, Cause::KeyMalformed,
        Cause::KeyReused, Cause::KeyUnavailable,
    ])))),
)]
pub(crate) async fn claim(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Shown(proven): Shown,
    Named(id): Named,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Json<GrantView>, Refusal> {
    let (id, asked) = (parse(&id)?, body.parse::<ClaimRequest>()?);
    let once = once_key(&headers, Operation::Claim, id.as_str(), &asked)?;
    // A task of its own: a caller who leaves can't leave a half-told commit behind.
    let workflow = state.workflow.clone();
    let task = tokio::spawn(async move { workflow.claim(&caller, &id, &proven, once).await });
    let record = task.await.map_err(|_| Refusal::new(Cause::Internal, "the claim was not finished"))??;
    Ok(Json(view(&state, record)))
}
