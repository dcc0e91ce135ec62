//! `breakglass claim`: bind one's own key or client certificate to a grant that was approved without.

use super::args::{ClaimArgs, Format, Global, Justify};
use super::failure::Failure;
use super::output::{Cell, Output};
use super::session::{self, Lookup};
use super::{elevate, enforcement};
use crate::domain::Confirmation;

/// # Errors
/// When it is not the caller's, has ended, is bound already, or nothing can be proven.
pub(super) async fn run(args: ClaimArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let grant = api.grant(&args.id).await?;
    let claimed = api.claim(&grant).await?;
    let justify = Justify { wait: args.wait, ..Justify::default() };
    let claimed = elevate::settle(&api, claimed, &justify, out).await?;
    if out.format == Format::Json {
        return out.json(&claimed);
    }
    let bound = claimed.confirmation.as_ref().map(Confirmation::thumbprint).unwrap_or_default();
    out.facts(&[
        ("grant", Cell::new(&claimed.id)),
        ("binding", claimed.binding.as_str().into()),
        ("bound to", bound.into()),
        ("expires", enforcement::clock_time(claimed.expires_at).into()),
    ])
}
