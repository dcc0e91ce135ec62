//! `breakglass policy`: what can be said of a policy from its files alone. Nothing is asked of a control plane, and
//! nothing is decided here: the verdicts are those of [`crate::policy`], as everywhere.

mod cases;
mod check;
mod diff;
mod explain;
mod source;
#[cfg(test)]
mod tests;

use super::args::{PolicyArgs, PolicyVerb};
use super::failure::{Exit, Failure};
use super::output::Output;

/// # Errors
/// What the verb says.
pub(super) fn run(args: &PolicyArgs, out: &mut Output) -> Result<u8, Failure> {
    let done = |()| Exit::Ok as u8;
    match &args.what {
        PolicyVerb::Check(args) => check::run(args, out).map(done),
        PolicyVerb::Explain(args) => explain::run(args, out).map(done),
        PolicyVerb::Diff(args) => diff::run(args, out),
        PolicyVerb::Test(args) => cases::run(args, out).map(done),
    }
}
