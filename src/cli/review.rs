//! `breakglass review`: what was found about somebody else's ended grant.

use super::args::{Format, Global, ReviewArgs};
use super::failure::Failure;
use super::output::Output;
use super::requests;
use super::session::{self, Lookup};
use crate::wire::lifecycle::ReviewRequest;

/// # Errors
/// When the control plane refuses.
pub(super) async fn run(args: ReviewArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let review = ReviewRequest { verdict: args.verdict.into(), findings: args.findings };
    let grant = session::connect(global, env, out)?.review(&args.id, &review).await?;
    match out.format {
        Format::Json => out.json(&grant),
        Format::Table => {
            out.line(&format!("{} {}", grant.id, requests::review(grant.review.state, grant.review.verdict)))
        }
    }
}
