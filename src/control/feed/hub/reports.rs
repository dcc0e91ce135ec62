//! What a sidecar says on its stream, as the hub keeps it. What comes on a stream that is over changes nothing.

use super::{FeedCounts, Hub, Sidecar, Stream};
use crate::control::feed::freshness::Reading;
use crate::domain::{Moment, WallTime};
use crate::wire::feed::AuditPosition;

impl Hub {
    /// The sidecar still enforces what it had acknowledged on an earlier stream. Without this call it begins with nothing.
    pub(in crate::control::feed) fn resumed(&self, stream: &Stream, revision: u64) {
        self.on(stream, |sidecar, _| {
            sidecar.acked = revision;
            true
        });
    }

    /// The sidecar will be told everything anew: what it rejected before counts no more.
    pub(in crate::control::feed) fn begun_anew(&self, stream: &Stream) {
        self.on(stream, |sidecar, _| {
            sidecar.forget_rejections();
            true
        });
    }

    pub(in crate::control::feed) fn heard(&self, stream: &Stream) {
        self.on(stream, |_, _| false);
    }

    /// The sidecar said what its wall clock showed as it sent a ping. The way here counts as skew: it is short.
    pub(in crate::control::feed) fn told_time(&self, stream: &Stream, at: Option<WallTime>) {
        let skew = |now: Moment| at.map(|at| at.unix_ms().saturating_sub(now.wall.unix_ms()));
        self.on(stream, |sidecar, now| {
            sidecar.skew_ms = skew(now);
            false
        });
    }

    /// A heartbeat was queued: from here the sidecar may act until `reading` is too old.
    pub(in crate::control::feed) fn heartbeat(&self, stream: &Stream, reading: Reading) {
        self.on(stream, |sidecar, _| {
            sidecar.fresh = reading.began;
            false
        });
    }

    pub(in crate::control::feed) fn acknowledged(&self, stream: &Stream, revision: u64, audit: AuditPosition) {
        FeedCounts::add(&self.counts.acknowledgements, 1);
        self.on(stream, |sidecar, now| {
            sidecar.audit = audit;
            sidecar.acknowledge(revision, now.wall)
        });
    }

    pub(in crate::control::feed) fn rejected(&self, stream: &Stream, revision: u64, why: String) {
        FeedCounts::add(&self.counts.rejections, 1);
        self.on(stream, |sidecar, _| {
            sidecar.reject(revision, why);
            true
        });
    }

    /// Changes what is known, if the stream is the live one; `act` answers whether somebody may wait for it.
    pub(super) fn on(&self, stream: &Stream, act: impl FnOnce(&mut Sidecar, Moment) -> bool) {
        let now = self.clock.now();
        let mut sidecar = stream.cell.lock();
        if !sidecar.is_live(stream.holder.generation) {
            return;
        }
        sidecar.heard = now.wall;
        sidecar.unsaved = true;
        let news = act(&mut sidecar, now);
        drop(sidecar);
        if news {
            self.tell(&stream.cell);
        }
    }
}
