//! `breakglass requests`: what waits, what became of it, and one request with all that an approver is shown.

use serde::Serialize;

use super::api::ElevationQuery;
use super::args::{Format, Global, RequestsArgs, RequestsFilter, RequestsVerb};
use super::enforcement::{clock_time, span};
use super::failure::Failure;
use super::grants::joined;
use super::output::{Cell, Colour, Output};
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::{Action, ElevationState, ReviewState, Verdict, WallTime};
use crate::wire::api::{ElevationView, Page};
use crate::wire::lifecycle::{ApprovalView, AuthenticationView, BoundsView, PastGrant, WantedApprovals};

/// A request, and the tag that an approval names.
#[derive(Debug, Serialize)]
struct Tagged<'a> {
    etag: &'a str,
    #[serde(flatten)]
    request: &'a ElevationView,
}

/// # Errors
/// When the control plane does not answer, or refuses.
pub(super) async fn run(args: RequestsArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    match args.what {
        None => list(api.elevations(&query(args.filter)).await?, Clock::System.wall(), out),
        Some(RequestsVerb::Show { id }) => {
            let (request, etag) = api.elevation_tagged(&id).await?;
            match out.format {
                Format::Json => out.json(&Tagged { etag: &etag, request: &request }),
                Format::Table => {
                    let mut facts = facts(&request);
                    facts.push(("etag", etag.into()));
                    out.facts(&facts)
                }
            }
        }
    }
}

fn query(filter: RequestsFilter) -> ElevationQuery {
    ElevationQuery {
        service: filter.service,
        state: filter.state.map(super::args::RequestStateFilter::as_str),
        to_approve: filter.to_approve,
        mine: filter.mine,
    }
}

fn list(requests: Vec<ElevationView>, now: WallTime, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(&Page { items: requests, next: None });
    }
    if requests.is_empty() {
        out.note("no requests");
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = requests.iter().map(|request| row(request, now)).collect();
    let header =
        ["ID", "STATE", "SERVICE", "RESOURCES", "ACTIONS", "PERSON", "REASON", "TICKET", "FOR", "APPROVED", "LAPSES"];
    out.table(&header, &rows)
}

fn row(request: &ElevationView, now: WallTime) -> Vec<Cell> {
    let waits = request.state == ElevationState::Requested;
    let lapses = request.lapses_at.filter(|_| waits).map(|at| format!("in {}", span(at.since(now))));
    vec![
        Cell::new(&request.id),
        state(request.state),
        Cell::new(&request.service),
        joined(&request.resources).into(),
        joined(&request.actions).into(),
        Cell::new(&request.person),
        Cell::new(&request.reason),
        Cell::new(&request.ticket),
        seconds(request.duration_s).into(),
        approved(request).into(),
        lapses.unwrap_or_else(|| "-".to_owned()).into(),
    ]
}

/// Everything about one request.
pub(super) fn facts(request: &ElevationView) -> Vec<(&'static str, Cell)> {
    let mut facts = vec![
        ("request", Cell::new(&request.id)),
        ("state", state(request.state)),
        ("person", Cell::new(&request.person)),
        ("login", login(&request.authentication).into()),
        ("service", Cell::new(&request.service)),
        ("resources", joined(&request.resources).into()),
        ("actions", joined(&request.actions).into()),
        ("role", Cell::new(&request.role)),
        ("reason", Cell::new(&request.reason)),
        ("ticket", Cell::new(&request.ticket)),
        ("for", format!("{}, from the approval on", seconds(request.duration_s)).into()),
        ("uses", request.max_uses.map_or_else(|| "any number".to_owned(), |most| most.to_string()).into()),
        ("binding", request.binding.as_str().into()),
        ("tier", format!("{}, of policy revision {}", request.tier, request.policy_revision).into()),
        ("requested", clock_time(request.requested_at).into()),
    ];
    facts.extend(request.wanted.as_ref().map(|wanted| ("waits for", wants(wanted).into())));
    facts.extend(request.approvals.iter().map(|approval| ("approved", one_approval(approval).into())));
    let narrowed = request.would_grant.as_ref().filter(|_| request.approvals.iter().any(narrows));
    facts.extend(narrowed.map(|bounds| ("would grant", would_grant(bounds).into())));
    let waits = request.state == ElevationState::Requested;
    facts.extend(request.lapses_at.filter(|_| waits).map(|at| ("lapses", clock_time(at).into())));
    facts.extend(request.decided_at.filter(|_| !waits).map(|at| ("decided", clock_time(at).into())));
    facts.extend(request.decided_by.as_ref().map(|person| ("decided by", Cell::new(person))));
    facts.extend(request.decided_note.as_ref().map(|note| ("note", Cell::new(note))));
    facts.extend(request.grant.as_ref().map(|grant| ("grant", Cell::new(&grant.id))));
    if let Some(past) = &request.past {
        let grants = if past.grants == 1 { "grant" } else { "grants" };
        facts.push(("before", format!("{} {grants}", past.grants).into()));
        facts.extend(past.last.iter().map(|grant| ("", past_grant(grant).into())));
    }
    facts
}

