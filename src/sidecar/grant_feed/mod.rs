//! The sidecar's end of the feed: one stream to the control plane, taken up again whenever it ends.
//!
//! `connect` keeps the stream alive, `apply` turns its lines into the table and the standing. Ordinary traffic
//! never depends on any of it.

mod apply;
mod connect;
mod lines;
pub(in crate::sidecar) mod pace;

pub use apply::{Applied, Applier};
pub use connect::{FeedClient, run};
