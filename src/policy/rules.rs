//! One policy revision with its services.

use std::collections::BTreeMap;

use crate::config::ServiceConfig;
use crate::config::policy::PolicyConfig;
use crate::domain::ServiceName;

/// One policy revision, checked.
#[derive(Debug, Clone)]
pub struct Rules {
    /// 0: not applied anywhere.
    pub revision: u64,
    pub policy: PolicyConfig,
    pub services: BTreeMap<ServiceName, ServiceConfig>,
}

impl Rules {
    pub fn new(revision: u64, policy: PolicyConfig, services: impl IntoIterator<Item = ServiceConfig>) -> Self {
        let services = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        Self { revision, policy, services }
    }
}
