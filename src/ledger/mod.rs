//! The ledger: what happened, as entries that can be proven. Pure: no I/O, no clock, no randomness of its own.

pub mod entry;
mod kinds;
mod scim;
mod signals;

pub use kinds::{DataRead, Enforced, Issued, Ordered, Refused};
pub use scim::Provisioned;
pub use signals::Signalled;
