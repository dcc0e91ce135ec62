//! The server side of the feed: what is decided here reaches every sidecar in milliseconds, and each says so.
//!
//! The way of one stream, a step a file:
//!
//! 1. `listener`: a port of its own, mutual TLS, HTTP/2 only, limits on all of it.
//! 2. `peer`: the client certificate names the one service that this stream may be about.
//! 3. `endpoint`: the request and its first line are checked before anything is answered, so that a refusal is a
//!    problem document with a status, never a broken stream.
//! 4. `admission`: the stream gets its number, by which every earlier one of its sidecar is over, at whichever replica.
//! 5. `session`: the stream itself. `delivery` writes: snapshot or what was missed, then each change once and in
//!    order, then heartbeats no fresher than what was sent. `errands` does in the database what the sidecar's words ask
//!    for. `lines` bounds both directions. `assertion_keys` certifies the keys by which sidecars tell their upstream of
//!    overrides.
//! 6. `service`: what all streams of a service share, read once: the newest changes and the snapshot.
//! 7. `hub`: who is connected and what each has acknowledged, here and at other replicas, which `exchange` tells and
//!    asks. `shares`: where the uses of a grant with `max_uses` lie. `freshness`: how current this replica is.
//! 8. `audit`: beside the streams, batches of the sidecars' audit lines on their way to the ledger.
//!
//! It must never: claim to be fresher than its last read of the database; buffer without bound for a slow sidecar;
//! tell a sidecar of another service's grants; let the shares of a grant sum above its `max_uses`.
//!
//! Source: `wire::feed` for the protocol, RFC 9113 (HTTP/2), RFC 8705 for the mutual TLS, the SPIFFE ID specification for
//! the name in the certificate.

mod admission;
mod assertion_keys;
mod audit;
mod delivery;
mod endpoint;
mod errands;
mod exchange;
mod freshness;
mod hub;
mod limits;
mod lines;
mod listener;
mod peer;
mod service;
mod session;
mod shares;
mod source;
#[cfg(test)]
mod tests;

pub use assertion_keys::{AssertionKeys, Certifier};
pub use hub::{AuditCounts, FeedCounts, Hub};
pub use limits::FeedLimits;
pub use listener::{FeedError, FeedKeys, KeysProvider, TlsError, serve, tls_config};
pub use peer::{PeerError, service_of};
pub use source::FeedStore;
