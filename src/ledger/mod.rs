//! The ledger: what happened, as entries that can be proven. Pure: no I/O, no clock, no randomness of its own.

pub mod entry;
mod kinds;
mod shipped;

pub use kinds::{DataRead, Enforced, Issued, Ordered, Refused};
pub use shipped::{Anchor, AuditLine, Closed, Fork, Lost};
