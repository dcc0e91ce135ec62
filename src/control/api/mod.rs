//! The API's calls, one file a noun. Each authenticates, reads, calls the workflow, and shapes the answer.

pub mod answer;
pub mod asked;
pub mod body;
pub mod caller;
pub mod claims;
pub mod decisions;
mod elevation_view;
pub mod elevations;
pub mod erasures;
pub mod etag;
pub mod freezes;
pub mod grants;
mod once;
pub mod options;
pub mod paging;
pub mod policy;
pub mod possession;
pub mod proposals;
pub mod reports;
pub mod reviews;
pub mod revocations;
pub mod sign_in;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::feed::Hub;
use super::ledger::Ledger;
use super::rates::Rates;
use super::recheck::Rechecks;
use super::reporting::Reporting;
use super::signals::Signals;
use super::workflow::Workflow;
use crate::config::scim::ScimConfig;
use crate::domain::Issuer;
use crate::identity::Verifier;
use crate::wire::sign_in::SignInView;
use possession::Possession;

/// What every call may use.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub workflow: Arc<Workflow>,
    pub verifier: Verifier,
    pub hub: Arc<Hub>,
    pub rates: Arc<Rates>,
    pub ledger: Arc<Ledger>,
    /// Whose turn it is to make a report.
    pub reporting: Arc<Reporting>,
    pub possession: Arc<Possession>,
    /// What anyone is told of signing in.
    pub sign_in: Arc<SignInView>,
    pub signals: Signals,
    /// Issuers that are asked whether tokens still stand.
    pub rechecks: Rechecks,
    /// Who keeps people and groups here.
    pub scim: Arc<Vec<ScimConfig>>,
    /// The issuers whose tokens' groups are not looked at, each with what stands before the names of its groups.
    pub groups_by_scim: Arc<BTreeMap<Issuer, String>>,
}

impl ApiState {
    /// The digest of a service's applied file.
    pub fn digest(&self, service: &crate::domain::ServiceName) -> Option<String> {
        self.workflow.rules().services.get(service).map(|service| service.digest.clone())
    }
}
