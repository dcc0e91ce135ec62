//! Break-glass access for contract APIs.
pub mod audit;
pub mod clock;
pub mod config;
pub mod decision;
#[cfg(all(feature = "sidecar", feature = "control", feature = "cli"))]
pub mod demo;
pub mod domain;
pub mod http;
pub mod identity;
pub mod secret;
#[cfg(feature = "sidecar")]
pub mod sidecar;
pub mod token;
pub mod wire;
