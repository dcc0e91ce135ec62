//! The rules that are served: the newest policy revision in the database, with its services. Files are input only.
//!
//! A revision can be applied through another replica: what rests on the rules is checked against the newest revision
//! inside its transaction, and the rules are read anew each second.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::control::ControlConfig;
use crate::config::policy::PolicyConfig;
use crate::config::{ConfigError, ServiceConfig};
pub use crate::policy::Rules;
use crate::store::{AppliedFile, AppliedPolicy, Store, StoreError};

/// Why there are no rules to serve.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("the policy in the database can't be read")]
    Store(#[from] StoreError),
    #[error("policy revision {revision} in the database is not valid for this version")]
    Stored { revision: u64, source: ConfigError },
}

impl Rules {
    /// The rules in force: the first start applies the files as revision 1, every later one serves the database's.
    ///
    /// # Errors
    /// [`RulesError`].
    pub async fn establish(store: &Store, config: &ControlConfig) -> Result<Self, RulesError> {
        if store.policy().await?.is_none() {
            let revision =
                store.apply_policy(&config.policy.text, &config.policy.checked.digest, &files(config)).await?;
            tracing::info!(revision, "policy and service files applied");
        }
        let applied = newest(store).await?;
        warn_of_differences(&applied, config);
        Self::parse(&applied)
    }

    /// The newest rules in the database.
    ///
    /// # Errors
    /// [`RulesError`].
    pub async fn reload(store: &Store) -> Result<Self, RulesError> {
        Self::parse(&newest(store).await?)
    }

    fn parse(applied: &AppliedPolicy) -> Result<Self, RulesError> {
        let stored = |source| RulesError::Stored { revision: applied.revision, source };
        let services = applied
            .services
            .iter()
            .map(|file| ServiceConfig::parse(Path::new(&file.name), &file.text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(stored)?;
        let policy = PolicyConfig::parse(Path::new("policy"), &applied.text, &services).map_err(stored)?;
        Ok(Self::new(applied.revision, policy, services))
    }
}

/// The rules in force. They change as a whole, and whoever holds them goes on with what they hold.
#[derive(Debug)]
pub struct InForce(watch::Sender<Arc<Rules>>);

impl InForce {
    pub fn new(rules: Rules) -> Self {
        Self(watch::Sender::new(Arc::new(rules)))
    }

    pub fn now(&self) -> Arc<Rules> {
        self.0.borrow().clone()
    }

    /// Wakes when they change.
    pub fn follow(&self) -> watch::Receiver<Arc<Rules>> {
        self.0.subscribe()
    }

    /// Older ones than those in force change nothing: another task may have been faster.
    pub fn replace(&self, rules: Rules) {
        self.0.send_if_modified(|now| {
            let newer = rules.revision > now.revision;
            if newer {
                *now = Arc::new(rules);
            }
            newer
        });
    }
}

async fn newest(store: &Store) -> Result<AppliedPolicy, StoreError> {
    store.policy().await?.ok_or_else(|| StoreError::Corrupt("the policy vanished".to_owned()))
}

fn files(config: &ControlConfig) -> Vec<AppliedFile> {
    let file = |service: &crate::config::control::SourceFile<ServiceConfig>| AppliedFile {
        name: service.checked.name.to_string(),
        text: service.text.clone(),
        digest: service.checked.digest.clone(),
    };
    config.services.iter().map(file).collect()
}

/// A changed file takes no effect by itself, and says so.
fn warn_of_differences(applied: &AppliedPolicy, config: &ControlConfig) {
    const LATER: &str = "the file differs from the revision that is served; it takes effect when it is applied \
                         (`breakglass policy apply`, in a later version), not by a restart";
    if config.policy.checked.digest != applied.digest {
        tracing::warn!(file = %config.policy.path.display(), revision = applied.revision, "{LATER}");
    }
    for service in &config.services {
        let same =
            |file: &AppliedFile| file.name == service.checked.name.as_str() && file.digest == service.checked.digest;
        if !applied.services.iter().any(same) {
            tracing::warn!(file = %service.path.display(), revision = applied.revision, "{LATER}");
        }
    }
}
