//! What earlier entries have said of requests and grants, as far as later ones need it.

use std::sync::Arc;

use super::rows::{Name, RowId};
use super::{Period, Subject};
use crate::domain::WallTime;
use crate::ledger::entry::{EntryKind, PersonalField};
use crate::report::told::{Told, text};

/// The rows that something counts in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Keys {
    pub(super) team: RowId,
    pub(super) person: RowId,
    pub(super) reason: RowId,
    pub(super) service: RowId,
    pub(super) resources: Arc<[RowId]>,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) at: WallTime,
    pub(super) keys: Keys,
}

/// A grant.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) keys: Keys,
    pub(super) asked: Option<WallTime>,
    pub(super) begun: WallTime,
    pub(super) expires: WallTime,
    pub(super) max_uses: Option<u64>,
    pub(super) asks_review: bool,
    pub(super) last_used: Option<WallTime>,
    pub(super) ended: Option<WallTime>,
}

/// What an entry is about, and whether it is its first.
pub(super) fn subjects(told: &Told<'_>) -> Vec<(Subject, bool)> {
    let facts = &told.facts;
    let elevation = || facts.elevation.as_deref().map(|id| Subject::Elevation(id.to_owned()));
    let grant = || facts.grant.as_deref().map(|id| Subject::Grant(id.to_owned()));
    match told.kind {
        EntryKind::ElevationRequested => elevation().map(|subject| (subject, true)).into_iter().collect(),
        EntryKind::ElevationApproved
        | EntryKind::ElevationDenied
        | EntryKind::ElevationWithdrawn
        | EntryKind::ElevationLapsed => elevation().map(|subject| (subject, false)).into_iter().collect(),
        EntryKind::GrantIssued => {
            let both = [elevation().map(|subject| (subject, false)), grant().map(|subject| (subject, true))];
            both.into_iter().flatten().collect()
        }
        EntryKind::GrantClaimed
        | EntryKind::GrantRevoked
        | EntryKind::GrantExpired
        | EntryKind::GrantUsedUp
        | EntryKind::GrantReviewed
        | EntryKind::ReviewOverdue
        | EntryKind::GrantClosed
        | EntryKind::AuditLine => grant().map(|subject| (subject, false)).into_iter().collect(),
        _ => Vec::new(),
    }
}

impl Period {
    /// Keeps what later entries will ask for.
    pub(super) fn follow(&mut self, told: &Told<'_>) {
        match told.kind {
            EntryKind::ElevationRequested => {
                let asked = Asked { at: told.at, keys: self.keys_of(told) };
                self.asked.insert(text(&told.facts.elevation), asked);
            }
            EntryKind::GrantIssued => {
                let standing = self.standing(told);
                self.grants.insert(text(&told.facts.grant), standing);
            }
            EntryKind::GrantRevoked | EntryKind::GrantExpired | EntryKind::GrantUsedUp => {
                self.of_grant(told, |standing| standing.ended = Some(told.at));
            }
            EntryKind::AuditLine if told.facts.line.as_deref() == Some("intent") => {
                let at = told.facts.recorded_at.unwrap_or(told.at);
                self.of_grant(told, |standing| standing.last_used = standing.last_used.max(Some(at)));
            }
            _ => {}
        }
    }

    fn of_grant(&mut self, told: &Told<'_>, change: impl FnOnce(&mut Standing)) {
        if let Some(standing) = told.facts.grant.as_deref().and_then(|id| self.grants.get_mut(id)) {
            change(standing);
        }
    }

    /// The rows that an entry names itself.
    pub(super) fn keys_of(&mut self, told: &Told<'_>) -> Keys {
        let facts = &told.facts;
        let named = facts.resources.iter().flatten().map(AsRef::as_ref).chain(facts.resource.as_deref());
        let resources: Vec<RowId> = named.map(|name| self.resources.id(Name::of(Some(name)))).collect();
        Keys {
            team: self.teams.id(Name::of(facts.team.as_deref())),
            person: self.persons.id(told.personal(PersonalField::Person).into()),
            reason: self.reasons.id(Name::of(facts.reason.as_deref())),
            service: self.services.id(Name::of(facts.service.as_deref())),
            resources: resources.into(),
        }
    }

    /// The team stands in the request alone; all else in the grant's own entry.
    fn standing(&mut self, told: &Told<'_>) -> Standing {
        let facts = &told.facts;
        let asked = facts.elevation.as_deref().and_then(|id| self.asked.get(id)).cloned();
        let own = self.keys_of(told);
        let keys = Keys { team: asked.as_ref().map_or(own.team, |asked| asked.keys.team), ..own };
        let begun = facts.not_before.unwrap_or(told.at);
        Standing {
            keys,
            asked: asked.map(|asked| asked.at),
            begun,
            expires: facts.expires.unwrap_or(begun),
            max_uses: facts.max_uses,
            asks_review: facts.review_due_s.is_some(),
            last_used: None,
            ended: None,
        }
    }
}
