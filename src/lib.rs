//! Break-glass access for contract APIs.
pub mod audit;
pub mod clock;
pub mod config;
pub mod decision;
pub mod domain;
pub mod drain;
pub mod http;
pub mod identity;
pub mod secret;
#[cfg(feature = "sidecar")]
pub mod sidecar;
pub mod token;
pub mod wire;
