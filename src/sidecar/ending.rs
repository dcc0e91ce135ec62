//! What the drain of one sidecar waits for, and what it says of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::shared::Shared;

/// See the module. Shared by all workers.
#[derive(Debug, Default)]
pub struct Ending {
    overrides: AtomicUsize,
    stopped: AtomicUsize,
    cutting: AtomicBool,
    handed_over: AtomicBool,
    kept_elsewhere: AtomicBool,
}

/// One override in flight, for as long as it lives.
#[derive(Debug)]
pub struct OverrideInFlight(Arc<Shared>);

impl OverrideInFlight {
    pub fn new(shared: Arc<Shared>) -> Self {
        shared.ending.overrides.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }

    /// It ends because this sidecar does.
    pub fn note_stopped(&self) {
        self.0.ending.stopped.fetch_add(1, Ordering::AcqRel);
    }

    /// True once what is still in flight is being cut.
    pub fn is_being_cut(&self) -> bool {
        self.0.ending.cutting.load(Ordering::Acquire)
    }
}

impl Drop for OverrideInFlight {
    fn drop(&mut self) {
        self.0.ending.overrides.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ending {
    /// Overrides whose outcome is not told yet, those included whose client has its answer already.
    pub fn overrides(&self) -> usize {
        self.overrides.load(Ordering::Acquire)
    }

    /// Overrides that were cut because this sidecar ended.
    pub fn stopped(&self) -> usize {
        self.stopped.load(Ordering::Acquire)
    }

    /// From now on what is dropped was stopped by this sidecar.
    pub fn begin_cutting(&self) {
        self.cutting.store(true, Ordering::Release);
    }

    /// A successor has the listening sockets.
    pub fn note_handed_over(&self) {
        self.set_kept_elsewhere(true);
        self.handed_over.store(true, Ordering::Release);
    }

    /// Another process has the listening sockets as well: what waits on them is not lost when we close them.
    pub fn set_kept_elsewhere(&self, kept: bool) {
        self.kept_elsewhere.store(kept, Ordering::Release);
    }

    pub fn is_kept_elsewhere(&self) -> bool {
        self.kept_elsewhere.load(Ordering::Acquire)
    }

    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }
}

/// What was still in flight at the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    pub connections: u64,
    pub requests: u64,
}

impl std::ops::AddAssign for Left {
    fn add_assign(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.requests = self.requests.saturating_add(other.requests);
    }
}
