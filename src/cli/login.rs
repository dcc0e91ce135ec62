//! `breakglass login`: sign in. `breakglass token`: print an access token of it, for a client that has a header to fill.

use super::args::{Global, LoginArgs, TokenArgs};
use super::enforcement::clock_time;
use super::failure::Failure;
use super::output::Output;
use super::session::{self, Lookup};
use super::sign_in::{Asked, Flow, Kept, Order, Overrides};

/// # Errors
/// When nobody signs in, or it cannot be kept.
pub(super) async fn run(args: LoginArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let sign_in = session::sign_in(global, env)?;
    let flow = match (args.device, args.browser) {
        (true, _) => Flow::Device,
        (false, true) => Flow::Browser,
        (false, false) => Flow::Fitting,
    };
    let order = Order {
        flow,
        asked: Asked { acr: args.acr, max_age: args.max_age },
        overrides: Overrides { issuer: args.issuer, client_id: args.client_id, scopes: args.scopes },
        ..Order::default()
    };
    let kept = sign_in.run(&order, out).await?;
    out.note(&format!("{}; kept in {}", told(&kept), sign_in.shelf.place()));
    if let Some(given) = session::given_by(global, env) {
        out.warn(&format!("the token of {given} comes before this sign-in, as long as it is set"));
    }
    Ok(())
}

fn told(kept: &Kept) -> String {
    let who = kept.subject.as_ref().map(|subject| format!(" as {}", subject.as_str())).unwrap_or_default();
    let until = kept.lasts_until(&kept.terms.audience).map(clock_time).unwrap_or_default();
    let lasts = match kept.refresh_token {
        Some(_) => "it renews itself".to_owned(),
        None => format!("it lasts until {until}: the issuer gave nothing to renew it by"),
    };
    format!("signed in{who}; {lasts}")
}

/// # Errors
/// When nobody is signed in.
pub(super) async fn token(args: &TokenArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let token = session::keeper(global, env, out)?.token(args.service.as_ref()).await?;
    out.line(token.expose())
}
