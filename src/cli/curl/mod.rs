//! `breakglass curl`: the 2:13 path. curl runs as it was given; when the answer is a break-glass refusal or a lock, the
//! person is asked for reason and ticket, elevation is requested and awaited, and the request is sent once more with the
//! grant.
//!
//! INVARIANT: a request is made an override at most once: one that carries the grant is repeated only where the sidecar
//! has refused it for want of a nonce, and has forwarded nothing. It must never print, log or pass on a command line any
//! token, and never call an address that an answer named.

mod argv;
mod defaults;
mod exec;
mod head;
mod nonces;
mod options;
mod plan;
mod proven;
mod refusal;

use std::time::Duration;

pub(super) use argv::with_divider;
use exec::{First, Input, Workshop};
use plan::{Analysis, Plan};
use refusal::Locked;

use super::api::{Api, GrantQuery};
use super::args::{CurlArgs, Global};
use super::credential::{self, Credential};
use super::elevate::{self, Wanted};
use super::enforcement::{clock_time, span};
use super::failure::{Exit, Failure};
use super::grants::joined;
use super::interruption::interrupted;
use super::output::Output;
use super::prompt::Prompt;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::{Binding, WallTime};
use crate::wire::api::{GrantState, GrantView};

/// A grant with less left than this is not worth beginning with.
const LEFT_MIN: Duration = Duration::from_secs(5);

