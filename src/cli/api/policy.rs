//! Calls about the policy: what is in force, what would be, and proposals.

use http::header::{ETAG, IF_MATCH};
use http::{HeaderValue, Method};

use super::{Api, ApiError, body};
use crate::domain::ProposalId;
use crate::wire::policy::{PolicyChanged, PolicyPreview, PolicyRequest, PolicyView, ProposalView};

impl Api {
    /// The policy in force, with the tag of what is shown.
    pub async fn policy(&self) -> Result<(PolicyView, String), ApiError> {
        let answer = self.ask(Method::GET, "/v1/policy", Vec::new(), None).await?;
        let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let view = answer.json().map_err(|source| ApiError::Unusable { source })?;
        Ok((view, tag.ok_or(ApiError::Untagged)?))
    }

    pub async fn preview_policy(&self, request: &PolicyRequest) -> Result<PolicyPreview, ApiError> {
        self.post("/v1/policy/preview", request).await
    }

    /// Makes `request` the revision that follows the one `etag` names.
    pub async fn apply_policy(&self, etag: &str, request: &PolicyRequest) -> Result<PolicyChanged, ApiError> {
        let seen = HeaderValue::try_from(etag).map_err(|_| ApiError::Untagged)?;
        let answer = self.ask(Method::PUT, "/v1/policy", body(request)?, Some((IF_MATCH, seen))).await?;
        answer.json().map_err(|source| ApiError::Unusable { source })
    }

    pub async fn proposals(&self) -> Result<Vec<ProposalView>, ApiError> {
        self.all("/v1/policy/proposals", "").await
    }

    pub async fn proposal(&self, id: &ProposalId) -> Result<ProposalView, ApiError> {
        self.get(&format!("/v1/policy/proposals/{id}")).await
    }

    pub async fn confirm_proposal(&self, id: &ProposalId) -> Result<PolicyChanged, ApiError> {
        self.post(&format!("/v1/policy/proposals/{id}/confirm"), &serde_json::json!({})).await
    }

    pub async fn withdraw_proposal(&self, id: &ProposalId) -> Result<ProposalView, ApiError> {
        self.post(&format!("/v1/policy/proposals/{id}/withdraw"), &serde_json::json!({})).await
    }
}
