//! Break-glass access for contract APIs.
pub mod clock;
pub mod config;
#[cfg(feature = "control")]
pub mod control;
pub mod decision;
pub mod domain;
pub mod http;
pub mod ledger;
pub mod secret;
#[cfg(feature = "control")]
pub mod store;
pub mod token;
pub mod wire;
