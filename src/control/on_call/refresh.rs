//! Keeping schedules known: fetched in the background, one task each, kept for a while when a source is down.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::{AbortHandle, JoinSet};

use super::OnCall;
use super::fetch::{FetchError, Fetcher};
use super::schedule::Schedule;
use crate::jitter::full_jitter;

/// How a fetch that failed is repeated, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryTimes {
    /// The most that is waited before the first repetition; it doubles from there.
    pub retry_ms_min: u64,
    /// The most that is ever waited, but for what a source asks for.
    pub retry_ms_max: u64,
    /// The most that a source can ask for.
    pub told_ms_max: u64,
}

impl RetryTimes {
    pub const DEFAULT: Self = Self { retry_ms_min: 1_000, retry_ms_max: 60_000, told_ms_max: 600_000 };

    /// Full jitter: anything from nothing to a limit that doubles. What the source asks for comes on top.
    pub(in crate::control) fn pause(&self, failed: u32, told: Option<Duration>) -> Duration {
        let doubled = self.retry_ms_min.saturating_mul(1_u64.checked_shl(failed.saturating_sub(1)).unwrap_or(u64::MAX));
        let told = told.unwrap_or_default().min(Duration::from_millis(self.told_ms_max));
        told.saturating_add(full_jitter(Duration::from_millis(doubled.min(self.retry_ms_max))))
    }
}

impl OnCall {
    /// Fetches every schedule once, side by side. Returns what failed, by name; what was known goes on.
    pub async fn refresh(&self) -> Vec<(String, FetchError)> {
        let all = self.all();
        let outcomes = join_all(all.iter().map(|schedule| self.refresh_one(schedule))).await;
        let named = outcomes.into_iter().zip(all.iter());
        named.filter_map(|(outcome, schedule)| Some((schedule.config.name.clone(), outcome.err()?))).collect()
    }

    /// Keeps every schedule fresh until `shutdown` completes, whatever [`OnCall::follow`] makes of them meanwhile. Run it
    /// once, in the background.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut followed = self.schedules.subscribe();
        let mut tasks = Tasks::default();
        tokio::pin!(shutdown);
        loop {
            let all = Arc::clone(&followed.borrow_and_update());
            tasks.follow(&all, |schedule| {
                let on_call = Arc::clone(&self);
                async move { on_call.keep_fresh(&schedule).await }
            });
            tokio::select! {
                () = &mut shutdown => return,
                // The sender is ours: it outlives this.
                _ = followed.changed() => {}
            }
        }
    }

    async fn keep_fresh(&self, schedule: &Schedule) {
        let mut failed = 0_u32;
        loop {
            let pause = match self.refresh_one(schedule).await {
                Ok(()) => {
                    failed = 0;
                    jittered(schedule.config.refresh)
                }
                Err(error) => {
                    failed = failed.saturating_add(1);
                    self.settings.retry.pause(failed, error.retry_after())
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn refresh_one(&self, schedule: &Schedule) -> Result<(), FetchError> {
        let at = self.clock.now();
        let window = schedule.window(at.wall);
        let (client, limits) = (&self.client, self.settings.limits);
        let fetcher = Fetcher { client, limits, credentials: self.settings.credentials.as_deref() };
        let outcome = fetcher.fetch(&schedule.config, window).await;
        let outcome = match outcome {
            Ok(found) => {
                schedule.accept(at, window, found);
                Ok(())
            }
            Err(error) => {
                schedule.fail(&error);
                Err(error)
            }
        };
        self.attempts.send_modify(|attempts| *attempts = attempts.wrapping_add(1));
        outcome
    }
}

/// One task a schedule. Dropping it ends them all.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    running: Vec<(Arc<Schedule>, AbortHandle)>,
}

impl Tasks {
    /// Ends what is of no schedule in `all`, and begins what is missing.
    fn follow<F>(&mut self, all: &[Arc<Schedule>], begin: impl Fn(Arc<Schedule>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.retain(|(schedule, task)| {
            let stays = all.iter().any(|wanted| Arc::ptr_eq(wanted, schedule));
            if !stays {
                task.abort();
            }
            stays
        });
        for schedule in all {
            if !self.running.iter().any(|(known, _)| Arc::ptr_eq(known, schedule)) {
                let task = self.set.spawn(begin(Arc::clone(schedule)));
                self.running.push((Arc::clone(schedule), task));
            }
        }
        // What has ended is not kept.
        while self.set.try_join_next().is_some() {}
    }
}

/// Between half of `span` and all of it, so that replicas do not ask in step.
pub(in crate::control) fn jittered(span: Duration) -> Duration {
    span.saturating_sub(full_jitter(span / 2))
}
