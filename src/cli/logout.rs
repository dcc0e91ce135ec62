//! `breakglass logout`: the sign-in is removed from this machine, and ended at the issuer where it has a place for that
//! (RFC 7009).

use super::args::Global;
use super::failure::Failure;
use super::output::Output;
use super::session::{self, Lookup};

/// # Errors
/// When it cannot be removed.
pub(super) async fn run(global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let sign_in = session::sign_in(global, env)?;
    let told = if sign_in.end(out).await? { "signed out of" } else { "nobody was signed in at" };
    out.note(&format!("{told} {}", sign_in.control));
    if let Some(given) = session::given_by(global, env) {
        out.warn(&format!("the token of {given} is still used, as long as it is set"));
    }
    Ok(())
}
