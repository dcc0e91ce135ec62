//! Handing the listening sockets over to a new process, without one refused connection: it is started with our sockets,
//! and only once it says that it serves do we drain. Whatever goes wrong before, we go on as if nothing had been tried.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::sockets::SocketError;
use crate::domain::WallTime;

/// How long a successor may take until it serves.
pub const READY_MAX: Duration = Duration::from_secs(30);

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("{program} can't be started")]
    Spawn {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the new process ended before it served ({0}); what it said is in the log")]
    Died(ExitStatus),
    #[error("the new process did not serve within {0:?} and was ended")]
    Late(Duration),
    #[error("the line to the new process broke")]
    Line(#[source] std::io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("as process 1 there is nobody to outlive this process: restart the container instead")]
    Init,
    #[error("the sidecar is stopping")]
    Stopping,
}

/// How hand-overs by this process went so far. The first that succeeds is its last.
#[derive(Debug, Default)]
pub struct Handovers {
    under_way: AtomicBool,
    failed: AtomicU64,
    last: Mutex<Option<FailedHandover>>,
}

/// The last hand-over that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedHandover {
    pub at: WallTime,
    pub error: String,
}

impl Handovers {
    pub fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub fn last_failed(&self) -> Option<FailedHandover> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn begin(&self) {
        self.under_way.store(true, Ordering::Release);
    }

    pub(super) fn fail(&self, at: WallTime, error: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(FailedHandover { at, error });
        self.under_way.store(false, Ordering::Release);
    }
}
