//! The control plane: verifies who asks, demands reason and ticket, issues and revokes grants, and tells the sidecars.
//!
//! A call's way, from the outside in:
//!
//! 1. `server`: TLS, HTTP/1.1 and HTTP/2, limits on connections.
//! 2. `routes`: paths, limits on requests, what every answer carries; [`openapi`] describes them. `intake` refuses what
//!    no call takes, [`rates`] who asks too often.
//! 3. [`api`]: one file a noun: authenticate, read the body, call the workflow, shape the answer.
//! 4. [`workflow`]: what happens, and who may make it happen; [`refusal`] is how it says no.
//! 5. `store`: each transition in one transaction.
//!
//! [`signals`] hear what identity providers say of people between two tokens, [`scim`] keeps people and groups.
//! [`ledger`] builds and signs the log of all entries. [`feed`] tells the sidecars, [`arrival`] how far revocations have come with them, [`keys`] signs, [`sinks`] hand on what was recorded, [`admin`] and [`metrics`] show how it goes, `start` puts it together, `background` is what runs beside the calls.
//! It must never: answer with someone else's grant, show a token to anyone but its requester, or import the sidecar.

pub mod admin;
pub mod api;
pub mod arrival;
mod audit_upkeep;
mod background;
mod database_lock;
pub mod feed;
mod intake;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod on_call;
pub mod openapi;
pub mod rates;
pub mod recheck;
pub mod refusal;
pub mod reporting;
mod routes;
pub mod scim;
mod server;
pub mod signals;
pub mod sinks;
mod start;
#[cfg(test)]
mod tests;
pub mod workflow;

pub use database_lock::DatabaseLock;
pub use server::TlsFilesError;
pub use start::{Control, Running, StartError};
