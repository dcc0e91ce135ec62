//! What happens by itself: grants whose time is over are ended, grant keys are renewed before they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::Workflow;
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::store::StoreError;

/// How often it is looked. A grant ends by its own deadline at the sidecars; the sweep only writes it down.
const EVERY: Duration = Duration::from_secs(1);

impl Workflow {
    /// Runs until `stop` turns true.
    pub async fn keep_up(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            self.sweep().await;
            if let Err(error) = self.renew_keys().await {
                tracing::error!(error = %error_chain(error.as_ref()), "grant keys could not be renewed");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn sweep(&self) {
        match self.store.expire_due().await {
            Ok(ended) => {
                let count = u64::try_from(ended.len()).unwrap_or(u64::MAX);
                self.metrics.grants_ended.with_label_values(&["expired"]).inc_by(count);
            }
            Err(error) => tracing::error!(error = %error_chain(&error), "expired grants could not be ended"),
        }
    }

    /// Takes in keys that were put there, makes one when one is due, and records every key that the ledger does not know
    /// yet: also where a part of that failed.
    ///
    /// # Errors
    /// What the keys' folder or the database said.
    pub async fn renew_keys(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let now = self.clock.wall();
        let (reloaded, renewed) = (self.keys.reload(now).await, self.keys.renew(now).await);
        if self.keys.take_changed() {
            self.keys_recorded.store(false, Ordering::Relaxed);
        }
        if !self.keys_recorded.load(Ordering::Relaxed) {
            self.record_keys(now).await?;
        }
        Ok(reloaded.and(renewed)?)
    }

    async fn record_keys(&self, now: WallTime) -> Result<(), StoreError> {
        for key in self.keys.known(now) {
            if self.store.record_key(&key).await?.is_some() {
                tracing::info!(kid = %key.kid, "grant key certified and recorded");
            }
        }
        self.keys_recorded.store(true, Ordering::Relaxed);
        Ok(())
    }
}