/// Runs the verb; the code to exit with is curl's own.
///
/// # Errors
/// When curl cannot be run, its arguments could send more than one request, or elevation does not come about.
pub(super) async fn run(args: CurlArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<u8, Failure> {
    let plan = match plan::analyse(&args.curl).and_then(|analysis| defaults::check(&args.curl, env).map(|()| analysis))
    {
        Ok(Analysis::Bare) => return exec::bare(&args.curl).await,
        Ok(Analysis::One(plan)) => plan,
        Err(error) => {
            let hint = "leave it out, or get a grant with `breakglass request` and use curl itself";
            return Err(Failure::new(Exit::Usage, format!("curl's argument {error}"), hint));
        }
    };
    // The guard of Ctrl-C drops the workshop and curl with it: no file with a token stays behind.
    let mut prompt = Prompt::of_process(plan.reads_stdin);
    let input = plan.reads_stdin.then(|| Box::new(std::io::stdin()) as Input);
    tokio::select! {
        ended = call(&args, &plan, (global, env), input, &mut prompt, out) => ended,
        failure = interrupted() => Err(failure),
    }
}

async fn call(
    args: &CurlArgs,
    plan: &Plan,
    caller: (&Global, Lookup<'_>),
    input: Option<Input>,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<u8, Failure> {
    let workshop = Workshop::open(input).await?;
    let first = workshop.first(&args.curl, plan, out).await?;
    let locked = first.head.as_ref().and_then(|head| refusal::read(head, &first.body));
    let Some(locked) = locked else {
        show(&first, out)?;
        hint_at_hidden_refusal(&first, plan, out);
        return Ok(first.code);
    };
    match prepare(args, plan, &locked, caller, prompt, out).await {
        Ok(credential) => proven::send(workshop, (&args.curl, plan), &credential, caller, out).await,
        Err(failure) => {
            show(&first, out)?;
            Err(failure)
        }
    }
}

/// What curl would have printed of the first answer.
fn show(first: &First, out: &mut Output) -> Result<(), Failure> {
    if first.suppressed && first.head.as_ref().is_some_and(|head| head.status >= 400) {
        return Ok(());
    }
    out.bytes(&first.held)
}

/// A refusal whose body curl was told to drop cannot be read.
fn hint_at_hidden_refusal(first: &First, plan: &Plan, out: &mut Output) {
    let hidden =
        first.body.is_empty() && first.head.as_ref().is_some_and(|head| head.is_problem() && head.status < 500);
    if hidden && plan.method != "HEAD" {
        out.note(
            "this may be a break-glass refusal, but its body was not kept: leave out -f or -o /dev/null to elevate",
        );
    }
}

/// The proof of a grant that is enforced, with the caller's yes.
async fn prepare(
    args: &CurlArgs,
    plan: &Plan,
    locked: &Locked,
    (global, env): (&Global, Lookup<'_>),
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<Credential, Failure> {
    out.note(&format!("{} {}", plan.method, shown_url(&plan.url)));
    out.note(&format!("locked: {}", locked.why));
    out.note(&format!("it takes {} on {} of {}", locked.action, locked.resource, locked.service));
    check_cleartext(plan)?;
    if !args.yes && !prompt.can_ask() {
        let hint = "add --reason CODE --ticket TICKET --yes before curl's arguments";
        return Err(Failure::new(Exit::Refused, "refused, and nobody can be asked about an override here", hint));
    }
    let api = session::connect(global, env, out)?;
    let can_prove = |grant: &GrantView| credential::can_prove(grant, plan.certified, global, env);
    let grant = obtain(&api, args, (locked, &can_prove), prompt, out).await?;
    let credential = credential::of(&api, &grant, (global, env)).await?;
    confirm(args.yes, plan, &grant, prompt, out).await?;
    Ok(credential)
}

/// A live grant that fits, or a new one; either way enforced.
async fn obtain(
    api: &Api,
    args: &CurlArgs,
    (locked, can_prove): (&Locked, &dyn Fn(&GrantView) -> bool),
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<GrantView, Failure> {
    let query = GrantQuery {
        service: Some(locked.service.clone()),
        state: Some("active"),
        mine: true,
        ..GrantQuery::default()
    };
    let live = api.grants(&query).await?;
    let now = Clock::System.wall();
    if let Some(grant) = live.into_iter().find(|grant| fits(grant, locked, now) && can_prove(grant)) {
        out.note(&format!("using {}, which you hold already", grant.id));
        return elevate::settle(api, grant, &args.justify, out).await;
    }
    let wanted = Wanted {
        service: locked.service.clone(),
        resources: vec![locked.resource.clone()],
        actions: vec![locked.action.clone()],
    };
    let view = elevate::elevate(api, &wanted, (&args.justify, true), prompt, out).await?;
    view.grant.ok_or_else(|| Failure::new(Exit::Failed, "the request has no grant", "see breakglass grants --mine"))
}

fn fits(grant: &GrantView, locked: &Locked, now: WallTime) -> bool {
    grant.state == GrantState::Active
        && grant.service == locked.service
        && grant.resources.contains(&locked.resource)
        && grant.actions.contains(&locked.action)
        && grant.max_uses.is_none_or(|max| grant.spent < max)
        && grant.expires_at.since(now) >= LEFT_MIN
}

async fn confirm(
    yes: bool,
    plan: &Plan,
    grant: &GrantView,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    let left = grant.expires_at.since(Clock::System.wall());
    let say = if yes { Output::note } else { Output::choice };
    say(out, "The override, sent once:");
    say(out, &format!("  {} {}", plan.method, shown_url(&plan.url)));
    say(
        out,
        &format!(
            "  {} on {} of {}, as {}",
            joined(&grant.actions),
            joined(&grant.resources),
            grant.service,
            grant.role
        ),
    );
    say(out, &format!("  under {} until {} ({} left)", grant.id, clock_time(grant.expires_at), span(left)));
    if plan.insecure {
        match grant.binding {
            Binding::Mtls | Binding::Dpop => {}
            Binding::Identity => out.warn("with -k, whoever answers at that address gets your identity token"),
            Binding::Bearer => out.warn("with -k, whoever answers at that address gets your grant token"),
        }
    }
    if plan.traced {
        out.note("-v and --trace are left out of the override: they would show what proves the grant");
    }
    if yes || prompt.confirm(out, "Send it?").await? {
        return Ok(());
    }
    let hint = format!("the grant stays until it ends; end it now with: breakglass revoke {}", grant.id);
    Err(Failure::new(Exit::Refused, "the override was not sent", hint))
}

/// The identity token never crosses a network in the clear.
fn check_cleartext(plan: &Plan) -> Result<(), Failure> {
    let (scheme, rest) = plan.url.split_once("://").unwrap_or(("http", &plan.url));
    if scheme.eq_ignore_ascii_case("https") || plan.local_socket || is_loopback(rest) {
        return Ok(());
    }
    let message = "the URL is not https, and the override would carry your identity token in the clear";
    Err(Failure::new(Exit::Refused, message, "use the https address of the service"))
}

/// Whether what begins with this authority is this machine.
pub(super) fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The URL without a password in it.
fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

#[cfg(test)]
mod tests;
