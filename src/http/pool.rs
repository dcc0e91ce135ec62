//! Connections kept between the calls of one client: at most one to an origin, and only while it is fresh.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Origin;
use super::limits::{IDLE_MS_MAX, POOLED_ORIGINS_MAX};
use super::sender::Sender;

type Whole = http_body_util::Full<bytes::Bytes>;

#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<Origin, Idle>>);

#[derive(Debug)]
struct Idle {
    sender: Sender<Whole>,
    since: Instant,
}

impl Idle {
    fn is_fresh(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < Duration::from_millis(IDLE_MS_MAX)
    }
}

impl Pool {
    /// A connection to `origin` that was good a moment ago. An HTTP/2 connection stays for the calls beside this one.
    pub(super) fn take(&self, origin: &Origin) -> Option<Sender<Whole>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = kept.remove(origin).filter(Idle::is_fresh)?;
        if let Some(sender) = idle.sender.shared() {
            kept.insert(origin.clone(), Idle { sender, since: idle.since });
        }
        Some(idle.sender)
    }

    pub(super) fn keep(&self, origin: Origin, sender: Sender<Whole>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, idle| idle.is_fresh());
        if kept.len() < POOLED_ORIGINS_MAX && !sender.is_closed() {
            kept.insert(origin, Idle { sender, since: Instant::now() });
        }
    }
}
