//! How the two planes tell operators what they do: structured logs, metrics, and the question whether one is ready.

pub mod certificate;
mod health;
pub mod host;
pub mod log;
pub mod metric;
pub mod request_context;

pub use health::{HealthError, health};
pub use log::{LogError, LogFormat, LogSetup, ProcessName, init_log, name_process};
