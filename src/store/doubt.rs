//! When to stop believing in connections: one that did not answer in time tells of all that are as old.
//!
//! A network that swallows what is sent breaks no connection, so nothing but a clock finds out. After one statement was
//! waited for in vain, no connection made before that moment is used again, and none is given back by waiting for it:
//! the next caller connects anew, and whoever reaches the server again finds no dead connection in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{Connection as _, Error};
use tokio::time::{Instant, timeout};

/// How long one statement may take. The writer's lock, which others may hold, has a limit of its own.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long an idle connection may take to say that it is alive.
const PING_TIME_MAX: Duration = Duration::from_secs(1);
/// A connection that was used so recently is not asked first.
const PING_AFTER: Duration = Duration::from_secs(1);

/// Shared by the pools of one database.
#[derive(Debug, Clone)]
pub(super) struct Doubt {
    begun: Instant,
    /// Microseconds after `begun`: connections made before are not believed in.
    since: Arc<AtomicU64>,
}

impl Doubt {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), since: Arc::default() }
    }

    /// `work` within the time one statement may take.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.within(STATEMENT_TIME_MAX, work).await
    }

    /// `work` within `limit`; when it is over, connections are doubted.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(self.raise("the database did not answer in time")),
        }
    }

    fn raise(&self, what: &'static str) -> Error {
        self.since.fetch_max(self.now(), Ordering::AcqRel);
        Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
    }

    /// Has a pool's connections looked at when they are taken and when they are given back.
    pub(super) fn watch_over(&self, options: PgPoolOptions) -> PgPoolOptions {
        let (taken, given) = (self.clone(), self.clone());
        options
            .test_before_acquire(false)
            .before_acquire(move |connection, about| {
                let doubt = taken.clone();
                Box::pin(async move { doubt.check(connection, &about, about.idle_for > PING_AFTER).await })
            })
            .after_release(move |connection, about| {
                let doubt = given.clone();
                // What was left under way is read to its end, or the connection is dropped.
                Box::pin(async move { doubt.check(connection, &about, true).await })
            })
    }

    async fn check(
        &self,
        connection: &mut PgConnection,
        about: &PoolConnectionMetadata,
        ask: bool,
    ) -> Result<bool, Error> {
        let made = self.now().saturating_sub(micros(about.age));
        if made < self.since.load(Ordering::Acquire) {
            return Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "as old as one that hung")));
        }
        if ask {
            self.within(PING_TIME_MAX, connection.ping()).await?;
        }
        Ok(true)
    }

    fn now(&self) -> u64 {
        micros(self.begun.elapsed()).saturating_add(1)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
