//! How the two planes tell operators what they do: structured logs, and the question whether one is ready.

mod health;
mod log;

pub use health::{HealthError, health};
pub use log::{LogError, LogFormat, init_log};
