//! `breakglass revoke`: end a grant, or many, now, and watch it arrive.

use super::api::Api;
use super::args::{Format, Global, RevokeArgs};
use super::arrival;
use super::enforcement::span;
use super::failure::{Exit, Failure};
use super::grants::joined;
use super::output::Output;
use super::prompt::Prompt;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::{GrantId, Selector, WallTime};
use crate::wire::api::GrantView;
use crate::wire::revocations::{GrantBrief, RevocationPreview, RevocationRequest, RevocationView};

/// Grants shown before it is asked whether they shall end.
const SHOWN_MAX: usize = 10;

/// # Errors
/// When the control plane refuses, nobody says yes, or not every sidecar has answered in time: then the silent ones are
/// named, with the time by which each stops by itself.
pub(super) async fn run(args: RevokeArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let wanted = || Failure::new(Exit::Usage, "nothing was named to end", "see breakglass revoke --help");
    match args.selector().ok_or_else(wanted)? {
        Selector::Grant { grant } => one(&api, &grant, args, out).await,
        what => {
            let mut prompt = Prompt::of_process(false);
            many(&api, what, args, &mut prompt, out).await
        }
    }
}

async fn one(api: &Api, id: &GrantId, args: RevokeArgs, out: &mut Output) -> Result<(), Failure> {
    let grant = api.revoke(id, args.note).await?;
    let Some(revocation) = &grant.revocation else {
        return Err(Failure::new(Exit::Failed, format!("{id} ended otherwise"), "breakglass grants show says how"));
    };
    let known = arrival::follow(api, revocation, args.wait, out).await?;
    let (told, checked) = (arrival::summary(&known), arrival::check(&format!("{id} is revoked"), &known));
    match out.format {
        Format::Json => {
            let of_service = known.services.into_iter().find(|one| one.service == grant.service);
            let enforcement = of_service.map_or_else(|| grant.enforcement.clone(), |one| one.enforcement);
            out.json(&GrantView { enforcement, ..grant })?;
        }
        Format::Table => out.line(&format!("{id} revoked: {told}"))?,
    }
    checked
}

async fn many(
    api: &Api,
    what: Selector,
    args: RevokeArgs,
    prompt: &mut Prompt,
    out: &mut Output,
) -> Result<(), Failure> {
    let request = RevocationRequest { what, note: args.note };
    if !args.yes {
        confirm(api, &request, prompt, out).await?;
    }
    let view = api.order(&request).await?;
    let known = arrival::follow(api, &view.id, args.wait, out).await?;
    let checked = arrival::check(&format!("{} is ordered ({})", view.id, ended(&view)), &known);
    // Carried out meanwhile, where it was large.
    let view = if view.complete { view } else { api.revocation(&view.id).await? };
    match out.format {
        Format::Json => out.json(&RevocationView { enforcement: known, ..view })?,
        Format::Table => out.line(&format!("{}: {}; {}", view.id, ended(&view), arrival::summary(&known)))?,
    }
    checked
}

/// Shows what would end, and asks.
async fn confirm(api: &Api, request: &RevocationRequest, prompt: &mut Prompt, out: &mut Output) -> Result<(), Failure> {
    if !prompt.can_ask() {
        let message = "nobody can be asked whether all of that shall end";
        return Err(Failure::new(Exit::Usage, message, "add --yes to end it without being asked"));
    }
    let preview = api.preview(request).await?;
    show(&preview, &request.what, Clock::System.wall(), out);
    if prompt.confirm(out, "End all of it?").await? {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "nothing was ended", "run it again to end it"))
}

fn show(preview: &RevocationPreview, what: &Selector, now: WallTime, out: &mut Output) {
    out.choice(&format!("{} {} would end{}", grants(preview.grants), of(what), also(what)));
    for brief in preview.first.iter().take(SHOWN_MAX) {
        out.choice(&format!("  {}", line(brief, now)));
    }
    let shown = preview.first.len().min(SHOWN_MAX);
    let more = preview.grants.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if more > 0 {
        out.choice(&format!("  and {more} more"));
    }
}

fn line(brief: &GrantBrief, now: WallTime) -> String {
    let left = span(brief.expires_at.since(now));
    format!("{}  {}  {}  {}  {left} left", brief.id, brief.service, brief.person, joined(&brief.resources))
}

/// `2 grants of alice ended`
fn ended(view: &RevocationView) -> String {
    let requests = match view.requests_denied {
        0 => String::new(),
        1 => " and 1 request".to_owned(),
        many => format!(" and {many} requests"),
    };
    format!("{}{requests} {} ended", grants(view.grants_ended), of(&view.what))
}

fn grants(count: u64) -> String {
    if count == 1 { "1 grant".to_owned() } else { format!("{count} grants") }
}

/// What a selector is about, as the rest of a sentence.
pub(super) fn of(what: &Selector) -> String {
    match what {
        Selector::Grant { grant } => format!("called {grant}"),
        Selector::Person { person } => format!("of {person}"),
        Selector::Resource { resource, service: None } => format!("on {resource}"),
        Selector::Resource { resource, service: Some(service) } => format!("on {resource} of {service}"),
        Selector::Service { service } => format!("of {service}"),
        Selector::Everything {} => "of everything".to_owned(),
        Selector::Freeze { service: None } => "by a freeze of everything".to_owned(),
        Selector::Freeze { service: Some(service) } => format!("by a freeze of {service}"),
    }
}

const fn also(what: &Selector) -> &'static str {
    match what {
        Selector::Person { .. } => ", and the requests that wait for an answer:",
        _ => ":",
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;
    use crate::domain::RevocationId;

    fn brief(n: u64) -> GrantBrief {
        GrantBrief {
            id: GrantId::from_random(n),
            service: "payments".parse().unwrap(),
            person: "alice@example.test".parse().unwrap(),
            resources: vec!["contract/C-1042".parse().unwrap()],
            expires_at: WallTime::from_unix_s(900),
        }
    }

    #[test]
    fn what_would_end_is_shown() {
        let (mut out, data, talk) = capture::output(Format::Table);
        let preview = RevocationPreview { grants: 123, first: (1..=12).map(brief).collect() };
        let person = Selector::Person { person: "alice@example.test".parse().unwrap() };
        show(&preview, &person, WallTime::from_unix_s(60), &mut out);
        assert_eq!(data.text(), "", "questions are talk");
        insta::assert_snapshot!(talk.text());
    }

    #[test]
    fn what_ended_is_said() {
        let view = RevocationView {
            id: RevocationId::from_random(3),
            what: Selector::Resource { resource: "contract/C-1".parse().unwrap(), service: None },
            by: "bob".parse().unwrap(),
            note: Some("why".into()),
            ordered_at: WallTime::EPOCH,
            complete: true,
            grants_ended: 2,
            requests_denied: 0,
            enforcement: arrival::sample::of_fourteen(&[]),
        };
        assert_eq!(ended(&view), "2 grants on contract/C-1 ended");
        let person = Selector::Person { person: "alice".parse().unwrap() };
        let view = RevocationView { what: person, grants_ended: 1, requests_denied: 1, ..view };
        assert_eq!(ended(&view), "1 grant and 1 request of alice ended");
    }
}
