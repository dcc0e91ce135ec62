//! What happens by itself: what is over by its time is ended and told, the newest policy is taken, grant keys are
//! renewed before they end.

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

    pub(in crate::control) async fn sweep(&self) {
        if let Err(error) = self.sweep_all().await {
            tracing::error!(error = %error_chain(&error), "what is over by its time could not be ended");
        }
        if let Err(error) = self.reload_rules().await {
            tracing::error!(error = %error_chain(&error), "the newest policy could not be taken");
        }
    }

    /// Requests that nobody answered lapse, grants expire, reviews that nobody did are overdue, and revocations that
    /// somebody left half carried out are carried on.
    async fn sweep_all(&self) -> Result<(), StoreError> {
        let count = |ended: usize| u64::try_from(ended).unwrap_or(u64::MAX);
        let lapsed = self.store.lapse_due().await?;
        self.metrics.elevations.with_label_values(&["lapsed"]).inc_by(count(lapsed.len()));
        let expired = self.store.expire_due().await?;
        self.metrics.grants_ended.with_label_values(&["expired"]).inc_by(count(expired.len()));
        for grant in self.store.overdue_due().await? {
            tracing::warn!(%grant, "nobody has reviewed this grant in time");
        }
        for order in self.store.open_orders().await? {
            self.carry_on(&order).await;
        }
        self.metrics.freezes.set(i64::try_from(self.store.freezes().await?.len()).unwrap_or(i64::MAX));
        let awaited = self.store.awaited().await?;
        self.metrics.show_awaited(&awaited);
        Ok(())
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
