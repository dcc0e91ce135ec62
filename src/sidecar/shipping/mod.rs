//! From the local log to the ledger: durable lines are shipped to the control plane in order, at least once.
//!
//! 1. `reader` reads them from the segments, up to what the log calls durable.
//! 2. `courier` brings a batch over a connection of its own, and what the control plane answers.
//! 3. `bookmark` keeps how far the ledger has come; `settling` when all that a grant's end leaves behind is there;
//!    `standing` what telemetry shows; `pruning` takes away what was shipped and is kept long enough.
//!
//! One batch is in flight. After an error there is a pause of random length (full jitter). Catching up after an outage is
//! slowed down to a named rate. It must never: hold up the log's writer or a request; forget a line that was not
//! acknowledged; delete one.

mod beside;
mod bookmark;
mod courier;
mod failure;
mod pruning;
mod reader;
mod settling;
mod standing;
mod task;

pub use standing::{RESULTS, Shipped, ShippedCounts};
pub(super) use task::{Job, run};
