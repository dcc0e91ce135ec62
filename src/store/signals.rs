//! What a transmitter said, carried out once: all of one token in one transaction, with the entries that name it.
//!
//! INVARIANT: a token's id is written in the transaction of what it did, so that one that comes again does nothing, and
//! one whose transaction failed is not known.

use std::collections::BTreeSet;
use std::time::Duration;

use super::endings::lapse_for;
use super::grants::{End, end_grant, fetch, named};
use super::rows::parsed;
use super::statement::sql;
use super::suspension::{demand_fresh, suspend};
use super::transition::Transition;
use super::{GrantRecord, Store, StoreError, elevations};
use crate::domain::{Binding, ElevationId, GrantId, Issuer, Person, ServiceName, WallTime};
use crate::identity::signals::Named;
use crate::ledger::Signalled;
use crate::ledger::entry::Draft;
use crate::wire::feed::EndCause;

/// How long the id of a token is known, and a demand for fresh proof stands. Older tokens are refused before they come
/// here, and no access token lives so long.
pub(super) const KEPT: Duration = Duration::from_secs(40 * 86_400);

/// An event token that nobody has carried out yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSignal {
    pub transmitter: Issuer,
    /// Its `jti`.
    pub id: String,
    pub events: Vec<SignalEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalEvent {
    /// The event's type, as the token has it.
    pub uri: String,
    pub effect: Effect,
    /// What was proven at or before this time no longer counts.
    pub since: WallTime,
    /// The issuer whose people are spoken of.
    pub idp: Issuer,
    pub subjects: Vec<Named>,
}

/// What an event does to the grants and requests of the persons that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// They end.
    End,
    /// Grants wait until their person has authenticated afresh; requests, and grants that anybody who has their token
    /// could use, end.
    Suspend,
    Nothing,
}

impl Effect {
    const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Suspend => "suspend",
            Self::Nothing => "nothing",
        }
    }
}

/// What a token came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalOutcome {
    /// In the order of its events.
    Applied(Vec<EventOutcome>),
    /// It came before.
    Replayed,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventOutcome {
    /// It names somebody who has called here.
    pub known: bool,
    pub ended: Vec<GrantId>,
    pub suspended: Vec<GrantId>,
    pub lapsed: Vec<ElevationId>,
}

impl Store {
    /// Carries out a genuine token.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of it was done, and it may come again.
    pub async fn take_signal(&self, new: &NewSignal) -> Result<SignalOutcome, StoreError> {
        let mut transition = self.transition().await?;
        if !is_first(&mut transition, new).await? {
            return Ok(SignalOutcome::Replayed);
        }
        let mut outcomes = Vec::with_capacity(new.events.len());
        for event in &new.events {
            outcomes.push(carry_out(&mut transition, new, event).await?);
        }
        transition.commit().await?;
        Ok(SignalOutcome::Applied(outcomes))
    }
}

async fn is_first(transition: &mut Transition<'_>, new: &NewSignal) -> Result<bool, StoreError> {
    let now = transition.at();
    let old = now.minus(KEPT).unix_ms();
    sql("DELETE FROM signals WHERE at_ms <= $1").bind(old).execute(transition.connection()).await?;
    sql("DELETE FROM person_freshness WHERE since_ms <= $1").bind(old).execute(transition.connection()).await?;
    let inserted = sql("INSERT INTO signals (transmitter, id, at_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (transmitter, id) DO NOTHING")
    .bind(new.transmitter.as_str())
    .bind(&new.id)
    .bind(now.unix_ms())
    .execute(transition.connection())
    .await?;
    Ok(inserted > 0)
}

/// One event and everybody it names.
async fn carry_out(
    transition: &mut Transition<'_>,
    new: &NewSignal,
    event: &SignalEvent,
) -> Result<EventOutcome, StoreError> {
    let mut outcome = EventOutcome::default();
    if event.effect == Effect::Nothing {
        return Ok(outcome);
    }
    for person in persons(transition, event).await? {
        demand_fresh(transition, &person, event.since).await?;
        let known = is_known(transition, &person).await?;
        let reach = Reach { effect: event.effect, since: event.since, idp: None };
        let found = Found::of(transition, &person, &reach).await?;
        outcome.known |= known;
        // Of people who were never here the ledger need not tell: a company's stream is about all of its people.
        if known || !found.is_empty() {
            found.carry_out(transition, &person, (new, event), &mut outcome).await?;
        }
    }
    Ok(outcome)
}

