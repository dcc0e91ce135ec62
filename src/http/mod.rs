//! The only outbound client of the product: bounded JSON calls over http and https, the full-duplex stream the feed runs
//! on, and requests that the command line's proxy passes on.
//!
//! It is made of hyper's connection API (RFC 9110, RFC 9112, RFC 9113) and rustls. It never follows a redirect, never
//! reads more than it was told to, never waits without a limit, never speaks in the clear to anything but this machine
//! unless told to, and never sends a request twice. It is not on the path of a request through the sidecar: that path
//! makes no remote call but the one to its upstream.
//!
//! What listeners need of TLS beyond their own files is here too: the one crypto provider, and client certificates that
//! are asked for and not insisted on.

#[cfg(any(feature = "sidecar", feature = "control"))]
pub mod byte_stream;
mod client;
#[cfg(any(feature = "sidecar", feature = "control"))]
mod client_authority;
mod connect;
mod error;
pub mod form;
mod hop_by_hop;
mod limits;
mod pool;
#[cfg(feature = "cli")]
mod relay;
mod sender;
mod stream;
mod tls;

pub use client::{Answer, Client};
#[cfg(any(feature = "sidecar", feature = "control"))]
pub use client_authority::{ClientAuthority, ClientAuthorityError};
pub use connect::Cleartext;
pub use error::{HttpError, Step};
pub use hop_by_hop::strip_hop_by_hop;
pub use limits::Limits;
#[cfg(feature = "cli")]
pub use relay::{Relay, RelayBody};
pub use stream::{H2Connection, H2Endpoint, connect_h2};
pub use tls::{ClientIdentity, ClientTls, TlsError, TlsRoots, crypto_provider};

/// What this client calls itself (RFC 9110 §10.1.5).
pub const USER_AGENT: &str = concat!("breakglass/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;
