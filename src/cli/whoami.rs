//! `breakglass whoami`: whom the control plane takes the caller for, and by which token.

use super::args::{Format, Global};
use super::enforcement::clock_time;
use super::failure::Failure;
use super::output::{Cell, Output};
use super::session::{self, Lookup};
use crate::wire::sign_in::WhoamiView;

/// # Errors
/// When nobody is signed in, or the control plane does not take the token.
pub(super) async fn run(global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let view = session::connect(global, env, out)?.whoami().await?;
    if out.format == Format::Json {
        return out.json(&view);
    }
    out.facts(&facts(&view, &by(global, env).await?))
}

/// Where the token comes from.
async fn by(global: &Global, env: Lookup<'_>) -> Result<String, Failure> {
    if let Some(given) = session::given_by(global, env) {
        return Ok(given);
    }
    let sign_in = session::sign_in(global, env)?;
    let kept = sign_in.shelf.read().await?;
    let renews = match kept.and_then(|kept| kept.refresh_token) {
        Some(_) => "renews itself",
        None => "does not renew itself",
    };
    Ok(format!("the sign-in in {}, which {renews}", sign_in.shelf.place()))
}

fn facts<'a>(view: &'a WhoamiView, by: &'a str) -> Vec<(&'static str, Cell)> {
    let authentication = &view.authentication;
    let or_unknown = |text: Option<String>| Cell::new(text.unwrap_or_else(|| "unknown".to_owned()));
    vec![
        ("person", Cell::new(view.person.as_str())),
        ("groups", Cell::new(view.groups.join(", "))),
        ("issuer", Cell::new(authentication.issuer.as_str())),
        ("subject", Cell::new(&view.subject)),
        ("signed in", or_unknown(authentication.auth_at.map(clock_time))),
        ("acr", or_unknown(authentication.acr.clone())),
        ("amr", Cell::new(authentication.amr.join(", "))),
        ("token until", clock_time(view.expires_at).into()),
        ("by", Cell::new(by)),
    ]
}
