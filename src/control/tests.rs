//! The control plane in one process, called over real TLS with tokens of a small issuer.

mod approval;
mod bad_input;
mod bench;
mod document;
mod lifecycle;
mod lists;
mod operation;
mod review;
mod revocation;
