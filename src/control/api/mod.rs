//! The API's calls, one file a noun. Each authenticates, reads, calls the workflow, and shapes the answer.

pub mod answer;
pub mod asked;
pub mod body;
pub mod caller;
pub mod decisions;
mod elevation_view;
pub mod elevations;
pub mod etag;
pub mod freezes;
pub mod grants;
mod once;
pub mod options;
pub mod paging;
pub mod policy;
pub mod proposals;
pub mod reviews;
pub mod revocations;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::feed::Hub;
use super::rates::Rates;
use super::signals::Signals;
use super::workflow::Workflow;
use crate::config::scim::ScimConfig;
use crate::domain::Issuer;
use crate::identity::Verifier;

/// What every call may use.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub workflow: Arc<Workflow>,
    pub verifier: Verifier,
    pub hub: Arc<Hub>,
    pub rates: Arc<Rates>,
    pub signals: Signals,
    /// Who keeps people and groups here.
    pub scim: Arc<Vec<ScimConfig>>,
    /// The issuers whose tokens' groups are not looked at.
    pub groups_by_scim: Arc<BTreeSet<Issuer>>,
}

impl ApiState {
    /// The digest of a service's applied file.
    pub fn digest(&self, service: &crate::domain::ServiceName) -> Option<String> {
        self.workflow.rules().services.get(service).map(|service| service.digest.clone())
    }
}
