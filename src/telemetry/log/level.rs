//! Changing what is logged while the process runs, for good or for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::LogError;
use crate::domain::BootTime;

pub const FILTER_BYTES_MAX: usize = 1024;
/// A change for a while ends after this at the latest.
pub const FOR_MAX: Duration = Duration::from_secs(24 * 3600);

type Change = Box<dyn Fn(EnvFilter) -> Result<(), LogError> + Send + Sync>;

/// See the module.
pub struct LogControl {
    change: Change,
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
struct State {
    current: String,
    /// What `current` gives way to.
    lasting: String,
    until: Option<BootTime>,
}

/// What is logged now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogState {
    pub filter: String,
    /// What is logged again after [`LogState::reverts_in_s`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverts_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverts_in_s: Option<u64>,
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogControl").field("state", &self.state).finish_non_exhaustive()
    }
}

impl LogControl {
    pub(super) fn new(
        filter: String,
        change: impl Fn(EnvFilter) -> Result<(), LogError> + Send + Sync + 'static,
    ) -> Self {
        let state = State { current: filter.clone(), lasting: filter, until: None };
        Self { change: Box::new(change), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is logged, as of `now`.
    pub fn show(&self, now: BootTime) -> LogState {
        let state = self.state().clone();
        LogState {
            filter: state.current,
            reverts_to: state.until.is_some().then_some(state.lasting),
            reverts_in_s: state.until.map(|until| until.since(now).as_secs()),
        }
    }

    /// Goes by `filter` from now on; with `span`, only for so long.
    ///
    /// # Errors
    /// [`LogError`]: everything stays as it is.
    pub fn set(&self, filter: &str, span: Option<Duration>, now: BootTime) -> Result<(), LogError> {
        let filter = filter.trim();
        if filter.len() > FILTER_BYTES_MAX {
            return Err(LogError::TooLong);
        }
        let parsed = EnvFilter::try_new(filter)?;
        let former = {
            let mut state = self.state();
            (self.change)(parsed)?;
            let former = std::mem::replace(&mut state.current, filter.to_owned());
            match span {
                Some(span) => state.until = Some(now.plus(span.min(FOR_MAX))),
                None => (state.lasting, state.until) = (filter.to_owned(), None),
            }
            former
        };
        let seconds = span.map(|span| span.as_secs());
        tracing::warn!(filter, former, seconds, "what is logged was changed");
        Ok(())
    }

    /// Ends a change whose time is over.
    pub fn revert_in_time(&self, now: BootTime) {
        let filter = {
            let mut state = self.state();
            if state.until.is_none_or(|until| until > now) {
                return;
            }
            state.until = None;
            state.current = state.lasting.clone();
            state.lasting.clone()
        };
        let reverted = EnvFilter::try_new(&filter).map_err(LogError::from).and_then(|parsed| (self.change)(parsed));
        if reverted.is_ok() {
            tracing::warn!(filter, "what is logged is as before again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn boot(s: u64) -> BootTime {
        BootTime::from_duration(Duration::from_secs(s))
    }

    fn control() -> (LogControl, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let change = move |filter: EnvFilter| {
            tell.lock().unwrap().push(filter.to_string());
            Ok(())
        };
        (LogControl::new("info".to_owned(), change), told)
    }

    #[test]
    fn a_change_for_a_while_gives_way_to_what_lasts() {
        let (control, told) = control();
        control.set("debug", Some(Duration::from_secs(60)), boot(100)).unwrap();
        let state = control.show(boot(110));
        assert_eq!(
            (state.filter.as_str(), state.reverts_to.as_deref(), state.reverts_in_s),
            ("debug", Some("info"), Some(50))
        );
        control.revert_in_time(boot(159));
        assert_eq!(control.show(boot(159)).filter, "debug");
        control.revert_in_time(boot(160));
        assert_eq!(
            control.show(boot(160)),
            LogState { filter: "info".to_owned(), reverts_to: None, reverts_in_s: None }
        );
        assert_eq!(*told.lock().unwrap(), ["debug", "info"]);
    }

    #[test]
    fn a_lasting_change_ends_one_for_a_while() {
        let (control, _) = control();
        control.set("debug", Some(Duration::from_secs(60)), boot(0)).unwrap();
        control.set(" warn\n", None, boot(1)).unwrap();
        control.revert_in_time(boot(100));
        assert_eq!(control.show(boot(100)).filter, "warn");
    }

    #[test]
    fn a_bad_filter_changes_nothing() {
        let (control, told) = control();
        for bad in ["breakglass=loudly", &"a".repeat(FILTER_BYTES_MAX + 1)] {
            assert!(control.set(bad, None, boot(0)).is_err(), "{bad}");
        }
        assert_eq!(control.show(boot(0)).filter, "info");
        assert!(told.lock().unwrap().is_empty());
    }
}
