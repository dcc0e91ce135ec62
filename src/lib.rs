//! Break-glass access for contract APIs.
pub mod audit;
#[cfg(feature = "cli")]
pub mod certs;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "control")]
pub mod control;
pub mod decision;
#[cfg(all(feature = "sidecar", feature = "control", feature = "cli"))]
pub mod demo;
pub mod domain;
pub mod drain;
pub mod http;
pub mod identity;
pub mod ledger;
pub mod secret;
#[cfg(feature = "sidecar")]
pub mod sidecar;
#[cfg(feature = "control")]
pub mod store;
#[cfg(any(feature = "sidecar", feature = "control"))]
pub mod telemetry;
pub mod token;
pub mod wire;
