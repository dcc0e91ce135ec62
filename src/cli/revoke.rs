//! `breakglass revoke`: end a grant now, and measure where that holds.

use super::args::{Format, Global, RevokeArgs};
use super::enforcement;
use super::failure::Failure;
use super::output::Output;
use super::session::{self, Lookup};
use crate::wire::api::GrantView;

/// # Errors
/// When the control plane refuses, or not every sidecar has answered in time: then the silent ones are named, with the
/// time by which each stops by itself.
pub(super) async fn run(args: RevokeArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env)?;
    let grant = api.revoke(&args.id, args.note).await?;
    let known = enforcement::wait(&api, &grant.id, grant.enforcement.clone(), args.wait, out).await?;
    let checked = enforcement::check_revoked(&grant.id, &known);
    let summary = match known.sidecars {
        0 => format!("{} revoked: no sidecar is connected, so nothing is left to end", grant.id),
        _ => format!("{} revoked: {}", grant.id, enforcement::summary(&known)),
    };
    match out.format {
        Format::Json => out.json(&GrantView { enforcement: known, ..grant })?,
        Format::Table => out.line(&summary)?,
    }
    checked
}
