//! The promises, proven on both planes as they run: real TLS, real HTTP, real files, in one process and on free ports.
//!
//! One file a promise, named after it. [`harness`] starts the parts; nothing in it decides anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that meets the unexpected ends there"
)]

mod activation;
mod api_http;
mod api_walk;
mod approval;
mod assertion;
mod audit_damage;
mod backup;
mod bindings;
mod captured_fields;
mod clocks;
mod cutting;
mod decision_cases;
mod decision_properties;
mod drain;
mod erasure;
mod expectations;
mod first_sync;
mod framing_attacks;
mod handover;
mod harness;
mod hints;
mod identity;
mod keys;
mod kill;
mod local_use;
mod logs;
mod metrics;
mod observe_mode;
mod observed_from_outside;

mod p1_exact;
mod p2_temporary;
mod p3_recorded;
mod p4_failures;
mod p5_revocation;
mod p7_unforgeable;
mod p8_quiet;
mod p9_helpful;
mod policy_apply;
mod proxying;
mod query_digests;
mod reload;
mod replicas;
mod reports;
mod revocation;
mod scim;
mod shipping;
mod sign_in;
mod signals;
mod sinks;
mod upgrades;
mod witness_end;

/// A tool that tests/run provides, or one of the machine's own.
fn tool(name: &str, provided: &str) -> std::path::PathBuf {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(provided);
    if own.exists() {
        return own;
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: tests/run provides it at {provided}"))
}
