//! `breakglass approve`, `deny`, `withdraw`: answers to a request.
//!
//! INVARIANT: an approval names the tag of what was shown. Without a terminal nobody has seen anything, so the caller
//! names it.

use super::api::{Api, ApiError};
use super::args::{ApproveArgs, DenyArgs, Format, Global, WithdrawArgs};
use super::enforcement::clock_time;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::prompt::Prompt;
use super::requests::{approved, facts, list_of, seconds, uses_of, wants};
use super::session::{self, Lookup};
use crate::wire::api::ElevationView;
use crate::wire::lifecycle::ApproveRequest;

/// # Errors
/// When it is not confirmed, has changed since it was shown, or the control plane refuses.
pub(super) async fn approve(
    args: ApproveArgs,
    global: &Global,
    env: Lookup<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let mut prompt = Prompt::of_process(false);
    approve_with(&api, &args, &mut prompt, out).await
}

async fn approve_with(api: &Api, args: &ApproveArgs, prompt: &mut Prompt, out: &mut Output) -> Result<(), Failure> {
    let (request, current) = api.elevation_tagged(&args.id).await?;
    let etag = args.etag.clone().unwrap_or(current);
    let asked = ApproveRequest {
        duration_s: args.duration.map(|span| span.as_secs()),
        actions: (!args.actions.is_empty()).then(|| args.actions.clone()),
        max_uses: args.uses,
    };
    if !args.yes {
        confirm(&request, &etag, &asked, prompt, out).await?;
    }
    let view = api.approve(&args.id, &etag, &asked).await.map_err(|error| changed(error, args))?;
    told(&view, out)
}

/// Shows exactly what is approved, and asks.
async fn confirm(
    request: &ElevationView,
    etag: &str,
    asked: &ApproveRequest,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    if !prompt.can_ask() {
        let message = "nobody can be asked here, and nobody has seen what would be approved";
        let hint = format!("look at it with `breakglass requests show {}`, and add --yes --etag ETAG", request.id);
        return Err(Failure::new(Exit::Usage, message, hint));
    }
    for (name, value) in facts(request) {
        out.choice(&format!("{name:<13}{}", value.text()));
    }
    out.choice(&format!("{:<13}{etag}", "etag"));
    if let Some(narrowing) = narrowing(asked) {
        out.choice(&format!("{:<13}{narrowing}", "you agree to"));
    }
    if prompt.confirm(out, "Approve it?").await? {
        return Ok(());
    }
    let hint = format!("say no with: breakglass deny {} --note TEXT", request.id);
    Err(Failure::new(Exit::Refused, "it was not approved", hint))
}

/// What the flags take off.
fn narrowing(asked: &ApproveRequest) -> Option<String> {
    let parts = [
        asked.duration_s.map(|duration| format!("{} at most", seconds(duration))),
        asked.max_uses.map(|uses| format!("{} at most", uses_of(Some(uses)))),
        asked.actions.as_ref().map(|actions| format!("only {}", list_of(actions))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn changed(error: ApiError, args: &ApproveArgs) -> Failure {
    let stale = matches!(&error, ApiError::Problem(problem) if problem.status == 412);
    let mut failure = Failure::from(error);
    if stale {
        failure.hint = format!("look at what it is now: breakglass requests show {}", args.id);
    }
    failure
}

fn told(view: &ElevationView, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(view);
    }
    match (&view.grant, &view.wanted) {
        (Some(grant), _) => {
            let until = clock_time(grant.expires_at);
            out.line(&format!("{} approved: {} holds {} until {until}", view.id, view.person, grant.id))
        }
        (None, Some(wanted)) => {
            out.line(&format!("{} approved: {} so far; it waits for {}", view.id, approved(view), wants(wanted)))
        }
        (None, None) => out.line(&format!("{} approved", view.id)),
    }
}

/// # Errors
/// When the control plane refuses.
pub(super) async fn deny(args: DenyArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let view = session::connect(global, env, out)?.deny(&args.id, args.note).await?;
    told_ended(&view, out)
}

/// # Errors
/// When the control plane refuses.
pub(super) async fn withdraw(
    args: WithdrawArgs,
    global: &Global,
    env: Lookup<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let view = session::connect(global, env, out)?.withdraw(&args.id).await?;
    told_ended(&view, out)
}

fn told_ended(view: &ElevationView, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(view);
    }
    out.line(&format!("{} {}", view.id, view.state.as_str()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::super::output::capture;
    use super::super::requests::sample;
    use super::*;

    #[tokio::test]
    async fn what_would_be_approved_is_shown_before_it_is_asked() {
        let asked = ApproveRequest { duration_s: Some(300), actions: None, max_uses: Some(1) };
        for (answer, approved) in [("y\n", true), ("n\n", false), ("\n", false)] {
            let (mut out, data, talk) = capture::output(Format::Table);
            let mut prompt = Prompt::from_reader(BufReader::new(Cursor::new(answer)));
            let confirmed = confirm(&sample::waiting(), "\"x\"", &asked, &mut prompt, &mut out).await;
            assert_eq!(confirmed.is_ok(), approved, "{answer:?}");
            let talk = talk.text();
            for shown in ["maria@example.com", "contract/C-1042", "stuck-payment", "INC-2041", "reviewed: justified"] {
                assert!(talk.contains(shown), "{shown}: {talk}");
            }
            assert!(talk.contains("you agree to 5m 0s at most, 1 use at most"), "{talk}");
            assert_eq!(data.text(), "");
        }
    }

    #[tokio::test]
    async fn where_nobody_can_be_asked_nobody_has_seen_it() {
        let (mut out, _, _) = capture::output(Format::Table);
        let asked = ApproveRequest::default();
        let refused = confirm(&sample::waiting(), "\"x\"", &asked, &mut Prompt::nobody(), &mut out).await.unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.hint.contains("breakglass requests show e-000000000009"), "{}", refused.hint);
    }
}
