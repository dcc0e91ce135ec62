//! `breakglass grants`: the list, one grant, or its token.

use super::api::GrantQuery;
use super::args::{Format, Global, GrantsArgs, GrantsFilter, GrantsVerb};
use super::enforcement::{clock_time, span, summary};
use super::failure::Failure;
use super::output::{Cell, Colour, Output};
use super::requests;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::{ReviewState, WallTime};
use crate::wire::api::{GrantState, GrantView, Page};

/// # Errors
/// When the control plane does not answer, or refuses.
pub(super) async fn run(args: GrantsArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    match args.what {
        None => list(api.grants(&query(args.filter)).await?, Clock::System.wall(), out),
        Some(GrantsVerb::Show { id }) => show(&api.grant(&id).await?, out),
        Some(GrantsVerb::Token { id }) => out.line(&api.grant_token(&id).await?.token),
    }
}

fn query(filter: GrantsFilter) -> GrantQuery {
    GrantQuery {
        service: filter.service,
        state: filter.state.map(super::args::StateFilter::as_str),
        review: filter.review.map(super::args::ReviewFilter::as_str),
        mine: filter.mine,
    }
}

fn list(grants: Vec<GrantView>, now: WallTime, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(&Page { items: grants, next: None });
    }
    if grants.is_empty() {
        out.note("no grants");
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = grants.iter().map(|grant| row(grant, now)).collect();
    out.table(&["ID", "STATE", "SERVICE", "RESOURCES", "ACTIONS", "ROLE", "PERSON", "LEFT", "USES", "REVIEW"], &rows)
}

/// The thumbprint of what was proven, or what is still to be done.
fn bound_to(grant: &GrantView) -> String {
    match &grant.confirmation {
        Some(confirmation) => confirmation.thumbprint().to_owned(),
        None => format!("nothing yet: breakglass claim {}", grant.id),
    }
}

fn row(grant: &GrantView, now: WallTime) -> Vec<Cell> {
    let left = if grant.state == GrantState::Active { span(grant.expires_at.since(now)) } else { "-".to_owned() };
    vec![
        Cell::new(&grant.id),
        standing(grant),
        Cell::new(&grant.service),
        joined(&grant.resources).into(),
        joined(&grant.actions).into(),
        Cell::new(&grant.role),
        Cell::new(&grant.person),
        left.into(),
        uses(grant).into(),
        review(grant.review.state),
    ]
}

fn show(grant: &GrantView, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(grant);
    }
    let mut facts = vec![
        ("grant", Cell::new(&grant.id)),
        ("state", standing(grant)),
        ("elevation", Cell::new(&grant.elevation)),
        ("service", Cell::new(&grant.service)),
        ("resources", joined(&grant.resources).into()),
        ("actions", joined(&grant.actions).into()),
        ("role", Cell::new(&grant.role)),
        ("person", Cell::new(&grant.person)),
        ("reason", Cell::new(&grant.reason)),
        ("ticket", Cell::new(&grant.ticket)),
        ("binding", grant.binding.as_str().into()),
        ("bound to", bound_to(grant).into()),
        ("issued", clock_time(grant.issued_at).into()),
        ("expires", clock_time(grant.expires_at).into()),
        ("uses", uses(grant).into()),
        ("reach", summary(&grant.enforcement).into()),
    ];
    if !grant.binding.needs_confirmation() {
        facts.retain(|(name, _)| *name != "bound to");
    }
    facts.extend(grant.ended_at.map(|at| ("ended", clock_time(at).into())));
    facts.extend(grant.ended_by.as_ref().map(|person| ("ended by", Cell::new(person))));
    facts.extend(grant.end_note.as_ref().map(|note| ("note", Cell::new(note))));
    facts.push(("review", requests::review(grant.review.state, grant.review.verdict).into()));
    facts.extend(grant.review.due_at.map(|at| ("review by", clock_time(at).into())));
    facts.extend(grant.review.reviewed_by.as_ref().map(|person| ("reviewed by", Cell::new(person))));
    facts.extend(grant.review.findings.as_ref().map(|findings| ("findings", Cell::new(findings))));
    out.facts(&facts)
}

/// The state, and that an active grant can't be used until its person has signed in afresh.
fn standing(grant: &GrantView) -> Cell {
    match grant.suspended_at {
        Some(_) => Cell::coloured("suspended", Colour::Yellow),
        None => state(grant.state),
    }
}

fn state(state: GrantState) -> Cell {
    match state {
        GrantState::Active => Cell::coloured("active", Colour::Green),
        GrantState::Expired => Cell::coloured("expired", Colour::Dim),
        GrantState::Revoked => Cell::coloured("revoked", Colour::Red),
        GrantState::UsedUp => Cell::coloured("used_up", Colour::Dim),
    }
}

