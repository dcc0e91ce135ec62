//! Break-glass access for contract APIs: overrides that are exact, temporary, recorded and provable.
//!
//! A **sidecar** stands before each contract API and lets a request past the API's rules only under a live grant for
//! this very person, resource and action. The **control plane** issues and revokes grants and feeds the sidecars. The
//! **command line** is what an engineer types at 2:13 in the morning.
//!
//! # Reading order
//!
//! 1. [`domain`]: the words. Values only; one that exists is valid.
//! 2. [`decision`]: the verdict, a pure function of facts. Only it makes a permit.
#![cfg_attr(feature = "sidecar", doc = "3. [`sidecar`]: the journey of a request, step by step, a file each.")]
//! 4. [`token`] and [`identity`]: what we sign, and whom we believe. [`wire`]: the JSON between the parts.
//! 5. [`audit`]: the sidecar's log as a format; [`ledger`]: the control plane's entries and their Merkle tree.
#![cfg_attr(feature = "control", doc = "6. [`policy`]: who may ask for what, a pure function too.")]
#![cfg_attr(feature = "control", doc = "7. [`control`] and [`store`]: workflow, API and feed over one database.")]
#![cfg_attr(feature = "control", doc = "8. [`report`]: what the ledger says of a grant or a period, for people.")]
//!
//! # Invariants
//!
//! - What is unknown refuses an override, and never stops ordinary traffic.
//! - An override is forwarded only after its intent is durable, and never twice.
//! - Nothing about a grant is told to who has not proven that it is theirs.
//! - Time only shortens: no clock that steps extends a grant.
//! - `domain` imports nothing of ours, `decision` only `domain`; neither plane imports the other. A test enforces it.

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
pub mod error_chain;
pub mod hex;
pub mod http;
pub mod identity;
#[cfg(any(feature = "sidecar", feature = "control"))]
pub mod jitter;
pub mod ledger;
#[cfg(any(feature = "control", feature = "cli"))]
pub mod policy;
#[cfg(feature = "cli")]
pub mod proxy;
#[cfg(any(feature = "control", feature = "cli"))]
pub mod report;
pub mod secret;
#[cfg(feature = "sidecar")]
pub mod sidecar;
#[cfg(any(feature = "sidecar", feature = "control"))]
pub mod sink;
#[cfg(test)]
#[path = "../tests/integration/harness/small_disk.rs"]
mod small_disk;
#[cfg(feature = "control")]
pub mod store;
#[cfg(any(feature = "sidecar", feature = "control"))]
pub mod telemetry;
pub mod token;
#[cfg(all(unix, any(feature = "sidecar", feature = "cli")))]
pub mod unix_socket;
#[cfg(any(feature = "control", feature = "cli"))]
mod whole_file;
pub mod wire;
#[cfg(feature = "cli")]
pub mod witness;
