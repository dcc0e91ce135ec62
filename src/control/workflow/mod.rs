//! What happens to elevations and grants, and who may make it happen. No HTTP here.
//!
//! - [`check`]: is it a request the policy allows? Pure.
//! - [`request`]: ask, and be granted.
//! - [`revoke`]: end a grant early.
//! - [`sight`]: who may see what, and [`reads`]: that they did.
//! - [`rules`]: the policy and services that are served.
//! - [`upkeep`]: what happens by itself: grants expire, keys are renewed.

pub mod check;
pub mod reads;
pub mod request;
pub mod revoke;
pub mod rules;
pub mod sight;
pub mod upkeep;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::keys::Keys;
use super::metrics::ControlMetrics;
use crate::clock::Clock;
use crate::config::control::AccessGroups;
use crate::domain::Issuer;
use crate::store::Store;
use rules::Rules;

/// Everything the workflow stands on. Shared by all requests.
#[derive(Debug)]
pub struct Workflow {
    pub store: Store,
    pub keys: Keys,
    /// How long a sidecar's assertion key is certified for.
    pub assertion_key_validity: Duration,
    pub rules: Rules,
    pub groups: AccessGroups,
    /// `iss` of grant tokens.
    pub issuer: Issuer,
    pub clock: Clock,
    pub metrics: Arc<ControlMetrics>,
    pub refused: request::RefusedBudget,
    pub reads: reads::ReadBook,
    /// Whether the ledger knows every key there is.
    pub keys_recorded: AtomicBool,
}
