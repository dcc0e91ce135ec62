//! What replicas tell each other through the database: who acknowledged what, who is connected where, and who is asked
//! to give uses back. Wake-ups only hasten it: everything is also looked for now and then.
//!
//! It must never: take the writer's lock, or report a stream that is over as one that stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::delivery::Room;
use super::source::FeedStore;
use crate::error_chain::error_chain;
use crate::store::contract::{SidecarSeen, StoreError};

/// How often sidecars of which nothing was heard for long are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Runs until dropped.
pub(super) async fn keep_exchanging<S: FeedStore>(room: Arc<Room<S>>) {
    let now = Instant::now();
    let mut exchange = Exchange { room: &room, batch: 0, told: None, persisted: now, forgot: now };
    let mut wakes = room.store.subscribe_replicas();
    let (shared, limits) = (room.store.is_shared(), room.hub.limits());
    loop {
        exchange.report(shared).await;
        exchange.listen(shared).await;
        tokio::select! {
            () = sleep(limits.report_every) => {}
            Ok(()) = wakes.changed() => sleep(limits.report_gather / 3).await,
            () = room.hub.news_came(), if shared => sleep(limits.report_gather).await,
        }
    }
}

struct Exchange<'a, S> {
    room: &'a Arc<Room<S>>,
    /// Number of the last report that was tried.
    batch: u64,
    told: Option<Instant>,
    persisted: Instant,
    forgot: Instant,
}

impl<S: FeedStore> Exchange<'_, S> {
    /// Says that this replica is at work, and what is new; now and then all that was heard.
    async fn report(&mut self, shared: bool) {
        let (hub, began) = (&self.room.hub, self.room.hub.clock().now());
        let all = self.persisted.elapsed() >= hub.limits().persist_every;
        if !shared && !all {
            return;
        }
        let sidecars = hub.take_report(self.room.store.replica(), all);
        let is_due = self.told.is_none_or(|told| told.elapsed() >= hub.limits().report_every);
        if sidecars.is_empty() && !is_due {
            return;
        }
        match self.write(&sidecars).await {
            Ok(()) => {
                self.told = Some(Instant::now());
                if shared {
                    hub.reported(began);
                }
                if all {
                    self.persisted = Instant::now();
                }
            }
            Err(error) => {
                hub.not_reported(&sidecars);
                tracing::warn!(error = error_chain(&error), "what was heard of sidecars could not be written down");
            }
        }
        self.forget().await;
    }

    async fn write(&mut self, sidecars: &[SidecarSeen]) -> Result<(), StoreError> {
        self.batch += 1;
        self.room.store.report(self.batch, sidecars).await
    }

    async fn forget(&mut self) {
        if self.forgot.elapsed() < FORGET_EVERY {
            return;
        }
        self.forgot = Instant::now();
        if let Err(error) = self.room.store.forget_silent().await {
            tracing::warn!(error = error_chain(&error), "sidecars that are gone could not be forgotten");
        }
    }

    /// Takes in what the others reported, and passes questions on to the streams here.
    async fn listen(&self, shared: bool) {
        let hub = &self.room.hub;
        if shared {
            let read = hub.reports_read();
            match timeout(hub.limits().read_wait_max, self.room.store.hearsay(&read)).await {
                Ok(Ok(hearsay)) => hub.take_in(hearsay),
                Ok(Err(error)) => self.unread(&error),
                Err(_) => tracing::warn!("the other replicas' reports were not read in time"),
            }
        }
        match timeout(hub.limits().read_wait_max, self.room.shares.pass_on()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.unread(&error),
            Err(_) => tracing::warn!("questions about shares were not read in time"),
        }
    }

    fn unread(&self, error: &StoreError) {
        tracing::warn!(error = error_chain(error), "what other replicas wrote could not be read");
    }
}

/// Writes down everything that was heard, at the end.
pub(super) async fn persist<S: FeedStore>(room: &Room<S>) {
    let sidecars = room.hub.take_report(room.store.replica(), true);
    // The last number there can be: nothing of this replica comes after it.
    if let Err(error) = room.store.report(u64::MAX >> 1, &sidecars).await {
        tracing::warn!(error = error_chain(&error), "what was heard of sidecars could not be written down");
    }
}
