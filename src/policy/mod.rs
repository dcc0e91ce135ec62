//! Who may ask for what: the policy applied to one request, to one live grant, and to another policy. Pure: rules and
//! facts in, verdict out; no clock, no database, no network.
//!
//! - [`check`]: is this a request that the policy allows, and on which terms?
//! - [`obstacle`]: what stands between one tier and one request: `check` refuses with the first, `policy explain` shows
//!   them all, so the two can't disagree.
//! - [`standing`]: would this policy still allow this live grant?

pub mod asker;
pub mod check;
pub mod obstacle;
pub mod refused;
mod rules;
pub mod standing;
#[cfg(test)]
mod tests;

pub use asker::{AdmittedBy, Asked, Asker, Ended, History};
pub use check::{Terms, check};
pub use obstacle::{Obstacle, TierVerdict, is_open_to};
pub use refused::{Cause, Refused};
pub use rules::Rules;
pub use standing::{GrantFacts, Why, still_allowed};
