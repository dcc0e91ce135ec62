//! `breakglass policy`: what can be said of a policy from its files alone, and putting it in force. Nothing is decided
//! here: the verdicts are those of [`crate::policy`], as everywhere. Only [`apply`] asks a control plane.

mod apply;
mod cases;
mod check;
mod diff;
mod explain;
mod source;
#[cfg(test)]
mod tests;

use super::args::{Global, PolicyArgs, PolicyVerb};
use super::failure::{Exit, Failure};
use super::output::Output;
use super::prompt::Prompt;
use super::session::{self, Lookup};

/// # Errors
/// What the verb says.
pub(super) async fn run(args: &PolicyArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<u8, Failure> {
    let done = |()| Exit::Ok as u8;
    let connect = || session::connect(global, env, out);
    let mut prompt = Prompt::of_process(false);
    match &args.what {
        PolicyVerb::Check(args) => check::run(args, out).map(done),
        PolicyVerb::Explain(args) => explain::run(args, out).map(done),
        PolicyVerb::Diff(args) => diff::run(args, out),
        PolicyVerb::Test(args) => cases::run(args, out).map(done),
        PolicyVerb::Apply(args) => apply::apply(&connect()?, args, &mut prompt, out).await.map(done),
        PolicyVerb::Show(args) => apply::show(&connect()?, args, out).await.map(done),
        PolicyVerb::Proposals => apply::proposals(&connect()?, out).await.map(done),
        PolicyVerb::Confirm(args) => apply::confirm_proposal(&connect()?, args, &mut prompt, out).await.map(done),
        PolicyVerb::Withdraw(args) => apply::withdraw(&connect()?, args, out).await.map(done),
    }
}
