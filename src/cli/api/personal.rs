//! Calls about what is personal: erase it, read what is kept.

use super::{Api, ApiError};
use crate::domain::{ErasureId, GrantId};
use crate::wire::erasures::{ErasurePreview, ErasureRequest, ErasureView, PersonalValues, PersonalValuesRequest};

impl Api {
    /// What would be erased, and what stands in the way.
    pub async fn preview_erasure(&self, request: &ErasureRequest) -> Result<ErasurePreview, ApiError> {
        self.post("/v1/erasures/preview", request).await
    }

    pub async fn erase(&self, request: &ErasureRequest) -> Result<ErasureView, ApiError> {
        self.post("/v1/erasures", request).await
    }

    pub async fn erasure(&self, id: &ErasureId) -> Result<ErasureView, ApiError> {
        self.get(&format!("/v1/erasures/{id}")).await
    }

    /// What lies beside entries about a grant; at most 500 entries at once.
    pub async fn personal_values(&self, grant: &GrantId, entries: Vec<u64>) -> Result<PersonalValues, ApiError> {
        self.post(&format!("/v1/grants/{grant}/personal-values"), &PersonalValuesRequest { entries }).await
    }
}
