//! `breakglass freeze`, `unfreeze` and `freezes`: stop a service, or everything, until an admin lifts it.

use super::args::{Format, FreezeArgs, Global, UnfreezeArgs};
use super::arrival;
use super::enforcement::clock_time;
use super::failure::{Exit, Failure};
use super::output::{Cell, Colour, Output};
use super::prompt::Prompt;
use super::session::{self, Lookup};
use crate::domain::ServiceName;
use crate::wire::api::Page;
use crate::wire::revocations::FreezeView;

/// Stopping asks nothing: whoever is unsure should stop.
///
/// # Errors
/// When the control plane refuses, or not every sidecar has answered in time.
pub(super) async fn freeze(
    args: FreezeArgs,
    global: &Global,
    env: Lookup<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let (is_new, freeze) = api.freeze(args.service.as_ref(), &args.note).await?;
    if !is_new {
        out.note(&format!("it was frozen before, and that freeze stands: {}", told(&freeze)));
    }
    let Some(revocation) = &freeze.revocation else { return print(&freeze, "frozen", out) };
    let known = arrival::follow(&api, revocation, args.wait, out).await?;
    let what = named(args.service.as_ref());
    print(&freeze, &format!("{what} frozen: {}", arrival::summary(&known)), out)?;
    arrival::check(&format!("{what} is frozen"), &known)
}

fn print(freeze: &FreezeView, summary: &str, out: &mut Output) -> Result<(), Failure> {
    match out.format {
        Format::Json => out.json(freeze),
        Format::Table => out.line(summary),
    }
}

/// # Errors
/// When the control plane refuses, nobody says yes, or not every sidecar has answered in time.
pub(super) async fn unfreeze(
    args: UnfreezeArgs,
    global: &Global,
    env: Lookup<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let what = named(args.service.as_ref());
    if !args.yes {
        let stands = api.freezes().await?.into_iter().find(|freeze| freeze.service == args.service);
        confirm(what, stands.as_ref(), &mut Prompt::of_process(false), out).await?;
    }
    let lifted = api.lift(args.service.as_ref(), args.wait).await?;
    let known = &lifted.enforcement;
    match out.format {
        Format::Json => out.json(&lifted)?,
        Format::Table => out.line(&format!("{what} is no longer frozen: {}", arrival::summary(known)))?,
    }
    arrival::check(&format!("{what} is no longer frozen"), known)
}

async fn confirm(
    what: &str,
    stands: Option<&FreezeView>,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    if !prompt.can_ask() {
        let message = format!("nobody can be asked whether {what} shall be opened again");
        return Err(Failure::new(Exit::Usage, message, "add --yes to lift it without being asked"));
    }
    if let Some(freeze) = stands {
        out.choice(&format!("{what}: {}", told(freeze)));
    }
    if prompt.confirm(out, &format!("Allow overrides and new grants for {what} again?")).await? {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, format!("{what} stays frozen"), "run it again to lift it"))
}

/// # Errors
/// When the control plane does not answer.
pub(super) async fn list(global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    show(session::connect(global, env, out)?.freezes().await?, out)
}

fn show(freezes: Vec<FreezeView>, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(&Page { items: freezes, next: None });
    }
    if freezes.is_empty() {
        out.note("nothing is frozen");
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = freezes.iter().map(row).collect();
    out.table(&["FROZEN", "SINCE", "BY", "WHY"], &rows)
}

fn row(freeze: &FreezeView) -> Vec<Cell> {
    vec![
        Cell::coloured(named(freeze.service.as_ref()), Colour::Red),
        freeze.frozen_at.map_or_else(|| "-".to_owned(), clock_time).into(),
        freeze.by.as_ref().map_or_else(|| "-".into(), Cell::new),
        freeze.note.as_deref().unwrap_or("-").into(),
    ]
}

/// `since 2026-11-22T02:13:00Z, by bob: the ledger disagrees`
fn told(freeze: &FreezeView) -> String {
    let since = freeze.frozen_at.map(|at| format!("since {}", clock_time(at)));
    let by = freeze.by.as_ref().map(|by| format!("by {by}"));
    let known: Vec<_> = since.into_iter().chain(by).collect();
    let why = freeze.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    if known.is_empty() { format!("nobody knows since when{why}") } else { format!("{}{why}", known.join(", ")) }
}

fn named(service: Option<&ServiceName>) -> &str {
    service.map_or("everything", ServiceName::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;
    use crate::domain::{RevocationId, WallTime};

    fn freeze(service: Option<&str>) -> FreezeView {
        FreezeView {
            service: service.map(|name| name.parse().unwrap()),
            frozen_at: Some(WallTime::from_unix_ms(1_795_313_580_123)),
            by: Some("bob".parse().unwrap()),
            note: Some("the ledger disagrees with the bank".into()),
            revocation: Some(RevocationId::from_random(7)),
        }
    }

    #[test]
    fn the_table() {
        let (mut out, data, _) = capture::output(Format::Table);
        let redacted = FreezeView { by: None, note: None, ..freeze(Some("payments")) };
        show(vec![freeze(None), redacted], &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }

    #[test]
    fn nothing_frozen_is_no_data() {
        let (mut out, data, talk) = capture::output(Format::Table);
        show(vec![], &mut out).unwrap();
        assert_eq!((data.text().as_str(), talk.text().as_str()), ("", "nothing is frozen\n"));
    }

    #[tokio::test]
    async fn nobody_lifts_by_a_pipe_without_saying_yes() {
        let (mut out, _, _) = capture::output(Format::Table);
        let failure = confirm("payments", None, &mut Prompt::nobody(), &mut out).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
