//! Giving records to a sink until it has them: again and again, with pauses that grow and are different every time (full
//! jitter), so that a receiver that comes back is not stormed.

use std::time::Duration;

use super::{Outlet, Record, Report, SinkError};
use crate::config::sinks::SinkConfig;
use crate::error_chain::error_chain;
use crate::jitter::full_jitter;

const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// However long a receiver asks for.
const ASKED_MAX: Duration = Duration::from_secs(300);

/// A sink, its counts, and how patient to be.
#[derive(Debug)]
pub struct Delivery {
    name: String,
    outlet: Outlet,
    timeout: Duration,
    pause: Pause,
    report: std::sync::Arc<Report>,
}

impl Delivery {
    pub fn new(config: &SinkConfig, outlet: Outlet, report: std::sync::Arc<Report>) -> Self {
        let pause = Pause { next: PAUSE_FIRST, most: config.retry_pause_max };
        Self { name: config.name.to_string(), outlet, timeout: config.timeout, pause, report }
    }

    /// Returns once the sink has all of them, however long that takes. Given up in between, some may have arrived.
    pub async fn deliver(&mut self, records: &[Record]) {
        while let Err(error) = self.try_once(records).await {
            let pause = self.pause.after(error.retry_after());
            tracing::warn!(sink = %self.name, error = %error_chain(&error), "a sink takes nothing; its lines wait");
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt.
    ///
    /// # Errors
    /// [`SinkError`]: all of them must be given again.
    pub async fn try_once(&mut self, records: &[Record]) -> Result<(), SinkError> {
        self.report.has(records);
        if records.is_empty() {
            return Ok(());
        }
        let sent = tokio::time::timeout(self.timeout, self.outlet.send(records)).await;
        let taken = sent.unwrap_or(Err(SinkError::TimedOut(self.timeout))).inspect_err(|_| self.report.failed())?;
        if taken.rejected > 0 {
            tracing::error!(sink = %self.name, lines = taken.rejected, "a sink's receiver rejects lines");
        }
        self.report.taken(records, taken.rejected);
        self.pause.next = PAUSE_FIRST;
        Ok(())
    }
}

/// How long until the next attempt.
#[derive(Debug, Clone, Copy)]
pub struct Pause {
    next: Duration,
    most: Duration,
}

impl Pause {
    pub const fn new(most: Duration) -> Self {
        Self { next: PAUSE_FIRST, most }
    }

    /// Anything up to a limit that doubles; what the receiver asks for comes on top.
    pub fn after(&mut self, asked: Option<Duration>) -> Duration {
        let most = self.next.min(self.most);
        self.next = most.saturating_mul(2);
        asked.unwrap_or_default().min(ASKED_MAX).saturating_add(full_jitter(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_add_what_was_asked_for() {
        let mut pause = Pause::new(Duration::from_secs(1));
        for most in [200, 400, 800, 1000, 1000] {
            assert_eq!(pause.next.min(pause.most), Duration::from_millis(most));
            assert!(pause.after(None) <= Duration::from_millis(most));
        }
        let asked = pause.after(Some(Duration::from_secs(7)));
        assert!(asked >= Duration::from_secs(7) && asked <= Duration::from_secs(8));
        assert!(pause.after(Some(Duration::from_secs(86_400))) <= ASKED_MAX + Duration::from_secs(1));
    }
}
