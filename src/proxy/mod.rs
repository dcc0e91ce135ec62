//! A local proxy for clients that can't set headers: one listener on this machine, one grant, one upstream.
//!
//! Every request that gets in leaves with the proof of the grant, and so counts as an override: the sidecar decides about
//! it. What gets in is whoever can open the socket (a file of its owner's alone), or who knows the run's secret on the
//! loopback; never a page in a browser. It must never follow a redirect, never send a request twice, except where the
//! sidecar has refused it for want of a nonce (RFC 9449 §9), never pass on a header that could be taken for one of ours,
//! and never outlive its grant.
//!
//! HTTP/1.1 (RFC 9112) comes in, HTTP/2 or HTTP/1.1 goes out. It knows neither plane nor the command line's arguments:
//! the caller says what to present, and when it ends.

mod admission;
mod body;
mod door;
mod pass;
mod presented;
mod rejection;
mod serve;

pub use body::RequestBody;
pub use door::{Door, DoorError, Entrance};
pub use presented::{Presented, Proof, Prover, Unpresentable, wants_nonce};
pub use serve::{Event, Proxy};

/// Greatest number of connections that are served at once; more wait.
pub const CONNECTIONS_MAX: usize = 64;
/// Greatest size of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Greatest number of headers of a request.
const HEADERS_MAX: usize = 100;
/// How long a client may take for the head of its next request.
const HEAD_MS_MAX: u64 = 60_000;
/// How much of a request's body is kept, so that it can be sent again where it was refused for want of a nonce.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// How many events wait to be told; more are lost.
pub const EVENTS_MAX: usize = 256;

#[cfg(test)]
mod tests;
