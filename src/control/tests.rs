//! The control plane in one process, called over real TLS with tokens of a small issuer.

mod approval;
mod bad_input;
mod bench;
mod document;
mod erasing;
mod ledger;
mod ledger_faults;
mod lifecycle;
mod lists;
mod on_call;
mod operation;
mod policy;
mod recheck;
mod reports;
mod review;
mod revocation;
mod sign_in;
mod watchful;
