//! `breakglass policy apply`, and what goes with it: show the policy in force, list, confirm and withdraw proposals. These
//! ask the control plane.
//!
//! INVARIANT: what is applied follows the revision that was looked at: its entity tag goes with it.

use super::diff;
use super::source::Source;
use crate::cli::api::Api;
use crate::cli::args::{Format, PolicyApplyArgs, PolicyShowArgs, ProposalArgs};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Cell, Output};
use crate::cli::prompt::Prompt;
use crate::config::policy::PolicyConfig;
use crate::config::{ServiceConfig, reader};
use crate::policy::Rules;
use crate::policy::difference::difference;
use crate::wire::policy::{EndedByPolicy, PolicyChanged, PolicyPreview, PolicyRequest, PolicyView};

/// Checks the files, shows what they change and which live grants end, asks, and applies.
pub(super) async fn apply(
    api: &Api,
    args: &PolicyApplyArgs,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    let source = named(args)?;
    let new = source.load()?;
    let request = request(&source, args.note.clone())?;
    let (current, tag) = api.policy().await?;
    let preview = api.preview_policy(&request).await?;
    if !preview.mistakes.is_empty() {
        return Err(mistaken(&preview));
    }
    let changes = match rules(&current) {
        Some(old) => diff::show(&difference(&old, &new), out)?,
        None => {
            out.warn("the policy in force is not one that this version understands: what changes is not shown");
            true
        }
    };
    if !changes && unchanged(&current, &request) {
        out.note(&format!("these are the files of revision {}: nothing to apply", current.revision));
        return Ok(());
    }
    show_ends(&preview.ends, out);
    if args.dry_run {
        return Ok(());
    }
    confirm(&preview, args, prompt, out).await?;
    let changed = api.apply_policy(&tag, &request).await?;
    told(&changed, out)
}

fn named(args: &PolicyApplyArgs) -> Result<Source, Failure> {
    let source = Source::of_flags(&args.files)?;
    source.ok_or_else(|| {
        let hint = "name them with --files, or the control plane's file with --config";
        Failure::new(Exit::Usage, "no policy is named", hint)
    })
}

fn request(source: &Source, note: Option<String>) -> Result<PolicyRequest, Failure> {
    let read = |file| reader::read_file(file).map_err(|error| super::source::mistaken(&error));
    let services = source.services.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    Ok(PolicyRequest { policy: read(&source.policy)?, services, note })
}

/// The policy in force, if this version understands it.
fn rules(view: &PolicyView) -> Option<Rules> {
    let parse = |file: &crate::wire::policy::ServiceFileView| ServiceConfig::parse(file.name.as_ref(), &file.text).ok();
    let services = view.services.iter().map(parse).collect::<Option<Vec<_>>>()?;
    let policy = PolicyConfig::parse("policy".as_ref(), &view.policy, &services).ok()?;
    Some(Rules::new(view.revision, policy, services))
}

fn unchanged(current: &PolicyView, request: &PolicyRequest) -> bool {
    let mut before: Vec<&str> = current.services.iter().map(|file| file.text.as_str()).collect();
    let mut after: Vec<&str> = request.services.iter().map(String::as_str).collect();
    before.sort_unstable();
    after.sort_unstable();
    current.policy == request.policy && before == after
}

fn mistaken(preview: &PolicyPreview) -> Failure {
    let hint = "this program found none: are it and the control plane of the same version?";
    Failure::new(Exit::Unverified, preview.mistakes.join("\n"), hint)
}

fn show_ends(ends: &[EndedByPolicy], out: &mut Output) {
    if ends.is_empty() {
        out.note("no live grant ends");
    }
    for end in ends {
        out.choice(&format!("ends now: {} of {} on {}: {}", end.grant, end.person, end.service, end.why));
    }
}

async fn confirm(
    preview: &PolicyPreview,
    args: &PolicyApplyArgs,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    if !prompt.can_ask() {
        let message = "nobody can be asked here whether the policy is to be applied";
        return Err(Failure::new(Exit::Usage, message, "look at it with --dry-run, then add --yes"));
    }
    let question = match preview.second_administrator {
        true => "Propose it to another administrator?",
        false => "Apply it?",
    };
    if prompt.confirm(out, question).await? {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "it was not applied", "run the command again when it is right"))
}