fn state(state: ElevationState) -> Cell {
    let colour = match state {
        ElevationState::Requested => Colour::Yellow,
        ElevationState::Approved => Colour::Green,
        ElevationState::Denied => Colour::Red,
        ElevationState::Withdrawn | ElevationState::Lapsed => Colour::Dim,
    };
    Cell::coloured(state.as_str(), colour)
}

/// `phishing-resistant (hwk, pin) at 2026-11-22T02:10:00Z, by https://login.example.com`
fn login(authentication: &AuthenticationView) -> String {
    let acr = authentication.acr.as_deref().unwrap_or("not said how");
    let amr =
        if authentication.amr.is_empty() { String::new() } else { format!(" ({})", authentication.amr.join(", ")) };
    let at = authentication.auth_at.map(|at| format!(" at {}", clock_time(at))).unwrap_or_default();
    format!("{acr}{amr}{at}, by {}", authentication.issuer)
}

/// `2 approvals of payments-leads, risk, one of each`
pub(super) fn wants(wanted: &WantedApprovals) -> String {
    let groups: Vec<&str> = wanted.groups.iter().map(String::as_str).collect();
    let each = if wanted.every_group { ", one of each" } else { "" };
    let approvals = if wanted.count == 1 { "approval" } else { "approvals" };
    format!("{} {approvals} of {}{each}", wanted.count, groups.join(", "))
}

/// `1/2`
pub(super) fn approved(request: &ElevationView) -> String {
    let given = request.approvals.len();
    request.wanted.as_ref().map_or_else(|| given.to_string(), |wanted| format!("{given}/{}", wanted.count))
}

fn one_approval(approval: &ApprovalView) -> String {
    let groups: Vec<&str> = approval.groups.iter().map(String::as_str).collect();
    let mut text = format!("by {} ({}) at {}", approval.by, groups.join(", "), clock_time(approval.approved_at));
    if let Some(duration) = approval.duration_s {
        text.push_str(&format!(", for {}", seconds(duration)));
    }
    if let Some(actions) = &approval.actions {
        text.push_str(&format!(", only {}", list_of(actions)));
    }
    if let Some(uses) = approval.max_uses {
        text.push_str(&format!(", {}", uses_of(Some(uses))));
    }
    text
}

const fn narrows(approval: &ApprovalView) -> bool {
    approval.duration_s.is_some() || approval.actions.is_some() || approval.max_uses.is_some()
}

fn would_grant(bounds: &BoundsView) -> String {
    format!("{} for {}, {}", list_of(&bounds.actions), seconds(bounds.duration_s), uses_of(bounds.max_uses))
}

fn past_grant(grant: &PastGrant) -> String {
    let resources = grant.resources.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    let most = grant.max_uses.map(|most| format!("/{most}")).unwrap_or_default();
    format!(
        "{} {}: {} on {} of {}, {}, used {}{most}, {}, {}",
        clock_time(grant.issued_at),
        grant.id,
        list_of(&grant.actions),
        resources,
        grant.service,
        grant.reason,
        grant.spent,
        grant.state.as_str(),
        review(grant.review, grant.verdict),
    )
}

