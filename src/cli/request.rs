//! `breakglass request`: elevation by hand.

use super::args::{Format, Global, RequestArgs};
use super::elevate::{self, Wanted};
use super::enforcement::{clock_time, span};
use super::failure::Failure;
use super::grants::joined;
use super::output::{Cell, Output};
use super::prompt::Prompt;
use super::requests;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::wire::api::{ElevationView, GrantView};

/// # Errors
/// As [`elevate::elevate`].
pub(super) async fn run(args: RequestArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let wanted = Wanted { service: args.service, resources: args.resources, actions: args.actions };
    let mut prompt = Prompt::of_process(false);
    let view = elevate::elevate(&api, &wanted, (&args.justify, !args.no_wait), &mut prompt, out).await?;
    print(&view, global, env, out)
}

fn print(view: &ElevationView, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    match (&view.grant, out.format) {
        (Some(grant), Format::Table) => facts(grant, &session::identity_expression(global, env, &grant.service), out),
        (None, Format::Table) => out.facts(&requests::facts(view)),
        (_, Format::Json) => out.json(view),
    }
}

fn facts(grant: &GrantView, identity: &str, out: &mut Output) -> Result<(), Failure> {
    let left = grant.expires_at.since(Clock::System.wall());
    let expires = format!("{} (in {})", clock_time(grant.expires_at), span(left));
    // The token stays out of the command line, where every process could read it.
    let by_hand =
        format!("curl -H 'Break-Glass: {}' -H @<(printf 'Break-Glass-Identity: %s\\n' \"{identity}\") URL", grant.id);
    out.facts(&[
        ("grant", Cell::new(&grant.id)),
        ("expires", expires.into()),
        ("service", Cell::new(&grant.service)),
        ("resources", joined(&grant.resources).into()),
        ("actions", joined(&grant.actions).into()),
        ("role", Cell::new(&grant.role)),
        ("use it", "breakglass curl URL".into()),
        ("or", by_hand.into()),
    ])
}
