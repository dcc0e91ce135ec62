//! A small witness (c2sp.org/tlog-witness): it cosigns the checkpoints of the logs that it was told of, as long as each has
//! grown out of the one before, and remembers what it cosigned before it answers.
//!
//! `add-checkpoint` takes submissions, `<SHA-256 of the origin>/checkpoint` tells the newest that was cosigned. It is meant to
//! be run by somebody else than the log, behind a proxy that ends TLS. Must never: cosign below or beside what it remembers,
//! or go on when it can't read that.

mod server;
mod state;

pub use server::serve;
pub use state::{StateError, Witness};