/// The persons an event names, each once.
async fn persons(transition: &mut Transition<'_>, event: &SignalEvent) -> Result<BTreeSet<Person>, StoreError> {
    let mut persons = BTreeSet::new();
    for subject in &event.subjects {
        match subject {
            Named::Person(person) => {
                persons.insert(person.clone());
            }
            Named::Principal(subject) => {
                let row = sql("SELECT person FROM principals WHERE idp = $1 AND subject = $2")
                    .bind(event.idp.as_str())
                    .bind(subject.as_str())
                    .fetch_optional(transition.connection())
                    .await?;
                if let Some(row) = row {
                    persons.insert(parsed("person", row.first()?)?);
                }
            }
        }
    }
    Ok(persons)
}

async fn is_known(transition: &mut Transition<'_>, person: &Person) -> Result<bool, StoreError> {
    let principals = sql("SELECT COUNT(*) FROM principals WHERE person = $1").bind(person.as_str());
    Ok(principals.integer(transition.connection()).await? > 0)
}

/// How far what was said of a person goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach<'a> {
    pub(super) effect: Effect,
    pub(super) since: WallTime,
    /// What rests on this issuer's word alone; absent: on any's.
    pub(super) idp: Option<&'a Issuer>,
}

/// What is found of one person.
pub(super) struct Found {
    pub(super) end: Vec<GrantRecord>,
    suspend: Vec<GrantRecord>,
    pub(super) lapse: Vec<ElevationId>,
}

impl Found {
    /// Live grants, suspended ones among them, and requests that wait. What rests on an authentication after the event
    /// has nothing to do with it.
    pub(super) async fn of(
        transition: &mut Transition<'_>,
        person: &Person,
        reach: &Reach<'_>,
    ) -> Result<Self, StoreError> {
        let mut found = Self { end: Vec::new(), suspend: Vec::new(), lapse: Vec::new() };
        let is_beyond = |idp: &Issuer, at: Option<WallTime>| {
            at.is_some_and(|at| at > reach.since) || reach.idp.is_some_and(|own| own != idp)
        };
        for (id, _) in live(transition, person).await? {
            let Some(record) = fetch(transition.connection(), &id).await? else { continue };
            if is_beyond(&record.grant.idp, record.grant.authentication.auth_time) {
                continue;
            }
            if reach.effect == Effect::End || record.grant.binding == Binding::Bearer {
                found.end.push(record);
            } else if record.suspended.is_none() {
                found.suspend.push(record);
            }
        }
        for id in waiting(transition, person).await? {
            let Some(record) = elevations::fetch(transition.connection(), &id).await? else { continue };
            if !is_beyond(&record.elevation.idp, record.elevation.authentication.auth_time) {
                found.lapse.push(id);
            }
        }
        Ok(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end.is_empty() && self.suspend.is_empty() && self.lapse.is_empty()
    }

    /// The event's own entry stands before those of what it does.
    async fn carry_out(
        self,
        transition: &mut Transition<'_>,
        person: &Person,
        (new, event): (&NewSignal, &SignalEvent),
        outcome: &mut EventOutcome,
    ) -> Result<(), StoreError> {
        let signalled = Signalled { transmitter: &new.transmitter, id: &new.id, event: &event.uri };
        let counts = [self.end.len(), self.suspend.len(), self.lapse.len()];
        let entry = Draft::signal_received(signalled, event.effect.as_str(), event.since, counts, person);
        transition.entry(entry, None).await?;
        let note = format!("{}: {}", new.transmitter, event.uri);
        for record in self.end {
            let id = record.grant.id;
            let entry = Draft::grant_revoked_by_signal(&id, signalled);
            let end = End { cause: EndCause::Revoked, by: None, note: Some(&note), revocation: None, entry };
            end_grant(transition, &id, &record.grant.service, end).await?;
            outcome.ended.push(id);
        }
        for record in self.suspend {
            let id = record.grant.id;
            suspend(transition, &id, Draft::grant_suspended(&id, signalled)).await?;
            outcome.suspended.push(id);
        }
        for id in self.lapse {
            lapse_for(transition, &id, Some("signal")).await?;
            outcome.lapsed.push(id);
        }
        Ok(())
    }
}

pub(super) async fn live(
    transition: &mut Transition<'_>,
    person: &Person,
) -> Result<Vec<(GrantId, ServiceName)>, StoreError> {
    let now = transition.at();
    let rows = sql("SELECT id, service FROM grants WHERE person = $1 AND state = 'active' AND expires_ms > $2 \
         ORDER BY position")
    .bind(person.as_str())
    .bind(now.unix_ms())
    .fetch_all(transition.connection())
    .await?;
    rows.iter().map(named).collect()
}

pub(super) async fn waiting(transition: &mut Transition<'_>, person: &Person) -> Result<Vec<ElevationId>, StoreError> {
    let rows = sql("SELECT id FROM elevations WHERE person = $1 AND state = 'requested' ORDER BY position")
        .bind(person.as_str())
        .fetch_all(transition.connection())
        .await?;
    rows.iter().map(|row| parsed("elevation id", row.first()?)).collect()
}