/// What is said of a review in a few words.
pub(super) fn review(state: ReviewState, verdict: Option<Verdict>) -> String {
    match (state, verdict) {
        (ReviewState::None, _) => "no review".to_owned(),
        (ReviewState::Due, _) => "review due".to_owned(),
        (ReviewState::Overdue, _) => "review overdue".to_owned(),
        (ReviewState::Reviewed, Some(verdict)) => format!("reviewed: {}", verdict.as_str()),
        (ReviewState::Reviewed, None) => "reviewed".to_owned(),
    }
}

/// `1 use`, `3 uses`, `any number of uses`
pub(super) fn uses_of(most: Option<u32>) -> String {
    match most {
        None => "any number of uses".to_owned(),
        Some(1) => "1 use".to_owned(),
        Some(most) => format!("{most} uses"),
    }
}

pub(super) fn seconds(seconds: u64) -> String {
    span(std::time::Duration::from_secs(seconds))
}

pub(super) fn list_of<'a>(actions: impl IntoIterator<Item = &'a Action>) -> String {
    actions.into_iter().map(Action::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(crate) mod sample {
    use super::super::grants::sample;
    use super::*;
    use crate::domain::GrantId;
    use crate::wire::api::GrantState;
    use crate::wire::lifecycle::PastView;

    /// A request that waits for a second approval, as one who may approve it sees it.
    pub(crate) fn waiting() -> ElevationView {
        let granted = sample::elevation();
        let past = PastGrant {
            id: GrantId::from_random(3),
            state: GrantState::Expired,
            service: granted.service.clone(),
            resources: granted.resources.iter().cloned().collect(),
            actions: granted.actions.iter().cloned().collect(),
            reason: granted.reason.clone(),
            issued_at: WallTime::EPOCH,
            ended_at: Some(WallTime::from_unix_s(900)),
            max_uses: Some(3),
            spent: 1,
            review: ReviewState::Reviewed,
            verdict: Some(Verdict::Justified),
        };
        ElevationView {
            state: ElevationState::Requested,
            lapses_at: Some(WallTime::from_unix_s(3600)),
            wanted: Some(WantedApprovals {
                count: 2,
                groups: ["payments-leads".to_owned(), "risk".to_owned()].into(),
                every_group: true,
                policy_revision: 1,
            }),
            approvals: vec![ApprovalView {
                by: "bob@example.com".parse().unwrap(),
                issuer: granted.authentication.issuer.clone(),
                groups: ["risk".to_owned()].into(),
                approved_at: WallTime::from_unix_s(60),
                duration_s: Some(600),
                actions: None,
                max_uses: Some(1),
            }],
            would_grant: Some(BoundsView {
                duration_s: 600,
                actions: granted.actions.iter().cloned().collect(),
                max_uses: Some(1),
            }),
            past: Some(PastView { grants: 1, last: vec![past] }),
            decided_at: None,
            grant: None,
            ..granted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;

    #[test]
    fn the_table() {
        let (mut out, data, _) = capture::output(Format::Table);
        let requests = vec![sample::waiting(), super::super::grants::sample::elevation()];
        list(requests, WallTime::from_unix_s(60), &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }

    #[test]
    fn all_that_an_approver_is_shown() {
        let (mut out, data, _) = capture::output(Format::Table);
        out.facts(&facts(&sample::waiting())).unwrap();
        insta::assert_snapshot!(data.text());
    }

    #[test]
    fn as_json_the_tag_stands_beside_the_api_s_own_shape() {
        let request = sample::waiting();
        let json = serde_json::to_value(Tagged { etag: "\"x\"", request: &request }).unwrap();
        assert_eq!(json["etag"], "\"x\"");
        assert_eq!(serde_json::from_value::<ElevationView>(json).unwrap(), request);
    }
}
