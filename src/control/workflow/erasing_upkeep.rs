//! What happens by itself to erasures: what is older than it is kept is erased, and erasures that were left half carried out
//! are carried on. A task of its own, so that what is over by its time is ended in time however much there is to erase; every
//! replica does it, and the writer's turn is others' between two steps.
//!
//! Must never: hold anything while it waits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Workflow;
use crate::domain::{Erasable, ErasureId, ErasureReason};
use crate::error_chain::error_chain;
use crate::store::{ErasureOutcome, NewErasure, StoreError};

/// How often it is looked for erasures that were left.
const EVERY: Duration = Duration::from_secs(1);
/// How long it rests at most after failures in a row, each of which doubles the rest.
const REST_MAX: Duration = Duration::from_secs(60);
/// How often it is looked for what is old enough.
const AGED_EVERY: Duration = Duration::from_secs(3600);
/// Steps of one erasure before the next one's turn.
const STEPS_OF_TURN: usize = 20;

impl Workflow {
    /// Runs until `stop` turns true.
    pub async fn keep_erasing(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.erase_what_is_due() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// A step that is given up in the middle was not done, or is whole.
    async fn erase_what_is_due(&self) {
        let (mut aged, mut rest): (Option<Instant>, Duration) = (None, EVERY);
        loop {
            let is_due = aged.is_none_or(|aged| aged.elapsed() >= AGED_EVERY);
            let looked = !is_due || self.erase_aged().await;
            if is_due && looked {
                aged = Some(Instant::now());
            }
            let carried = self.carry_on_erasures().await;
            rest = if looked && carried { EVERY } else { (rest * 2).min(REST_MAX) };
            tokio::time::sleep(rest).await;
        }
    }

    /// A turn for each erasure that is open, again and again until all are done. One that fails holds no other up. Answers
    /// whether none failed.
    async fn carry_on_erasures(&self) -> bool {
        let mut failed = HashSet::new();
        loop {
            let open = match self.store.open_erasures().await {
                Ok(open) => open,
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "erasures could not be looked for");
                    return false;
                }
            };
            let mut goes_on = false;
            for erasure in open.into_iter().filter(|erasure| !failed.contains(erasure)).collect::<Vec<_>>() {
                match self.carry_on_erasure(&erasure, STEPS_OF_TURN).await {
                    Some(is_open) => goes_on |= is_open,
                    None => drop(failed.insert(erasure)),
                }
            }
            self.fold_erased().await;
            if !goes_on {
                return failed.is_empty();
            }
        }
    }

    /// Carries an erasure on, as far as so many steps go. Answers whether there may be more; nothing where one failed.
    pub(super) async fn carry_on_erasure(&self, id: &ErasureId, steps: usize) -> Option<bool> {
        for _ in 0..steps {
            match self.store.carry_on_erasure(id).await {
                Ok(progress) => {
                    self.count_erased(progress);
                    if !progress.open {
                        return Some(false);
                    }
                }
                Err(error) => {
                    tracing::error!(erasure = %id, error = %error_chain(&error), "an erasure is carried on later");
                    return None;
                }
            }
        }
        Some(true)
    }

    /// What was erased must not lie in the write-ahead log any longer. Somebody who reads an older state delays it.
    pub(super) async fn fold_erased(&self) {
        if let Err(error) = self.store.fold_erased().await {
            tracing::error!(error = %error_chain(&error), "the write-ahead log could not be emptied of what was erased");
        }
    }

    /// Erases what is older than it is to be kept, where the configuration says for how long. Answers whether nothing failed.
    pub(in crate::control) async fn erase_aged(&self) -> bool {
        let forgotten = self.store.forget_lapsed().await;
        if let Err(error) = &forgotten {
            tracing::error!(error = %error_chain(error), "what is of no use any more could not be forgotten");
        }
        let ordered = self.order_aged().await;
        if let Err(error) = &ordered {
            tracing::error!(error = %error_chain(error), "what is old enough could not be erased");
        }
        forgotten.is_ok() && ordered.is_ok()
    }

    async fn order_aged(&self) -> Result<(), StoreError> {
        let Some(retention) = &self.retention else { return Ok(()) };
        let before = self.clock.wall().minus(retention.keep);
        if !self.store.has_aged(before, &retention.held).await? {
            return Ok(());
        }
        let (what, held) = (Erasable::Age { before }, retention.held.clone());
        let new = NewErasure { what, reason: ErasureReason::Retention, held, by: None, once: None };
        if let ErasureOutcome::Ordered(id, progress) = self.store.erase(&new).await? {
            tracing::info!(erasure = %id, days = retention.keep.as_secs() / 86_400, "what is old enough is erased");
            self.count_erased(progress);
        }
        Ok(())
    }
}
