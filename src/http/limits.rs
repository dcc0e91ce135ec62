//! Every wait and every size of an outbound call, by name.

use std::time::Duration;

/// Greatest number of origins a client keeps a connection to.
pub(super) const POOLED_ORIGINS_MAX: usize = 16;
/// A connection that was idle for longer is not used again: many servers close theirs after 5 s and more.
pub(super) const IDLE_MS_MAX: u64 = 4_000;
/// Greatest size of an answer's head over HTTP/1.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Greatest size of an answer's header list over HTTP/2.
pub(super) const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Greatest number of headers in an answer over HTTP/1.
pub(super) const HEADERS_MAX: usize = 100;
/// How often a stream connection asks its peer whether it is still there (RFC 9113 §6.7).
pub(super) const STREAM_PING_INTERVAL_MS: u64 = 5_000;
/// How long the answer to that may take before the connection is given up.
pub(super) const STREAM_PING_MS_MAX: u64 = 5_000;

/// The limits of the calls of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Resolving, connecting and the TLS handshake together, in milliseconds.
    pub connect_ms_max: u64,
    /// From sending the request to the head of the answer, in milliseconds.
    pub response_ms_max: u64,
    /// The whole call, body included, in milliseconds.
    pub total_ms_max: u64,
    /// Greatest size of an answer's body, in bytes.
    pub body_bytes_max: usize,
}

impl Limits {
    pub const DEFAULT: Self =
        Self { connect_ms_max: 3_000, response_ms_max: 10_000, total_ms_max: 15_000, body_bytes_max: 1024 * 1024 };

    pub(super) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms_max)
    }

    pub(super) fn response(&self) -> Duration {
        Duration::from_millis(self.response_ms_max)
    }

    pub(super) fn total(&self) -> Duration {
        Duration::from_millis(self.total_ms_max)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