fn told(changed: &PolicyChanged, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(changed);
    }
    match (changed.revision, &changed.proposal) {
        (Some(revision), _) => {
            for end in &changed.ended {
                out.note(&format!("ended: {} of {} on {}: {}", end.grant, end.person, end.service, end.why));
            }
            out.line(&format!("policy revision {revision} is in force; {} live grants ended", changed.ended.len()))
        }
        (None, Some(proposal)) => {
            out.line(&format!("{proposal} waits for another administrator: breakglass policy confirm {proposal}"))
        }
        (None, None) => Err(Failure::new(
            Exit::Failed,
            "the control plane did not say what became of it",
            "look with breakglass policy show",
        )),
    }
}

/// The policy in force: its text alone, so that it can be kept in a file, or all of it as JSON.
pub(super) async fn show(api: &Api, args: &PolicyShowArgs, out: &mut Output) -> Result<(), Failure> {
    let (current, _) = api.policy().await?;
    if out.format == Format::Json {
        return out.json(&current);
    }
    let text = match &args.service {
        None => Some(&current.policy),
        Some(name) => current.services.iter().find(|file| file.name == name.as_str()).map(|file| &file.text),
    };
    let missing = || Failure::new(Exit::Failed, "the policy has no such service", "see them with --output json");
    out.note(&format!("revision {}, applied at {}", current.revision, current.applied_at.rfc3339()));
    out.bytes(text.ok_or_else(missing)?.as_bytes())
}

pub(super) async fn proposals(api: &Api, out: &mut Output) -> Result<(), Failure> {
    let proposals = api.proposals().await?;
    if out.format == Format::Json {
        return out.json(&proposals);
    }
    if proposals.is_empty() {
        out.note("there are no proposals");
        return Ok(());
    }
    let row = |proposal: &crate::wire::policy::ProposalView| {
        vec![
            Cell::new(proposal.id.as_str()),
            Cell::new(proposal.state.as_str()),
            Cell::new(proposal.base.to_string()),
            Cell::new(proposal.proposed_by.as_str()),
            Cell::new(proposal.proposed_at.rfc3339()),
            Cell::new(proposal.note.as_deref().unwrap_or("-")),
        ]
    };
    let rows: Vec<_> = proposals.iter().map(row).collect();
    out.table(&["PROPOSAL", "STATE", "AFTER", "BY", "AT", "NOTE"], &rows)
}

/// Shows what the proposal changes against the policy in force, asks, and confirms.
pub(super) async fn confirm_proposal(
    api: &Api,
    args: &ProposalArgs,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    let proposal = api.proposal(&args.id).await?;
    let (current, _) = api.policy().await?;
    let proposed = PolicyView { policy: proposal.policy, services: proposal.services, ..current.clone() };
    if let (Some(old), Some(new)) = (rules(&current), rules(&proposed)) {
        diff::show(&difference(&old, &new), out)?;
    }
    let services = proposed.services.iter().map(|file| file.text.clone()).collect();
    let request = PolicyRequest { policy: proposed.policy, services, note: None };
    show_ends(&api.preview_policy(&request).await?.ends, out);
    if !args.yes && !prompt.confirm(out, &format!("Apply what {} proposes?", proposal.proposed_by)).await? {
        let hint = format!("take it back with breakglass policy withdraw {}", args.id);
        return Err(Failure::new(Exit::Refused, "it was not confirmed", hint));
    }
    told(&api.confirm_proposal(&args.id).await?, out)
}

pub(super) async fn withdraw(api: &Api, args: &ProposalArgs, out: &mut Output) -> Result<(), Failure> {
    let proposal = api.withdraw_proposal(&args.id).await?;
    match out.format {
        Format::Json => out.json(&proposal),
        Format::Table => out.line(&format!("{} is withdrawn", proposal.id)),
    }
}
