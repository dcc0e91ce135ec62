//! The control plane in one process, called over real TLS with tokens of a small issuer.

mod bad_input;
mod bench;
mod lifecycle;
mod on_call;
mod operation;
