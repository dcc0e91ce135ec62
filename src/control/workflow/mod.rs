//! What happens to elevations and grants, and who may make it happen. No HTTP here.
//!
//! - [`check`]: is it a request the policy allows?
//! - [`request`]: ask; where nobody has to approve it, be granted.
//! - [`approve`]: other humans agree; `grant` makes what they agree to.
//! - [`claim`]: bind what the person proves to their grant.
//! - [`decline`]: deny, or take back.
//! - [`revoke`]: end a grant early; [`revoke_all`]: end many at once; [`freeze`]: stop a service, or everything.
//! - [`erasing`]: erase what is personal, of a person or by age; [`erasing_upkeep`]: what of it happens by itself.
//! - [`freshness`]: whether what a caller has proven still counts; taking up what was suspended for that.
//! - [`review`]: look at it afterwards.
//! - [`sight`]: who may see what, and [`reads`]: that they did.
//! - [`rules`]: the policy and services that are served; [`policy_change`] makes others the next revision.
//! - [`budget`]: how much of what is refused is written down.
//! - [`upkeep`]: what happens by itself: requests lapse, grants expire, reviews become overdue, keys are renewed.

pub mod approve;
pub mod budget;
pub mod check;
pub mod claim;
pub mod decline;
pub mod erasing;
pub mod erasing_upkeep;
pub mod freeze;
pub mod freshness;
mod grant;
pub mod policy_change;
pub mod reads;
pub mod request;
pub mod review;
pub mod revoke;
pub mod revoke_all;
pub mod rules;
pub mod sight;
pub mod upkeep;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::keys::Keys;
use super::metrics::ControlMetrics;
use super::on_call::OnCall;
use super::recheck::held::HeldTokens;
use crate::clock::Clock;
use crate::config::control::AccessGroups;
use crate::config::retention::RetentionConfig;
use crate::domain::Issuer;
use crate::policy::Rules;
use crate::store::Store;
use rules::{InForce, RulesError};

/// Everything the workflow stands on. Shared by all requests.
#[derive(Debug)]
pub struct Workflow {
    pub store: Store,
    pub keys: Keys,
    /// How long a sidecar's assertion key is certified for.
    pub assertion_key_validity: Duration,
    pub rules: InForce,
    /// Who is on call, by the schedules of the policy.
    pub on_call: Arc<OnCall>,
    pub groups: AccessGroups,
    /// For how long what is personal is kept; absent: for ever.
    pub retention: Option<RetentionConfig>,
    /// `iss` of grant tokens.
    pub issuer: Issuer,
    pub clock: Clock,
    pub metrics: Arc<ControlMetrics>,
    pub refused: budget::RefusedBudget,
    pub reads: reads::ReadBook,
    /// Tokens that issuers are asked about.
    pub held: HeldTokens,
    /// Whether the ledger knows every key there is.
    pub keys_recorded: AtomicBool,
}

impl Workflow {
    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.now()
    }

    /// Takes the newest rules of the database. Answers whether they are others than before.
    ///
    /// # Errors
    /// [`RulesError`]; then those in force stay.
    pub async fn reload_rules(&self) -> Result<bool, RulesError> {
        let before = self.rules().revision;
        if self.store.policy_revision().await? == before {
            return Ok(false);
        }
        let rules = Rules::reload(&self.store).await?;
        tracing::info!(revision = rules.revision, "another policy revision is in force");
        self.on_call.follow(&rules.policy.schedules);
        self.rules.replace(rules);
        Ok(true)
    }
}
