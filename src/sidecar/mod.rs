//! The sidecar.
pub mod audit_log;
pub mod framing;
mod framing_chunked;
mod framing_head;
pub mod intake;
pub mod route;
pub mod target;
