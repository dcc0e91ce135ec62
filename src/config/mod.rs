//! Configuration: TOML files in, checked values out, every mistake at once.
//!
//! A checked value can be used without asking again. Nothing here opens a socket or starts a task.

pub mod assertion;
#[cfg(feature = "sidecar")]
pub mod bindings;
#[cfg(feature = "sidecar")]
pub mod capture;
pub mod captured_field;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "control")]
pub mod database;
#[cfg(feature = "sidecar")]
mod feed;
#[cfg(any(feature = "sidecar", feature = "control"))]
mod identity;
#[cfg(feature = "control")]
pub mod introspection;
#[cfg(feature = "control")]
pub mod keys;
#[cfg(feature = "control")]
pub mod ledger;
#[cfg(feature = "control")]
pub mod limits;
mod mistakes;
#[cfg(any(feature = "control", feature = "cli"))]
pub mod policy;
#[cfg(feature = "cli")]
pub mod policy_cases;
#[cfg(feature = "sidecar")]
mod query_digests;
pub mod reader;
#[cfg(any(feature = "control", feature = "cli"))]
pub mod resource_pattern;
#[cfg(feature = "control")]
pub mod retention;
pub mod route_path;
#[cfg(any(feature = "control", feature = "cli"))]
pub mod schedule;
#[cfg(feature = "control")]
pub mod scim;
pub mod service;
#[cfg(feature = "sidecar")]
pub mod shipping;
#[cfg(feature = "sidecar")]
pub mod sidecar;
#[cfg(feature = "control")]
mod sign_in;
#[cfg(feature = "control")]
pub mod signals;
#[cfg(any(feature = "sidecar", feature = "control"))]
pub mod sinks;
#[cfg(feature = "sidecar")]
pub mod upgrade_protocol;
#[cfg(feature = "sidecar")]
pub mod upstream;

pub use mistakes::{ConfigError, Mistake};
pub use service::{RouteConfig, RouteSubject, ServiceConfig};

/// SHA-256 of a file's text, hex: how two holders of the same file recognise it.
pub fn digest_hex(text: &str) -> String {
    crate::hex::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}