fn review(state: ReviewState) -> Cell {
    match state {
        ReviewState::None => Cell::coloured("-", Colour::Dim),
        ReviewState::Due => Cell::coloured("due", Colour::Yellow),
        ReviewState::Overdue => Cell::coloured("overdue", Colour::Red),
        ReviewState::Reviewed => Cell::coloured("reviewed", Colour::Dim),
    }
}

fn uses(grant: &GrantView) -> String {
    grant.max_uses.map_or_else(|| grant.spent.to_string(), |max| format!("{}/{max}", grant.spent))
}

/// The values with commas between them.
pub(super) fn joined<T: AsRef<str>>(values: &[T]) -> String {
    values.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

#[cfg(test)]
pub(crate) mod sample {
    use crate::domain::{Binding, ElevationId, ElevationState, GrantId, ReviewState, WallTime};
    use crate::wire::api::{ElevationView, Enforcement, GrantState, GrantView};
    use crate::wire::lifecycle::{AuthenticationView, ReviewView};

    /// A live grant for payment.release on contract/C-1042, enforced on the one sidecar, with 15 minutes from the epoch.
    pub(crate) fn grant() -> GrantView {
        GrantView {
            id: GrantId::from_random(7),
            elevation: ElevationId::from_random(9),
            tier: "on-call".into(),
            state: GrantState::Active,
            service: "payments".parse().unwrap(),
            person: "maria@example.com".parse().unwrap(),
            role: "release-manager".parse().unwrap(),
            resources: vec!["contract/C-1042".parse().unwrap()],
            actions: vec!["payment.release".parse().unwrap()],
            reason: "stuck-payment".parse().unwrap(),
            ticket: "INC-2041".parse().unwrap(),
            binding: Binding::Identity,
            confirmation: None,
            issued_at: WallTime::EPOCH,
            expires_at: WallTime::from_unix_s(900),
            max_uses: Some(3),
            spent: 1,
            policy_revision: 1,
            suspended_at: None,
            revision: 4,
            ended_at: None,
            ended_by: None,
            end_note: None,
            revocation: None,
            review: ReviewView {
                state: ReviewState::None,
                due_at: None,
                reviewed_at: None,
                reviewed_by: None,
                verdict: None,
                findings: None,
            },
            enforcement: Enforcement {
                revision: 4,
                sidecars: 1,
                enforced: 1,
                elapsed_ms: Some(12),
                silent: vec![],
                rejected: vec![],
            },
        }
    }

    /// The request of that grant, approved as it was made.
    pub(crate) fn elevation() -> ElevationView {
        let grant = grant();
        ElevationView {
            id: grant.elevation.clone(),
            state: ElevationState::Approved,
            service: grant.service.clone(),
            person: grant.person.clone(),
            tier: grant.tier.clone(),
            role: grant.role.clone(),
            resources: grant.resources.clone(),
            actions: grant.actions.clone(),
            reason: grant.reason.clone(),
            ticket: grant.ticket.clone(),
            duration_s: 900,
            max_uses: grant.max_uses,
            binding: grant.binding,
            confirmation: None,
            authentication: AuthenticationView {
                issuer: "https://login.example.com".parse().unwrap(),
                acr: Some("phishing-resistant".into()),
                amr: vec!["hwk".into()],
                auth_at: Some(WallTime::EPOCH),
            },
            policy_revision: 1,
            requested_at: grant.issued_at,
            lapses_at: None,
            wanted: None,
            approvals: vec![],
            would_grant: None,
            past: None,
            decided_at: Some(grant.issued_at),
            decided_by: None,
            decided_note: None,
            grant: Some(grant),
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
        let ended = GrantView { state: GrantState::Revoked, max_uses: None, ..sample::grant() };
        list(vec![sample::grant(), ended], WallTime::from_unix_s(60), &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }

    #[test]
    fn the_list_as_json_is_the_apis_own_shape() {
        let (mut out, data, _) = capture::output(Format::Json);
        list(vec![sample::grant()], WallTime::EPOCH, &mut out).unwrap();
        let page: Page<GrantView> = serde_json::from_str(&data.text()).unwrap();
        assert_eq!(page.items, [sample::grant()]);
    }

    #[test]
    fn no_grants_is_no_data() {
        let (mut out, data, talk) = capture::output(Format::Table);
        list(vec![], WallTime::EPOCH, &mut out).unwrap();
        assert_eq!((data.text().as_str(), talk.text().as_str()), ("", "no grants\n"));
    }

    #[test]
    fn one_grant() {
        let (mut out, data, _) = capture::output(Format::Table);
        show(&sample::grant(), &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }
}
