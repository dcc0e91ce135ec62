//! Every bound of the feed in one place, each with its unit.

use std::time::Duration;

/// What the feed's listener and its streams may use. [`FeedLimits::default`] suits ten thousand sidecars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedLimits {
    /// TCP connections at once; more wait in the listen queue.
    pub connections_max: usize,
    /// Streams at once; more get 503 with `Retry-After`.
    pub sessions_max: usize,
    /// Sidecars remembered, connected or not. Past it, those long gone are forgotten first; then a new one gets 503.
    pub sidecars_max: usize,
    /// TLS handshakes at once; connections beyond wait for their turn.
    pub handshakes_max: usize,
    /// How long a connection waits for its turn before it is closed. Well below a sidecar's patience: when very many come
    /// at once, no work goes into one that has given up meanwhile.
    pub handshake_turn_wait_max: Duration,
    /// TLS handshake, from its turn to its end.
    pub handshake_wait_max: Duration,
    /// From the request's header to the end of its first line.
    pub first_line_wait_max: Duration,
    /// Streams that wait to be admitted; more get 503 with `Retry-After`.
    pub admissions_waiting_max: usize,
    /// Streams admitted by one transition at most.
    pub admissions_at_once_max: usize,
    /// Without any line from a sidecar (they ping every second) its stream is ended.
    pub silence_max: Duration,
    /// A sidecar that takes no line for this long while one waits is cut off.
    pub write_wait_max: Duration,
    /// Chunks queued towards one sidecar; each is at most one line longer than `chunk_bytes`. With the window below, this
    /// is all that is ever held for a sidecar that takes nothing.
    pub chunks_queued_max: usize,
    /// Lines are sent in chunks of about this size.
    pub chunk_bytes: usize,
    /// Changes of a service held for its streams. One that is further behind is cut off, and begins anew.
    pub window_changes_max: usize,
    /// The same, in bytes of their lines.
    pub window_bytes_max: usize,
    /// A snapshot older than this is read anew for who subscribes next.
    pub snapshot_age_max: Duration,
    /// One read of the database; longer counts as unreadable.
    pub read_wait_max: Duration,
    /// How often the newest revision is read when nothing wakes us. Heartbeats are at most this old.
    pub poll_every: Duration,
    /// News of sidecars that come within this time make one report to the other replicas.
    pub report_gather: Duration,
    /// How often a replica reports that it is at work, and reads the others' reports when nothing wakes it.
    pub report_every: Duration,
    /// How often what was heard of the sidecars, and is no news, is written down.
    pub persist_every: Duration,
    /// A connection without a stream is closed after this.
    pub idle_max: Duration,
    /// How long an orderly end may take at shutdown.
    pub drain_max: Duration,
    /// Size of a request's header section.
    pub header_bytes_max: u32,
    /// The organisation's greatest `staleness_max` at the start; [`Hub::allow_staleness`](super::Hub::allow_staleness) raises
    /// it. A sidecar without a heartbeat stops within it.
    pub staleness_max: Duration,
    /// Batches of audit lines that are read or wait for their turn; more get 503 with `Retry-After`. Each holds at most
    /// [`crate::wire::audit::BATCH_BYTES_MAX`].
    pub audit_batches_max: usize,
    /// From the header of such a batch to its end.
    pub audit_body_wait_max: Duration,
    /// How long one waits for its turn before it is sent away.
    pub audit_turn_wait_max: Duration,
    /// `Retry-After` of a 503, in seconds. Sidecars spread their return over it.
    pub retry_after_s: u32,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            // A sidecar has one for its stream, and one while it ships.
            connections_max: 24_000,
            sessions_max: 10_000,
            sidecars_max: 50_000,
            handshakes_max: 64,
            handshake_turn_wait_max: Duration::from_secs(1),
            handshake_wait_max: Duration::from_secs(10),
            first_line_wait_max: Duration::from_secs(5),
            admissions_waiting_max: 2_048,
            admissions_at_once_max: 128,
            silence_max: Duration::from_secs(10),
            write_wait_max: Duration::from_secs(5),
            chunks_queued_max: 8,
            chunk_bytes: 16 * 1024,
            window_changes_max: 2_048,
            window_bytes_max: 4 << 20,
            snapshot_age_max: Duration::from_secs(5),
            read_wait_max: Duration::from_secs(1),
            poll_every: Duration::from_millis(250),
            report_gather: Duration::from_millis(15),
            report_every: Duration::from_secs(1),
            persist_every: Duration::from_secs(10),
            idle_max: Duration::from_secs(30),
            drain_max: Duration::from_secs(5),
            header_bytes_max: 16 * 1024,
            staleness_max: Duration::from_secs(30),
            audit_batches_max: 64,
            audit_body_wait_max: Duration::from_secs(10),
            audit_turn_wait_max: Duration::from_secs(5),
            retry_after_s: 2,
        }
    }
}
