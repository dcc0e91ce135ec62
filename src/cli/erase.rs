//! `breakglass erase`: what is personal, of a person or by age. Shows what would go, and asks.

use std::time::Duration;

use super::api::Api;
use super::args::{EraseArgs, EraseVerb, ErasureArgs, Format, Global};
use super::failure::{Exit, Failure};
use super::output::{Cell, Output};
use super::prompt::Prompt;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::{Erasable, ErasureReason, Person};
use crate::wire::erasures::{ErasurePreview, ErasureRequest, ErasureView};

/// Between two looks at a large one, and how many there are before it is left to itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 600;

/// # Errors
/// When the control plane refuses, something of theirs is not over, or nobody says yes.
pub(super) async fn run(args: EraseArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let (what, reason, how) = match args.what {
        EraseVerb::Show { id } => return show(&api.erasure(&id).await?, out),
        EraseVerb::Person { person, reason, how } => (Erasable::Person { person }, reason.into(), how),
        EraseVerb::Old { older_than, how } => {
            let before = Clock::System.wall().minus(older_than);
            (Erasable::Age { before }, ErasureReason::Retention, how)
        }
    };
    let mut prompt = Prompt::of_process(false);
    erase(&api, &ErasureRequest { what, reason }, how, &mut prompt, out).await
}

async fn erase(
    api: &Api,
    request: &ErasureRequest,
    how: ErasureArgs,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    if how.dry_run {
        return told(&api.preview_erasure(request).await?, request, out);
    }
    if !how.yes {
        confirm(api, request, prompt, out).await?;
    }
    let mut view = api.erase(request).await?;
    for _ in 0..LOOKS_MAX {
        if view.complete {
            break;
        }
        out.progress(&format!("{} values erased", view.values));
        tokio::time::sleep(LOOK_EVERY).await;
        view = api.erasure(&view.id).await?;
    }
    show(&view, out)
}

/// What a dry run says. With something in the way it ends as the real one would.
fn told(preview: &ErasurePreview, request: &ErasureRequest, out: &mut Output) -> Result<(), Failure> {
    match out.format {
        Format::Json => out.json(preview)?,
        Format::Table => out.line(&count(preview, &request.what))?,
    }
    if preview.obstacles.is_empty() {
        return Ok(());
    }
    let lines = obstacles(preview).join("; ");
    Err(Failure::new(
        Exit::Refused,
        format!("something of theirs is not over: {lines}"),
        "end it, or wait until it has ended",
    ))
}

async fn confirm(api: &Api, request: &ErasureRequest, prompt: &mut Prompt, out: &mut Output) -> Result<(), Failure> {
    if !prompt.can_ask() {
        let message = "nobody can be asked whether that shall be erased";
        return Err(Failure::new(
            Exit::Usage,
            message,
            "add --yes to erase it without being asked, or --dry-run to count it",
        ));
    }
    let preview = api.preview_erasure(request).await?;
    out.choice(&count(&preview, &request.what));
    for obstacle in obstacles(&preview) {
        out.choice(&format!("  in the way: {obstacle}"));
    }
    if prompt.confirm(out, "Erase it? It does not come back.").await? {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "nothing was erased", "run it again to erase it"))
}

fn count(preview: &ErasurePreview, what: &Erasable) -> String {
    let of = match what {
        Erasable::Person { person } => format!("of {person}"),
        Erasable::Age { before } => format!("from before {}", before.rfc3339()),
    };
    format!("{} personal values and {} requests and grants {of} would be erased", preview.values, preview.records)
}

fn obstacles(preview: &ErasurePreview) -> Vec<String> {
    let line = |obstacle: &crate::wire::erasures::ErasureObstacle| match &obstacle.id {
        Some(id) => format!("{}: {id}", obstacle.kind.says()),
        None => obstacle.kind.says().to_owned(),
    };
    preview.obstacles.iter().map(line).collect()
}

fn show(view: &ErasureView, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(view);
    }
    let stands = if view.complete { "done" } else { "it goes on by itself" };
    let mut facts = vec![
        ("erasure", Cell::new(view.id.as_str())),
        ("stands", Cell::new(stands)),
        ("reason", Cell::new(view.reason.as_str())),
        ("values", Cell::new(view.values.to_string())),
        ("requests and grants", Cell::new(view.records.to_string())),
    ];
    facts.extend(view.called.as_ref().map(Person::as_str).map(|called| ("called now", Cell::new(called))));
    facts.extend(view.before_at.map(|before| ("from before", Cell::new(before.rfc3339()))));
    out.facts(&facts)
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;
    use crate::domain::{ErasureId, ObstacleKind, WallTime};
    use crate::wire::erasures::ErasureObstacle;

    #[test]
    fn a_dry_run_counts_and_names_what_stands_in_the_way() {
        let what = Erasable::Person { person: "alice".parse().unwrap() };
        let request = ErasureRequest { what, reason: ErasureReason::Requested };
        let mut preview = ErasurePreview { values: 41, records: 6, obstacles: Vec::new() };
        let (mut out, data, _) = capture::output(Format::Table);
        told(&preview, &request, &mut out).unwrap();
        assert_eq!(data.text(), "41 personal values and 6 requests and grants of alice would be erased\n");
        preview.obstacles.push(ErasureObstacle { kind: ObstacleKind::GrantLive, id: Some("g-0123456789ab".into()) });
        preview.obstacles.push(ErasureObstacle { kind: ObstacleKind::PolicyNames, id: None });
        let failure = told(&preview, &request, &mut out).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(
            failure.message.ends_with("a grant is live: g-0123456789ab; the policy names them"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn what_was_erased_is_said_without_saying_whose() {
        let view = ErasureView {
            id: ErasureId::from_random(1),
            reason: ErasureReason::Requested,
            called: Some(Person::erased(7)),
            before_at: None,
            by: Some("root".parse().unwrap()),
            ordered_at: WallTime::EPOCH,
            complete: true,
            values: 41,
            records: 6,
            done_at: Some(WallTime::EPOCH),
        };
        let (mut out, data, _) = capture::output(Format::Table);
        show(&view, &mut out).unwrap();
        let said = data.text();
        assert!(said.contains("erased:") && said.contains("done") && said.contains("41"), "{said}");
    }
}
